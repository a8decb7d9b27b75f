"""A source's own table of its cells: strings, one row a barcode."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa
from pyarrow import csv as arrow_csv

from cellresponse.builders.read.dense_text import table_columns
from cellresponse.builders.read.numbers import FieldBlock, first_bad_field
from cellresponse.builders.read.source import require_distinct_barcodes
from cellresponse.builders.read.text import delimiter_of, line_blocks, opened_text
from cellresponse.schema.errors import EvidenceError, SourceFileError

__all__ = ["read_cell_table"]


def read_cell_table(
    path: Path, *, name: str, delimiter: str | None = None, barcode_column: str | None = None
) -> pd.DataFrame:
    """Read a per-cell metadata table as it stands, every field a string.

    Parameters
    ----------
    path
        The local file: plain, gzip, bzip2 or xz. R headers are understood.
    name
        Its name in the manifest, for messages.
    delimiter
        `comma`, `tab`, `semicolon`, `space` or the character; None takes it from
        the extension.
    barcode_column
        Column that holds the barcodes; None takes the first field of a row.

    Returns
    -------
    One row a cell in file order, the barcode as index (named `barcode`), all
    columns as strings. Empty fields and `NA` stay as they are.

    Raises
    ------
    SourceFileError
        Damaged or ragged file, a barcode or a column name that repeats.
    EvidenceError
        The header lacks `barcode_column`.
    """
    mark = delimiter_of(name, delimiter)
    columns = table_columns(path, mark, name=name)
    _require_distinct_columns(columns, name)
    if barcode_column is not None and barcode_column not in columns:
        raise EvidenceError(
            "the file has no such column", file=name, value=barcode_column, allowed=columns
        )
    pieces = _string_tables(path, mark, columns, name)
    table: pd.DataFrame = pa.concat_tables(pieces).to_pandas()
    table.columns = pd.Index(columns)
    barcode = columns[0] if barcode_column is None else barcode_column
    require_distinct_barcodes(table[barcode].tolist(), name=name)
    return table.set_index(barcode, drop=False).rename_axis("barcode")


def _string_tables(path: Path, mark: str, columns: list[str], name: str) -> list[pa.Table]:
    positions = [str(position) for position in range(len(columns))]
    tables = []
    row = 2
    with opened_text(path, name=name) as stream:
        stream.readline()
        for text in line_blocks(stream):
            try:
                table = arrow_csv.read_csv(
                    pa.BufferReader(text),
                    read_options=arrow_csv.ReadOptions(column_names=positions),
                    parse_options=arrow_csv.ParseOptions(delimiter=mark),
                    convert_options=arrow_csv.ConvertOptions(
                        column_types=dict.fromkeys(positions, pa.string())
                    ),
                )
            except pa.ArrowInvalid as error:
                raise first_bad_field(FieldBlock(text, row, columns, [], mark, name)) from error
            tables.append(table)
            row += text.count(b"\n")
    return tables


def _require_distinct_columns(columns: list[str], name: str) -> None:
    for position, column in enumerate(columns):
        if column in columns[:position]:
            raise SourceFileError("two columns have the same name", file=name, value=column)
