from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cellresponse.baselines.models.parts.bins import (
    classes,
    log_normalised,
    quantile_bins,
    sample,
    uniform,
)

COUNTS = arrays(np.int32, st.integers(1, 200), elements=st.integers(1, 500))


@pytest.mark.parametrize("base", [2, 10, math.e])
def test_log_normalised_takes_each_cells_own_total(base):
    values = np.array([1, 3, 6, 20, 5])
    found = log_normalised(values, np.array([0, 3, 3, 5]), base=base)
    scaled = values / np.array([10, 10, 10, 25, 25]) * 1e4
    np.testing.assert_allclose(found, np.log1p(scaled) / np.log(base), rtol=1e-6)
    assert found.dtype == np.float32


def test_classes_are_whole_parts_up_to_five():
    found = classes(np.array([0.2, 1.0, 2.999, 4.5, 5.0, 13.0], np.float32))
    assert found.tolist() == [0, 1, 2, 4, 5, 5]


@given(COUNTS, st.integers(2, 60), st.integers(0, 2**32))
def test_bins_lie_between_the_edges(values, bins, seed):
    draws = np.random.default_rng(seed).random(len(values))
    found = quantile_bins(values, draws, bins=bins)
    edges = np.quantile(values.astype(float), np.linspace(0, 1, bins - 1))
    for value, number in zip(values, found, strict=True):
        below, up_to = int((edges < value).sum()), int((edges <= value).sum())
        # A value that equals edges goes above one of them; any other has one place.
        assert (below < number <= up_to) if up_to > below else number == below
    assert found.min() >= 1
    assert found.max() <= bins - 1


@given(COUNTS)
def test_the_draw_chooses_among_equal_edges(values):
    lowest = quantile_bins(values, np.full(len(values), 1 - 2**-53), bins=51)
    highest = quantile_bins(values, np.zeros(len(values)), bins=51)
    assert (lowest <= highest).all()
    largest = values == values.max()
    assert (highest[largest] == 50).all()


def test_no_values_no_bins():
    assert quantile_bins(np.zeros(0, np.int32), np.zeros(0), bins=51).shape == (0,)


def test_draws_depend_on_seed_gene_and_stream_alone():
    seeds = np.array([3, 3, 2**64 - 1, 3], np.uint64)
    genes = np.array([7, 8, 7, 7])
    found = uniform(seeds, genes, 0)
    assert found[0] == found[3]
    assert len(set(found[:3])) == 3
    np.testing.assert_array_equal(uniform(seeds[::-1], genes[::-1], 0), found[::-1])
    assert (uniform(seeds, genes, 1) != found).all()


def test_draws_are_uniform():
    genes = np.arange(20_000)
    first = uniform(np.full(len(genes), 11, np.uint64), genes, 0)
    second = uniform(np.full(len(genes), 11, np.uint64), genes, 1)
    neighbour = uniform(np.full(len(genes), 12, np.uint64), genes, 0)
    assert first.min() >= 0
    assert first.max() < 1
    assert np.histogram(first, 20, (0, 1))[0].min() > 850
    for other in (second, neighbour, np.roll(first, 1)):
        assert abs(np.corrcoef(first, other)[0, 1]) < 0.03


@given(st.integers(0, 50), st.integers(1, 60))
def test_sample_keeps_the_smallest_draws(number, limit):
    draws = np.random.default_rng(number).random(number)
    kept = sample(draws, limit)
    assert len(kept) == min(number, limit)
    assert (np.diff(kept) > 0).all()
    assert set(kept) == set(np.argsort(draws)[:limit])
