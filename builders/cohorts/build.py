"""Make the cohorts of a release, `cohorts/<name>.zarr`."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp
import zarr

from cellresponse.builders.cohorts.integrate import integrate, require_cells
from cellresponse.builders.cohorts.scores import score
from cellresponse.builders.progress import Report
from cellresponse.releases.cohorts import cohort_cells, cohort_hash
from cellresponse.releases.layout import cohort_path, matrix_path
from cellresponse.releases.matrix_store import open_matrix
from cellresponse.releases.release import Tables
from cellresponse.releases.selection import rows_of
from cellresponse.schema.errors import EvidenceError
from cellresponse.schema.spec import CohortSpec, ReleaseSpec

__all__ = ["build_cohorts"]

SOFTWARE = ("bbknn", "harmonypy", "scanpy", "scib-metrics")
OBS = (
    "study_id",
    "sample_id",
    "patient_id",
    "cell_line",
    "assay",
    "integration_batch",
    "drug_id",
    "basis",
    "response",
    "stars",
)


def build_cohorts(spec: ReleaseSpec, folder: Path, report: Report) -> tuple[dict[str, str], Any]:
    """Make every cohort of a spec.

    Parameters
    ----------
    spec
        What to build.
    folder
        The release; its tables and matrices stand.
    report
        Receives a line a cohort.

    Returns
    -------
    hashes, described
        By name of the cohort: the hash of its cells and labels; and numbers for
        `release.json`: cells, batches, genes, scores before and after, software.

    Raises
    ------
    EvidenceError
        A cohort has too few cells, one batch, or cells of two organisms.
    """
    tables, as_json = Tables(folder, None), spec.model_dump(mode="json")
    file = spec.file
    hashes, described = {}, {}
    for cohort in sorted(spec.cohorts, key=lambda cohort: cohort.name):
        report(f"integrating the cohort {cohort.name}")
        cells = cohort_cells(cohort.model_dump(mode="json"), tables, as_json)
        require_cells(cells["integration_batch"].to_pylist(), cohort, file)
        var = _genes(tables, pc.unique(cells["study_id"]), cohort, file)
        made = integrate(_counts(folder, cells, var), cohort)
        scores = {step: score(made.obsm[f"X_{step}"], made.obs) for step in ("pca", "harmony")}
        about = {
            "cells": made.n_obs,
            "genes": made.n_vars,
            "batches": _count(cells["integration_batch"]),
            "responses": _count(cells["response"]),
            "scores": scores,
            "software": {package: version(package) for package in SOFTWARE},
        }
        _write(made, cohort, about, folder / cohort_path(cohort.name))
        hashes[cohort.name], described[cohort.name] = cohort_hash(cells), about
    return hashes, described


def _count(values: pa.ChunkedArray) -> dict[str, int]:
    counted = pc.value_counts(values.combine_chunks()).to_pylist()
    return dict(sorted((item["values"], item["counts"]) for item in counted))


def _counts(folder: Path, cells: pa.Table, var: pd.DataFrame) -> anndata.AnnData:
    """Raw counts of a cohort's cells, all of them in memory."""
    parts = []
    for study in pc.unique(cells["study_id"]).to_pylist():
        name = matrix_path(study)
        rows = cells.filter(pc.equal(cells["study_id"], study))["row"].to_numpy()
        parts.append(rows_of(open_matrix(folder / name, name=name), rows))
    obs = cells.select(list(OBS)).to_pandas()
    obs["stars"] = obs["stars"].astype("float64")  # NaN: no stars
    for column in OBS[:-1]:
        obs[column] = pd.Categorical(obs[column])
    obs.index = pd.Index(cells["cell_id"].to_pylist(), name="cell_id", dtype="str")
    return anndata.AnnData(X=sp.vstack(parts, format="csr"), obs=obs, var=var)


def _genes(
    tables: Mapping[str, pa.Table], studies: pa.Array, cohort: CohortSpec, file: str
) -> pd.DataFrame:
    known = tables["studies"]
    chosen = known.filter(pc.is_in(known["study_id"], value_set=studies))
    organisms = sorted(set(chosen["organism"].to_pylist()))
    if len(organisms) > 1:
        raise EvidenceError(
            "the cohort has cells of several organisms, which share no gene axis",
            file=file,
            column="cohorts",
            value=cohort.name,
            allowed="studies of one organism",
        )
    genes = tables["genes"].filter(pc.equal(tables["genes"]["organism"], organisms[0]))
    frame = genes.select(["gene_id", "gene_name", "contig"]).to_pandas().set_index("gene_id")
    return frame.astype({"contig": "category"})


def _write(made: anndata.AnnData, cohort: CohortSpec, about: dict[str, Any], path: Path) -> None:
    made.uns["cohort"] = {
        key: value for key, value in cohort.model_dump(mode="json").items() if key != "studies"
    }
    made.uns["cohort"]["studies"] = np.array(cohort.studies)
    made.uns["scores"] = {
        step: {name: np.nan if value is None else value for name, value in values.items()}
        for step, values in about["scores"].items()
    }
    # Plain string arrays: readers before anndata 0.11 know no nullable ones.
    with anndata.settings.override(auto_shard_zarr_v3=True, allow_write_nullable_strings=False):
        anndata.io.write_elem(zarr.open_group(path, mode="w-", zarr_format=3), "/", made)
