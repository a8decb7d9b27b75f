"""Check what the files of a release say: tables, references, matrices, content hash."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import zarr
from numpy.typing import NDArray

from cellresponse.releases.content_hash import MatrixHash, combine, table_hash
from cellresponse.releases.layout import matrix_path, table_path
from cellresponse.releases.matrix_store import MatrixStore, open_matrix
from cellresponse.releases.read_ahead import read_ahead
from cellresponse.releases.tables_io import count_rows, read_table
from cellresponse.schema.errors import ReleaseError
from cellresponse.schema.tables import TABLES, check_table

__all__ = ["content_hash", "verify_content"]


def content_hash(parts: dict[str, Any]) -> str:
    """Combine the hashes of a release's parts: `studies`, `genes`, `drugs`."""
    return combine({key: parts[key] for key in ("studies", "genes", "drugs")})


def verify_content(folder: Path, root: dict[str, Any]) -> tuple[int, int]:
    """Check a release whose bytes are right; give its number of cells and labels.

    One study is in memory at a time, and of its matrix one shard.

    Raises
    ------
    ReleaseError
        At the first contradiction.
    """
    studies = _checked(folder, "studies")
    genes = _checked(folder, "genes")
    drugs = _checked(folder, "drugs")
    named = studies["study_id"].to_pylist()
    if named != sorted(root["studies"]):
        raise ReleaseError("other studies than release.json", file=table_path("studies"))
    stores = sorted(path.name for path in (folder / "matrices").iterdir())
    if stores != [f"{study}.zarr" for study in named]:
        raise ReleaseError(
            "other stores than the studies", file="matrices", value=", ".join(stores)
        )
    _references(drugs, "components", set(drugs["drug_id"].to_pylist()), table_path("drugs"))
    parts: dict[str, Any] = {
        "studies": {},
        "genes": {
            organism: table_hash(genes.filter(pc.equal(genes["organism"], organism)))
            for organism in sorted(set(genes["organism"].to_pylist()))
        },
        "drugs": table_hash(drugs),
    }
    known_drugs = set(drugs["drug_id"].to_pylist())
    cells = labels = 0
    for study in studies.to_pylist():
        hashes, counted, labelled = _study(folder, study, genes, known_drugs)
        parts["studies"][study["study_id"]] = hashes
        cells, labels = cells + counted, labels + labelled
    _table_sizes(folder, cells, labels)
    recorded = root["content"]
    for key in ("studies", "genes", "drugs"):
        if parts[key] != recorded[key]:
            raise ReleaseError(
                f"the content of {key} is not the one that is recorded", file="release.json"
            )
    if content_hash(parts) != recorded["hash"]:
        raise ReleaseError("the content hash is not the one that is recorded", file="release.json")
    return cells, labels


def _checked(folder: Path, table: str, study_id: str | None = None) -> pa.Table:
    rows = read_table(folder, table, study_id=study_id)
    check_table(rows, TABLES[table], file=table_path(table))
    return rows


def _study(
    folder: Path, study: dict[str, Any], genes: pa.Table, drugs: set[str]
) -> tuple[dict[str, str], int, int]:
    study_id = study["study_id"]
    samples = _checked(folder, "samples", study_id)
    cells = _checked(folder, "cells", study_id)
    labels = _checked(folder, "labels", study_id)
    known_samples = set(samples["sample_id"].to_pylist())
    _references(samples, "treatment", drugs, table_path("samples"))
    _references(samples, "control_samples", known_samples, table_path("samples"))
    _references(cells, "sample_id", known_samples, table_path("cells"))
    _references(labels, "sample_id", known_samples, table_path("labels"))
    _references(labels, "drug_id", drugs, table_path("labels"))
    _label_cells(labels, cells)
    _counts(study, samples, cells)
    axis = genes.filter(pc.equal(genes["organism"], study["organism"]))
    hashes = {
        "study": combine(study),
        "samples": table_hash(samples),
        "cells": table_hash(cells),
        "labels": table_hash(labels),
        "matrix": _matrix(folder, study_id, cells, axis),
    }
    return hashes, len(cells), len(labels)


