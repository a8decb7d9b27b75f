"""The cells of a case study: of a release, or of a file that its user brings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from cellresponse.baselines.benchmark.cells import TaskCells, counts_of
from cellresponse.baselines.cases.recipe import Recipe
from cellresponse.baselines.predict.user_cells import read_user_cells
from cellresponse.releases.release import Release
from cellresponse.releases.task_cells import label_pairs_of
from cellresponse.releases.tasks import tasks
from cellresponse.schema.errors import ReleaseError, SourceFileError

__all__ = ["cells_of_file", "cells_of_release"]

COLUMNS = ["cell_id", "study_id", "sample_id", "batch", "cell_line", "assay", "response"]


def cells_of_release(release: Release, recipe: Recipe) -> TaskCells:
    """Give the labelled cells of a recipe's drug.

    Raises
    ------
    ReleaseError
        The release has no labels of the drug.
    """
    found = [
        label_pairs_of(task, release).to_pandas()
        for task in tasks(release, track="pooled", by="regimen", drug=release.drug_id(recipe.drug))
    ]
    pairs = pd.concat(found, ignore_index=True)
    if recipe.basis is not None:
        pairs = pairs[pairs["basis"] == recipe.basis]
    if pairs.empty:
        raise ReleaseError(
            f"the release {release.name} has no labels of {recipe.drug} by {recipe.basis}"
        )
    pairs = pairs.drop_duplicates("cell_id").sort_values(["study_id", "row"], ignore_index=True)
    counts = counts_of(release, pairs)
    return _task_cells(pairs[[*COLUMNS, "row"]], counts)


def cells_of_file(path: Path, release: Release, recipe: Recipe, organism: str) -> TaskCells:
    """Give the cells of a user's h5ad file whose `obs` has the recipe's columns.

    Parameters
    ----------
    path
        h5ad of raw counts; `obs` has `response` (sensitive, resistant) and every column
        that the recipe names.
    release
        Gives the gene axis.
    recipe
        The recipe.
    organism
        Whose axis.

    Raises
    ------
    SourceFileError
        A column is missing, or a response is neither sensitive nor resistant.
    """
    import anndata

    read = read_user_cells(path, release, organism)
    table: Any = anndata.read_h5ad(path, backed="r").obs
    obs: pd.DataFrame = table.reset_index(names="cell_id").astype(str)
    needed = {"response", *recipe.train, *(recipe.test or {}), *filter(None, [recipe.leave_out])}
    for column in sorted(needed - set(obs.columns)):
        raise SourceFileError(
            "a column of obs is missing", file=path, column=column, allowed=sorted(needed)
        )
    strange = ~obs["response"].isin(["sensitive", "resistant"])
    if strange.any():
        raise SourceFileError(
            "is no response",
            file=path,
            column="obs.response",
            value=obs["response"][strange].iloc[0],
            allowed=["sensitive", "resistant"],
        )
    for column in ("study_id", "sample_id", "batch", "cell_line", "assay"):
        if column not in obs:
            obs[column] = "of the file"
    return _task_cells(obs[COLUMNS], read.counts)


def _task_cells(obs: pd.DataFrame, counts: sp.csr_matrix) -> TaskCells:
    totals = np.asarray(counts.sum(axis=1)).ravel()
    return TaskCells(
        obs.assign(n_counts=totals),
        (obs["response"] == "sensitive").to_numpy(),
        counts,
    )
