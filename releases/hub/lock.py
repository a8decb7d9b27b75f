"""Let one process at a time work in a folder."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from cellresponse.releases.hub.trouble import Report

__all__ = ["locked"]

NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)
"""What a file system answers that knows no locks, as some of clusters do."""


@contextmanager
def locked(path: Path, name: str, report: Report) -> Iterator[None]:
    """Hold a lock, and wait for who holds it; the file is gone afterwards.

    The system frees the lock of a process that dies, and the file that it left is used
    again. Where the file system knows no locks, nobody waits.

    Parameters
    ----------
    path
        Of the lock file; its folder is made.
    name
        What to call the work in the line that says that it waits.
    report
        Receives that line, once.
    """
    with _taken(path, name, report) as stream:
        try:
            yield
        finally:
            if _is_at(stream, path):
                path.unlink()


def _taken(path: Path, name: str, report: Report) -> BinaryIO:
    """Open and lock the file; anew where who held it has removed it."""
    told = False
    while True:
        stream = _opened(path)
        try:
            if not _lock(stream, fcntl.LOCK_NB):
                if not told:
                    report(f"{name}: waiting for another process that pulls into it")
                told = True
                _lock(stream, 0)
            if _is_at(stream, path):
                return stream
        except BaseException:
            stream.close()
            raise
        stream.close()


def _opened(path: Path) -> BinaryIO:
    for _ in range(10):  # who held the lock may remove its folder between the two
        try:
            return path.open("ab")
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("ab")


def _lock(stream: BinaryIO, how: int) -> bool:
    """Lock a file; tell whether it is done."""
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | how)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
    return True


def _is_at(stream: BinaryIO, path: Path) -> bool:
    """Tell whether a path still names the file that is open."""
    try:
        return os.path.samestat(os.fstat(stream.fileno()), path.stat())
    except FileNotFoundError:
        return False
