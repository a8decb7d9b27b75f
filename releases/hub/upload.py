"""Make a tag of a repository hold exactly the files of a folder.

The files go to a branch of their own, in commits of bounded size. The tag is set when
the branch holds every file and nothing else, so readers, who resolve tags only, never
see half of it; and since every attempt begins with a look at what the branch holds, an
attempt that was cut anywhere is continued by the next.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cellresponse.releases.hub.repo import MAIN, Addition, HubRepo, Refs, RemoteFile
from cellresponse.releases.root import NamedFile
from cellresponse.schema.errors import HubError

__all__ = ["Plan", "branch_of", "plan_upload", "upload"]

FILES_A_COMMIT = 200
BYTES_A_COMMIT = 10_000_000_000
KEPT = ".gitattributes"
"""The Hub's own file in every revision."""


@dataclass(frozen=True)
class Plan:
    """What an upload has still to do.

    Attributes
    ----------
    batches
        Files of each commit.
    gone
        Paths on the branch that the folder does not have.
    unchanged
        Number of files that the branch has already.
    """

    batches: list[list[NamedFile]] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    unchanged: int = 0

    @property
    def files(self) -> int:
        """Number of files to send."""
        return sum(len(batch) for batch in self.batches)

    @property
    def bytes(self) -> int:
        """Bytes to send."""
        return sum(file.bytes for batch in self.batches for file in batch)


def branch_of(tag: str) -> str:
    """Name the branch that receives the files of a tag."""
    return f"incoming-{tag}"


def plan_upload(folder: Path, files: list[NamedFile], there: dict[str, RemoteFile]) -> Plan:
    """Compare a folder with a revision.

    Parameters
    ----------
    folder, files
        The folder, and every file of it that counts.
    there
        What the revision holds.
    """
    missing = [file for file in files if not _same(folder, file, there.get(file.path))]
    named = {file.path for file in files} | {KEPT}
    gone = sorted(there.keys() - named)
    batches = list(_batches(missing)) or ([[]] if gone else [])
    return Plan(batches, gone, len(files) - len(missing))


def _same(folder: Path, file: NamedFile, remote: RemoteFile | None) -> bool:
    if remote is None or remote.size != file.bytes:
        return False
    if remote.sha256 is not None:
        return remote.sha256 == file.sha256
    data = (folder / file.path).read_bytes()  # what lies inside git is small
    return remote.oid == hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()  # noqa: S324  # git's


def _batches(files: list[NamedFile]) -> Iterator[list[NamedFile]]:
    batch: list[NamedFile] = []
    for file in files:
        full = len(batch) >= FILES_A_COMMIT
        if batch and (full or sum(one.bytes for one in batch) + file.bytes > BYTES_A_COMMIT):
            yield batch
            batch = []
        batch.append(file)
    if batch:
        yield batch


def upload(repo: HubRepo, refs: Refs, tag: str, folder: Path, files: list[NamedFile]) -> Plan:
    """Send what is missing, check that everything is there, and set the tag.

    Parameters
    ----------
    repo, refs
        The repository, and its tags and branches now.
    tag
        Tag to set; it must not exist.
    folder, files
        The folder, and every file of it.

    Returns
    -------
    Plan
        What was sent.

    Raises
    ------
    HubError
        With `PassingTrouble`, do it again.
    """
    branch = branch_of(tag)
    head = refs.branches.get(branch)
    if head is None:
        head = refs.branches[MAIN]
        repo.make_branch(branch, head)
    plan = plan_upload(folder, files, repo.tree(head))
    for number, batch in enumerate(plan.batches, 1):
        head = repo.commit(
            branch,
            f"{tag}: part {number} of {len(plan.batches)}",
            parent=head,
            add=[Addition(file.path, folder / file.path) for file in batch],
            delete=plan.gone if number == 1 else (),
        )
    if plan.batches:
        _require_whole(repo, head, tag, folder, files)
    repo.tag(tag, head)
    return plan


def _require_whole(
    repo: HubRepo, head: str, tag: str, folder: Path, files: list[NamedFile]
) -> None:
    rest = plan_upload(folder, files, repo.tree(head))
    if rest.batches:
        wrong = [file.path for batch in rest.batches for file in batch] + rest.gone
        raise HubError(
            "does not hold what was sent, so it is not tagged",
            file=f"{repo.name}: {branch_of(tag)}",
            value=", ".join(wrong[:5]),
            hint="Check that nothing changes the folder or the branch, and push again",
        )
