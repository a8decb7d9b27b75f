"""Read and write the Parquet tables of a release, study by study."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from cellresponse.releases.layout import table_path
from cellresponse.schema.errors import ReleaseError
from cellresponse.schema.tables import TABLES, arrow_schema

__all__ = ["count_rows", "read_table", "table_files", "write_by_study", "write_table"]

ROW_GROUP = 1_000_000


def write_table(folder: Path, table: str, rows: pa.Table) -> None:
    """Write a table in one file."""
    write_by_study(folder, table, [rows])


def write_by_study(folder: Path, table: str, parts: Iterable[pa.Table]) -> None:
    """Write a table in one file, each part (a study) in row groups of its own.

    A reader that wants one study then reads its row groups only.
    """
    path = folder / table_path(table)
    path.parent.mkdir(parents=True, exist_ok=True)
    with pq.ParquetWriter(path, arrow_schema(TABLES[table]), compression="zstd") as writer:
        for part in parts:
            writer.write_table(part, row_group_size=ROW_GROUP)


def table_files(folder: Path, table: str) -> list[Path]:
    """Give the files of a table: one, or one a study."""
    single = folder / table_path(table)
    if single.exists():
        return [single]
    return sorted((folder / table_path(table)).with_suffix("").glob("*.parquet"))


def read_table(folder: Path, table: str, *, study_id: str | None = None) -> pa.Table:
    """Read a table, or the rows of one study.

    Raises
    ------
    ReleaseError
        The table is missing or not Parquet.
    """
    name = table_path(table)
    files = table_files(folder, table)
    if not files:
        raise ReleaseError("the table is missing", file=name)
    try:
        dataset = ds.dataset([str(path) for path in files], format="parquet")
        chosen = None if study_id is None else ds.field("study_id") == study_id
        return dataset.to_table(filter=chosen)
    except (OSError, pa.ArrowException) as error:
        raise ReleaseError(f"cannot be read: {error}", file=name) from None


def count_rows(folder: Path, table: str) -> int:
    """Count the rows of a table from its footers."""
    return sum(pq.read_metadata(path).num_rows for path in table_files(folder, table))
