"""Means, comparisons and recommendations drawn from results."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cellresponse.baselines.benchmark.comparators import COMPARATORS
from cellresponse.baselines.benchmark.experiments import over_seeds, with_experiments
from cellresponse.baselines.benchmark.naming import faults_of, with_names
from cellresponse.baselines.benchmark.statistics import Comparison, compare_models, holm
from cellresponse.baselines.benchmark.summary import KEYS, fold_means
from cellresponse.baselines.benchmark.tested_cells import with_cells_hash

__all__ = ["CONFOUNDED", "comparisons", "leaderboard", "recommendations"]

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
FAULTY = "No advice follows from results with published faults."
NOT_WEIGHED: dict[str, object] = {
    "best": None,
    "mean": None,
    "sem": None,
    "not_worse": "",
    "confounded": None,
    "advice": "No task has a score of all these models: they cannot be weighed against each other.",
}


def leaderboard(results: pd.DataFrame) -> pd.DataFrame:
    """Give mean and standard error of each metric over folds, a row a run.

    Parameters
    ----------
    results
        As `with_tested_cells` gives them. Without its columns each task counts as an
        experiment of its own.

    Returns
    -------
    pandas.DataFrame
        Columns that name the run, `contender` and what else `with_names` gives, mean, sem,
        folds, undefined, pooled, low, high, n_test, and `experiment`: the first of the
        tasks that have the same cells, folds and labels.
    """
    results = with_cells_hash(results)
    means = fold_means(results)
    together = results[(results["unit"] == "cell") & (results["fold"] == "pooled")]
    kept = [
        *("by", "category", "drug_id", "basis", "low", "high", "n_test", "n_test_sensitive"),
        *("cells_hash", "studies"),
    ]
    together = together.assign(weights_hash=together["weights_hash"].astype(object))
    found = with_experiments(with_names(means.merge(together[[*KEYS, *kept]], on=KEYS)))
    first = ["contender", "within", "setting"]
    return found[[*first, *(name for name in found if name not in first)]]


def _floats(values: pd.Series[float]) -> NDArray[np.float64]:
    return np.asarray(values.astype(float), np.float64)


def comparisons(results: pd.DataFrame, metric: str = "auroc") -> pd.DataFrame:
    """Test all pairs of models on the same folds, for each track, task and split.

    Folds of a leave-one-group-out or k-fold split share training cells; the test allows
    for that and its note says so. Values are means over seeds.

    Returns
    -------
    pandas.DataFrame
        track, task, split, first, second, difference, p, p_corrected, folds, note.
    """
    results = with_cells_hash(results)
    rows = results[
        (results["unit"] == "cell") & (results["fold"] != "pooled") & (results["metric"] == metric)
    ]
    rows = with_names(rows.assign(value=_floats(rows["value"]))).sort_values("seed", kind="stable")
    # Options such as stars change the cells; seeds do on the few-shot track.
    task = ["track", "task", "split"]
    rows["cells_hash"] = rows.groupby([*task, "contender"])["cells_hash"].transform("first")
    found = [
        dict(zip(task, named, strict=False)) | vars(pair)
        for named, group in rows.groupby([*task, "cells_hash"], sort=True)
        for pair in _pairs(group)
    ]
    columns = ["first", "second", "difference", "p", "p_corrected", "folds", "note"]
    return pd.DataFrame(found, columns=[*task, *columns])


def _pairs(rows: pd.DataFrame) -> list[Comparison]:
    wide = rows.pivot_table(
        index="fold", columns="contender", values="value", dropna=False, aggfunc="mean"
    )
    values = {str(name): [None if pd.isna(v) else float(v) for v in wide[name]] for name in wide}
    # What trains on nothing, as a prompt does, shares no training cells.
    sizes = rows[rows["n_train"] > 0].groupby("contender")[["n_test", "n_train"]].sum()
    found: list[Comparison] = []
    for pair in combinations(values, 2):
        trained = sizes.loc[[name for name in pair if name in sizes.index]].sum()
        share = trained["n_test"] / trained["n_train"] if trained["n_train"] else 0.0
        both = {name: values[name] for name in pair}
        found += compare_models(both, float(share), shared_training=share > 0)
    corrected = iter(holm([one.p for one in found if one.p is not None]))
    return [one if one.p is None else replace(one, p_corrected=next(corrected)) for one in found]


def recommendations(results: pd.DataFrame, metric: str = "auroc") -> pd.DataFrame:
    """Say for each situation which models did best, and how sure that is.

    Only results of one track and of equal options are weighed against each other. A model
    is among the best of a split when, over the experiments that all models were run on,
    its pooled score is not worse than the best mean by more than experiments differ: a
    paired test over them, corrected for the number of models. Seeds are averaged first, and
    tasks with the same cells, labels and folds are one experiment.

    Returns
    -------
    pandas.DataFrame
        track, split, situation, setting (options other than the default), tasks
        (experiments), copies (further tasks that are the same experiments), best, mean,
        sem, not_worse (other names), confounded (the best score of a comparator that sees
        no expression), advice.
    """
    board = leaderboard(results)
    board = board[board["metric"] == metric]
    rows = []
    for (track, split, setting), group in board.groupby(["track", "split", "setting"], sort=True):
        wide = over_seeds(group, "pooled", ["within"]).pivot_table(
            index="experiment", columns="within", values="pooled"
        )
        wide = wide.dropna(axis=1, thresh=max(1, len(wide) // 2)).dropna(axis=0)
        counted = group[group["experiment"].isin(wide.index)]
        rows.append(
            {
                "track": track,
                "split": split,
                "situation": SITUATIONS.get(str(split), split),
                "setting": setting,
                "tasks": len(wide),
                "copies": counted["task"].nunique() - len(wide),
                **(
                    NOT_WEIGHED
                    if wide.empty
                    else _recommend(wide, faulty=bool(faults_of(str(group["options"].iloc[0]))))
                ),
            }
        )
    return pd.DataFrame(
        rows,
        columns=[
            *("track", "split", "situation", "setting", "tasks", "copies", "best", "mean", "sem"),
            *("not_worse", "confounded", "advice"),
        ],
    )


def _recommend(wide: pd.DataFrame, *, faulty: bool) -> dict[str, object]:
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
        "best": best,
        "mean": float(means.iloc[0]),
        "sem": _sem(wide[best].to_numpy(float)),
        "not_worse": ", ".join(others),
        "confounded": confounded,
        "advice": FAULTY
        if faulty
        else _advice(best, others, float(means.iloc[0]), confounded, len(wide)),
    }


def _is_worse(pair: Comparison) -> bool:
    """Whether the second is worse; where it is by the same in every task, by a sign test."""
    if pair.p_corrected is not None:
        return pair.p_corrected < LEVEL
    return pair.difference > 0 and 2.0 ** (1 - pair.folds) < LEVEL


def _sem(values: NDArray[np.float64]) -> float | None:
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None


def _advice(best: str, others: list[str], mean: float, confounded: float | None, tasks: int) -> str:
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
