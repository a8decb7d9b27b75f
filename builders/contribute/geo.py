"""What GEO says of a series: addresses by GEO's rule, and its records, read with care.

Source: https://www.ncbi.nlm.nih.gov/geo/info/soft.html (SOFT records) and
https://www.ncbi.nlm.nih.gov/geo/info/download.html (folders of the file server).
"""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, unquote

from cellresponse.builders.contribute.geo_record import Record, read_record
from cellresponse.builders.sources.fetch import fetch_url
from cellresponse.schema.errors import EvidenceError, SourceFileError

__all__ = ["GeoSample", "GeoSeries", "file_url", "is_series", "read_series", "record_addresses"]

FILES = "https://ftp.ncbi.nlm.nih.gov/geo"
QUERY = "https://www.ncbi.nlm.nih.gov/geo/query/acc.cgi"
VARIABLE = "CELLRESPONSE_GEO"
"""Environment variable with another base address, below which lie `series/`, `samples/`
and `query/acc.cgi`."""

SERIES = re.compile(r"GSE[1-9][0-9]{0,8}")
MAX_RECORD_BYTES = 64 * 1024 * 1024  # records of sequencing studies have a few hundred kB
ATTEMPTS = 2


@dataclass(frozen=True)
class GeoSample:
    """A sample as GEO lists it.

    Attributes
    ----------
    characteristics
        `tag: value` as the submitter typed them, in order.
    files
        Names of its supplementary files.
    """

    gsm: str
    title: str = ""
    source: str = ""
    organism: str = ""
    characteristics: tuple[str, ...] = ()
    files: tuple[str, ...] = ()


@dataclass(frozen=True)
class GeoSeries:
    """A series as GEO lists it.

    Attributes
    ----------
    organisms, platforms
        Distinct names, in order.
    files
        Names of the series' own supplementary files.
    parts, parents
        Series that this one is the SuperSeries of, and those it is a part of.
    """

    accession: str
    title: str = ""
    pmids: tuple[str, ...] = ()
    organisms: tuple[str, ...] = ()
    platforms: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    parents: tuple[str, ...] = ()
    samples: tuple[GeoSample, ...] = field(default=(), repr=False)

    def holds_files(self) -> bool:
        """Whether the series or one of its samples has a supplementary file."""
        return bool(self.files or any(sample.files for sample in self.samples))


def is_series(accession: str) -> bool:
    """Whether an accession is one of a GEO series."""
    return SERIES.fullmatch(accession) is not None


def _bases() -> tuple[str, str]:
    """Addresses of GEO's file server and of its records."""
    other = os.environ.get(VARIABLE, "").rstrip("/")
    return (other, f"{other}/query/acc.cgi") if other else (FILES, QUERY)


def _folder(accession: str) -> str:
    """Folder of a series or sample: its last three digits are `nnn` in the folder above.

    Examples
    --------
    >>> _folder("GSM4494349")
    'https://ftp.ncbi.nlm.nih.gov/geo/samples/GSM4494nnn/GSM4494349'
    """
    kind = "samples" if accession.startswith("GSM") else "series"
    above = accession[:3] + accession[3:-3] + "nnn"
    return f"{_bases()[0]}/{kind}/{above}/{accession}"


def file_url(accession: str, name: str) -> str:
    """Give the address of a supplementary file by GEO's rule.

    Parameters
    ----------
    accession
        Series (GSE) or sample (GSM) that the file belongs to.
    name
        Name of the file.

    Examples
    --------
    >>> file_url("GSE149214", "GSE149214_RAW.tar")
    'https://ftp.ncbi.nlm.nih.gov/geo/series/GSE149nnn/GSE149214/suppl/GSE149214_RAW.tar'
    """
    return f"{_folder(accession)}/suppl/{quote(name)}"


def record_addresses(accession: str) -> list[str]:
    """Give the addresses of a series' records, the most complete one first."""
    folder = _folder(accession)
    return [
        f"{folder}/soft/{accession}_family.soft.gz",
        f"{_bases()[1]}?acc={accession}&targ=all&form=text&view=brief",
        f"{folder}/matrix/{accession}_series_matrix.txt.gz",
    ]


