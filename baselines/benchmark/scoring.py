"""Turn predictions into result rows; submitted predictions go the same way."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cellresponse import __version__
from cellresponse.baselines.benchmark.addendum import Addendum, Identity, Trained
from cellresponse.baselines.benchmark.metrics import Score, score, without_prior
from cellresponse.baselines.benchmark.prompting import prompt_rows
from cellresponse.baselines.benchmark.statistics import by_sample, intervals

__all__ = ["score_addendum", "score_predictions"]

POOLED = "pooled"


def score_addendum(addendum: Addendum) -> list[dict[str, Any]]:
    """Score every prediction file of a results folder.

    Parameters
    ----------
    addendum
        The folder.

    Returns
    -------
    list of dict
        Rows of `schema.results.Results`.
    """
    rows: list[dict[str, Any]] = []
    for identity, folds, predictions in addendum.predictions():
        rows += score_predictions(identity, folds, predictions, release_hash=addendum.release_hash)
    return rows


def score_predictions(
    identity: Identity,
    folds: Mapping[str, Trained],
    predictions: pd.DataFrame,
    *,
    release_hash: str,
) -> list[dict[str, Any]]:
    """Score the predictions of one model: each fold, all folds pooled, and by sample.

    Parameters
    ----------
    identity
        What the predictions are of.
    folds
        What each fold was trained on.
    predictions
        Rows of `schema.results.Predictions`.
    release_hash
        Content hash of the release.

    Returns
    -------
    list of dict
        Columns of `schema.results.Results`; empty where a published fault dropped every cell.
    """
    if predictions.empty:
        return []
    sensitive = (predictions["response"] == "sensitive").to_numpy(bool)
    samples = predictions["sample_id"].to_numpy(str)
    probability = predictions["probability"].to_numpy(np.float64)
    fold_of = predictions["fold"].to_numpy(str)
    common = {**asdict(identity), "release_hash": release_hash, "code_version": __version__}
    rows: list[dict[str, Any]] = []
    for fold, trained in folds.items():
        inside = fold_of == fold
        if not inside.any():  # a published fault dropped every cell of it
            continue
        scores = score(sensitive[inside], probability[inside])
        rows += _rows(common, fold, "cell", trained, sensitive[inside], scores)
    # Folds of one class have no rank of their own; all folds together have, once what the
    # model of each predicts on average is taken out. Log-odds of a half are 0: no shift.
    means = {fold: 0.5 if one.mean is None else one.mean for fold, one in folds.items()}
    ranks = without_prior(probability, np.array([means[fold] for fold in fold_of]))
    total = Trained(
        cells=int(np.mean([one.cells for one in folds.values()])),
        sensitive=int(np.mean([one.sensitive for one in folds.values()])),
    )
    pooled = _rows(common, POOLED, "cell", total, sensitive, score(sensitive, probability, ranks))
    drawn = intervals(sensitive, probability, samples, seed=identity.seed, ranks=ranks)
    for row in pooled:
        row["low"], row["high"] = drawn.get(row["metric"], (None, None))
    scores, units = by_sample(sensitive, probability, samples, ranks)
    rows += pooled
    if units > 1:
        rows += _rows(common, POOLED, "sample", total, sensitive, scores)
    return _as_prompt(rows) if identity.strategy == "prompt" else rows


def _as_prompt(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Keep what classes without probabilities allow, and the published faults asked for."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["fold"], row["unit"]), []).append(row)
    found: list[dict[str, Any]] = []
    for group in groups.values():
        faults = json.loads(group[0]["options"])["as_published"]
        found += prompt_rows(group, faults)
    return found


def _rows(
    common: Mapping[str, Any],
    fold: str,
    unit: str,
    trained: Trained,
    sensitive: NDArray[np.bool_],
    scores: list[Score],
) -> list[dict[str, Any]]:
    return [
        {
            **common,
            "fold": fold,
            "unit": unit,
            "n_train": trained.cells,
            "n_train_sensitive": trained.sensitive,
            "n_test": len(sensitive),
            "n_test_sensitive": int(sensitive.sum()),
            "metric": one.metric,
            "value": one.value,
            "low": None,
            "high": None,
            "undefined": one.undefined,
        }
        for one in scores
    ]
