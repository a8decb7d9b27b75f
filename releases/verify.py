"""Verify a release: re-read every byte and every cross-reference."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from cellresponse.releases.layout import DESCRIPTOR, PARTIAL, ROOT, files_of
from cellresponse.releases.processes import start_server
from cellresponse.releases.root import (
    NamedFile,
    named_files,
    pulled_files,
    read_root,
    wrong_bytes,
)
from cellresponse.releases.tables_io import count_rows
from cellresponse.releases.verify_content import verify_content
from cellresponse.schema.errors import CellResponseError, ReleaseError, raise_all

__all__ = ["Verified", "verify"]


@dataclass(frozen=True)
class Verified:
    """What `verify` read: all of it was right.

    `files` and `bytes` are of all files, `release.json` and `datapackage.json` included.

    `partial` is true for a folder that holds a part of a release, as `pull` made it:
    the bytes of that part are right, and its content was not hashed again.
    """

    release: str
    content_hash: str
    files: int
    bytes: int
    studies: int
    cells: int
    labels: int
    partial: bool = False


def verify(folder: str | Path, *, workers: int = 1) -> Verified:
    """Check a release folder completely.

    `release.json` must be canonical and fit its own digest; it vouches for
    `datapackage.json`, which vouches for every other file; nothing may be missing and
    nothing may be there that is not named. Then tables, matrices and their references
    are checked, and the content hash is taken again. Of a partial pull, the files that
    were pulled are checked, by their checksums.

    Parameters
    ----------
    folder
        The release.
    workers
        Processes that check the studies; 1: threads of this process. They take seconds to
        start, and gain from some million cells.

    Returns
    -------
    Verified

    Raises
    ------
    ReleaseError, Problems
        Naming each file that is not what it should be.
    StorageError
        A process was killed.
    """
    if workers > 1:
        start_server("cellresponse.releases.verify_study")
    folder = Path(folder)
    root = read_root(folder)
    files = named_files(folder, root)
    pulled = pulled_files(folder)
    if pulled is not None:
        files = {path: file for path, file in files.items() if path in pulled}
    raise_all(_strangers(folder, files))
    with ThreadPoolExecutor() as pool:
        found = pool.map(lambda file: wrong_bytes(folder, file), files.values())
        raise_all(problem for problem in found if problem)
    if pulled is None:
        cells, labels = verify_content(folder, root, workers)
    else:
        cells, labels = count_rows(folder, "cells"), count_rows(folder, "labels")
    return Verified(
        release=root["release"],
        content_hash=root["content"]["hash"],
        files=len(files) + 2,
        bytes=sum(file.bytes for file in files.values())
        + _sizes(folder / ROOT, folder / DESCRIPTOR),
        studies=len(root["studies"]),
        cells=cells,
        labels=labels,
        partial=pulled is not None,
    )


def _sizes(*paths: Path) -> int:
    return sum(path.stat().st_size for path in paths)


def _strangers(folder: Path, files: dict[str, NamedFile]) -> Iterator[CellResponseError]:
    there = set(files_of(folder)) - {ROOT, DESCRIPTOR, PARTIAL}
    for path in sorted(files.keys() - there):
        yield ReleaseError("the file is missing", file=path)
    for path in sorted(there - files.keys()):
        yield ReleaseError(f"the file is not named in {DESCRIPTOR}", file=path, hint="Remove it")
    named = {parent.as_posix() for path in files for parent in Path(path).parents}
    for directory in sorted(path for path in folder.rglob("*") if path.is_dir()):
        relative = directory.relative_to(folder).as_posix()
        if relative not in named and not directory.is_symlink():
            yield ReleaseError("the folder holds no file that is named", file=relative)
