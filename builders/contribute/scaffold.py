"""Write the folder of a new study, to be filled in: `study new`."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cellresponse.builders.contribute.geo import GeoSeries, is_series, read_series
from cellresponse.builders.contribute.scaffold_manifest import ManifestDraft, blank_manifest
from cellresponse.builders.contribute.scaffold_samples import blank_row, sample_rows, samples_text
from cellresponse.builders.contribute.study_folder import make_folder
from cellresponse.curation.leftovers import PLACEHOLDER
from cellresponse.schema.errors import EvidenceError, SourceFileError

__all__ = ["Scaffold", "new_study"]

ACCESSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)


@dataclass(frozen=True)
class Scaffold:
    """A folder that was written.

    Attributes
    ----------
    folder
        The study's folder.
    samples
        Number of samples that the record lists.
    blank
        Why there is nothing from GEO in it; None where there is.
    placeholders
        Number of fields to fill in.
    """

    folder: Path
    samples: int
    blank: str | None
    placeholders: int


def new_study(
    accession: str, curation: Path, *, wait: Callable[[float], None] = time.sleep
) -> Scaffold:
    """Write the folder of a new study, filled with what GEO's records say.

    Parameters
    ----------
    accession
        Of the series that holds the files. For one outside GEO, or where GEO's
        records cannot be read, the folder is blank.
    curation
        Folder of study folders.
    wait
        As in `cellresponse.builders.sources.fetch.fetch_url`.

    Returns
    -------
    Scaffold
        What was written. The folder appears by one rename.

    Raises
    ------
    EvidenceError
        The accession is malformed or taken, or is a SuperSeries: with the
        sub-series that hold files.
    StorageError
        The folder cannot be written.
    """
    accession = accession.upper() if is_series(accession.upper()) else accession
    folder = curation / _checked(accession)
    if folder.exists():
        raise EvidenceError(
            "stands already, and is not overwritten",
            file=folder,
            hint="Edit it, or remove it first",
        )
    series, blank = _series(accession, wait)
    if series is not None and series.parts:
        raise _superseries(series, wait)
    manifest, samples = _texts(accession, series)
    make_folder(folder, {"study.yaml": manifest, "samples.csv": samples})
    texts = re.findall(rf"\b{PLACEHOLDER}\b", re.sub("(?m)#.*", "", manifest) + samples)
    return Scaffold(folder, len(series.samples) if series else 0, blank, len(texts))


def _checked(accession: str) -> str:
    if re.fullmatch("(GSM|GPL|GDS)[0-9]+", accession, re.IGNORECASE):
        raise EvidenceError(
            "a study is named by the series that holds its files",
            value=accession,
            allowed="GSE and digits",
            hint="GEO's page of the sample names its series",
        )
    if not ACCESSION.fullmatch(accession):
        raise EvidenceError(
            "is not an accession", value=accession, allowed="letters, digits, `.`, `_` and `-`"
        )
    return accession


def _series(accession: str, wait: Callable[[float], None]) -> tuple[GeoSeries | None, str | None]:
    if not is_series(accession):
        return None, "the accession is not one of a GEO series"
    try:
        return read_series(accession, wait=wait), None
    except SourceFileError as error:
        return None, error.problem


def _superseries(series: GeoSeries, wait: Callable[[float], None]) -> EvidenceError:
    """A study is named by the series that holds the files: say which of the parts do."""
    holders, told = [], []
    for part in series.parts:
        try:
            found = read_series(part, wait=wait)
        except SourceFileError:
            told.append(f"{part} (cannot be read)")
            continue
        told.append(f"{part} ({'holds files' if found.holds_files() else 'no files'})")
        holders += [part] if found.holds_files() else []
    example = (holders or list(series.parts))[0]
    return EvidenceError(
        "is a SuperSeries, and a study is named by the series that holds the files",
        value=series.accession,
        allowed=told,
        hint=f"Run `python cli.py study new {example}`",
    )


def _texts(accession: str, series: GeoSeries | None) -> tuple[str, str]:
    if series is None:
        return blank_manifest(accession), samples_text([blank_row()])
    draft = ManifestDraft(series)
    rows = sample_rows(series.samples, draft.file_of) or [blank_row()]
    return draft.text(), samples_text(rows)
