"""Check a file against its size and checksum, and tell when the cache cannot be written."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cellresponse.schema.errors import SourceFileError, StorageError

__all__ = ["remember_right", "require_right", "writable"]

# (path, bytes, mtime in ns, sha256) of files that this process has hashed and found right.
_verified: set[tuple[str, int, int, str]] = set()


def require_right(path: Path, sha256: str | None, size: int | None, *, file: str | Path) -> None:
    """Compare size and checksum; a file that this process has hashed is not read again.

    Parameters
    ----------
    path
        File to check.
    sha256
        Hex digest; None: not compared.
    size
        Bytes; None: not compared.
    file
        What to call the file in messages.

    Raises
    ------
    SourceFileError
        It cannot be read, or is not the one that was pinned.
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise SourceFileError("is not a file", file=file)
        if size is not None and found.st_size != size:
            raise _wrong(f"has {found.st_size:,} bytes, expected {size:,}", file)
        if sha256 is None or (str(path), found.st_size, found.st_mtime_ns, sha256) in _verified:
            return
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise SourceFileError(f"cannot be read ({error.strerror})", file=file) from None
    if digest != sha256:
        raise _wrong(f"has the sha256 {digest}, expected {sha256}", file)
    _verified.add((str(path), found.st_size, found.st_mtime_ns, sha256))


def remember_right(path: Path, sha256: str) -> None:
    """Spare a file that has just been found right, and then moved, another reading."""
    found = path.stat()
    _verified.add((str(path), found.st_size, found.st_mtime_ns, sha256))


def _wrong(problem: str, file: str | Path) -> SourceFileError:
    return SourceFileError(
        problem,
        file=file,
        hint="It is damaged, or changed at its source: get the file that was pinned, "
        "or check the new one and pin it",
    )


@contextmanager
def writable(path: Path) -> Iterator[None]:
    """Raise `StorageError` for what the operating system refuses inside.

    Parameters
    ----------
    path
        Place within the cache to name in the message.
    """
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"the cache cannot be written ({error.strerror or error})",
            file=path,
            hint="Free some space or choose another cache folder",
        ) from None
