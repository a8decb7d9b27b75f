"""Means, comparisons and recommendations drawn from results."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cellresponse.baselines.benchmark.comparators import COMPARATORS
from cellresponse.baselines.benchmark.statistics import Comparison, compare_models
from cellresponse.baselines.benchmark.summary import fold_means

__all__ = ["CONFOUNDED", "comparisons", "contender", "leaderboard", "recommendations"]

CONFOUNDED = ("batch_only", "depth_only", "line_only")
"""Comparators that see no expression at all."""

SITUATIONS = {
    "cell": "more cells of samples that are already labelled",
    "sample": "new samples of the same studies",
    "patient": "new patients of the same studies",
    "study": "a new study, or another technology",
    "line": "a cell line that was never seen",
    "as-published": "the published split, which leaks: for comparison only",
}
LEVEL = 0.05


def contender(model: str, strategy: str) -> str:
    """Name a model with its strategy, as one line of a table."""
    return model if strategy in ("comparator", "submitted") else f"{model} ({strategy})"


def _contenders(rows: pd.DataFrame) -> list[str]:
    pairs = zip(rows["model"], rows["strategy"], strict=True)
    return [contender(str(model), str(strategy)) for model, strategy in pairs]


def leaderboard(results: pd.DataFrame) -> pd.DataFrame:
    """Give mean and standard error of each metric over folds, a row a task, split and model.

    Returns
    -------
    pandas.DataFrame
        task, track, by, category, drug_id, basis, split, contender, metric, mean, sem,
        folds, undefined, pooled, low, high, n_test, n_test_sensitive.
    """
    means = fold_means(results)
    together = results[(results["unit"] == "cell") & (results["fold"] == "pooled")]
    kept = ["track", "by", "category", "drug_id", "basis", "low", "high", "n_test"]
    keys = ["task", "split", "model", "strategy", "options", "seed", "metric"]
    found = means.merge(together[[*keys, *kept, "n_test_sensitive"]], on=keys)
    found.insert(0, "contender", _contenders(found))
    return found


def comparisons(results: pd.DataFrame, metric: str = "auroc") -> pd.DataFrame:
    """Test all pairs of models on the same folds, for each task and split.

    Folds of a leave-one-group-out or k-fold split share training cells; the test allows
    for that and its note says so.

    Returns
    -------
    pandas.DataFrame
        task, split, first, second, difference, p, p_corrected, folds, note.
    """
    rows = results[
        (results["unit"] == "cell") & (results["fold"] != "pooled") & (results["metric"] == metric)
    ]
    tables = []
    for (task, split), group in rows.groupby(["task", "split"], sort=True):
        named = group.assign(contender=_contenders(group))
        wide = named.pivot_table(
            index="fold", columns="contender", values="value", dropna=False, aggfunc="first"
        )
        values = {
            str(name): [None if pd.isna(v) else float(v) for v in wide[name]] for name in wide
        }
        share = float(group["n_test"].mean()) / max(float(group["n_train"].mean()), 1.0)
        found = compare_models(values, share, shared_training=True)
        tables.append(
            pd.DataFrame([vars(one) for one in found]).assign(task=str(task), split=str(split))
        )
    columns = ["task", "split", "first", "second", "difference", "p", "p_corrected", "folds"]
    if not tables:
        return pd.DataFrame(columns=[*columns, "note"])
    return pd.concat(tables, ignore_index=True)[[*columns, "note"]]


def recommendations(results: pd.DataFrame, metric: str = "auroc") -> pd.DataFrame:
    """Say for each situation which models did best, and how sure that is.

    A model is among the best of a split when, over the tasks that all models were run on,
    its pooled score is not worse than the best mean by more than tasks differ: a paired
    test over tasks, corrected for the number of models.

    Returns
    -------
    pandas.DataFrame
        split, situation, tasks, best, mean, sem, not_worse (other names), confounded (the
        best score of a comparator that sees no expression), advice.
    """
    board = leaderboard(results)
    board = board[board["metric"] == metric]
    rows = []
    for split, group in board.groupby("split", sort=True):
        wide = group.pivot_table(
            index=["task", "seed"], columns="contender", values="pooled", aggfunc="mean"
        ).astype(float)
        wide = wide.dropna(axis=1, thresh=max(1, len(wide) // 2)).dropna(axis=0)
        if wide.empty:
            continue
        rows.append(_recommend(str(split), wide))
    return pd.DataFrame(
        rows,
        columns=[
            *("split", "situation", "tasks", "best", "mean", "sem", "not_worse"),
            *("confounded", "advice"),
        ],
    )


def _recommend(split: str, wide: pd.DataFrame) -> dict[str, object]:
    means = wide.mean().sort_values(ascending=False, kind="stable")
    best = str(means.index[0])
    tests = compare_models(
        {best: wide[best].tolist(), **{name: wide[name].tolist() for name in means.index[1:]}},
        0.0,
        shared_training=False,
    )
    worse = {one.second for one in tests if one.first == best and _is_worse(one)}
    blind = means[[name for name in means.index if name in CONFOUNDED]]
    confounded = None if blind.empty else float(blind.to_numpy(float)[0])
    others = [str(name) for name in means.index[1:] if name not in worse]
    return {
        "split": split,
        "situation": SITUATIONS.get(split, split),
        "tasks": len(wide),
        "best": best,
        "mean": float(means.iloc[0]),
        "sem": _sem(wide[best].to_numpy(float)),
        "not_worse": ", ".join(others),
        "confounded": confounded,
        "advice": _advice(split, best, others, float(means.iloc[0]), confounded, len(wide)),
    }


def _is_worse(pair: Comparison) -> bool:
    """Whether the second is worse; where it is by the same in every task, by a sign test."""
    if pair.p_corrected is not None:
        return pair.p_corrected < LEVEL
    return pair.difference > 0 and 2.0 ** (1 - pair.folds) < LEVEL


def _sem(values: NDArray[np.float64]) -> float | None:
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None


def _advice(
    split: str, best: str, others: list[str], mean: float, confounded: float | None, tasks: int
) -> str:
    if split == "as-published":
        return "No advice follows from a split that leaks."
    if mean < 0.6:
        return "No model is clearly better than chance here: do not predict in this situation."
    if confounded is not None and (best in CONFOUNDED or confounded >= mean - 0.02):
        return (
            "A comparator that sees no expression does as well: the scores show confounding, "
            "not response. Choose no model on these tasks."
        )
    simple = [name for name in [best, *others] if name in COMPARATORS and name not in CONFOUNDED]
    certainty = "" if tasks >= 5 else f" Only {tasks} task(s): little is certain."
    if best not in COMPARATORS and any("@random" in name for name in [best, *others]):
        return (
            "A network with random weights is not distinguishable from the best: pretraining is "
            "not shown to help." + certainty
        )
    if best in COMPARATORS or not simple:
        return f"Use {best}." + certainty
    return f"{best} leads, but {simple[0]} is not distinguishable and simpler." + certainty
