"""Means, tests and intervals hold against known values and against each other."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from cellresponse.baselines.benchmark.metrics import score
from cellresponse.baselines.benchmark.statistics import (
    by_sample,
    compare_models,
    holm,
    intervals,
    mean_of_folds,
)


def test_mean_counts_what_has_no_value():
    found = mean_of_folds([0.5, None, 0.7, 0.9])
    assert found.mean == pytest.approx(0.7)
    assert found.sem == pytest.approx(np.std([0.5, 0.7, 0.9], ddof=1) / math.sqrt(3))
    assert (found.folds, found.undefined) == (3, 1)
    assert mean_of_folds([None]).mean is None
    assert mean_of_folds([0.5]).sem is None


def test_holm_by_hand():
    assert holm([0.01, 0.02, 0.03, 0.04]) == pytest.approx([0.04, 0.06, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_independent_folds_take_the_paired_t_test():
    rng = np.random.default_rng(0)
    a, b = rng.normal(0.8, 0.05, 10), rng.normal(0.7, 0.05, 10)
    (found,) = compare_models({"a": a, "b": b}, 1 / 9, shared_training=False)
    assert found.p == pytest.approx(stats.ttest_rel(a, b).pvalue)
    assert found.difference == pytest.approx(np.mean(a - b))


def test_shared_training_makes_a_difference_less_certain_and_says_so():
    rng = np.random.default_rng(1)
    a, b = rng.normal(0.8, 0.05, 10), rng.normal(0.75, 0.05, 10)
    (plain,) = compare_models({"a": a, "b": b}, 1 / 9, shared_training=False)
    (wide,) = compare_models({"a": a, "b": b}, 1 / 9, shared_training=True)
    assert wide.p > plain.p
    assert "not independent" in wide.note


def test_only_common_folds_count_and_a_constant_difference_is_no_test():
    found = compare_models(
        {"a": [0.5, None, 0.7], "b": [0.4, 0.5, 0.6], "c": [None, None, 0.1]},
        0.1,
        shared_training=True,
    )
    assert [c.folds for c in found] == [2, 1, 1]
    assert found[1].p is None
    assert found[1].note == "fewer than two common folds"


def shifted():
    rng = np.random.default_rng(2)
    samples = np.repeat(np.arange(8), 50).astype(str)
    truth = np.repeat([True, False] * 4, 50)
    shift = np.repeat(rng.normal(0, 0.2, 8), 50)  # each sample has a shift of its own
    probability = np.clip(0.4 + 0.2 * truth + shift + rng.normal(0, 0.05, 400), 0, 1)
    return truth, np.round(probability, 2), samples


def test_interval_is_wider_over_samples_than_over_cells():
    truth, probability, samples = shifted()
    low, high = intervals(truth, probability, samples, seed=0)["auroc"]
    each = np.arange(400).astype(str)
    low_cells, high_cells = intervals(truth, probability, each, seed=0)["auroc"]
    assert high - low > 2 * (high_cells - low_cells)
    assert intervals(truth, probability, samples, seed=0)["auroc"] == (low, high)


@pytest.mark.parametrize("name", ["f1", "auroc", "auprc", "balanced_accuracy"])
def test_a_draw_equals_the_metric_of_the_drawn_cells(name):
    truth, probability, samples = shifted()
    low, high = intervals(truth, probability, samples, seed=3, resamples=40)[name]
    weights = np.random.default_rng(3).multinomial(8, np.full(8, 1 / 8), size=40)
    values = []
    for weight in weights:
        cells = np.repeat(np.arange(400), weight[samples.astype(int)])
        value = {s.metric: s.value for s in score(truth[cells], probability[cells])}[name]
        values.append(math.nan if value is None else value)
    expected = np.nanpercentile(values, [2.5, 97.5])
    assert (low, high) == pytest.approx(tuple(expected))


def test_two_samples_give_no_interval():
    truth = np.array([True, False])
    assert intervals(truth, np.array([0.9, 0.1]), np.array(["a", "b"]), seed=0) == {}


def test_rounding_breaks_no_tie_of_samples():
    """A third, summed 1, 2, ... times over and divided again, differs in its last bit."""
    rows = 40
    samples = np.repeat([f"s{n:02}" for n in range(rows)], np.arange(1, rows + 1))
    truth = np.repeat(np.arange(rows) % 3 == 0, np.arange(1, rows + 1))
    same = np.full(len(samples), 0.1)
    assert len(set(np.bincount(np.unique(samples, return_inverse=True)[1], same))) > 1
    for ranks in (None, same):
        scores, units = by_sample(truth, same, samples, ranks)
        found = {s.metric: s.value for s in scores}
        assert (units, found["auroc"], found["auprc"]) == (rows, 0.5, 14 / rows)


def test_samples_are_scored_by_their_mean():
    truth = np.array([True, True, False, False])
    scores, units = by_sample(truth, np.array([0.9, 0.3, 0.1, 0.7]), np.array(list("aabb")))
    assert units == 2
    assert {s.metric: s.value for s in scores}["auroc"] == 1.0


def test_three_samples_give_an_interval():
    truth = np.array([True, False] * 3)
    found = intervals(truth, np.tile([0.9, 0.1], 3), np.repeat(list("abc"), 2), seed=0)
    assert found["auroc"] == (1.0, 1.0)


def test_intervals_of_ranks_are_of_what_is_ranked_only():
    truth, probability, samples = shifted()
    plain = intervals(truth, probability, samples, seed=0)
    ranked = intervals(truth, probability, samples, seed=0, ranks=-probability)
    low, high = plain["auroc"]
    assert ranked["auroc"] == pytest.approx((1 - high, 1 - low))
    for name in ("f1", "balanced_accuracy"):
        assert ranked[name] == plain[name]


def test_a_sample_of_both_classes_counts_once_for_each():
    truth = np.array([True, False, False, True])
    scores, units = by_sample(truth, np.array([0.9, 0.1, 0.3, 0.7]), np.array(list("aaba")))
    assert units == 3
    assert {s.metric: s.value for s in scores}["auroc"] == 1.0


def test_samples_are_ranked_by_the_mean_of_given_ranks():
    truth = np.array([True, True, False])
    ranks = np.array([-3.0, 1.0, 0.0])
    scores, _ = by_sample(truth, np.array([0.9, 0.9, 0.1]), np.array(list("aab")), ranks)
    assert {s.metric: s.value for s in scores}["auroc"] == 0.0


def test_two_common_folds_widen_the_variance_by_the_test_share():
    (found,) = compare_models({"a": [0.7, 0.9], "b": [0.5, 0.6]}, 0.25, shared_training=True)
    t = 0.25 / math.sqrt((1 / 2 + 0.25) * 0.005)
    assert found.p == pytest.approx(2 * stats.t.sf(t, 1))
