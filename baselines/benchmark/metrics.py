"""Scores of predictions. The positive class is `sensitive`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "METRICS",
    "THRESHOLD",
    "Score",
    "calibration_bins",
    "log_odds",
    "score",
    "without_prior",
]

THRESHOLD = 0.5
BINS = 10


@dataclass(frozen=True)
class Score:
    """The value of one metric, or why it has none."""

    metric: str
    value: float | None
    """None: undefined."""
    undefined: str | None = None
    """Reason; None where there is a value."""


def score(
    truth: NDArray[np.bool_],
    probability: NDArray[np.floating],
    ranks: NDArray[np.floating] | None = None,
) -> list[Score]:
    """Score predictions by every metric.

    Parameters
    ----------
    truth
        (cells,) bool, True for sensitive.
    probability
        (cells,) predicted probability of sensitive, 0 to 1. A cell is called
        sensitive at 0.5 or more.
    ranks
        (cells,) what auroc and auprc go by, where folds are pooled whose models predict
        different shares of sensitive cells (see `without_prior`). None: probability.

    Returns
    -------
    list of Score
        One a metric, in the order of `METRICS`. With cells of one class only, what
        compares classes is undefined: never 0 or 1.

    Raises
    ------
    ValueError
        Lengths differ, there is no cell, or a probability is NaN or outside 0 to 1.

    Examples
    --------
    >>> scores = score(np.array([True, False]), np.array([0.9, 0.2]))
    >>> {s.metric: s.value for s in scores}["auroc"]
    1.0
    >>> score(np.array([True]), np.array([0.9]))[2]
    Score(metric='auroc', value=None, undefined='only sensitive cells')
    """
    truth = np.asarray(truth, bool)
    probability = np.asarray(probability, np.float64)
    if truth.shape != probability.shape or truth.ndim != 1 or len(truth) == 0:
        raise ValueError(f"{truth.shape} labels and {probability.shape} predictions")
    if not ((probability >= 0) & (probability <= 1)).all():
        raise ValueError("a probability is NaN or outside 0 to 1")
    called = probability >= THRESHOLD
    ranked: NDArray[np.float64] = (
        probability.astype(np.float64) if ranks is None else np.asarray(ranks, np.float64)
    )
    plain = probability.astype(np.float64)
    return [
        _one(name, truth, ranked if name in RANK_METRICS else plain, called) for name in METRICS
    ]


def without_prior(
    probability: NDArray[np.floating], mean: NDArray[np.floating] | float
) -> NDArray[np.float64]:
    """Take what a model predicts on average out of its predictions, as log-odds.

    A fold whose test cells are all resistant was trained on fewer resistant cells than
    the others, so its predictions are a little higher: over pooled folds even a model
    that knows nothing but class sizes would rank every cell the wrong way round. How much
    of the class sizes a model has learnt only its own predictions tell. Rounded to 1e-9:
    the last bits of a mean would break ties.

    Parameters
    ----------
    probability
        (cells,) of sensitive.
    mean
        Mean prediction on training cells of the model that made each prediction.

    Examples
    --------
    >>> without_prior(np.array([0.25, 0.75]), np.array([0.25, 0.75])).tolist()
    [0.0, 0.0]
    """
    return np.round(log_odds(probability) - log_odds(np.asarray(mean)), 9)


def log_odds(probability: NDArray[np.floating]) -> NDArray[np.float64]:
    """Give log-odds; probabilities within 1e-9 of 0 and 1 are held there."""
    held = np.clip(np.asarray(probability, np.float64), 1e-9, 1 - 1e-9)
    return np.log(held) - np.log1p(-held)


def _one(
    name: str,
    truth: NDArray[np.bool_],
    probability: NDArray[np.float64],
    called: NDArray[np.bool_],
) -> Score:
    if name not in ONE_CLASS_METRICS and truth.all() != truth.any():
        pass
    elif name not in ONE_CLASS_METRICS:
        return Score(name, None, f"only {'sensitive' if truth.all() else 'resistant'} cells")
    if name == "precision" and not called.any():
        return Score(name, None, "no cell is called sensitive")
    return Score(name, float(METRICS[name](truth, probability, called)))


def calibration_bins(
    truth: NDArray[np.bool_], probability: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Compare predicted with observed shares in ten bins of equal width.

    Returns
    -------
    predicted, observed : (10,) float64
        Mean probability and share of sensitive cells of each bin; NaN where empty.
    cells : (10,) int64
        Cells in each bin.
    """
    index = np.minimum((np.asarray(probability) * BINS).astype(np.int64), BINS - 1)
    cells = np.bincount(index, minlength=BINS)
    with np.errstate(invalid="ignore"):
        predicted = np.bincount(index, probability, minlength=BINS) / cells
        observed = np.bincount(index, truth, minlength=BINS) / cells
    return predicted, observed, cells


