"""Metrics equal a direct count, and are undefined where they mean nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, matthews_corrcoef, roc_auc_score

from cellresponse.baselines.benchmark.metrics import (
    METRICS,
    ONE_CLASS_METRICS,
    calibration_bins,
    score,
)

cells = st.lists(st.tuples(st.booleans(), st.integers(0, 100)), min_size=1, max_size=60)


def values(truth, probability):
    return {s.metric: s.value for s in score(np.array(truth), np.array(probability))}


@given(cells)
def test_counts_by_hand(rows):
    truth = [label for label, _ in rows]
    probability = [value / 100 for _, value in rows]
    called = [value >= 0.5 for value in probability]
    tp = sum(t and c for t, c in zip(truth, called, strict=True))
    fp = sum(not t and c for t, c in zip(truth, called, strict=True))
    fn = sum(t and not c for t, c in zip(truth, called, strict=True))
    tn = len(rows) - tp - fp - fn
    got = values(truth, probability)
    assert got["accuracy"] == pytest.approx((tp + tn) / len(rows))
    assert got["brier"] == pytest.approx(
        sum((p - t) ** 2 for t, p in zip(truth, probability, strict=True)) / len(rows)
    )
    if all(truth) or not any(truth):
        assert {name for name, value in got.items() if value is None} == (
            set(METRICS) - ONE_CLASS_METRICS
        )
        return
    assert got["f1"] == pytest.approx(2 * tp / (2 * tp + fp + fn))
    assert got["recall"] == pytest.approx(tp / (tp + fn))
    assert got["balanced_accuracy"] == pytest.approx((tp / (tp + fn) + tn / (tn + fp)) / 2)
    assert (got["precision"] is None) == (tp + fp == 0)
    if tp + fp:
        assert got["precision"] == pytest.approx(tp / (tp + fp))
    pairs = [
        (p > q) + 0.5 * (p == q)
        for p, t in zip(probability, truth, strict=True)
        for q, u in zip(probability, truth, strict=True)
        if t and not u
    ]
    assert got["auroc"] == pytest.approx(sum(pairs) / len(pairs))


@given(cells)
def test_equals_scikit_learn(rows):
    truth = np.array([label for label, _ in rows])
    probability = np.array([value / 100 for _, value in rows])
    if truth.all() or not truth.any():
        return
    got = values(truth, probability)
    assert got["auroc"] == pytest.approx(roc_auc_score(truth, probability), abs=1e-12)
    assert got["auprc"] == pytest.approx(average_precision_score(truth, probability), abs=1e-12)
    assert got["mcc"] == pytest.approx(matthews_corrcoef(truth, probability >= 0.5), abs=1e-12)


def test_positive_class_is_sensitive():
    got = values([True, False, False], [0.9, 0.9, 0.1])
    assert got["precision"] == 0.5
    assert got["recall"] == 1.0


def test_one_class_says_which():
    reasons = {s.metric: s.undefined for s in score(np.array([False]), np.array([0.2]))}
    assert reasons["auroc"] == "only resistant cells"
    assert reasons["accuracy"] is None


@pytest.mark.parametrize("wrong", [[float("nan"), 0.1], [1.2, 0.1], [0.1]])
def test_what_is_no_probability_is_refused(wrong):
    with pytest.raises(ValueError, match=r"predictions|probability"):
        score(np.array([True, False]), np.array(wrong))


def test_expected_calibration_error():
    truth = np.array([True] * 8 + [False] * 2)
    got = values(truth, np.full(10, 0.8))
    assert got["ece"] == pytest.approx(0)
    assert values(truth, np.full(10, 0.3))["ece"] == pytest.approx(0.5)


def test_calibration_error_weighs_bins_by_their_cells():
    truth = np.array([True] * 8 + [False] * 2)
    probability = np.array([1.0] * 8 + [0.2] * 2)  # eight are right, two are off by 0.2
    assert values(truth, probability)["ece"] == pytest.approx(0.04)


def test_certainty_lies_in_the_last_of_ten_bins():
    _, observed, in_bins = calibration_bins(np.array([True, False]), np.array([1.0, 0.0]))
    assert in_bins.tolist() == [1, 0, 0, 0, 0, 0, 0, 0, 0, 1]
    assert observed[[0, 9]].tolist() == [0, 1]


def test_given_ranks_rank_and_nothing_else():
    truth, probability = np.array([True, False, True]), np.array([0.9, 0.6, 0.2])
    ranks = np.array([2.0, 1.0, 3.0])
    plain, ranked = (
        {s.metric: s.value for s in score(truth, probability, given)} for given in (None, ranks)
    )
    assert (ranked["auroc"], ranked["auprc"]) == (1.0, 1.0)
    changed = {name for name, value in plain.items() if value != ranked[name]}
    assert changed == {"auroc", "auprc"}
