"""Bring the batches of a cohort together: HVGs, PCs, Harmony, BBKNN.

Sources: Korsunsky et al. 2019 (doi 10.1038/s41592-019-0619-0) for Harmony, through
harmonypy; Polański et al. 2020 (doi 10.1093/bioinformatics/btz625) for BBKNN, through
bbknn; HVGs and PCs are scanpy's.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import anndata
import numpy as np

from cellresponse.schema.errors import EvidenceError
from cellresponse.schema.spec import CohortSpec

__all__ = ["integrate", "require_cells"]

CELLS_OF_BATCH = 3
"""Neighbours that BBKNN takes from every batch."""
COUNTS_PER_CELL = 10_000


def require_cells(batches: list[str], cohort: CohortSpec, file: str) -> None:
    """Refuse a cohort whose cells cannot be integrated.

    Parameters
    ----------
    batches
        Batch of each cell.
    cohort
        Its spec.
    file
        The spec's file, for messages.

    Raises
    ------
    EvidenceError
        Too few cells, one batch, or a batch of fewer cells than BBKNN takes neighbours.
    """
    counts = Counter(batches)
    problem = None
    if len(batches) <= cohort.n_pcs:
        problem = f"has {len(batches)} labelled cells, and more are needed than n_pcs"
    elif len(counts) == 1:
        problem = f"has one batch, {batches[0]}, so there is nothing to integrate"
    elif min(counts.values()) < CELLS_OF_BATCH:
        smallest = min(counts, key=lambda batch: counts[batch])
        problem = f"has {counts[smallest]} cells in the batch {smallest}, where 3 are needed"
    if problem is not None:
        raise EvidenceError(
            f"the cohort {problem}",
            file=file,
            column="cohorts",
            value=cohort.name,
            hint="Ask `labels` of a build without the cohort for what there is",
        )


def integrate(cells: Any, cohort: CohortSpec) -> Any:
    """Give the cells on highly variable genes, with corrected PCs and a balanced graph.

    Parameters
    ----------
    cells
        anndata.AnnData of raw counts, CSR (cells, genes); `obs["integration_batch"]`.
    cohort
        How to integrate.

    Returns
    -------
    anndata.AnnData
        `X` float32 CSR (cells, at most `n_top_genes`), ln(1 + counts per 10,000), where a
        cell's counts are those of all genes; `obsm["X_pca"]` and `obsm["X_harmony"]` float32
        (cells, n_pcs); `obsp["distances"]` and `obsp["connectivities"]` of BBKNN on the PCs.
    """
    with warnings.catch_warnings(), _same_threads():
        warnings.simplefilter("ignore")  # of the packages, about each other's versions
        import bbknn.matrix
        import harmonypy
        import scanpy

        cells = _log_normalised(cells)
        scanpy.pp.highly_variable_genes(
            cells, n_top_genes=cohort.n_top_genes, batch_key="integration_batch"
        )
        chosen = cells[:, cells.var["highly_variable"]].copy()
        scanpy.pp.pca(chosen, n_comps=cohort.n_pcs, random_state=cohort.seed)
        # One thread and the seed: the same cells give the same coordinates on one machine.
        corrected = harmonypy.run_harmony(
            chosen.obsm["X_pca"],
            chosen.obs,
            "integration_batch",
            random_state=cohort.seed,
            ncores=1,
            verbose=False,
        ).Z_corr
        distances, connectivities, _ = bbknn.matrix.bbknn(
            chosen.obsm["X_pca"],
            chosen.obs["integration_batch"].to_numpy().astype(str),
            neighbors_within_batch=CELLS_OF_BATCH,
            n_pcs=cohort.n_pcs,
            computation="cKDTree",  # exact, so without a seed of its own
        )
    found = anndata.AnnData(X=chosen.X, obs=chosen.obs, var=chosen.var[["gene_name", "contig"]])
    found.obsm["X_pca"] = np.asarray(chosen.obsm["X_pca"], dtype=np.float32)
    found.obsm["X_harmony"] = np.asarray(corrected, dtype=np.float32)
    found.obsp["distances"] = distances.astype(np.float32)
    found.obsp["connectivities"] = connectivities.astype(np.float32)
    return found


@contextmanager
def _same_threads() -> Iterator[None]:
    """Put back how many threads libraries use; numba, below BBKNN, sets it for the process."""
    from threadpoolctl import ThreadpoolController

    libraries = ThreadpoolController().lib_controllers
    before = [library.num_threads for library in libraries]
    try:
        yield
    finally:
        for library, threads in zip(libraries, before, strict=True):
            library.set_num_threads(threads)


def _log_normalised(cells: Any) -> anndata.AnnData:
    """Genes that any cell has, as ln(1 + counts per 10,000) of all genes."""
    counts = cells.X.astype(np.float32)
    total = np.asarray(counts.sum(axis=1, dtype=np.float64)).ravel()
    factors = np.repeat(COUNTS_PER_CELL / total, np.diff(counts.indptr))
    counts.data *= factors.astype(np.float32)
    np.log1p(counts.data, out=counts.data)
    found = np.unique(counts.indices)
    normalised = anndata.AnnData(X=counts[:, found], obs=cells.obs, var=cells.var.iloc[found])
    normalised.uns["log1p"] = {"base": None}  # scanpy looks here for what X is
    return normalised
