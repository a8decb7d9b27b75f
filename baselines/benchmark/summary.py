"""A few lines about results, for the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from cellresponse.baselines.benchmark.experiments import over_seeds, with_experiments
from cellresponse.baselines.benchmark.naming import with_names
from cellresponse.baselines.benchmark.statistics import mean_of_folds
from cellresponse.baselines.benchmark.tested_cells import with_cells_hash, with_tested_cells

__all__ = ["KEYS", "fold_means", "summary_lines"]

SHOWN = ("f1", "auroc", "balanced_accuracy")
KEYS = [
    *("task", "track", "split", "model", "weights_hash", "strategy", "options", "seed"),
    "metric",
]
"""Columns that name a metric of one run."""


def fold_means(results: pd.DataFrame) -> pd.DataFrame:
    """Give mean and standard error over the folds of each task, split and model.

    Returns
    -------
    pandas.DataFrame
        The columns that name a run, `mean`, `sem`, `folds`, `undefined` and `pooled`: the
        metric over the predictions of all folds together. Missing values are None.
    """
    cells = results[results["unit"] == "cell"]
    cells = cells.assign(weights_hash=cells["weights_hash"].astype(object))
    each = cells[cells["fold"] != "pooled"].groupby(KEYS, sort=True, dropna=False)
    rows = []
    for key, group in each:
        mean = mean_of_folds([None if pd.isna(v) else float(v) for v in group["value"]])
        rows.append(dict(zip(KEYS, key, strict=True)) | vars(mean))
    found = pd.DataFrame(rows, columns=[*KEYS, "mean", "sem", "folds", "undefined"])
    found["weights_hash"] = found["weights_hash"].astype(object)
    together = cells[cells["fold"] == "pooled"][[*KEYS, "value"]]
    return found.merge(together.rename(columns={"value": "pooled"}), on=KEYS, how="left")


def summary_lines(results: pd.DataFrame, folder: Path | None = None) -> Iterator[str]:
    """Yield what is shown, then one line a track, split and contender: means over the tasks.

    Parameters
    ----------
    results
        Of `benchmark`, or as `with_tested_cells` gives them.
    folder
        Results folder, whose predictions tell which tasks have the same cells, labels and
        folds: they count once, as in the report. None: each task counts, unless the results
        tell.
    """
    results = results[results["metric"].isin(SHOWN)]
    results = with_cells_hash(results if folder is None else with_tested_cells(results, folder))
    runs = results.drop_duplicates(KEYS)[[*KEYS, "cells_hash"]]
    runs = runs.assign(weights_hash=runs["weights_hash"].astype(object))
    means = with_experiments(with_names(fold_means(results).merge(runs, on=KEYS)))
    yield "Means over tasks of the mean over folds; `report` ranks by the pooled predictions:"
    yield f"{'track':<14}{'split':<13}{'model':<27} {'tasks':>6}" + "".join(
        f"{name:>19}" for name in SHOWN
    )
    for (track, split, name), group in means.groupby(["track", "split", "contender"], sort=True):
        values = [_cell(group[group["metric"] == metric]) for metric in SHOWN]
        tasks = group["experiment"].nunique()
        yield f"{track:<14}{split:<13}{name:<27} {tasks:>6}" + "".join(
            f"{value:>19}" for value in values
        )


def _cell(group: pd.DataFrame) -> str:
    """Mean over tasks of the folds' mean; of the pooled predictions where folds have none."""
    for column, mark in (("mean", ""), ("pooled", " (pooled)")):
        there = group.dropna(subset=[column])
        if len(there):
            # Over seeds and copies first: a task with more of them counts once.
            return f"{over_seeds(there, column, [])[column].mean():.3f}{mark}"
    return "undefined"
