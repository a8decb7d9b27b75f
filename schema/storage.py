"""Turn failures of the disk into one clear error."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cellresponse.schema.errors import CellResponseError, StorageError

__all__ = ["storage_error", "storage_errors"]

MEANINGS = {
    errno.ENOSPC: ("the disk is full", "Free some space, or name another folder"),
    errno.EDQUOT: ("the disk quota is used up", "Free some space, or name another folder"),
    errno.EFBIG: ("a file grew past the allowed size", "Raise the limit (ulimit -f)"),
    errno.EACCES: ("no permission to write", "Name a folder that you may write to"),
    errno.EPERM: ("no permission to write", "Name a folder that you may write to"),
    errno.EROFS: ("the file system is read-only", "Name a folder that you may write to"),
    errno.ENOTDIR: ("a part of the path is a file", "Name a folder"),
    errno.EEXIST: ("a file stands where a folder is needed", "Name another folder"),
}


def storage_error(error: OSError, folder: Path) -> StorageError | None:
    """Say what the disk refused; None for what is not known as a trouble of disks."""
    if error.errno not in MEANINGS:
        return None
    problem, hint = MEANINGS[error.errno]
    return StorageError(problem, file=error.filename or folder, hint=hint)


@contextmanager
def storage_errors(folder: Path) -> Iterator[None]:
    """Raise `StorageError` for what the operating system refuses inside.

    The Rust codecs report a full disk as a RuntimeError that quotes the system's
    message, so those are recognised by its number.
    """
    try:
        yield
    except CellResponseError:
        raise
    except OSError as error:
        known = storage_error(error, folder)
        raise known or StorageError(
            str(error.strerror or error), file=error.filename or folder
        ) from error
    except RuntimeError as error:
        for number, (problem, hint) in MEANINGS.items():
            if f"os error {number})" in str(error):
                raise StorageError(problem, file=folder, hint=hint) from error
        raise
