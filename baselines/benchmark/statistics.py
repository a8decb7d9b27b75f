"""Means over folds, tests between models, intervals that respect samples."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from cellresponse.baselines.benchmark.metrics import THRESHOLD, Score, score

__all__ = [
    "Comparison",
    "Mean",
    "by_sample",
    "compare_models",
    "holm",
    "intervals",
    "mean_of_folds",
]

RESAMPLES = 1000
AT_ONCE = 250_000  # counts in memory, ranks x draws
SHARED_TRAINING = (
    "Folds of one cross-validation share training cells and are not independent; the test "
    "widens the variance by n_test / n_train (Nadeau and Bengio 2003, doi 10.1023/A:1024068626366)"
)


@dataclass(frozen=True)
class Mean:
    """Mean over folds."""

    mean: float | None
    """None: no fold has a value."""
    sem: float | None
    """Standard error of the mean; None with fewer than two folds."""
    folds: int
    """Folds with a value."""
    undefined: int
    """Folds without one."""


def mean_of_folds(values: Sequence[float | None]) -> Mean:
    """Give mean and standard error over the folds that have a value.

    Examples
    --------
    >>> mean_of_folds([0.25, 0.75, None])
    Mean(mean=0.5, sem=0.25, folds=2, undefined=1)
    """
    there = np.array([value for value in values if value is not None], np.float64)
    missing = len(values) - len(there)
    if len(there) == 0:
        return Mean(None, None, 0, missing)
    sem = float(there.std(ddof=1) / math.sqrt(len(there))) if len(there) > 1 else None
    return Mean(float(there.mean()), sem, len(there), missing)


@dataclass(frozen=True)
class Comparison:
    """Two models on the same folds."""

    first: str
    second: str
    difference: float
    """Mean of first minus second."""
    p: float | None
    """Two-sided, before correction; None where the folds allow no test."""
    p_corrected: float | None
    """After Holm's correction over all pairs that were tested."""
    folds: int
    note: str


def compare_models(
    values: Mapping[str, Sequence[float | None]], test_share: float, *, shared_training: bool
) -> list[Comparison]:
    """Test every pair of models on the folds where both have a value.

    Parameters
    ----------
    values
        A metric by fold, for each model; the same folds in the same order.
    test_share
        n_test / n_train of a fold.
    shared_training
        Whether the folds are parts of one cross-validation, whose training sets
        overlap: the corrected resampled t-test is used. False: the paired t-test.

    Returns
    -------
    list of Comparison
        Pairs in the order of `values`.
    """
    from itertools import combinations

    found = []
    for first, second in combinations(values, 2):
        pairs = [
            (a, b)
            for a, b in zip(values[first], values[second], strict=True)
            if a is not None and b is not None
        ]
        found.append(_pair(first, second, pairs, test_share if shared_training else 0.0))
    corrected = iter(holm([c.p for c in found if c.p is not None]))
    note = SHARED_TRAINING if shared_training else ""
    return [
        Comparison(
            c.first,
            c.second,
            c.difference,
            c.p,
            None if c.p is None else next(corrected),
            c.folds,
            c.note or note,
        )
        for c in found
    ]


def _pair(first: str, second: str, pairs: list[tuple[float, float]], share: float) -> Comparison:
    from scipy import stats

    differences = np.array([a - b for a, b in pairs])
    k = len(differences)
    mean = float(differences.mean()) if k else math.nan
    if k < 2:
        return Comparison(first, second, mean, None, None, k, "fewer than two common folds")
    variance = float(differences.var(ddof=1))
    if variance == 0:
        return Comparison(first, second, mean, None, None, k, "the same difference in every fold")
    t = mean / math.sqrt((1 / k + share) * variance)
    return Comparison(first, second, mean, float(2 * stats.t.sf(abs(t), k - 1)), None, k, "")


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values for their number by Holm's step-down procedure.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values, kind="stable")
    corrected = [0.0] * len(order)
    highest = 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * p_values[index]))
        corrected[index] = highest
    return corrected


