"""A download on its way: the file as it must be, and the part of it that has come."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit, urlunsplit

from cellresponse.builders.sources.file_check import writable
from cellresponse.schema.errors import SourceFileError

__all__ = ["Part", "Wanted"]


@dataclass(frozen=True)
class Wanted:
    """One file as it must be, and what to tell the user where it cannot be had.

    Parameters
    ----------
    url
        http, https or ftp.
    name
        What to call the file in messages.
    sha256
        Hex digest; None: the caller checks the content.
    bytes
        Size; None: unknown.
    hint
        What a user can do where the file cannot be had.
    """

    url: str
    name: str
    sha256: str | None
    bytes: int | None
    hint: str

    def failure(self, reason: str) -> SourceFileError:
        """Give the error for a file that cannot be had, for that reason."""
        parts = urlsplit(self.url)
        # A query may hold a token, and messages end up in public logs.
        host = parts.netloc.rpartition("@")[2]
        address = urlunsplit((parts.scheme, host, parts.path, "", ""))
        return SourceFileError(
            f"cannot be fetched from {address}: {reason}", file=self.name, hint=self.hint
        )


class Part:
    """What has come of a file so far, and which state of the remote file it belongs to.

    Parameters
    ----------
    folder
        Where the part lies; held by one process at a time.
    wanted
        The whole file.
    progress
        Called with the number of bytes of each piece written.
    """

    def __init__(
        self, folder: Path, wanted: Wanted, progress: Callable[[int], None] | None
    ) -> None:
        self.path = folder / ".part"
        self.wanted = wanted
        self.progress = progress
        self._note = folder / ".part.validator"
        self._stream: BinaryIO
        self._size = 0

    @property
    def size(self) -> int:
        """Bytes that have come."""
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def validator(self) -> str:
        """ETag or date of the remote file; empty where the server gives none."""
        return self._note.read_text("latin-1") if self._note.exists() else ""

    def drop(self) -> None:
        """Forget what has come."""
        self.path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)

    @contextmanager
    def opened(self, start: int, validator: str = "") -> Iterator[None]:
        """Open for `write`, to go on at `start`; 0 forgets what was there."""
        with self.path.open("ab" if start else "wb") as self._stream:
            self._size = start
            if start == 0:
                self._note.write_text(validator, "latin-1")
            yield

    def write(self, data: bytes) -> None:
        """Append a piece; stop where the file grows larger than it was pinned."""
        self._size += len(data)
        if self.wanted.bytes is not None and self._size > self.wanted.bytes:
            raise self.wanted.failure(f"it has more than {self.wanted.bytes:,} bytes")
        with writable(self.path):  # here already: for FTP an OSError would be the network's
            self._stream.write(data)
        if self.progress is not None:
            self.progress(len(data))
