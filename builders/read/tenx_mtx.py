"""Matrix Market triplets with lists of barcodes and features, as 10x writes them.

Source: https://math.nist.gov/MatrixMarket/formats.html (coordinate format) and
https://www.10xgenomics.com/support/software/cell-ranger (feature-barcode matrices).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import csv as arrow_csv

from cellresponse.builders.read.options import TenxMtxOptions
from cellresponse.builders.read.source import Triplet, Triplets, require_distinct_barcodes
from cellresponse.builders.read.tenx_features import FeatureChoice, choose_features
from cellresponse.builders.read.text import decoded, line_blocks, opened_text, split_line
from cellresponse.schema.errors import EvidenceError, SourceFileError

__all__ = ["open_tenx_mtx"]

_BANNER = b"%%MatrixMarket"
_FORM = ["%%matrixmarket", "matrix", "coordinate", "integer or real", "general"]


@dataclass(frozen=True)
class _Header:
    """Size of the matrix, and the number of lines before its first entry."""

    rows: int
    columns: int
    entries: int
    lines: int


def open_tenx_mtx(
    path: Path, *, name: str, options: TenxMtxOptions, companions: Mapping[str, Path]
) -> Triplets:
    """Open a matrix of features by barcodes in triplets.

    Parameters
    ----------
    path, name
        The matrix: local file and name in the manifest.
    options
        Names, in the manifest, of the files of barcodes and features; feature
        types to keep where the features have one.
    companions
        Local file of each other file of the study, by name.

    Raises
    ------
    SourceFileError
        Another format, damaged data, sizes that do not agree with the lists, a
        barcode that repeats; an entry out of range, or a number of entries other
        than announced, when it is met.
    EvidenceError
        A list that the manifest lacks, or no feature of a wanted type.
    """
    barcode_rows = _listed(options.barcodes, "barcodes", companions, name)
    feature_rows = _listed(options.features, "features", companions, name, columns=3)
    barcodes = [row[0] for row in barcode_rows]
    require_distinct_barcodes(barcodes, name=_beside(name, options.barcodes))
    width = min((len(row) for row in feature_rows), default=1)
    choice = choose_features(
        [row[0] for row in feature_rows],
        [row[1] for row in feature_rows] if width > 1 else None,
        [row[2] for row in feature_rows] if width > 2 else None,
        options.feature_types,
        name=_beside(name, options.features),
    )
    with opened_text(path, name=name) as stream:
        header = _read_header(stream, name)
    _require_sizes(header, len(feature_rows), len(barcodes), name, options)
    read = partial(_triplets, path, name, choice)
    return Triplets(name, barcodes, choice.features, read, choice.dropped)


def _listed(
    listed: str, option: str, companions: Mapping[str, Path], name: str, columns: int = 1
) -> list[list[str]]:
    """Read the lines of a list; each has the same of the first `columns` fields."""
    if listed not in companions:
        raise EvidenceError(
            "the study's manifest has no such file",
            file=name,
            column=f"options.{option}",
            value=listed,
            allowed=sorted(companions) or "a file listed in the manifest",
        )
    shown = _beside(name, listed)
    with opened_text(companions[listed], name=shown) as stream:
        rows = {
            row: split_line(line, "\t", name=shown, row=row)
            for row, line in enumerate(stream, start=1)
            if line.strip()
        }
    if not rows:
        raise SourceFileError("the list is empty", file=shown)
    _require_one_width(rows, columns, shown)
    return list(rows.values())


def _require_one_width(rows: Mapping[int, list[str]], columns: int, name: str) -> None:
    """Refuse a list with a short line: the others would lose their names or types."""
    expected = Counter(len(fields) for fields in rows.values()).most_common(1)[0][0]
    for row, fields in rows.items():
        if min(len(fields), columns) != min(expected, columns):
            raise SourceFileError(
                f"the line has {len(fields)} fields where {expected} are expected",
                file=name,
                row=row,
                hint="Check that the list is complete, and that tabs part its columns",
            )


def _beside(name: str, listed: str) -> str:
    """Name a list with the study of its matrix: `barcodes.tsv.gz` is in every study."""
    study, slash, _ = name.partition("/")
    return f"{study}/{listed}" if slash else listed


def _read_header(stream: BinaryIO, name: str) -> _Header:
    banner = stream.readline()
    words = banner.decode("latin-1").lower().split()
    fits = len(words) == 5 and words[:3] == _FORM[:3] and words[4] == _FORM[4]
    if not (fits and words[3] in ("integer", "real")):
        raise SourceFileError(
            "the first line announces no matrix of counts",
            file=name,
            row=1,
            value=banner[:60].decode("latin-1").strip(),
            allowed="%%MatrixMarket matrix coordinate, integer or real, general",
            hint="Check that the manifest names the right reader for this file",
        )
    for row, line in enumerate(stream, start=2):
        if line.startswith(b"%") or not line.strip():
            continue
        sizes = decoded(line, name=name, row=row).split()
        if len(sizes) == 3 and all(size.isdigit() for size in sizes):
            return _Header(int(sizes[0]), int(sizes[1]), int(sizes[2]), lines=row)
        raise SourceFileError(
            "the sizes of the matrix cannot be read",
            file=name,
            row=row,
            value=" ".join(sizes),
            allowed="three whole numbers: rows, columns, entries",
        )
    raise SourceFileError("the file ends before the sizes of its matrix", file=name)


def _require_sizes(
    header: _Header, features: int, barcodes: int, name: str, options: TenxMtxOptions
) -> None:
    if (header.rows, header.columns) == (features, barcodes):
        return
    turned = (header.rows, header.columns) == (barcodes, features)
    raise SourceFileError(
        f"the matrix has {header.rows} rows and {header.columns} columns, but "
        f"{options.features} lists {features} features and {options.barcodes} {barcodes} barcodes",
        file=name,
        hint="The matrix is cells by features: this reader takes features by cells only"
        if turned
        else "Check that the three files belong together and that the lists have no header",
    )


def _triplets(path: Path, name: str, choice: FeatureChoice) -> Iterator[Triplet]:
    seen = 0
    with opened_text(path, name=name) as stream:
        header = _read_header(stream, name)
        row = header.lines + 1
        for text in line_blocks(stream):
            features, cells, values = _entries(text, row, name)
            _require_range(features, header.rows, "row", text, row, name)
            _require_range(cells, header.columns, "column", text, row, name)
            keep = values != 0
            piece = Triplet(cells[keep] - 1, features[keep] - 1, values[keep])
            yield choice.in_triplet(piece)
            seen += values.size
            row += text.count(b"\n")
    if seen != header.entries:
        raise SourceFileError(
            f"the matrix has {seen} entries where its header announces {header.entries}",
            file=name,
            hint="The file is incomplete or damaged; download it again",
        )


def _entries(
    text: bytes, row: int, name: str
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.generic]]:
    """Parse lines of row, column and value; whole values come as int64."""
    if b"x" in text or b"X" in text:  # pyarrow takes 0x10 for a number
        return _loosely_spaced_entries(text, row, name)
    for number in (pa.int64(), pa.float64()):
        try:
            table = arrow_csv.read_csv(
                pa.BufferReader(text),
                read_options=arrow_csv.ReadOptions(column_names=["row", "column", "value"]),
                parse_options=arrow_csv.ParseOptions(delimiter=" "),
                convert_options=arrow_csv.ConvertOptions(
                    column_types={"row": pa.int32(), "column": pa.int32(), "value": number},
                    null_values=[],
                ),
            )
        except pa.ArrowInvalid:
            continue
        rows, columns, values = (column.to_numpy() for column in table.columns)
        return rows, columns, values
    return _loosely_spaced_entries(text, row, name)


def _loosely_spaced_entries(
    text: bytes, row: int, name: str
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.generic]]:
    """Parse lines with any white space between the numbers, or name the bad one."""
    entries = []
    for number, line in enumerate(text.split(b"\n"), start=row):
        fields = line.split()
        if not fields:
            continue
        try:
            if b"_" in line:  # Python takes 1_000 for a number
                raise ValueError
            at_row, at_column, value = fields
            entries.append((int(at_row), int(at_column), float(value)))
        except ValueError as error:
            raise SourceFileError(
                "the line is no entry of a matrix",
                file=name,
                row=number,
                value=line[:60].decode("latin-1").strip(),
                allowed="row number, column number, value",
            ) from error
    array = np.array(entries, dtype=np.float64).reshape(-1, 3)
    # Clipped, so that a number beyond int32 stays out of the matrix's range and is refused.
    places = np.clip(array[:, :2], 0, np.iinfo(np.int32).max).astype(np.int32)
    return places[:, 0], places[:, 1], array[:, 2]


def _require_range(
    numbers: NDArray[np.int32], size: int, axis: str, text: bytes, row: int, name: str
) -> None:
    if numbers.size == 0 or (numbers.min() >= 1 and numbers.max() <= size):
        return
    entry = int(np.flatnonzero((numbers < 1) | (numbers > size))[0])
    lines = [i for i, line in enumerate(text.split(b"\n"), start=row) if line.strip()]
    raise SourceFileError(
        f"the entry's {axis} lies outside of the matrix",
        file=name,
        row=lines[entry],
        value=int(numbers[entry]),
        allowed=f"1 to {size}",
    )
