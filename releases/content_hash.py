"""The content hash: what a release says, whatever bytes say it.

It is taken over decoded counts, ids and tables in canonical order, so that
compression, chunking, number of workers and order of building cannot change it.
Parts are hashed study by study; their hashes are combined by name.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

__all__ = ["MatrixHash", "canonical_json", "combine", "table_hash"]


class MatrixHash:
    """Hash of a count matrix, fed in pieces of any size.

    Row lengths, gene positions and counts are hashed as three streams of
    little-endian integers (int64, int32, int32), so that the piece borders leave no
    trace. Rows come in canonical order; positions rise within a row.
    """

    def __init__(self) -> None:
        self._streams = {part: hashlib.sha256() for part in ("lengths", "indices", "data")}

    def update(
        self,
        *,
        lengths: NDArray[np.int64] | None = None,
        indices: NDArray[np.int32] | None = None,
        data: NDArray[np.int32] | None = None,
    ) -> None:
        """Add the next piece of any of the streams."""
        for part, values, dtype in (
            ("lengths", lengths, "<i8"),
            ("indices", indices, "<i4"),
            ("data", data, "<i4"),
        ):
            if values is not None:
                self._streams[part].update(np.ascontiguousarray(values, dtype=dtype))

    def hexdigest(self, shape: tuple[int, int]) -> str:
        """Give the hash of the rows so far, as a matrix of (cells, genes)."""
        parts: dict[str, Any] = {key: state.hexdigest() for key, state in self._streams.items()}
        return combine({**parts, "shape": list(shape)})


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


def canonical_json(value: Any) -> bytes:
    r"""Write JSON in the one form that equal values share: sorted keys, no spaces, UTF-8.

    Examples
    --------
    >>> canonical_json({"b": 1, "a": "é"})
    b'{"a":"\xc3\xa9","b":1}'
    """
    text = json.dumps(
        value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False
    )
    return text.encode()
