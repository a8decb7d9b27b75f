"""Dense tables of counts in text: genes by cells, or cells by genes.

The file is read twice: once for the names of its rows, which costs little more
than decompressing it, and once for its numbers, in blocks of whole lines.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from cellresponse.builders.read.numbers import (
    Entries,
    FieldBlock,
    any_numbers,
    first_bad_field,
    whole_numbers,
)
from cellresponse.builders.read.options import DenseTextOptions
from cellresponse.builders.read.source import (
    CellBlocks,
    CountSource,
    CsrBlock,
    Features,
    Triplet,
    Triplets,
    require_distinct_barcodes,
)
from cellresponse.builders.read.text import (
    decoded,
    delimiter_of,
    is_blank,
    leading_field,
    line_blocks,
    opened_text,
    split_line,
)
from cellresponse.schema.errors import EvidenceError, SourceFileError

__all__ = ["DenseTable", "open_dense_text", "row_names", "table_columns"]


@dataclass(frozen=True)
class DenseTable:
    """Where the names and numbers of a table are.

    Attributes
    ----------
    path, name
        The local file, and its name in the manifest.
    delimiter
        One character.
    columns
        Name of each field of a row; the first is empty under an R header.
    id_position
        Position of the field that names the row.
    value_positions
        Positions of the fields that are values, ascending.
    """

    path: Path
    name: str
    delimiter: str
    columns: list[str]
    id_position: int
    value_positions: list[int]


def open_dense_text(path: Path, *, name: str, options: DenseTextOptions) -> CountSource:
    """Open a dense table of counts.

    Parameters
    ----------
    path
        The local file: plain, gzip, bzip2 or xz.
    name
        Its name in the manifest, for messages.
    options
        Orientation, delimiter (default: by the extension), the column that
        holds the row names (default: the first) and columns to pass over.
        R headers, with one name fewer than a row has fields, are understood.

    Returns
    -------
    `CellBlocks` for `cells_by_features`, else `Triplets`.

    Raises
    ------
    SourceFileError
        Empty or damaged file, or a barcode that repeats; ragged rows, missing
        values and fields that are no number when their block is read.
    EvidenceError
        An option names a column that the header lacks.
    """
    delimiter = delimiter_of(name, options.delimiter)
    columns = table_columns(path, delimiter, name=name)
    table = _laid_out(path, name, delimiter, columns, options)
    of_rows = row_names(path, delimiter, table.id_position, name=name)
    of_columns = [columns[position] for position in table.value_positions]
    if options.orientation == "features_by_cells":
        require_distinct_barcodes(of_columns, name=name)
        return Triplets(name, of_columns, Features(of_rows), partial(_triplets, table))
    require_distinct_barcodes(of_rows, name=name)
    return CellBlocks(name, of_rows, Features(of_columns), partial(_blocks, table))


def table_columns(path: Path, delimiter: str, *, name: str) -> list[str]:
    """Read the header and give one name for each field of a row.

    R writes no name for the column of row names: where the first row has one
    field more than the header, an empty name is put before the others.

    Raises
    ------
    SourceFileError
        No header, no row, or a first row that fits neither form.
    """
    with opened_text(path, name=name) as stream:
        header = split_line(stream.readline(), delimiter, name=name, row=1)
        first = next((line for line in stream if not is_blank(line)), b"")
    if not header:
        raise SourceFileError("the file is empty, or its first line is", file=name)
    if not first:
        raise SourceFileError("the file has a header and no rows", file=name)
    fields = split_line(first, delimiter, name=name, row=2)
    if len(fields) == len(header) + 1:
        return ["", *header]
    if len(fields) == len(header):
        return header
    raise SourceFileError(
        f"the header has {len(header)} names and the first row {len(fields)} fields",
        file=name,
        row=2,
        allowed="as many names as fields, or one fewer (R)",
        hint="Check the delimiter",
    )


def row_names(path: Path, delimiter: str, position: int, *, name: str) -> list[str]:
    """Read field `position` of every row after the header.

    Raises
    ------
    SourceFileError
        A row without that field, a line break inside it, or damaged data.
    """
    pattern = leading_field(delimiter, position)
    names = []
    with opened_text(path, name=name) as stream:
        stream.readline()
        for row, line in enumerate(stream, start=2):
            found = pattern.match(line)
            if not (found and found.end()) and is_blank(line):
                continue
            if found is None:
                split_line(line, delimiter, name=name, row=row)
                raise SourceFileError("the row has no field for its name", file=name, row=row)
            quoted, bare = found.groups()
            text = bare if quoted is None else quoted.replace(b'""', b'"')
            names.append(decoded(text, name=name, row=row))
    return names


def _laid_out(
    path: Path, name: str, delimiter: str, columns: list[str], options: DenseTextOptions
) -> DenseTable:
    known = set(columns)
    asked = [("id_column", options.id_column)] if options.id_column is not None else []
    asked += [("skip_columns", column) for column in options.skip_columns]
    for option, column in asked:
        if column not in known:
            raise EvidenceError(
                "the file has no such column",
                file=name,
                column=f"options.{option}",
                value=column,
                allowed=_shown(columns),
            )
    id_position = 0 if options.id_column is None else columns.index(options.id_column)
    passed_over = set(options.skip_columns)
    values = [
        position
        for position, column in enumerate(columns)
        if position != id_position and column not in passed_over
    ]
    if not values:
        raise SourceFileError("no column of values is left", file=name, hint="Check the delimiter")
    return DenseTable(path, name, delimiter, columns, id_position, values)


def _shown(columns: Sequence[str], limit: int = 8) -> list[str]:
    more = [f"... ({len(columns)} columns)"] if len(columns) > limit else []
    return [column or "(no name)" for column in columns[:limit]] + more


def _entries(table: DenseTable) -> Iterator[tuple[int, Entries]]:
    """Yield the index of the first row of a block, and the block's values."""
    parse = whole_numbers
    row, first = 2, 0
    with opened_text(table.path, name=table.name) as stream:
        stream.readline()
        for text in line_blocks(stream):
            block = FieldBlock(
                text, row, table.columns, table.value_positions, table.delimiter, table.name
            )
            entries = parse(block)
            if entries is None and parse is whole_numbers:
                parse = any_numbers  # for the rest of the file: few mix their notations
                entries = parse(block)
            if entries is None:
                raise first_bad_field(block)
            yield first, entries
            row += text.count(b"\n")
            first += entries.n_rows


def _triplets(table: DenseTable) -> Iterator[Triplet]:
    for first, entries in _entries(table):
        features = (entries.rows + first).astype(np.int32)
        yield Triplet(entries.columns, features, entries.values)


def _blocks(table: DenseTable) -> Iterator[CsrBlock]:
    for first, entries in _entries(table):
        indptr = np.searchsorted(entries.rows, np.arange(entries.n_rows + 1)).astype(np.int64)
        yield CsrBlock(first, indptr, entries.columns, entries.values)
