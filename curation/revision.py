"""Compare the study folders with a commit: what changed, and whether revisions grew.

The commit is where this branch left the named one, so that what others have changed
there since does not count.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import yaml

from cellresponse.schema.errors import EvidenceError

__all__ = ["changed_studies", "require_history", "restore_studies", "revision_problems"]


def require_history(root: Path, ref: str) -> str:
    """Give the commit to compare with.

    Parameters
    ----------
    root
        Folder of study folders, in a checkout.
    ref
        Branch, tag or commit.

    Raises
    ------
    EvidenceError
        There is no git, no checkout, no such commit, or no common history.
    """
    commit = _git(root, "rev-parse", "--verify", "--end-of-options", f"{ref}^{{commit}}")
    return _git(root, "merge-base", commit.strip(), "HEAD").strip()


def changed_studies(root: Path, commit: str) -> list[str]:
    """Give the names of the studies whose folder differs from a commit's, sorted.

    Studies that are new or gone are among them. Files that git ignores are not looked at.
    """
    differ = _git(
        root, "diff", "--name-only", "--no-renames", "--relative", "-z", commit, "--", "."
    )
    new = _git(root, "ls-files", "--others", "--exclude-standard", "-z", "--", ".")
    folders = {path.split("/")[0] for path in (differ + new).split("\0") if "/" in path}
    return sorted(
        folder
        for folder in folders
        if (root / folder / "study.yaml").exists() or _manifest(root, commit, folder) is not None
    )


def revision_problems(root: Path, commit: str, studies: Iterable[str]) -> Iterator[EvidenceError]:
    """Name each changed study whose revision did not grow, and each that is gone.

    Parameters
    ----------
    root
        Folder of study folders.
    commit
        What to compare with, from `require_history`.
    studies
        Names of folders that differ, from `changed_studies`.
    """
    for study in studies:
        before = _revision(_manifest(root, commit, study))
        path, file = root / study / "study.yaml", f"{study}/study.yaml"
        if not path.exists():
            yield EvidenceError(
                "the study is gone",
                file=file,
                hint="Keep it, with `status: excluded` and the reason",
            )
            continue
        text = path.read_bytes().decode("utf-8", "replace")
        now = _revision(text)
        # A manifest that says no revision is wrong on its own account.
        if before is not None and now is not None and now <= before:
            yield EvidenceError(
                "the folder has changed, and its revision has not grown",
                file=file,
                row=_row(text),
                column="revision",
                value=now,
                allowed=f"more than {before}",
                hint=f"Write `revision: {before + 1}`",
            )


def restore_studies(root: Path, commit: str, studies: Iterable[str], to: Path) -> None:
    """Write study folders as they were at a commit below `to`; those that were not, not."""
    old = [study for study in studies if _manifest(root, commit, study) is not None]
    if not old:
        return
    packed = _run(root, "archive", "--format=tar", commit, "--", *(f"./{study}" for study in old))
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(to, filter="data")


def _manifest(root: Path, commit: str, study: str) -> str | None:
    """The text of a manifest at a commit; None where it had none."""
    listed = _git(root, "ls-tree", "-z", "--name-only", commit, "--", f"./{study}/study.yaml")
    return _git(root, "show", f"{commit}:./{study}/study.yaml") if listed else None


def _revision(text: str | None) -> int | None:
    try:
        # Without types of its own, YAML gives every value as the text that was typed.
        document = yaml.load(text or "", Loader=yaml.BaseLoader)  # noqa: S506
        return int(document["revision"])
    except (yaml.YAMLError, KeyError, TypeError, ValueError):
        return None


def _row(text: str) -> int | None:
    lines = enumerate(text.splitlines(), start=1)
    return next((row for row, line in lines if line.startswith("revision:")), None)


def _git(root: Path, *arguments: str) -> str:
    return _run(root, *arguments).decode("utf-8", "replace")


def _run(root: Path, *arguments: str) -> bytes:
    git = shutil.which("git")
    if git is None:
        raise EvidenceError("comparing with a commit needs git, and there is none")
    ended = subprocess.run([git, "-C", str(root), *arguments], capture_output=True, check=False)  # noqa: S603  # no shell
    if ended.returncode:
        said = ended.stderr.decode("utf-8", "replace").strip().splitlines()
        raise EvidenceError(
            f"cannot be compared with a commit: git says {(said or ['nothing'])[-1]!r}",
            file=root,
            hint="Name a commit of this checkout, and fetch its whole history",
        )
    return ended.stdout
