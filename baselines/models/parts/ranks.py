"""Rank the genes of each cell by value."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

__all__ = ["ranked"]


def ranked(
    scores: NDArray[np.floating] | NDArray[np.integer], offsets: NDArray[np.int64], limit: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Order the values of each cell, the largest first; ties keep the order of the input.

    Parameters
    ----------
    scores
        (values,) of all cells.
    offsets
        (cells + 1,); cell i owns `scores[offsets[i]:offsets[i + 1]]`.
    limit
        So many of each cell are kept.

    Returns
    -------
    index : numpy.ndarray
        Positions in `scores`, cell after cell.
    offsets : numpy.ndarray
        (cells + 1,) of `index`.
    """
    chosen = [
        start + np.argsort(-scores[start:stop], kind="stable")[:limit]
        for start, stop in pairwise(offsets)
    ]
    ends = np.cumsum([0, *map(len, chosen)]).astype(np.int64)
    return np.concatenate([np.zeros(0, np.int64), *chosen]), ends
