"""Rows of `samples.csv` from GEO's list of samples."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Container, Iterable, Mapping, Sequence

from cellresponse.builders.contribute.geo import GeoSample
from cellresponse.curation.leftovers import PLACEHOLDER
from cellresponse.schema.errors import EvidenceError
from cellresponse.schema.evidence import SampleEvidence
from cellresponse.schema.vocabulary import cell_lines

__all__ = ["blank_row", "sample_rows", "samples_text"]

COLUMNS = tuple(SampleEvidence.to_schema().columns)
TO_FILL = ("sample_id", "file", "source_type", "arm", "fact_sources")
MAX_NOTE = 1000
MAX_ID = 60

# What the submitter's tag says of identity; what was done to the cells is for a curator to read.
TAGS = {
    "cell line": "cell_line",
    "donor": "patient_id",
    "patient": "patient_id",
    "patient id": "patient_id",
    "tissue": "tissue",
}


def blank_row() -> dict[str, str]:
    """Give a row that says what must be filled in."""
    return dict.fromkeys(TO_FILL, PLACEHOLDER) | {"collection": "primary"}


def sample_rows(
    samples: Iterable[GeoSample],
    file_of: Callable[[GeoSample], str],
    taken: Container[str] = (),
) -> list[dict[str, str]]:
    """Give a row of `samples.csv` for each sample of GEO.

    Parameters
    ----------
    samples
        As GEO lists them.
    file_of
        Gives the manifest's name of the matrix that holds a sample, or TODO.
    taken
        Sample ids that the table has already.
    """
    rows: list[dict[str, str]] = []
    used: set[str] = set()
    for sample in samples:
        name = _sample_id(sample.title)
        if not name or name in used or name in taken:
            name = sample.gsm
        used.add(name)
        said = {"sample_id": name, "gsm": sample.gsm, "file": file_of(sample)}
        rows.append(blank_row() | said | _identity(sample) | {"note": _note(sample)})
    return rows


def samples_text(rows: Sequence[Mapping[str, str]], columns: Sequence[str] = COLUMNS) -> str:
    """Write rows as CSV, with a header."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def _sample_id(title: str) -> str:
    name = re.sub(r"[^A-Za-z0-9.+-]+", "_", title).strip("_.+-")
    return name if len(name) <= MAX_ID else ""


def _identity(sample: GeoSample) -> dict[str, str]:
    found: dict[str, str] = {}
    for characteristic in sample.characteristics:
        tag, _, value = characteristic.partition(":")
        column, value = TAGS.get(tag.strip().lower()), value.strip()
        if column == "cell_line":
            value = _known_line(value)
        if column and value:
            found.setdefault(column, value)
    return found


def _known_line(name: str) -> str:
    """The vocabulary's line; a line it lacks stays in the note, for a curator to add."""
    try:
        return cell_lines().resolve(name).id
    except EvidenceError:
        return ""


def _note(sample: GeoSample) -> str:
    said = dict.fromkeys([sample.title, sample.source, *sample.characteristics])
    return ("GEO: " + "; ".join(text for text in said if text))[:MAX_NOTE]
