"""A few lines about results, for the terminal."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from cellresponse.baselines.benchmark.statistics import mean_of_folds

__all__ = ["fold_means", "summary_lines"]

SHOWN = ("f1", "auroc", "balanced_accuracy")
KEYS = ["task", "split", "model", "strategy", "options", "seed", "metric"]


def fold_means(results: pd.DataFrame) -> pd.DataFrame:
    """Give mean and standard error over the folds of each task, split and model.

    Returns
    -------
    pandas.DataFrame
        The columns that name a run, `mean`, `sem`, `folds`, `undefined` and `pooled`: the
        metric over the predictions of all folds together. Missing values are None.
    """
    cells = results[results["unit"] == "cell"]
    each = cells[cells["fold"] != "pooled"].groupby(KEYS, sort=True)
    rows = []
    for key, group in each:
        mean = mean_of_folds([None if pd.isna(v) else float(v) for v in group["value"]])
        rows.append(dict(zip(KEYS, key, strict=True)) | vars(mean))
    found = pd.DataFrame(rows, columns=[*KEYS, "mean", "sem", "folds", "undefined"])
    together = cells[cells["fold"] == "pooled"][[*KEYS, "value"]]
    return found.merge(together.rename(columns={"value": "pooled"}), on=KEYS, how="left")


def summary_lines(results: pd.DataFrame) -> Iterator[str]:
    """Yield one line a split and model: means over the tasks."""
    means = fold_means(results)
    means = means[means["metric"].isin(SHOWN)]
    columns = ["split", "model", "strategy"]
    yield f"{'split':<13}{'model':<28}{'tasks':>6}" + "".join(f"{name:>19}" for name in SHOWN)
    for (split, model, strategy), group in means.groupby(columns, sort=True):
        label = model if strategy in ("comparator", "submitted") else f"{model} ({strategy})"
        values = [_cell(group[group["metric"] == name]) for name in SHOWN]
        tasks = group["task"].nunique()
        yield f"{split:<13}{label:<28}{tasks:>6}" + "".join(f"{value:>19}" for value in values)


def _cell(group: pd.DataFrame) -> str:
    """Mean over tasks of the folds' mean; of the pooled predictions where folds have none."""
    for column, mark in (("mean", ""), ("pooled", " (pooled)")):
        values = group[column].dropna().to_numpy(float)
        if len(values):
            return f"{values.mean():.3f}{mark}"
    return "undefined"
