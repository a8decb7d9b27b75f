from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cellresponse.baselines.models.parts.order import in_vocabulary_order


@given(
    st.lists(st.integers(0, 30), max_size=6), st.integers(0, 2**32), st.sampled_from([100, 70_000])
)
def test_sorts_within_cells(lengths, seed, vocabulary):
    rng = np.random.default_rng(seed)
    cells = [rng.choice(vocabulary, length, replace=False) for length in lengths]
    tokens = np.concatenate([np.zeros(0, np.int64), *cells])
    offsets = np.append(0, np.cumsum(lengths)).astype(np.int64)
    found = tokens[in_vocabulary_order(tokens, offsets)]
    expected = np.concatenate([np.zeros(0, np.int64), *map(np.sort, cells)])
    np.testing.assert_array_equal(found, expected)
