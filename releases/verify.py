"""Verify a release: re-read every byte and every cross-reference."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cellresponse.releases.content_hash import canonical_json
from cellresponse.releases.datapackage import file_sha256, own_digest, read_json
from cellresponse.releases.layout import DESCRIPTOR, ROOT, files_of
from cellresponse.releases.verify_content import verify_content
from cellresponse.schema.errors import CellResponseError, ReleaseError, raise_all
from cellresponse.schema.spec import SCHEMA_VERSION

__all__ = ["Verified", "verify"]


@dataclass(frozen=True)
class Verified:
    """What `verify` read: all of it was right."""

    release: str
    content_hash: str
    files: int
    bytes: int
    studies: int
    cells: int
    labels: int


def verify(folder: str | Path) -> Verified:
    """Check a release folder completely.

    `release.json` must be canonical and fit its own digest; it vouches for
    `datapackage.json`, which vouches for every other file; nothing may be missing and
    nothing may be there that is not named. Then tables, matrices and their references
    are checked, and the content hash is taken again.

    Parameters
    ----------
    folder
        The release.

    Returns
    -------
    Verified

    Raises
    ------
    ReleaseError, Problems
        Naming each file that is not what it should be.
    """
    folder = Path(folder)
    root = read_root(folder)
    package = _read_descriptor(folder, root)
    resources = {resource["path"]: resource for resource in package["resources"]}
    raise_all(_strangers(folder, resources))
    with ThreadPoolExecutor() as pool:
        found = pool.map(lambda item: _wrong_bytes(folder, *item), resources.items())
        raise_all(problem for problem in found if problem)
    cells, labels = verify_content(folder, root)
    return Verified(
        release=root["release"],
        content_hash=root["content"]["hash"],
        files=len(resources) + 2,
        bytes=sum(resource["bytes"] for resource in resources.values()),
        studies=len(root["studies"]),
        cells=cells,
        labels=labels,
    )


def read_root(folder: Path) -> dict[str, Any]:
    """Read `release.json` and check it against its own digest.

    Raises
    ------
    ReleaseError
        The folder is no release, the file was changed, or a newer version of
        cellresponse wrote it.
    """
    path = folder / ROOT
    if not folder.is_dir():
        raise ReleaseError("there is no such folder", file=folder)
    if not path.is_file():
        raise ReleaseError(
            f"there is no {ROOT}, so this is no release", file=folder, hint="Name a release folder"
        )
    try:
        root = read_json(path)
        same = canonical_json(root) == path.read_bytes() and own_digest(root) == root["sha256"]
    except (ValueError, KeyError, TypeError):
        same = False
    if not same:
        raise ReleaseError(
            "was changed: it does not fit its own digest",
            file=ROOT,
            hint="Build or pull the release again",
        )
    if root["schema_version"] > SCHEMA_VERSION:
        raise ReleaseError(
            f"has schema version {root['schema_version']}, newer than this cellresponse reads",
            file=ROOT,
            allowed=f"up to {SCHEMA_VERSION}",
            hint="Upgrade cellresponse",
        )
    return dict(root)


def _read_descriptor(folder: Path, root: dict[str, Any]) -> dict[str, Any]:
    path = folder / DESCRIPTOR
    if not path.is_file():
        raise ReleaseError("the file is missing", file=DESCRIPTOR)
    if file_sha256(path) != root["datapackage_sha256"]:
        raise ReleaseError(
            f"was changed: its sha256 is not the one that {ROOT} holds",
            file=DESCRIPTOR,
            hint="Build or pull the release again",
        )
    return dict(read_json(path))


def _strangers(folder: Path, resources: dict[str, Any]) -> Iterator[CellResponseError]:
    there = set(files_of(folder)) - {ROOT, DESCRIPTOR}
    for path in sorted(resources.keys() - there):
        yield ReleaseError("the file is missing", file=path)
    for path in sorted(there - resources.keys()):
        yield ReleaseError(f"the file is not named in {DESCRIPTOR}", file=path, hint="Remove it")
    named = {parent.as_posix() for path in resources for parent in Path(path).parents}
    for directory in sorted(path for path in folder.rglob("*") if path.is_dir()):
        relative = directory.relative_to(folder).as_posix()
        if relative not in named and not directory.is_symlink():
            yield ReleaseError("the folder holds no file that is named", file=relative)


def _wrong_bytes(folder: Path, path: str, resource: dict[str, Any]) -> ReleaseError | None:
    file = folder / path
    if file.is_symlink():
        return ReleaseError("is a link, not a file", file=path)
    size = file.stat().st_size
    if size != resource["bytes"]:
        return ReleaseError(f"has {size} bytes, not {resource['bytes']}", file=path)
    if f"sha256:{file_sha256(file)}" != resource["hash"]:
        return ReleaseError(f"was changed: its sha256 is not the one in {DESCRIPTOR}", file=path)
    return None
