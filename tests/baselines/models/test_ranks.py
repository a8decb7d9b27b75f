"""Genes of a cell by value."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cellresponse.baselines.models.parts.ranks import ranked


@given(
    cells=st.lists(st.lists(st.integers(1, 4), max_size=8), min_size=1, max_size=5),
    limit=st.integers(1, 9),
    kind=st.sampled_from([np.int32, np.float64]),
)
def test_the_largest_come_first_and_ties_in_order(
    cells: list[list[int]], limit: int, kind: type
) -> None:
    flat = np.array([value for cell in cells for value in cell], kind)
    offsets = np.cumsum([0, *map(len, cells)])
    index, ends = ranked(flat, offsets, limit)
    for row, cell in enumerate(cells):
        wanted = sorted(range(len(cell)), key=lambda place: (-cell[place], place))[:limit]
        assert (index[ends[row] : ends[row + 1]] - offsets[row]).tolist() == wanted
