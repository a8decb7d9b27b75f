"""Cells of the cohorts of a release, and how the store of a cohort is read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from cellresponse.releases.content_hash import table_hash
from cellresponse.releases.layout import cohort_path
from cellresponse.releases.task_cells import cells_of
from cellresponse.releases.tasks import Task
from cellresponse.schema.errors import ReleaseError

if TYPE_CHECKING:
    import anndata

    from cellresponse.releases.release import Release

__all__ = ["cohort_cells", "cohort_hash", "load_cohort"]


def cohort_cells(
    cohort: Mapping[str, Any], tables: Mapping[str, pa.Table], spec: Mapping[str, Any]
) -> pa.Table:
    """Give the cells of a cohort: those with a label for its drug, of its cancer and studies.

    Parameters
    ----------
    cohort
        One of `spec["cohorts"]`.
    tables
        Tables of the release by name.
    spec
        Its spec, as `release.json` holds it.

    Returns
    -------
    pyarrow.Table
        Columns of `Task.cells`, and `integration_batch`: the study, or `<study>:<batch>`.
        Sorted by study and row.
    """
    studies = pa.array(sorted(cohort["studies"]), pa.string())
    known = tables["studies"]
    organisms = known.filter(pc.is_in(known["study_id"], value_set=studies))["organism"]
    cells = pa.concat_tables(
        cells_of(_task(cohort, organism), tables, spec)
        for organism in sorted(set(organisms.to_pylist()))
    )
    cells = cells.filter(pc.is_in(cells["study_id"], value_set=studies))
    batches = cells["study_id"]
    if cohort["batch"] == "batch":
        batches = pc.binary_join_element_wise(cells["study_id"], cells["batch"], ":")
    return cells.append_column("integration_batch", batches)


def _task(cohort: Mapping[str, Any], organism: str) -> Task:
    """The cells of a cohort are those of a task on its cancer type and drug."""
    return Task(
        task_id=cohort["name"],
        track="pooled",
        collection=None,
        organism=organism,
        by="cancer",
        category=cohort["cancer_type"],
        drug_id=cohort["drug"],
        bases=(),
        n_sensitive=0,
        n_resistant=0,
        n_contradicting=0,
        splits={},
    )


def cohort_hash(cells: pa.Table) -> str:
    """Hash what a cohort says in words: its cells, batches and labels, no coordinate."""
    return table_hash(cells)


def load_cohort(release: Release, name: str) -> anndata.AnnData:
    """Open a cohort of a release.

    Parameters
    ----------
    release
        The release.
    name
        Of the cohort.

    Returns
    -------
    anndata.AnnData
        `X` float32 CSR, ln(1 + counts per 10,000) of the highly variable genes; `obs` cells
        and labels; `obsm["X_pca"]`, `obsm["X_harmony"]`; `obsp` the BBKNN graph
        (`distances`, `connectivities`); `uns["cohort"]` how it was made, `uns["scores"]`
        mixing and conservation before and after.

    Raises
    ------
    ReleaseError
        The release has no such cohort, or it was not pulled, or a file of it is missing.
    """
    import anndata

    known = sorted(release.root["content"]["cohorts"])
    if name not in known:
        raise ReleaseError(
            f"the release {release.name} has no such cohort", value=name, allowed=known or "none"
        )
    path = cohort_path(name)
    if release.remote is not None:
        release.remote.fetch_all(release.remote.below(f"{path}/"))
    else:
        release.require_whole(path)
    return anndata.read_zarr(release.folder / path)