def _references(table: pa.Table, column: str, known: set[str], file: str) -> None:
    """Every word of a column, or of a `;` list, is among the known ones."""
    for value in pc.unique(table[column].drop_null()).to_pylist():
        for word in value.split(";"):
            if word not in known:
                raise ReleaseError(
                    "refers to what is not there", file=file, column=column, value=word
                )


def _label_cells(labels: pa.Table, cells: pa.Table) -> None:
    """A label of a single cell names a cell of its sample."""
    single = labels.filter(pc.is_valid(labels["cell_id"])).select(["cell_id", "sample_id"])
    pairs = cells.select(["cell_id", "sample_id"])
    lost = single.join(pairs, keys=["cell_id", "sample_id"], join_type="left anti")
    if len(lost):
        raise ReleaseError(
            "is no cell of its sample",
            file=table_path("labels"),
            column="cell_id",
            value=lost["cell_id"][0].as_py(),
        )
    stars = labels.filter(
        pc.and_(pc.is_valid(labels["stars"]), pc.equal(labels["response"], "sensitive"))
    )
    if len(stars):
        raise ReleaseError(
            "a sensitive label has stars",
            file=table_path("labels"),
            value=stars["sample_id"][0].as_py(),
        )


def _counts(study: dict[str, Any], samples: pa.Table, cells: pa.Table) -> None:
    counted = {
        item["values"]: item["counts"]
        for item in pc.value_counts(cells["sample_id"].combine_chunks()).to_pylist()
    }
    for sample, recorded in zip(
        samples["sample_id"].to_pylist(), samples["n_cells"].to_pylist(), strict=True
    ):
        if counted.get(sample, 0) != recorded:
            raise ReleaseError(
                f"{sample} has {counted.get(sample, 0)} cells, not {recorded}",
                file=table_path("samples"),
                column="n_cells",
            )
    for column, count in (("n_samples", len(samples)), ("n_cells", len(cells))):
        if study[column] != count:
            raise ReleaseError(
                f"{study['study_id']} has {count}, not {study[column]}",
                file=table_path("studies"),
                column=column,
            )


def _table_sizes(folder: Path, cells: int, labels: int) -> None:
    """No rows belong to a study that is not in the release."""
    for table, expected in (("cells", cells), ("labels", labels)):
        if count_rows(folder, table) != expected:
            raise ReleaseError("has rows of no study of the release", file=table_path(table))


def _matrix(folder: Path, study_id: str, cells: pa.Table, genes: pa.Table) -> str:
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
    obs: Any = anndata.io.read_elem(group["obs"])
    if list(obs.index) != cells["cell_id"].to_pylist():
        raise ReleaseError("obs and the cells table name different cells", file=name)
    if list(obs["sample_id"]) != cells["sample_id"].to_pylist():
        raise ReleaseError("obs and the cells table differ in sample_id", file=name)
    var: Any = anndata.io.read_elem(group["var"])
    if list(var.index) != genes["gene_id"].to_pylist():
        raise ReleaseError("var and the genes table name different genes", file=name)
    return _values(store, cells)


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
    with ThreadPoolExecutor(1) as hashing:
        for offset, indices, data in read_ahead(store.value_blocks()):
            running = hashing.submit(hashed.update, indices=indices, data=data)
            last_gene = _check_block(store, offset, indices, data, last_gene)
            _add_sums(sums, indptr, offset, data)
            running.result()
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


def _add_sums(
    sums: NDArray[np.int64], indptr: NDArray[np.int64], offset: int, data: NDArray[np.int32]
) -> None:
    """Add a block's counts to its rows' sums."""
    first = int(np.searchsorted(indptr, offset, side="right")) - 1
    stop = int(np.searchsorted(indptr, offset + len(data), side="left"))
    # Rows without values have no place in reduceat, which would give them a neighbour's.
    filled = first + np.flatnonzero(np.diff(indptr[first : stop + 1]))
    starts = np.maximum(indptr[filled] - offset, 0)
    sums[filled] += np.add.reduceat(data, starts, dtype=np.int64)