def intervals(
    truth: NDArray[np.bool_],
    probability: NDArray[np.floating],
    samples: NDArray[np.object_] | NDArray[np.str_],
    *,
    seed: int,
    ranks: NDArray[np.floating] | None = None,
    resamples: int = RESAMPLES,
) -> dict[str, tuple[float, float]]:
    """Give 95 % intervals by drawing whole samples anew, not cells.

    Cells of one sample are not independent: an interval over cells would be too
    narrow by far.

    Parameters
    ----------
    truth, probability, ranks
        As in `score`.
    samples
        (cells,) sample of each cell.
    seed, resamples
        Of the draws.

    Returns
    -------
    dict
        2.5 and 97.5 % points of f1, auroc, auprc and balanced_accuracy over the draws
        that hold both classes. Empty with fewer than three samples, or when fewer than
        half of the draws hold both.
    """
    names, sample = np.unique(np.asarray(samples), return_inverse=True)
    if len(names) < 3:
        return {}
    # A draw is a weight for each sample.
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=resamples)
    counts = _counts(
        sample,
        np.asarray(truth, bool),
        np.asarray(probability if ranks is None else ranks),
        np.asarray(probability) >= THRESHOLD,
    )
    step = max(1, AT_ONCE // counts.sensitive.shape[0])
    drawn = [
        _weighted(weights[start : start + step].T.astype(np.float64), counts)
        for start in range(0, resamples, step)
    ]
    found = {name: np.concatenate([part[name] for part in drawn]) for name in drawn[0]}
    if np.isnan(found["auroc"]).sum() > resamples / 2:
        return {}
    return {
        name: (float(np.nanpercentile(values, 2.5)), float(np.nanpercentile(values, 97.5)))
        for name, values in found.items()
    }


@dataclass(frozen=True)
class _Counts:
    """Cells of each sample, so that a draw of samples gives its counts by one product.

    Attributes
    ----------
    sensitive, resistant
        (ranks that occur, samples), from the highest rank down.
    called, falsely
        (samples,) sensitive and resistant cells that are called sensitive.
    """

    sensitive: sp.csr_array
    resistant: sp.csr_array
    called: NDArray[np.int64]
    falsely: NDArray[np.int64]


def _counts(
    sample: NDArray[np.intp],
    truth: NDArray[np.bool_],
    ranked: NDArray[np.floating],
    called: NDArray[np.bool_],
) -> _Counts:
    """Count cells by the index of their sample."""
    levels, level = np.unique(-ranked, return_inverse=True)
    samples = int(sample.max()) + 1

    def ranked_cells(cells: NDArray[np.bool_]) -> sp.csr_array:
        found = np.ones(cells.sum()), (level[cells], sample[cells])
        return sp.csr_array(found, shape=(len(levels), samples))

    return _Counts(
        sensitive=ranked_cells(truth),
        resistant=ranked_cells(~truth),
        called=np.bincount(sample[truth & called], minlength=samples),
        falsely=np.bincount(sample[~truth & called], minlength=samples),
    )


def _weighted(weights: NDArray[np.float64], counts: _Counts) -> dict[str, NDArray[np.float64]]:
    """Metrics of (samples, draws) weights, (draws,) each; NaN where a draw holds one class only."""
    tp, fp = counts.called @ weights, counts.falsely @ weights
    new_true, new_false = counts.sensitive @ weights, counts.resistant @ weights
    # Sums down the ranks are the counts above every threshold.
    true, false = np.cumsum(new_true, axis=0), np.cumsum(new_false, axis=0)
    p, n = true[-1], false[-1]
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.where(true + false > 0, true / (true + false), 0)
        found = {
            "f1": 2 * tp / (p + tp + fp),
            "auroc": (new_false * (true - new_true / 2)).sum(axis=0) / (p * n),
            "auprc": (precision * new_true).sum(axis=0) / p,
            "balanced_accuracy": (tp / p + 1 - fp / n) / 2,
        }
    one_class = (p == 0) | (n == 0)
    return {name: np.where(one_class, np.nan, values) for name, values in found.items()}


def by_sample(
    truth: NDArray[np.bool_],
    probability: NDArray[np.floating],
    samples: NDArray[np.object_] | NDArray[np.str_],
    ranks: NDArray[np.floating] | None = None,
) -> tuple[list[Score], int]:
    """Score samples instead of cells: the mean over each sample's cells.

    A sample with cells of both classes counts once for each class. `ranks` is as in
    `score`.

    Returns
    -------
    scores : list of Score
    units : int
        Number of (sample, class) pairs scored.
    """
    keys = np.array([f"{sample}\0{label}" for sample, label in zip(samples, truth, strict=True)])
    _, first, index = np.unique(keys, return_index=True, return_inverse=True)
    cells = np.bincount(index)
    # Rounded as ranks are: the last bits of a mean would break ties of samples.
    means = np.round(np.clip(np.bincount(index, probability) / cells, 0, 1), 9)
    ranked = None if ranks is None else np.round(np.bincount(index, ranks) / cells, 9)
    return score(truth[first], means, ranked), len(first)
