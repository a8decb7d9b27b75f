"""The checks of a matrix, block by block, against the whole matrix at once."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from cellresponse.releases.matrix_store import MatrixStore
from cellresponse.releases.row_sums import add_row_sums
from cellresponse.releases.verify_matrix import _check_block
from cellresponse.schema.errors import ReleaseError


@given(
    st.lists(st.lists(st.integers(0, 19), unique=True, max_size=6), min_size=1, max_size=12),
    st.integers(1, 15),
    st.integers(0, 2**32 - 1),
    st.sampled_from([3, 2**29, 2**31 - 1]),
)
def test_blocks_of_any_size(rows: list[list[int]], size: int, seed: int, largest: int) -> None:
    """Sums and the order of genes, with empty rows, against the whole matrix at once."""
    rng = np.random.default_rng(seed)
    indices = np.array([gene for row in rows for gene in sorted(row)], dtype=np.int32)
    indptr = np.concatenate(([0], np.cumsum([len(row) for row in rows]))).astype(np.int64)
    data = rng.integers(1, largest, len(indices), endpoint=True).astype(np.int32)
    store = MatrixStore("m", (len(rows), 20), indptr, indices, data)  # type: ignore[arg-type]
    whole = sp.csr_array((data.astype(np.int64), indices, indptr), shape=store.shape)

    def sums_of(store: MatrixStore) -> np.ndarray:
        sums, last = np.zeros(len(rows), dtype=np.int64), -1
        for offset, genes, values in store.value_blocks(size):
            last = _check_block(store, offset, genes, values, last)
            add_row_sums(sums, indptr, offset, values)
        return sums

    np.testing.assert_array_equal(sums_of(store), whole.sum(axis=1))
    repeated = [place for place in range(1, len(indices)) if place not in indptr]
    if repeated:
        place = repeated[seed % len(repeated)]
        indices[place] = indices[place - 1]
        with pytest.raises(ReleaseError, match="do not rise"):
            sums_of(store)
