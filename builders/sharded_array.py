"""Write a one-dimensional zarr array that grows at its end, chunk by chunk.

The zarr libraries encode a shard as a whole: they take a copy of 128 MiB and fresh
memory for every piece of it, which costs more than the compression (bench/README.md).
Here each chunk is compressed where it lies and appended to the shard's file; the shard's
index follows at its end.

Source: https://zarr-specs.readthedocs.io/en/latest/v3/codecs/sharding-indexed
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import google_crc32c
import numpy as np
import zarr
from numcodecs import blosc
from numpy.typing import NDArray
from zarr.codecs import BloscCodec

from cellresponse.releases.matrix_store import CHUNK, SHARD

__all__ = ["COMPRESSOR", "ShardedArray"]

COMPRESSOR = BloscCodec(typesize=4, cname="lz4", clevel=3, shuffle="shuffle")
CHUNKS = SHARD // CHUNK
NO_CHUNK = 2**64 - 1


class ShardedArray:
    """An int32 array of a store on this machine; it is complete after `close`.

    Parameters
    ----------
    group
        Group of a store on this machine.
    name
        Name of the array, which must not exist.
    """

    def __init__(self, group: zarr.Group, name: str) -> None:
        self._array = group.create_array(
            name,
            shape=(0,),
            dtype="int32",
            chunks=(CHUNK,),
            shards=(SHARD,),
            compressors=COMPRESSOR,
            fill_value=0,
        )
        self._folder = Path(str(group.store.root), group.path, name, "c")  # type: ignore[attr-defined]
        self._folder.mkdir()
        self._waiting = np.zeros(CHUNK, dtype=np.int32)
        self._length = 0
        self._index = np.full((CHUNKS, 2), NO_CHUNK, dtype="<u8")
        self._shard: BinaryIO | None = None

    def append(self, values: NDArray[np.int32]) -> None:
        """Add values, shape (values,), to the end."""
        # Chunks are compressed as bytes: scipy's wider indices would pass for twice as many.
        values = np.ascontiguousarray(values, dtype=np.int32)
        start = 0
        while start < len(values):
            filled = self._length % CHUNK
            stop = min(start + CHUNK - filled, len(values))
            if stop - start == CHUNK:
                self._write(values[start:stop])
            else:
                self._waiting[filled : filled + stop - start] = values[start:stop]
                if filled + stop - start == CHUNK:
                    self._write(self._waiting)
            self._length += stop - start
            start = stop

    def close(self) -> None:
        """Write what is left and the length."""
        filled = self._length % CHUNK
        if filled:
            self._waiting[filled:] = 0
            self._write(self._waiting)
        self._end_shard()
        self._array.resize((self._length,))

    def _write(self, chunk: NDArray[np.int32]) -> None:
        """Write the chunk that the present length ends in."""
        shard, place = divmod(self._length // CHUNK, CHUNKS)
        if self._shard is None:
            self._shard = (self._folder / str(shard)).open("wb")
        encoded = blosc.compress(np.ascontiguousarray(chunk), b"lz4", 3, blosc.SHUFFLE)
        self._index[place] = self._shard.tell(), len(encoded)
        self._shard.write(encoded)
        if place == CHUNKS - 1:
            self._end_shard()

    def _end_shard(self) -> None:
        if self._shard is not None:
            with self._shard as shard:
                index = self._index.tobytes()
                shard.write(index + google_crc32c.value(index).to_bytes(4, "little"))
            self._index[:] = NO_CHUNK
            self._shard = None
