"""The content hash: what a release says, whatever bytes say it.

It is taken over decoded counts, ids and tables in canonical order, so that
compression, chunking, number of workers and order of building cannot change it.
Parts are hashed study by study; their hashes are combined by name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cellresponse.releases.canonical import canonical_json

__all__ = ["MatrixHash", "combine", "table_hash"]

STRETCH = 64 * 1024  # numbers; part of the hash's definition, whatever the chunks of a store


class MatrixHash:
    """Hash of a count matrix, fed in pieces of any size.

    Row lengths, gene positions and counts are hashed as three streams of numbers, so
    that the piece borders leave no trace. Rows come in canonical order; positions rise
    within a row. Each stream may be fed by a thread of its own.
    """

    def __init__(self) -> None:
        self._streams = {part: _Stream() for part in ("lengths", "indices", "data")}

    def update(self, **pieces: NDArray[np.integer[Any]]) -> None:
        """Add the next piece of any of the streams `lengths`, `indices` and `data`."""
        for part, values in pieces.items():
            self._streams[part].update(values)

    def hexdigest(self, shape: tuple[int, int]) -> str:
        """Give the hash of the rows so far, as a matrix of (cells, genes)."""
        parts: dict[str, Any] = {key: state.hexdigest() for key, state in self._streams.items()}
        return combine({**parts, "shape": list(shape)})


class _Stream:
    """Hash of numbers from 0 to 2^32 - 1: the hash of the hashes of its stretches.

    Most counts fit a byte and most gene positions two, so a stretch is hashed in the
    narrowest form that holds it: a third of the bytes to hash. The form follows from the
    values alone, and stands before them.
    """

    def __init__(self) -> None:
        self._state = hashlib.sha256()
        self._waiting = np.empty(STRETCH, dtype=np.uint32)
        self._filled = 0

    def update(self, values: NDArray[np.integer[Any]]) -> None:
        numbers = np.ascontiguousarray(values).astype(np.int32, copy=False).view(np.uint32)
        start = 0
        if self._filled:
            start = min(STRETCH - self._filled, len(numbers))
            self._wait(numbers[:start])
        while len(numbers) - start >= STRETCH:
            self._state.update(_digest(numbers[start : start + STRETCH]))
            start += STRETCH
        self._wait(numbers[start:])

    def _wait(self, numbers: NDArray[np.uint32]) -> None:
        stop = self._filled + len(numbers)
        self._waiting[self._filled : stop] = numbers
        self._filled = stop % STRETCH
        if stop == STRETCH:
            self._state.update(_digest(self._waiting))

    def hexdigest(self) -> str:
        state = self._state.copy()
        if self._filled:
            state.update(_digest(self._waiting[: self._filled]))
        return state.hexdigest()


def _digest(numbers: NDArray[np.uint32]) -> bytes:
    """Hash at least one number, little-endian, in one of four forms."""
    bits = int(numbers.max()).bit_length()
    if bits <= 8:
        form, parts = b"1", [numbers.astype("u1")]
    elif bits <= 16:
        form, parts = b"2", [numbers.astype("<u2")]
    elif bits == 17:  # positions on an axis of more than 65,536 genes: the 17th bits follow
        form, parts = b"b", [numbers.astype("<u2"), np.packbits(numbers >= 2**16)]
    else:
        form, parts = b"4", [numbers.astype("<u4")]
    state = hashlib.sha256(form)
    for part in parts:
        state.update(part)
    return state.digest()


def table_hash(table: pa.Table) -> str:
    """Hash a table's rows as they stand; the caller puts them in canonical order.

    Parameters
    ----------
    table
        Text, int64, float64 and bool columns.

    Returns
    -------
    str
        sha256 over the columns' names, validity and values.
    """
    columns = {}
    for name in table.column_names:
        state = hashlib.sha256()
        for chunk in _combined(table.column(name)):
            state.update(pc.is_valid(chunk).cast(pa.uint8()).to_numpy(zero_copy_only=False))
            for part in _values(chunk):
                state.update(np.ascontiguousarray(part))
        columns[name] = state.hexdigest()
    return combine({"columns": columns, "rows": table.num_rows})


def _combined(column: pa.ChunkedArray) -> list[pa.Array]:
    combined = column.combine_chunks()
    return combined.chunks if isinstance(combined, pa.ChunkedArray) else [combined]


def _values(values: pa.Array) -> list[NDArray[Any]]:
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        filled = pc.fill_null(values, "")
        lengths = pc.binary_length(filled).to_numpy(zero_copy_only=False).astype("<i8")
        return [lengths, np.frombuffer(_text_bytes(filled), np.uint8)]
    if pa.types.is_boolean(values.type):
        filled = pc.fill_null(values, False).cast(pa.uint8())
        return [filled.to_numpy(zero_copy_only=False)]
    filled = pc.fill_null(values, 0).to_numpy(zero_copy_only=False)
    return [filled.astype("<f8" if filled.dtype.kind == "f" else "<i8")]


def _text_bytes(text: pa.Array) -> bytes:
    """All strings of an array without nulls, one after the other, as UTF-8."""
    compact = pa.concat_arrays([text.slice(0, 0), text])  # drops a slice's offset
    buffer = compact.buffers()[2]
    length = pc.sum(pc.binary_length(compact)).as_py() or 0
    return b"" if buffer is None else bytes(buffer[:length])


def combine(parts: Mapping[str, Any]) -> str:
    """Hash named parts: sha256 of their canonical JSON."""
    return hashlib.sha256(canonical_json(parts)).hexdigest()
