"""Read what a release says of itself: `release.json`, and the files that it vouches for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from cellresponse.releases.canonical import canonical_json, file_sha256, own_digest, read_json
from cellresponse.releases.layout import DESCRIPTOR, PARTIAL, ROOT
from cellresponse.schema.errors import ReleaseError
from cellresponse.schema.version import SCHEMA_VERSION

__all__ = ["NamedFile", "named_files", "pulled_files", "read_root", "wrong_bytes"]

BUILT = Path("dist")
"""Where `build` puts releases, and where their names are looked for."""


@dataclass(frozen=True)
class NamedFile:
    """A file of a release as its descriptors name it.

    Attributes
    ----------
    path
        Relative path within the release, with `/`.
    sha256
        Hex digest of its bytes.
    bytes
        Its size.
    """

    path: str
    sha256: str
    bytes: int


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
        problem = "this is a file, not the folder of a release"
        raise ReleaseError(
            problem if folder.is_file() else "there is no such folder",
            file=folder,
            hint=_meant(folder),
        )
    if not path.is_file():
        raise ReleaseError(
            f"there is no {ROOT}, so this is no release", file=folder, hint=_meant(folder)
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


def _meant(path: Path) -> str:
    """Guess which release folder a wrong path stands for."""
    near = [path.parent / ROOT, BUILT / path / ROOT, *sorted(path.glob(f"*/{ROOT}"))]
    found = [str(root.parent) for root in near if root.is_file()]
    return f"Perhaps {' or '.join(found)} is meant" if found else "Name a release folder"


def named_files(folder: Path, root: dict[str, Any]) -> dict[str, NamedFile]:
    """Give every file that `datapackage.json` names, by path.

    Parameters
    ----------
    folder
        Holds `datapackage.json`.
    root
        What `release.json` says: it vouches for the descriptor.

    Raises
    ------
    ReleaseError
        The descriptor is missing or changed, or names a file outside the release.
    """
    path = folder / DESCRIPTOR
    if not path.is_file():
        raise ReleaseError("the file is missing", file=DESCRIPTOR)
    if file_sha256(path) != root["datapackage_sha256"]:
        raise ReleaseError(
            f"was changed: its sha256 is not the one that {ROOT} holds",
            file=DESCRIPTOR,
            hint="Build or pull the release again",
        )
    return {
        resource["path"]: NamedFile(
            _inside(resource["path"]), resource["hash"].removeprefix("sha256:"), resource["bytes"]
        )
        for resource in read_json(path)["resources"]
        if "hash" in resource  # a table is described twice: as a file, and by its columns
    }


def pulled_files(folder: Path) -> set[str] | None:
    """Give the files that a partial pull took; None where the folder is a whole release.

    Raises
    ------
    ReleaseError
        The note of the pull was changed.
    """
    path = folder / PARTIAL
    if not path.exists():
        return None
    try:
        return {_inside(name) for name in read_json(path)["files"]}
    except (ValueError, KeyError, TypeError):
        raise ReleaseError("was changed", file=PARTIAL, hint="Pull again") from None


def wrong_bytes(folder: Path, named: NamedFile) -> ReleaseError | None:
    """Say what is wrong with a file that is there; None where nothing is."""
    file = folder / named.path
    if file.is_symlink():
        return ReleaseError("is a link, not a file", file=named.path)
    size = file.stat().st_size
    if size != named.bytes:
        return ReleaseError(f"has {size} bytes, not {named.bytes}", file=named.path)
    if file_sha256(file) != named.sha256:
        return ReleaseError(
            f"was changed: its sha256 is not the one in {DESCRIPTOR}", file=named.path
        )
    return None


def _inside(path: str) -> str:
    """Refuse a path that would be written or read beside the release."""
    parts = PurePosixPath(path).parts
    if path != "/".join(parts) or not parts or ".." in parts or "\\" in path or parts[0] == "/":
        raise ReleaseError("names a file outside the release", file=DESCRIPTOR, value=path)
    return path
