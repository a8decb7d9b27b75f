"""Read and write the Parquet tables of a release, study by study."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from cellresponse.releases.layout import table_path
from cellresponse.schema.errors import ReleaseError

__all__ = ["StudyTable", "count_rows", "read_table", "table_files", "write_by_study", "write_table"]

ROW_GROUP = 1_000_000


def write_table(folder: Path, table: str, rows: pa.Table) -> None:
    """Write a table in one file."""
    write_by_study(folder, table, [rows])


def write_by_study(folder: Path, table: str, parts: Iterable[pa.Table]) -> None:
    """Write a table in one file, each part (a study) in row groups of its own.

    A reader that wants one study then reads its row groups only.
    """
    # Whoever only reads a release does not wait for Pandera.
    from cellresponse.schema.tables import TABLES, arrow_schema

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
    return StudyTable(folder, table).read(study_id)


class StudyTable:
    """A table to read study by study: its footer is read once, not once a study.

    Parameters
    ----------
    folder
        The release.
    table
        Name of the table.
    columns
        Columns to read; None: all.

    Raises
    ------
    ReleaseError
        The table is missing or not Parquet.
    """

    def __init__(self, folder: Path, table: str, columns: list[str] | None = None) -> None:
        self._name, self._columns = table_path(table), columns
        files = table_files(folder, table)
        if not files:
            raise ReleaseError("the table is missing", file=self._name)
        with _readable(self._name):
            self._dataset = ds.dataset([str(path) for path in files], format="parquet")

    def read(self, study_id: str | None) -> pa.Table:
        """Read the rows of a study; None: of all."""
        chosen = None if study_id is None else ds.field("study_id") == study_id
        with _readable(self._name):
            return self._dataset.to_table(filter=chosen, columns=self._columns)


@contextmanager
def _readable(name: str) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise ReleaseError(f"cannot be read: {error}", file=name) from None


def count_rows(folder: Path, table: str) -> int:
    """Count the rows of a table from its footers."""
    return sum(pq.read_metadata(path).num_rows for path in table_files(folder, table))
