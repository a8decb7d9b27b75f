"""Check what a release says of one study: its tables, their references, its matrix."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from cellresponse.releases.content_hash import combine, table_hash
from cellresponse.releases.layout import table_path
from cellresponse.releases.tables_io import read_table
from cellresponse.releases.verify_matrix import verify_matrix
from cellresponse.schema.errors import ReleaseError
from cellresponse.schema.tables import TABLES, check_table

__all__ = ["VerifiedStudy", "checked_table", "require_known", "verify_study"]


@dataclass(frozen=True)
class VerifiedStudy:
    """A study whose content is free of contradictions.

    `hashes` are those of its parts: study, samples, cells, labels and matrix.
    """

    study_id: str
    hashes: dict[str, str]
    cells: int
    labels: int


def verify_study(
    folder: Path, study: dict[str, Any], genes: pa.Table, drugs: set[str]
) -> VerifiedStudy:
    """Check the tables and the matrix of a study, and hash them.

    Parameters
    ----------
    folder
        The release.
    study
        Its row of the table `studies`.
    genes
        The table `genes`.
    drugs
        Every drug_id of the table `drugs`.

    Raises
    ------
    ReleaseError
        At the first contradiction.
    """
    study_id = study["study_id"]
    samples = checked_table(folder, "samples", study_id)
    cells = checked_table(folder, "cells", study_id)
    labels = checked_table(folder, "labels", study_id)
    known_samples = set(samples["sample_id"].to_pylist())
    require_known(samples, "treatment", drugs, table_path("samples"))
    require_known(samples, "control_samples", known_samples, table_path("samples"))
    require_known(cells, "sample_id", known_samples, table_path("cells"))
    require_known(labels, "sample_id", known_samples, table_path("labels"))
    require_known(labels, "drug_id", drugs, table_path("labels"))
    _label_cells(labels, cells)
    _counts(study, samples, cells)
    axis = genes.filter(pc.equal(genes["organism"], study["organism"]))
    hashes = {
        "study": combine(study),
        "samples": table_hash(samples),
        "cells": table_hash(cells),
        "labels": table_hash(labels),
        "matrix": verify_matrix(folder, study_id, cells, axis),
    }
    return VerifiedStudy(study_id, hashes, len(cells), len(labels))


def checked_table(folder: Path, table: str, study_id: str | None = None) -> pa.Table:
    """Read a table, or the rows of a study, and check every value.

    Raises
    ------
    ReleaseError
        The table is missing, or not as its schema says.
    """
    rows = read_table(folder, table, study_id=study_id)
    check_table(rows, TABLES[table], file=table_path(table))
    return rows


def require_known(table: pa.Table, column: str, known: set[str], file: str) -> None:
    """Require that every word of a column, or of a `;` list, is among the known ones.

    Raises
    ------
    ReleaseError
        With the first one that is not.
    """
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
