"""Copy a release, or a part of it, from the Hub."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cellresponse.releases.canonical import canonical_json
from cellresponse.releases.hub.part import WHOLE, Part
from cellresponse.releases.hub.remote import no_such_release
from cellresponse.releases.hub.repo import HubRepo
from cellresponse.releases.hub.shared_index import published
from cellresponse.releases.hub.transfer import CROSSING, Transfer
from cellresponse.releases.hub.trouble import Report, silent
from cellresponse.releases.index import RetractedRelease
from cellresponse.releases.layout import DESCRIPTOR, PARTIAL, ROOT, files_of, study_of
from cellresponse.releases.release import Release
from cellresponse.releases.root import NamedFile, pulled_files, read_root
from cellresponse.schema.errors import EvidenceError, ReleaseError
from cellresponse.schema.storage import storage_errors

__all__ = ["Pulled", "pull", "pull_lines"]


@dataclass(frozen=True)
class Pulled:
    """What a pull did.

    Attributes
    ----------
    release, folder
        What was pulled, and where to.
    files, bytes
        All that was wanted.
    fetched, fetched_bytes
        What had to be fetched; the rest was there, and right.
    partial
        The folder holds a part of the release.
    """

    release: str
    folder: str
    files: int
    bytes: int
    fetched: int
    fetched_bytes: int
    partial: bool


def pull(
    release: str,
    repo: str,
    to: str | Path,
    part: Part = WHOLE,
    report: Report = silent,
) -> Pulled:
    """Copy a release, or a part of it, into a folder.

    What is there and right is not fetched again; every file is checked against its
    sha256; a pull that was cut goes on when it is run again. A part holds every table,
    and `partial.json`, which says what was pulled. A pull that is refused leaves nothing
    new behind; of several into one folder, each waits for the one before.

    Parameters
    ----------
    release
        Name, or alias of the repository's index.
    repo
        `ORG/NAME` on the Hub.
    to
        Folder that becomes the release's folder.
    part
        What is wanted.
    report
        Receives progress, line by line.

    Returns
    -------
    Pulled

    Raises
    ------
    HubError
        The Hub has no such release, cannot be reached, or sends other files than the
        release names.
    ReleaseError
        The folder holds something else, or the release has no such part.
    StorageError
        The folder cannot be written.

    Warns
    -----
    RetractedRelease
        With the reason, and what replaces it.
    """
    hub = HubRepo(repo)
    name, commit = _find(hub, release, report)
    transfer = Transfer(hub, commit, Path(to), report)
    with storage_errors(transfer.to), transfer.alone():
        before = transfer.there()
        try:
            pulled = _pull(transfer, name, part)
        except (EvidenceError, ReleaseError):  # refused; what broke is gone on with
            transfer.undo(before)
            raise
        transfer.clear()
    return pulled


def _find(hub: HubRepo, release: str, report: Report) -> tuple[str, str]:
    """Give name and commit of what is asked for."""
    index, refs = published(hub, report)
    name = index.aliases.get(release, release)
    if name in index.retractions:
        warnings.warn(index.warning(name), RetractedRelease, stacklevel=3)
    if name not in refs.tags:
        raise no_such_release(hub, release, index, refs.tags)
    return name, refs.tags[name]


def _pull(transfer: Transfer, name: str, part: Part) -> Pulled:
    root, named = transfer.descriptors(name)
    to = transfer.to
    _require_own(to, root, named)
    whole_before = (to / ROOT).exists() and not (to / PARTIAL).exists()
    tables = [file for file in named.values() if not _of_one_study(file)]
    first = [file for file in tables if _goes_along(file)]
    fetched = transfer.fetch(first)
    if part.everything:
        wanted = list(named.values())
    else:
        studies = part.studies(Release(to, root))
        wanted = first + [file for file in named.values() if study_of(file.path) in studies]
    if not whole_before:
        _note(transfer, {file.path for file in wanted})
    fetched += transfer.fetch(file for file in wanted if file not in first)
    transfer.place_descriptors()
    if part.everything:
        (to / PARTIAL).unlink(missing_ok=True)
    return Pulled(
        release=name,
        folder=str(to),
        files=len(wanted) + 2,
        bytes=sum(file.bytes for file in wanted),
        fetched=len(fetched),
        fetched_bytes=sum(file.bytes for file in fetched),
        partial=(to / PARTIAL).exists(),
    )


def _of_one_study(file: NamedFile) -> bool:
    return study_of(file.path) is not None and not file.path.startswith("tables/labels/")


def _goes_along(file: NamedFile) -> bool:
    """Whether a file comes with every part: tables and descriptors, no cohort."""
    return file.path.startswith("tables/") or "/" not in file.path


def _require_own(to: Path, root: dict[str, Any], named: dict[str, NamedFile]) -> None:
    """Refuse a folder that holds another release, or anything that is not of this one."""
    if (to / ROOT).exists() and read_root(to) != root:
        raise ReleaseError(
            "holds another release", file=to, hint="Name another folder, or remove this one"
        )
    if to.is_dir():
        there = {path for path in files_of(to) if not path.startswith(f"{CROSSING}/")}
        strangers = there - named.keys() - {ROOT, DESCRIPTOR, PARTIAL}
        if strangers:
            raise ReleaseError(
                "the folder holds a file that is not of the release",
                file=to,
                value=min(strangers),
                hint="Name another folder",
            )


def _note(transfer: Transfer, wanted: set[str]) -> None:
    """Write down what the folder is to hold, with what it holds already."""
    files = sorted(wanted | (pulled_files(transfer.to) or set()))
    (transfer.staging / PARTIAL).write_bytes(canonical_json({"files": files}))
    transfer.place(PARTIAL)


def pull_lines(pulled: Pulled) -> list[str]:
    """Write what a pull did as text."""
    what = "a part of release" if pulled.partial else "release"
    return [
        f"{pulled.folder} holds {what} {pulled.release}: {pulled.files:,} files, "
        f"{pulled.bytes:,} bytes, {pulled.fetched:,} of them fetched "
        f"({pulled.fetched_bytes:,} bytes)"
    ]
