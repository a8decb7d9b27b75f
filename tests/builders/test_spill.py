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
from cellresponse.schema.errors import CountsError

FEATURES = 4
VALUES = st.lists(
    st.tuples(st.integers(0, 19), st.integers(0, FEATURES - 1), st.integers(1, 9)), max_size=40
)


def large_sum(rank: int, feature: int, total: int) -> CountsError:
    return CountsError(f"rank {rank}, feature {feature}", value=total)


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
        with Spill(Path(scratch) / "spill", FEATURES, large_sum) as made:
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
        with Spill(tmp_path / "spill", 1, large_sum) as made:
            add(made, [(0, 0, 1)])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        interrupted()
    assert not any(tmp_path.iterdir())


def test_a_sum_beyond_int32_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spill, "BUCKET", 8)
    half = 2**30
    with Spill(tmp_path / "spill", FEATURES, large_sum) as made:
        add(made, [(9, 2, half), (9, 1, 1), (9, 2, half - 1), (10, 2, half), (10, 3, half)])
        ((_, counts),) = made.rows(8, 16)
        assert counts.toarray()[1].tolist() == [0, 1, 2**31 - 1, 0]
        add(made, [(9, 2, 1)])
        with pytest.raises(CountsError, match=r"rank 9, feature 2 2147483648\."):
            list(made.rows(8, 16))
