"""Batches without padding."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import cells, tiny

from cellresponse.baselines.models.interface import Batch, Counts, Coverage, pad


def make_batch(lengths: list[int]) -> Batch:
    offsets = np.append(0, np.cumsum(lengths)).astype(np.int64)
    return Batch(
        {"tokens": np.arange(1, offsets[-1] + 1)},
        offsets,
        {"depth": np.arange(len(lengths)) * 10},
        Coverage(3, 4, 5, np.arange(len(lengths)) / 10),
    )


@given(lengths=st.lists(st.integers(0, 4), min_size=1, max_size=6), data=st.data())
def test_any_cells_in_any_order(lengths: list[int], data: st.DataObject) -> None:
    rows = data.draw(st.lists(st.integers(0, len(lengths) - 1), max_size=7))
    batch = make_batch(lengths)
    taken = batch.take(rows)
    assert taken.lengths.tolist() == [lengths[row] for row in rows]
    for place, row in enumerate(rows):
        own = taken.fields["tokens"][taken.offsets[place] : taken.offsets[place + 1]]
        original = batch.fields["tokens"][batch.offsets[row] : batch.offsets[row + 1]]
        assert own.tolist() == original.tolist()
        assert taken.per_cell["depth"][place] == row * 10
        assert taken.coverage is not None
        assert taken.coverage.counts[place] == row / 10


@given(lengths=st.lists(st.integers(0, 4), min_size=1, max_size=6), more=st.integers(0, 3))
def test_padding_is_on_the_right(lengths: list[int], more: int) -> None:
    batch = make_batch(lengths)
    width = max(lengths) + more
    values, real = pad(batch, "tokens", -1, length=width)
    assert values.shape == real.shape == (len(lengths), width)
    assert real.sum(1).tolist() == lengths
    assert (values[~real] == -1).all()
    assert values[real].tolist() == batch.fields["tokens"].tolist()
    assert pad(batch, "tokens", 0)[0].shape[1] == max(1, *lengths)


def test_a_cell_of_counts() -> None:
    counts = Counts(
        np.array([5, 6, 7]),
        np.array([0, 2, 1], np.int32),
        np.array([0, 2, 2, 3]),
        np.zeros(3, np.uint64),
    )
    assert len(counts) == 3
    assert [part.tolist() for part in counts.cell(0)] == [[0, 2], [5, 6]]
    assert [part.tolist() for part in counts.cell(1)] == [[], []]


def test_an_embedding_has_no_dropout_whatever_state_the_network_is_in(tmp_path: Path) -> None:
    model = tiny("scgpt", tmp_path)
    batch = model.tokenise(*cells())
    expected = model.embed(batch)
    model.network.train()
    torch.testing.assert_close(model.embed(batch), expected, rtol=0, atol=0)
    assert model.network.training
