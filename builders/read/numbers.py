"""Blocks of text lines to numbers.

Two parsers: one for the plain form of a table of counts, and Arrow's for every
other notation. A block that neither takes is searched for its first bad field.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import csv as arrow_csv

from cellresponse.builders.read.text import is_blank, split_line, stray_return
from cellresponse.schema.errors import SourceFileError

__all__ = ["Entries", "FieldBlock", "any_numbers", "first_bad_field", "whole_numbers"]

_NEWLINE = np.uint8(ord("\n"))
_ZERO = np.uint8(ord("0"))
_QUOTE = np.uint8(ord('"'))
_MISSING = {"", "na", "n/a", "nan", "null", "none", "."}


@dataclass(frozen=True)
class FieldBlock:
    """Whole lines of one file, with what is needed to parse and to name them.

    Attributes
    ----------
    text
        The lines.
    row
        1-based number, in the file, of the first line.
    columns
        Name of every field of a line; may be empty or repeat.
    numeric
        Positions of the fields that are numbers; the others are passed over.
    delimiter
        One character.
    name
        The file's name in the manifest.
    """

    text: bytes
    row: int
    columns: Sequence[str]
    numeric: Sequence[int]
    delimiter: str
    name: str


@dataclass(frozen=True)
class Entries:
    """The values of a block that are not zero, row by row.

    Attributes
    ----------
    n_rows
        Number of lines.
    rows
        int64, shape (values,), ascending: the line of each value, from 0.
    columns
        int32, shape (values,): its position among the block's numeric fields.
    values
        int32 or float64, shape (values,).
    """

    n_rows: int
    rows: NDArray[np.int64]
    columns: NDArray[np.int32]
    values: NDArray[Any]


def whole_numbers(block: FieldBlock) -> Entries | None:
    """Parse a block of whole numbers by looking at its non-zero fields only.

    Nine in ten fields of a table of counts are a bare `0`. They are told by
    comparing bytes, which is several times faster than parsing each field.

    Returns
    -------
    The entries, or None where a line or field has any other form: a blank line, a
    numeric field that is quoted, signed, empty or not of 1 to 9 digits, another field
    whose quote does not end.
    """
    text = block.text.replace(b"\r\n", b"\n")
    text = text if text.endswith(b"\n") else text + b"\n"
    characters = np.frombuffer(text, dtype=np.uint8)
    newline = characters == _NEWLINE
    ends_field = newline | (characters == ord(block.delimiter))
    ends = np.flatnonzero(ends_field)
    width, n_rows = len(block.columns), int(np.count_nonzero(newline))
    if ends.size != n_rows * width or not newline[ends[width - 1 :: width]].all():
        return None
    starts_field = np.concatenate(([True], ends_field[:-1]))
    bare_zero = (characters[:-1] == _ZERO) & ends_field[1:]
    starts_field[:-1] &= ~bare_zero
    starts = np.flatnonzero(starts_field)
    fields = np.searchsorted(ends, starts)
    rows, columns = np.divmod(fields, width)
    places = _places(block)[columns]
    numeric = places >= 0
    if _has_open_quote(characters, starts[~numeric], ends[fields[~numeric]]):
        return None
    values = _digits(characters, starts[numeric], ends[fields[numeric]])
    if values is None:
        return None
    kept = values != 0  # 00 is no bare zero
    return Entries(n_rows, rows[numeric][kept], places[numeric][kept], values[kept])


def _places(block: FieldBlock) -> NDArray[np.int32]:
    """Give each field's position among the numeric ones, -1 for the others."""
    places = np.full(len(block.columns), -1, dtype=np.int32)
    places[block.numeric] = np.arange(len(block.numeric))
    return places


def _has_open_quote(
    characters: NDArray[np.uint8], starts: NDArray[np.int64], ends: NDArray[np.int64]
) -> bool:
    """Whether a field begins with a quote and does not end with one: the row may go on."""
    opens = characters[starts] == _QUOTE
    closes = (characters[ends - 1] == _QUOTE) & (ends - starts > 1)
    return bool((opens & ~closes).any())


