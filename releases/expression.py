"""The optional config `expression`: counts as Parquet, one row a cell.

It says what the matrices say, in a form that needs no code of ours to stream, so it has no
part in the content hash: `verify` compares it with the matrices instead.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cellresponse.releases.layout import expression_path, matrix_path
from cellresponse.releases.matrix_store import MatrixStore, open_matrix
from cellresponse.releases.tables_io import read_table
from cellresponse.schema.errors import ReleaseError

__all__ = ["EXPRESSION", "expression_rows", "expression_spans", "verify_expression"]

EXPRESSION = pa.schema(
    [
        pa.field("cell_id", pa.string(), nullable=False),
        pa.field("study_id", pa.string(), nullable=False),
        pa.field("organism", pa.string(), nullable=False),
        # Positions in the table `genes`. The ids themselves take 1.6 to 2 times the bytes and
        # four times as long to read (docs/decisions/expression-config.md).
        pa.field("genes", pa.list_(pa.int32()), nullable=False),
        pa.field("counts", pa.list_(pa.int32()), nullable=False),
    ]
)
FILE = 1_000_000
"""Cells a file, so that none grows past what the Hub takes."""
ROW_GROUP = 1024
"""Cells a row group: some ten megabytes in memory."""


def expression_spans(study_id: str, cells: int) -> dict[str, range]:
    """Give the files of a study and the cells of each.

    Examples
    --------
    >>> expression_spans("GSE1", 1_000_001)["expression/GSE1.00001.parquet"]
    range(1000000, 1000001)
    """
    return {
        expression_path(study_id, part): range(start, min(start + FILE, cells))
        for part, start in enumerate(range(0, cells, FILE))
    }


def expression_rows(
    store: MatrixStore, span: range, study: dict[str, Any], cell_ids: pa.ChunkedArray
) -> Iterator[pa.Table]:
    """Yield cells of a matrix as rows, a row group at a time.

    Parameters
    ----------
    store
        The study's matrix.
    span
        Its rows.
    study
        `study_id` and `organism`.
    cell_ids
        Ids of all its cells, in matrix order.

    Yields
    ------
    pyarrow.Table
        Schema `EXPRESSION`.
    """
    for start in range(span.start, span.stop, ROW_GROUP):
        stop = min(start + ROW_GROUP, span.stop)
        read = store.rows(start, stop)
        borders = pa.array(np.concatenate(([0], np.cumsum(read.lengths))), pa.int32())
        columns = {
            "cell_id": cell_ids.slice(start, stop - start),
            "study_id": pa.repeat(study["study_id"], stop - start),
            "organism": pa.repeat(study["organism"], stop - start),
            "genes": pa.ListArray.from_arrays(borders, pa.array(read.indices)),
            "counts": pa.ListArray.from_arrays(borders, pa.array(read.data)),
        }
        yield pa.table(columns, schema=EXPRESSION)


def verify_expression(folder: Path, wanted: bool, studies: list[dict[str, Any]]) -> None:
    """Compare the expression files of a release with its matrices, a row group at a time.

    Parameters
    ----------
    folder
        The release; its matrices and tables are right.
    wanted
        Whether the release has expression files.
    studies
        Rows of the table `studies`.

    Raises
    ------
    ReleaseError
        A file is missing, says something else, or should not be there.
    """
    spans = {
        study["study_id"]: expression_spans(study["study_id"], study["n_cells"])
        for study in studies
        if wanted
    }
    expected = {path for files in spans.values() for path in files}
    there = {path.relative_to(folder).as_posix() for path in folder.glob("expression/*")}
    for path in sorted(expected ^ there):
        missing = path in expected
        raise ReleaseError("the file is missing" if missing else "belongs to no study", file=path)
    for study in studies if wanted else ():
        name = matrix_path(study["study_id"])
        store = open_matrix(folder / name, name=name)
        cell_ids = read_table(folder, "cells", study_id=study["study_id"])["cell_id"]
        for path, span in spans[study["study_id"]].items():
            try:
                with pq.ParquetFile(folder / path) as file:
                    _require_equal(file, expression_rows(store, span, study, cell_ids), path)
            except (OSError, pa.ArrowException) as error:
                raise ReleaseError(f"cannot be read: {error}", file=path) from None


def _require_equal(file: pq.ParquetFile, expected: Iterator[pa.Table], name: str) -> None:
    if not file.schema_arrow.equals(EXPRESSION):
        raise ReleaseError(
            "the columns are not those of the schema",
            file=name,
            value=", ".join(file.schema_arrow.names),
            allowed=EXPRESSION.names,
        )
    row = 0
    for number, wanted in enumerate(expected):
        found = file.read_row_group(number) if number < file.num_row_groups else None
        if found is None or not found.equals(wanted):
            raise ReleaseError(
                "differs from the matrix", file=name, value=f"cells {row} to {row + len(wanted)}"
            )
        row += len(wanted)
    if file.metadata.num_rows != row:
        raise ReleaseError(f"has {file.metadata.num_rows} cells, not {row}", file=name)
