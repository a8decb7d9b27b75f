"""Check a study's matrix: its axes, and every value once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pyarrow as pa
import zarr
from numpy.typing import NDArray

from cellresponse.releases.content_hash import MatrixHash
from cellresponse.releases.layout import matrix_path, table_path
from cellresponse.releases.matrix_store import MatrixStore, open_matrix
from cellresponse.releases.read_ahead import read_ahead
from cellresponse.releases.row_sums import add_row_sums
from cellresponse.schema.errors import ReleaseError

__all__ = ["verify_matrix"]


def verify_matrix(folder: Path, study_id: str, cells: pa.Table, genes: pa.Table) -> str:
    """Check a study's matrix against its cells and genes; give its content hash.

    Parameters
    ----------
    folder
        The release.
    study_id
        The study.
    cells, genes
        Its rows of `cells`, and the genes of its organism.

    Raises
    ------
    ReleaseError
        At the first contradiction.
    """
    name = matrix_path(study_id)
    store = open_matrix(folder / name, name=name)
    if store.shape != (len(cells), len(genes)):
        raise ReleaseError(
            f"has the shape {store.shape}, not {(len(cells), len(genes))}", file=name
        )
    rows = cells["row"].to_numpy()
    if not np.array_equal(rows, np.arange(len(cells))):
        raise ReleaseError(
            "the rows of a study do not stand in matrix order", file=table_path("cells")
        )
    group = zarr.open_group(folder / name, mode="r", zarr_format=3)
    for slot, of, table, key in (
        ("obs", "cells", cells, "cell_id"),
        ("var", "genes", genes, "gene_id"),
    ):
        frame: Any = group[slot]
        if not _same(frame, frame.attrs["_index"], table[key]):
            raise ReleaseError(f"{slot} and the {of} table name different {of}", file=name)
        for column in frame.attrs["column-order"]:
            if column not in table.column_names or not _same(frame, column, table[column]):
                raise ReleaseError(f"{slot} and the {of} table differ in {column}", file=name)
    return _values(store, cells)


def _same(frame: Any, column: str, wanted: pa.ChunkedArray) -> bool:
    """Whether a column of a stored data frame holds these values; NaN stands for null."""
    stored = pa.array(anndata.io.read_elem(frame[column]), from_pandas=True)
    if pa.types.is_dictionary(stored.type):
        stored = stored.cast(stored.type.value_type)
    return bool(pa.chunked_array([stored.cast(wanted.type)]).equals(wanted))


def _values(store: MatrixStore, cells: pa.Table) -> str:
    """Read every value once: counts positive, genes rising and on the axis; hash them."""
    indptr = store.indptr
    lengths = np.diff(indptr)
    if len(indptr) != store.shape[0] + 1 or indptr[0] != 0 or (lengths < 0).any():
        raise ReleaseError("indptr does not rise from 0", file=store.name)
    if store.indices.shape != (indptr[-1],) or store.data.shape != (indptr[-1],):
        raise ReleaseError("indptr, indices and data do not fit each other", file=store.name)
    hashed = MatrixHash()
    hashed.update(lengths=lengths)
    sums = np.zeros(store.shape[0], dtype=np.int64)
    last_gene = -1
    with ThreadPoolExecutor(2) as hashing:
        for offset, indices, data in read_ahead(store.value_blocks()):
            # One task an array keeps each in order: the next waits for the results.
            running = [
                hashing.submit(hashed.update, indices=indices),
                hashing.submit(hashed.update, data=data),
            ]
            last_gene = _check_block(store, offset, indices, data, last_gene)
            add_row_sums(sums, indptr, offset, data)
            for task in running:
                task.result()
    if (sums > cells["n_counts"].to_numpy()).any():
        raise ReleaseError("a row has more counts than n_counts", file=store.name)
    if (lengths > cells["n_genes"].to_numpy()).any():
        raise ReleaseError("a row has more genes than n_genes", file=store.name)
    return hashed.hexdigest(store.shape)


def _check_block(
    store: MatrixStore,
    offset: int,
    indices: NDArray[np.int32],
    data: NDArray[np.int32],
    last_gene: int,
) -> int:
    """Check one block; give its last gene, for the border to the next."""
    if data.min() < 1:
        raise ReleaseError("holds a count below 1", file=store.name)
    if indices.min() < 0 or indices.max() >= store.shape[1]:
        raise ReleaseError("holds a gene beyond the axis", file=store.name)
    rises = np.empty(len(indices), dtype=bool)
    rises[0] = indices[0] > last_gene
    np.greater(indices[1:], indices[:-1], out=rises[1:])
    first, stop = np.searchsorted(store.indptr, (offset, offset + len(indices)))
    rises[store.indptr[first:stop] - offset] = True  # a new row may begin anywhere
    if not rises.all():
        raise ReleaseError("genes do not rise within a row", file=store.name)
    return int(indices[-1])
