"""Sum the values of rows that arrive in blocks."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["add_row_sums"]


def add_row_sums(
    sums: NDArray[np.int64],
    indptr: NDArray[np.integer[Any]],
    offset: int,
    values: NDArray[np.int32],
) -> None:
    """Add a block's values to the sums of its rows; a row may go on in the next block.

    Parameters
    ----------
    sums
        int64, shape (rows,): changed in place.
    indptr
        Shape (rows + 1,): where each row begins among all values.
    offset
        Place of the block's first value among all values.
    values
        int32, shape (values,): counts, none below 0.

    Examples
    --------
    >>> sums = np.zeros(3, dtype=np.int64)
    >>> add_row_sums(sums, np.array([0, 2, 2, 4]), 1, np.array([5, 1, 2], dtype=np.int32))
    >>> sums
    array([5, 0, 3])
    """
    if not len(values):
        return
    first = int(np.searchsorted(indptr, offset, side="right")) - 1
    stop = int(np.searchsorted(indptr, offset + len(values), side="left"))
    # Rows without values have no place in reduceat, which would give them a neighbour's.
    lengths = np.diff(indptr[first : stop + 1])
    filled = first + np.flatnonzero(lengths)
    starts = np.maximum(indptr[filled] - offset, 0)
    # numpy copies all values where the sums are wider than they: only where a sum needs it.
    fits = int(values.max()) * int(lengths.max()) <= np.iinfo(np.int32).max
    sums[filled] += np.add.reduceat(values, starts, dtype=np.int32 if fits else np.int64)
