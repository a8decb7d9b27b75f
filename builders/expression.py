"""Write the optional config `expression`: counts as Parquet, one row a cell."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from cellresponse.releases.expression import EXPRESSION, expression_rows, expression_spans
from cellresponse.releases.layout import matrix_path
from cellresponse.releases.matrix_store import open_matrix
from cellresponse.releases.tables_io import read_table

__all__ = ["write_expression"]


def write_expression(folder: Path, studies: list[dict[str, Any]]) -> None:
    """Write the expression files of a release whose tables and matrices stand.

    A row group of each of a few studies is in memory at a time.

    Parameters
    ----------
    folder
        The release.
    studies
        Rows of the table `studies`.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # encoding releases the interpreter's lock
        list(pool.map(lambda study: _write_study(folder, study), studies))


def _write_study(folder: Path, study: dict[str, Any]) -> None:
    name = matrix_path(study["study_id"])
    store = open_matrix(folder / name, name=name)
    cell_ids = read_table(folder, "cells", study_id=study["study_id"])["cell_id"]
    for path, span in expression_spans(study["study_id"], store.shape[0]).items():
        (folder / path).parent.mkdir(exist_ok=True)
        with pq.ParquetWriter(
            folder / path,
            EXPRESSION,
            compression="zstd",
            # Positions rise within a cell, so their differences are small.
            column_encoding={"genes.list.element": "DELTA_BINARY_PACKED"},
            use_dictionary=["study_id", "organism", "counts.list.element"],
        ) as writer:
            for rows in expression_rows(store, span, study, cell_ids):
                writer.write_table(rows)
