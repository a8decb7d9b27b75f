"""Experiments: tasks with the same cells, labels and folds are one, and count once."""

from __future__ import annotations

import numpy as np
import pandas as pd

__all__ = ["over_seeds", "with_experiments"]


def with_experiments(runs: pd.DataFrame) -> pd.DataFrame:
    """Add `experiment`: the first of the tasks that have the same cells, folds and labels.

    Parameters
    ----------
    runs
        One row a metric of a run, with `setting` of `with_names` and `cells_hash` of
        `with_tested_cells`.
    """
    same = ["track", "split", "setting", "cells_hash"]
    tasks = runs.assign(experiment=runs["task"].astype(object))
    return tasks.assign(experiment=tasks.groupby(same)["experiment"].transform("min"))


def over_seeds(board: pd.DataFrame, value: str, by: list[str]) -> pd.DataFrame:
    """Give one row an experiment: the mean over its seeds, and over tasks that are copies.

    Parameters
    ----------
    board
        With the columns of `with_experiments`, one metric.
    value
        A column.
    by
        Columns to keep apart.

    Returns
    -------
    pandas.DataFrame
        The columns of `by`, `experiment` and the value. Undefined ones are left out.
    """
    keys = [*by, "experiment"]
    numbers = board[[*keys, "seed"]].assign(**{value: np.asarray(board[value].astype(float))})
    seeds = numbers.dropna(subset=[value]).groupby([*keys, "seed"])[value].mean()
    return seeds.groupby(level=keys).mean().reset_index()
