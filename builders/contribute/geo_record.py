"""Read GEO's records: SOFT text, or the head of a series matrix; plain or gzip.

Submitters type them, so anything may stand in them: lines are read in bounded
pieces, tables of numbers are skipped, and texts come out printable, on one line.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BufferedReader
from itertools import chain
from pathlib import Path

from cellresponse.schema.errors import SourceFileError

__all__ = ["Record", "read_record"]

MAX_LINE = 4 * 1024 * 1024  # a series matrix has one column a sample, and there are thousands
MAX_VALUE = 2000
MAX_TEXT = 1024**3  # records of arrays hold tables
SAMPLE = re.compile(r"GSM[1-9][0-9]{0,9}")
UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]+")

type Said = dict[str, list[str]]
"""What a record says: key without its prefix, every value in order."""


@dataclass
class Record:
    """A series record.

    Attributes
    ----------
    series
        What stands in the series' part: `title`, `pubmed_id`, `relation`, ...
    platforms
        Titles of the platforms.
    samples
        What stands in each sample's part, by GSM, in order.
    """

    series: Said = field(default_factory=dict)
    platforms: list[str] = field(default_factory=list)
    samples: dict[str, Said] = field(default_factory=dict)


def read_record(path: Path, *, name: str) -> Record:
    """Read the record of one series.

    Parameters
    ----------
    path
        SOFT text or series matrix, plain or gzip.
    name
        Accession of the series.

    Raises
    ------
    SourceFileError
        It is damaged, or no record of this series.
    """
    record = Record()
    try:
        with _opened(path) as stream:
            lines = _lines(stream, name)
            first = next(lines, "")
            read = _read_matrix if first.startswith("!Series_") else _read_soft
            read(chain([first], lines), record)
    except (EOFError, zlib.error, OSError) as error:
        raise SourceFileError(f"the record is damaged ({error})", file=name) from None
    if name not in record.series.get("geo_accession", []):
        raise SourceFileError("the answer is no record of this series", file=name)
    return record


def _opened(path: Path) -> BufferedReader | gzip.GzipFile:
    with path.open("rb") as stream:
        zipped = stream.read(2) == b"\x1f\x8b"
    return gzip.open(path) if zipped else path.open("rb")


def _lines(stream: BufferedReader | gzip.GzipFile, name: str) -> Iterator[str]:
    """Yield each line as text; of a line that is too long, its beginning."""
    size, inside = 0, False
    while piece := stream.readline(MAX_LINE):
        size += len(piece)
        if size > MAX_TEXT:
            raise SourceFileError(f"the record has more than {MAX_TEXT:,} bytes", file=name)
        if not inside and piece.strip():
            yield _text(piece).rstrip("\r\n")
        inside = not piece.endswith(b"\n")


def _text(piece: bytes) -> str:
    try:
        return piece.decode("utf-8-sig")
    except UnicodeDecodeError:
        return piece.decode("latin-1")  # older submissions


def _clean(value: str) -> str:
    return " ".join(UNPRINTABLE.sub(" ", value[: 2 * MAX_VALUE]).split())[:MAX_VALUE]


def _read_soft(lines: Iterator[str], record: Record) -> None:
    said: Said = {}
    for line in lines:
        if not line.startswith(("^", "!")):
            continue  # a row of a table, or what a column of it means
        key, _, text = line.partition("=")
        key, value = key.strip(), _clean(text)
        if line.startswith("^"):
            said = _section(key, value, record)
        elif key == "!Platform_title":
            record.platforms.append(value)
        elif value:
            said.setdefault(key.partition("_")[2], []).append(value)


def _section(key: str, value: str, record: Record) -> Said:
    """Where the lines of a part go; those of other parts go nowhere."""
    if key == "^SERIES":
        record.series.setdefault("geo_accession", []).append(value)
        return record.series
    if key == "^SAMPLE" and SAMPLE.fullmatch(value):
        return record.samples.setdefault(value, {})
    return {}


def _read_matrix(lines: Iterator[str], record: Record) -> None:
    """Read the head: a line a key, one column a sample."""
    columns: list[tuple[str, list[str]]] = []
    for line in lines:
        if line.startswith("!series_matrix_table_begin"):
            break
        key, *values = (_clean(field.strip().strip('"')) for field in line.split("\t"))
        if key.startswith("!Series_"):
            record.series.setdefault(key.removeprefix("!Series_"), []).extend(filter(None, values))
        elif key.startswith("!Sample_"):
            columns.append((key.removeprefix("!Sample_"), values))
    names = next((values for key, values in columns if key == "geo_accession"), [])
    for place, gsm in enumerate(names):
        if SAMPLE.fullmatch(gsm):
            said = record.samples.setdefault(gsm, {})
            for key, values in columns:
                if place < len(values) and values[place]:
                    said.setdefault(key, []).append(values[place])