def read_series(
    accession: str, *, wait: Callable[[float], None] = time.sleep, attempts: int = ATTEMPTS
) -> GeoSeries:
    """Read what GEO says of a series, from the first record that can be had.

    Parameters
    ----------
    accession
        Of a series, such as GSE149214.
    wait, attempts
        As in `cellresponse.builders.sources.fetch.fetch_url`.

    Raises
    ------
    EvidenceError
        The accession is not one of a series.
    SourceFileError
        GEO is not reachable, or has no readable record of the series; with the
        reason for each of its records.
    """
    if not is_series(accession):
        raise EvidenceError("is not a GEO series", value=accession, allowed="GSE and digits")
    reasons = []
    for address in record_addresses(accession):
        try:
            return _series(accession, _fetched(address, accession, attempts, wait))
        except SourceFileError as error:
            reasons.append(error.problem)
    raise SourceFileError(
        "GEO's records cannot be read: " + "; ".join(reasons),
        file=accession,
        hint="Check the accession and the network, and run again",
    )


def _fetched(address: str, accession: str, attempts: int, wait: Callable[[float], None]) -> Record:
    """Fetch a record anew each time: GEO corrects them."""
    received = 0

    def refuse_flood(size: int) -> None:
        nonlocal received
        received += size
        if received > MAX_RECORD_BYTES:
            raise SourceFileError(f"the record has more than {MAX_RECORD_BYTES:,} bytes")

    with tempfile.TemporaryDirectory() as scratch:
        path = fetch_url(
            address,
            name=accession,
            sha256=None,
            bytes=None,
            cache=Path(scratch),
            save_as="record",
            attempts=attempts,
            wait=wait,
            progress=refuse_flood,
        )
        return read_record(path, name=accession)


def _series(accession: str, record: Record) -> GeoSeries:
    series = record.series
    relations = series.get("relation", [])
    samples = tuple(_sample(gsm, said) for gsm, said in record.samples.items())
    organisms = [sample.organism for sample in samples] or series.get("sample_organism", [])
    return GeoSeries(
        accession=accession,
        title=_first(series, "title"),
        pmids=_distinct(series.get("pubmed_id", [])),
        organisms=_distinct(organisms),
        platforms=_distinct(record.platforms or series.get("platform_id", [])),
        files=_names(series),
        parts=_related(relations, "SuperSeries of"),
        parents=_related(relations, "SubSeries of"),
        samples=samples,
    )


def _sample(gsm: str, said: dict[str, list[str]]) -> GeoSample:
    return GeoSample(
        gsm=gsm,
        title=_first(said, "title"),
        source=_first(said, "source_name_ch1"),
        organism=_first(said, "organism_ch1"),
        characteristics=tuple(said.get("characteristics_ch1", [])),
        files=_names(said),
    )


def _first(said: dict[str, list[str]], key: str) -> str:
    return next(iter(said.get(key, [])), "")


def _distinct(values: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(value for value in values if value))


def _related(relations: list[str], kind: str) -> tuple[str, ...]:
    found = [relation.partition(":") for relation in relations]
    return _distinct(
        [other.strip() for word, _, other in found if word == kind and is_series(other.strip())]
    )


def _names(said: dict[str, list[str]]) -> tuple[str, ...]:
    """Names of supplementary files; `NONE` and files outside GEO (raw reads) have none here."""
    return _distinct([name for key in said for name in _file_names(key, said[key])])


def _file_names(key: str, addresses: list[str]) -> Iterator[str]:
    if not re.fullmatch(r"supplementary_file(_[0-9]+)?", key):
        return
    for address in addresses:
        folder, _, name = address.rpartition("/")
        name = unquote(name).strip()
        plain = name.isprintable() and not {"/", "\\"} & set(name)
        if folder.endswith("/suppl") and plain and name not in ("", ".", ".."):
            yield name
