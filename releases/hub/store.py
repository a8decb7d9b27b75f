"""A matrix on the Hub as a Zarr store: only the bytes that are asked for are sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from zarr.abc.store import (
    ByteRequest,
    OffsetByteRequest,
    RangeByteRequest,
    Store,
    SuffixByteRequest,
)

if TYPE_CHECKING:
    from zarr.core.buffer import Buffer, BufferPrototype

    from cellresponse.releases.hub.remote import RemoteFiles

__all__ = ["HubStore"]

MAX_REQUEST = 64 * 1024 * 1024
"""Bytes of the largest single request; chunks that touch are asked for together up to it."""


class HubStore(Store):
    """The files of a release below one folder, read-only.

    A whole file comes through the Hub's cache on this machine and is checked against its
    sha256. A part of a file cannot be: the commit and the size are what it is held to.

    Parameters
    ----------
    files
        The release on the Hub.
    below
        Folder of the matrix within the release.
    """

    def __init__(self, files: RemoteFiles, below: str) -> None:
        super().__init__(read_only=True)
        self._files = files
        self._below = below
        self._tails: dict[tuple[str, int], bytes] = {}

    def __eq__(self, other: object) -> bool:
        """Compare what the stores read."""
        return (
            isinstance(other, HubStore)
            and other._files is self._files
            and other._below == self._below
        )

    __hash__ = Store.__hash__

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Read a file or a part of it; None where there is no such file."""
        path = f"{self._below}/{key}"
        if path not in self._files.named:
            return None
        data = await asyncio.to_thread(self._read, path, byte_range)
        return prototype.buffer.from_bytes(data)

    def _read(self, path: str, wanted: ByteRequest | None) -> bytes:
        size = self._files.named[path].bytes
        match wanted:
            case None:
                return self._files.fetch(path).read_bytes()
            case RangeByteRequest(start, stop):
                return self._files.read(path, start, min(stop, size))
            case OffsetByteRequest(start):
                return self._files.read(path, start, size)
            case SuffixByteRequest(length):
                # A shard's index, which every read of the shard asks for again.
                tail = (path, length)
                if tail not in self._tails:
                    self._tails[tail] = self._files.read(path, max(0, size - length), size)
                return self._tails[tail]

    async def get_ranges(
        self, key: str, byte_ranges: Sequence[ByteRequest | None], **options: Any
    ) -> AsyncIterator[Sequence[tuple[int, Buffer | None]]]:
        """Read parts of a file; only parts that touch are read in one go."""
        options |= {"max_gap_bytes": 0, "max_coalesced_bytes": MAX_REQUEST}
        try:
            async for group in super().get_ranges(key, byte_ranges, **options):
                yield group
        except BaseExceptionGroup as several:
            raise _first(several) from None

    async def get_partial_values(
        self,
        prototype: BufferPrototype,
        key_ranges: Iterable[tuple[str, ByteRequest | None]],
    ) -> list[Buffer | None]:
        """Read parts of several files."""
        wanted = [self.get(key, prototype, part) for key, part in key_ranges]
        return list(await asyncio.gather(*wanted))

    async def exists(self, key: str) -> bool:
        """Tell whether there is such a file."""
        return f"{self._below}/{key}" in self._files.named

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """Yield the files whose path begins so."""
        for path in self._files.named:
            key = path.removeprefix(f"{self._below}/")
            if key != path and key.startswith(prefix):
                yield key

    async def list(self) -> AsyncIterator[str]:
        """Yield every file."""
        async for key in self.list_prefix(""):
            yield key

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """Yield the names in a folder."""
        folder = f"{prefix.strip('/')}/".lstrip("/")
        names = {key.removeprefix(folder).split("/")[0] async for key in self.list_prefix(folder)}
        for name in sorted(names):
            yield name

    supports_writes = False
    supports_deletes = False
    supports_listing = True

    async def set(self, key: str, value: Buffer) -> None:
        """Refuse: nothing published is ever rewritten."""
        raise NotImplementedError("a release on the Hub is read-only")

    async def delete(self, key: str) -> None:
        """Refuse: nothing published is ever removed."""
        raise NotImplementedError("a release on the Hub is read-only")


def _first(several: BaseExceptionGroup[BaseException]) -> BaseException:
    """Give the first single error of a group."""
    error: BaseException = several
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
