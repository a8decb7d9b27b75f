"""Values that were spilled come back by cell, summed and sorted."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellresponse.builders import spill
from cellresponse.builders.spill import Spill

FEATURES = 4
VALUES = st.lists(
    st.tuples(st.integers(0, 19), st.integers(0, FEATURES - 1), st.integers(1, 9)), max_size=40
)


def add(made: Spill, values: list[tuple[int, int, int]]) -> None:
    ranks, features, counts = np.array(values).reshape(-1, 3).T
    made.add(ranks.astype(np.int64), features.astype(np.int32), counts.astype(np.int32))


@settings(deadline=None)
@given(st.lists(VALUES, max_size=3), st.integers(0, 20), st.integers(0, 20))
def test_equals_dense(pieces: list[list[tuple[int, int, int]]], one: int, other: int) -> None:
    start, stop = sorted((one, other))
    dense = np.zeros((20, FEATURES), dtype=np.int64)
    with TemporaryDirectory() as scratch, pytest.MonkeyPatch.context() as patch:
        patch.setattr(spill, "BUCKET", 8)
        with Spill(Path(scratch) / "spill", FEATURES) as made:
            for piece in pieces:
                add(made, piece)
                for rank, feature, value in piece:
                    dense[rank, feature] += value
            expected = start
            for first, counts in made.rows(start, stop):
                assert first == expected
                expected = first + counts.shape[0]
                np.testing.assert_array_equal(counts.toarray(), dense[first:expected])
                counts.sum_duplicates()
                assert counts.has_canonical_format
            assert expected == stop
        assert not any(Path(scratch).iterdir())


def test_removed_after_an_error(tmp_path: Path) -> None:
    def interrupted() -> None:
        with Spill(tmp_path / "spill", 1) as made:
            add(made, [(0, 0, 1)])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        interrupted()
    assert not any(tmp_path.iterdir())