def _digits(
    characters: NDArray[np.uint8], starts: NDArray[np.int64], ends: NDArray[np.int64]
) -> NDArray[np.int32] | None:
    """Read fields of 1 to 9 digits, which int32 holds; None where one is anything else."""
    lengths = ends - starts
    values = np.zeros(starts.size, dtype=np.int32)
    if lengths.size and not 1 <= lengths.min() <= lengths.max() <= 9:
        return None
    for position in range(int(lengths.max(initial=0))):
        reaching = np.flatnonzero(lengths > position)
        # Unsigned: a character below 0 wraps around to more than 9.
        digit = characters[starts[reaching] + position] - _ZERO
        if (digit > 9).any():
            return None
        values[reaching] = values[reaching] * 10 + digit
    return values


def any_numbers(block: FieldBlock) -> Entries | None:
    """Parse a block of numbers in any notation, as float64.

    Returns
    -------
    The entries, or None where a line has another number of fields than the
    block, a numeric field is no number, or a row is not one line.
    """
    positions = [str(position) for position in range(len(block.columns))]
    numeric = [positions[position] for position in block.numeric]
    try:
        table = arrow_csv.read_csv(
            pa.BufferReader(block.text),
            # One chunk a block: with thousands of columns, the cost is by the chunk.
            read_options=arrow_csv.ReadOptions(
                column_names=positions, block_size=len(block.text) + 1
            ),
            parse_options=arrow_csv.ParseOptions(delimiter=block.delimiter),
            convert_options=arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(numeric, pa.float64()),
                include_columns=numeric,
                null_values=[],
                strings_can_be_null=False,
            ),
        )
    except pa.ArrowInvalid:
        return None
    if not _rows_are_lines(block, table.num_rows):
        return None
    if table.num_rows == 0:
        nothing = np.empty(0, dtype=np.int64)
        return Entries(0, nothing, nothing.astype(np.int32), nothing.astype(np.float64))
    batch: pa.RecordBatch = table.to_batches()[0]
    values = np.ascontiguousarray(batch.to_tensor(row_major=False).to_numpy())
    rows, columns = np.nonzero(values)
    return Entries(values.shape[0], rows, columns.astype(np.int32), values[rows, columns])


def _rows_are_lines(block: FieldBlock, n_rows: int) -> bool:
    """Whether Arrow made one row of every line that is not blank: rows are named by line.

    Arrow joins lines at a line break inside quotes, and ends a row at a carriage return.
    """
    if stray_return(block.text) and _bad_field(block) is not None:
        return False
    lines = block.text.count(b"\n") + (not block.text.endswith(b"\n"))
    # Blank lines are rare, and looking for them costs as much as the parser.
    return n_rows == lines or n_rows == sum(not is_blank(line) for line in block.text.split(b"\n"))


def first_bad_field(block: FieldBlock) -> SourceFileError:
    """Say which field of a block that did not parse is at fault, and how."""
    return _bad_field(block) or SourceFileError(
        f"the lines from row {block.row} on cannot be parsed as numbers", file=block.name
    )


def _bad_field(block: FieldBlock) -> SourceFileError | None:
    for row, line in enumerate(block.text.split(b"\n"), start=block.row):
        if is_blank(line):
            continue
        try:
            fields = split_line(line, block.delimiter, name=block.name, row=row)
        except SourceFileError as error:
            return error
        if len(fields) != len(block.columns):
            return SourceFileError(
                f"the row has {len(fields)} fields where {len(block.columns)} are expected",
                file=block.name,
                row=row,
                hint="Check the delimiter, and that the file is complete",
            )
        for position in block.numeric:
            if not _is_number(fields[position]):
                return _not_a_number(block, row, position, fields[position])
    return None


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return "_" not in field  # Python reads 1_000 as a number; no table means that.


def _not_a_number(block: FieldBlock, row: int, position: int, field: str) -> SourceFileError:
    missing = field.strip().lower() in _MISSING
    return SourceFileError(
        "missing value" if missing else "the field is not a number",
        file=block.name,
        row=row,
        column=block.columns[position] or str(position + 1),
        value=field,
        allowed="numbers in every cell of the matrix",
        hint="List columns that are not counts under skip_columns",
    )