type _Metric = Callable[[NDArray[np.bool_], NDArray[np.float64], NDArray[np.bool_]], float]


def _f1(truth: NDArray[np.bool_], _: NDArray[np.float64], called: NDArray[np.bool_]) -> float:
    # With both classes there is at least one sensitive cell, so it is never 0 / 0.
    return float(2 * (truth & called).sum() / (truth.sum() + called.sum()))


def _f1_macro(truth: NDArray[np.bool_], p: NDArray[np.float64], called: NDArray[np.bool_]) -> float:
    return (_f1(truth, p, called) + _f1(~truth, p, ~called)) / 2


def _above(
    truth: NDArray[np.bool_], ranks: NDArray[np.floating]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Count the cells at or above each rank that occurs, from the highest down.

    Returns
    -------
    sensitive, resistant : (ranks that differ,) int64
    """
    order = np.argsort(-ranks, kind="stable")
    falling = ranks[order]
    ends = np.flatnonzero(np.append(falling[1:] != falling[:-1], True))
    sensitive = np.cumsum(truth[order], dtype=np.int64)[ends]
    return sensitive, ends + 1 - sensitive


def _auroc(truth: NDArray[np.bool_], p: NDArray[np.float64], _: NDArray[np.bool_]) -> float:
    # scikit-learn gives the same, but spends most of its time on checks of so few cells.
    sensitive, resistant = _above(truth, p)
    new = np.diff(sensitive, prepend=0), np.diff(resistant, prepend=0)
    won = (new[1] * (2 * sensitive - new[0])).sum() / 2  # a tie is half
    return float(won / (int(sensitive[-1]) * int(resistant[-1])))


def _auprc(truth: NDArray[np.bool_], p: NDArray[np.float64], _: NDArray[np.bool_]) -> float:
    sensitive, resistant = _above(truth, p)
    precision = sensitive / (sensitive + resistant)
    return float((precision * np.diff(sensitive, prepend=0)).sum() / sensitive[-1])


def _mcc(truth: NDArray[np.bool_], _: NDArray[np.float64], called: NDArray[np.bool_]) -> float:
    cells, sensitive, calls = len(truth), int(truth.sum()), int(called.sum())
    both = int((truth & called).sum())
    spread = float(sensitive * (cells - sensitive) * calls * (cells - calls))
    # All cells called alike: no correlation, by convention.
    return (both * cells - sensitive * calls) / spread**0.5 if spread else 0.0


def _recall(truth: NDArray[np.bool_], _: NDArray[np.float64], called: NDArray[np.bool_]) -> float:
    return float(called[truth].mean())


def _precision(
    truth: NDArray[np.bool_], _: NDArray[np.float64], called: NDArray[np.bool_]
) -> float:
    return float(truth[called].mean())


def _balanced(truth: NDArray[np.bool_], _: NDArray[np.float64], called: NDArray[np.bool_]) -> float:
    return float((called[truth].mean() + (~called[~truth]).mean()) / 2)


def _accuracy(truth: NDArray[np.bool_], _: NDArray[np.float64], called: NDArray[np.bool_]) -> float:
    return float((truth == called).mean())


def _brier(truth: NDArray[np.bool_], p: NDArray[np.float64], _: NDArray[np.bool_]) -> float:
    return float(np.square(p - truth).mean())


def _ece(truth: NDArray[np.bool_], p: NDArray[np.float64], _: NDArray[np.bool_]) -> float:
    predicted, observed, cells = calibration_bins(truth, p)
    there = cells > 0
    return float(np.average(np.abs(predicted - observed)[there], weights=cells[there]))


METRICS: dict[str, _Metric] = {
    "f1": _f1,
    "f1_macro": _f1_macro,
    "auroc": _auroc,
    "auprc": _auprc,
    "accuracy": _accuracy,
    "balanced_accuracy": _balanced,
    "precision": _precision,
    "recall": _recall,
    "mcc": _mcc,
    "brier": _brier,
    "ece": _ece,
}
"""Metrics by name. `brier` and `ece` (expected calibration error) are better when lower."""

RANK_METRICS = frozenset({"auroc", "auprc"})

ONE_CLASS_METRICS = frozenset({"accuracy", "brier", "ece"})
"""Metrics that mean something with cells of one class."""
