"""Read the rows of chosen cells out of the matrices of a release."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import anndata
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp
from numpy.typing import NDArray

from cellresponse.releases.matrix_store import CHUNK, MatrixStore
from cellresponse.schema.errors import ReleaseError

if TYPE_CHECKING:
    from cellresponse.releases.release import Release

__all__ = ["cell_labels", "read_rows", "rows_of", "select_cells"]

LABEL_COLUMNS = ["drug_id", "response", "stars", "basis", "rule_id"]
RUNS_AT_ONCE = 8  # a run on the Hub waits for the line, not for this machine


def select_cells(release: Release, labels: pd.DataFrame | None) -> anndata.AnnData:
    """Give the cells of a selection of labels, or all cells where it is None."""
    nothing = ReleaseError("no cell matches", hint="Ask `labels` for what the release has")
    pairs: pd.DataFrame | None = None
    if labels is None:
        cells = release.tables["cells"]
    elif labels.empty:
        raise nothing
    else:
        cells = release.tables.of_studies("cells", sorted(labels["study_id"].unique()))
        pairs = cell_labels(cells, labels)
        cells = cells.filter(
            pc.is_in(cells["cell_id"], value_set=pa.array(pairs["cell_id"].unique()))
        )
    if len(cells) == 0:
        raise nothing
    organism = _organism(release, cells)
    genes = release.tables["genes"]
    genes = genes.filter(pc.equal(genes["organism"], organism))
    parts = []
    for study in pc.unique(cells["study_id"]).to_pylist():
        rows = cells.filter(pc.equal(cells["study_id"], study))["row"].to_numpy()
        parts.append(read_rows(release, study, rows))
    obs = cells.drop_columns(["row"]).to_pandas(types_mapper=pd.ArrowDtype).set_index("cell_id")
    var = genes.select(["gene_id", "gene_name", "contig"]).to_pandas().set_index("gene_id")
    found = anndata.AnnData(X=_stacked(parts), obs=_plain(obs), var=var)
    if pairs is not None:
        _join(found, pairs)
    return found


def cell_labels(cells: pa.Table, labels: pd.DataFrame) -> pd.DataFrame:
    """Give one row a (cell, label): labels of whole samples spread over their cells."""
    single = labels[labels["cell_id"].notna()]
    whole = labels[labels["cell_id"].isna()].drop(columns="cell_id")
    known = cells.select(["cell_id", "sample_id"]).to_pandas(types_mapper=pd.ArrowDtype)
    spread = known.merge(whole, on="sample_id")
    return pd.concat([spread, single[spread.columns]], ignore_index=True)


def _organism(release: Release, cells: pa.Table) -> str:
    studies = release.tables["studies"]
    there = pc.is_in(studies["study_id"], value_set=pc.unique(cells["study_id"]))
    organisms = sorted(set(studies.filter(there)["organism"].to_pylist()))
    if len(organisms) > 1:
        raise ReleaseError(
            "the cells are of several organisms, which share no gene axis",
            value=", ".join(organisms),
            hint="Choose a study or a drug of one organism",
        )
    return str(organisms[0])


def read_rows(release: Release, study: str, rows: NDArray[np.int64]) -> sp.csr_matrix:
    """Read rows of a study's matrix by runs: wanted rows that stand close are read in one go.

    Parameters
    ----------
    release, study
        Whose matrix.
    rows
        (cells,) row numbers, rising.

    Returns
    -------
    scipy.sparse.csr_matrix
        (cells, genes) raw counts.
    """
    return rows_of(release.matrix_store(study), rows)


def rows_of(store: MatrixStore, rows: NDArray[np.int64]) -> sp.csr_matrix:
    """Read rows of an open matrix; as `read_rows`."""
    # A new run begins where a whole chunk would be read for nothing.
    first, last = store.indptr[rows] // CHUNK, (store.indptr[rows + 1] - 1) // CHUNK
    runs = np.split(rows, np.flatnonzero(first[1:] - last[:-1] > 1) + 1)

    def read(run: NDArray[np.int64]) -> sp.csr_matrix:
        start, stop = int(run[0]), int(run[-1]) + 1
        found = store.rows(start, stop)
        indptr = np.concatenate(([0], np.cumsum(found.lengths)))
        block = sp.csr_matrix(
            (found.data, found.indices, indptr), shape=(stop - start, store.shape[1])
        )
        return block if len(run) == stop - start else block[run - start]

    with ThreadPoolExecutor(RUNS_AT_ONCE) as pool:
        return _stacked(list(pool.map(read, runs)))


def _stacked(parts: list[sp.csr_matrix]) -> sp.csr_matrix:
    """Put matrices below each other; a single one is not copied."""
    return parts[0] if len(parts) == 1 else sp.vstack(parts, format="csr")


def _plain(obs: pd.DataFrame) -> pd.DataFrame:
    """Columns as AnnData knows them: categories for repeated words, NumPy numbers."""
    plain: dict[str, pd.Series[Any]] = {}
    for column in map(str, obs.columns):
        values = obs[column]
        if pd.api.types.is_numeric_dtype(values.dtype):
            whole = pd.api.types.is_integer_dtype(values.dtype) and not values.isna().any()
            plain[column] = values.astype("int64" if whole else "float64")
        else:
            plain[column] = _words(values, repeated=column != "barcode")
    return pd.DataFrame(plain, index=pd.Index(obs.index.astype("str"), name="cell_id"))


def _words(values: pd.Series[Any], *, repeated: bool) -> pd.Series[Any]:
    return values.astype(object).astype("category" if repeated else "str")


def _join(found: anndata.AnnData, pairs: pd.DataFrame) -> None:
    if pairs["cell_id"].is_unique:
        joined = pairs.set_index("cell_id")[LABEL_COLUMNS].reindex(found.obs_names)
        for column, values in _plain_labels(joined).items():
            found.obs[column] = values
    else:
        found.uns["labels"] = _plain_labels(pairs[["cell_id", *LABEL_COLUMNS]])


def _plain_labels(labels: pd.DataFrame) -> pd.DataFrame:
    labels = labels.set_axis(labels.index.astype("str"))
    plain: dict[str, pd.Series[Any]] = {}
    for column in map(str, labels.columns):
        values = labels[column]
        if column == "stars":
            plain[column] = values.astype("float64")
        else:
            plain[column] = _words(values, repeated=column != "cell_id")
    return pd.DataFrame(plain)
