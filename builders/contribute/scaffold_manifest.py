"""Text of a `study.yaml` to fill in, from GEO's record of a series or blank."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import yaml

from cellresponse.builders.contribute.file_kinds import guess_reader
from cellresponse.builders.contribute.geo import GeoSample, GeoSeries, file_url, is_series
from cellresponse.curation.leftovers import PLACEHOLDER
from cellresponse.schema.errors import EvidenceError
from cellresponse.schema.study import COUNT_READERS
from cellresponse.schema.vocabulary import words

__all__ = ["ManifestDraft", "blank_manifest"]

GEO_PAGE = "https://www.ncbi.nlm.nih.gov/geo/query/acc.cgi?acc="
PUBMED = "https://pubmed.ncbi.nlm.nih.gov/"
HEAD = """# Fill in every {todo}; `python cli.py validate {accession}` names what is left.
# The words that a key takes: schema/vocabularies/words.csv. An example: curation/GSE149214.
study_id: {accession}
title: {title}
{paper}
# doi: 10.xxxx/... of the paper
# year: of the paper
organism: {organism}
platform: {platform}
{parent}licence: {todo}  # as stated; where nothing is: `none stated; public GEO record`
access: {access}
curator: {todo}
revision: 1
status: {status}
{reason}sources:
  {source}:
    ref: {page}
    kind: database
    where: record of the series
"""
PAPER = """  paper:
    ref: {ref}
    kind: paper
    where: {todo}  # section, table or figure
"""
BLANK_FILES = f"""files:
  - name: {PLACEHOLDER}
    url: {PLACEHOLDER}
    reader: {PLACEHOLDER}
    # options: what the reader asks, see the table in CONTRIBUTING.md
"""


def blank_manifest(accession: str) -> str:
    """Give a manifest with nothing but the accession filled in."""
    return _head(GeoSeries(accession), access=PLACEHOLDER) + BLANK_FILES


@dataclass
class ManifestDraft:
    """A manifest from GEO's record.

    Attributes
    ----------
    series
        The record.
    """

    series: GeoSeries
    _lines: list[str] = field(default_factory=list, init=False)
    _unread: list[str] = field(default_factory=list, init=False)
    _readers: set[str] = field(default_factory=set, init=False)
    _matrices: dict[str, list[str]] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        archive = f"{self.series.accession}_RAW.tar"
        for name in self.series.files:
            if name == archive:
                self._add_archive(archive)
            else:
                self._add_file(self.series.accession, name, list(self.series.files))
        if archive not in self.series.files:
            for sample in self.series.samples:
                for name in sample.files:
                    self._add_file(sample.gsm, name, list(sample.files))

    def file_of(self, sample: GeoSample) -> str:
        """Give the name of the matrix that holds a sample; TODO where names do not tell."""
        own = self._matrices.get(sample.gsm, [])
        shared = self._matrices.get(self.series.accession, [])
        for matrices in (own, shared):
            if len(matrices) == 1:
                return matrices[0]
        return PLACEHOLDER

    def text(self) -> str:
        """Give the manifest's text."""
        readable = self._readers & {*COUNT_READERS, "archive"}
        converted = "r_object" in self._readers and not readable
        head = _head(
            self.series,
            access="open",
            status="needs_conversion" if converted else "metadata",
            reason=f"reason: {PLACEHOLDER}  # how the files are converted\n" if converted else "",
        )
        unread = "".join(f"# no reader takes {_scalar(name)}\n" for name in self._unread)
        files = "".join(f"{line}\n" for line in ["files:", *self._lines])
        return head + unread + (files if self._lines else "files: []\n")

    def _add_file(self, owner: str, name: str, beside: list[str]) -> None:
        guess = guess_reader(name, beside)
        if guess is None:
            self._unread.append(name)
            return
        reader, options = guess
        self._readers.add(reader)
        shared = owner == self.series.accession and len(self.series.samples) > 1
        self._lines += [
            f"  - name: {_scalar(name)}",
            f"    url: {_scalar(file_url(owner, name))}",
            *_how(reader, options, indent=4, shared=shared),
        ]
        if reader == "archive":
            self._lines += ["    members:", *_member(PLACEHOLDER, PLACEHOLDER, {})]
        if reader in COUNT_READERS:
            self._matrices.setdefault(owner, []).append(name)

    def _add_archive(self, archive: str) -> None:
        """`_RAW.tar` holds the files that the samples list."""
        members = []
        for sample in self.series.samples:
            for name in sample.files:
                guess = guess_reader(name, sample.files)
                if guess is None or guess[0] == "archive":
                    self._unread.append(name)
                    continue
                self._readers.add(guess[0])
                members += _member(name, *guess)
                if guess[0] in COUNT_READERS:
                    self._matrices.setdefault(sample.gsm, []).append(f"{archive}/{name}")
        if self._unread and not members:
            self._unread.append(archive)
            return
        if not members:
            self._readers.add("archive")
        self._lines += [
            f"  - name: {archive}",
            f"    url: {_scalar(file_url(self.series.accession, archive))}",
            "    reader: archive",
            "    members:",
            *(members or _member(PLACEHOLDER, PLACEHOLDER, {})),
        ]


def _member(name: str, reader: str, options: dict[str, str]) -> list[str]:
    return [f"      - name: {_scalar(name)}", *_how(reader, options, indent=8)]


def _how(reader: str, options: dict[str, str], *, indent: int, shared: bool = False) -> list[str]:
    """Lines that say how a file is read, and how a barcode finds its sample."""
    lines = [f"reader: {reader}"]
    if options:
        lines += ["options:", *(f"  {key}: {_scalar(value)}" for key, value in options.items())]
    if shared and reader in COUNT_READERS:
        lines += ["barcodes:", f"  rule: {PLACEHOLDER}"]
    return [" " * indent + line for line in lines]


def _head(
    series: GeoSeries,
    *,
    access: str,
    status: str = "metadata",
    reason: str = "",
) -> str:
    in_geo = is_series(series.accession)
    pmid = next((pmid for pmid in series.pmids if re.fullmatch("[0-9]{1,9}", pmid)), None)
    text = HEAD.format(
        todo=PLACEHOLDER,
        accession=series.accession,
        title=_scalar(series.title or PLACEHOLDER),
        paper=f"pmid: {pmid}" if pmid else "# pmid: of the paper",
        organism=_organism(series.organisms),
        platform=_scalar("; ".join(series.platforms) or PLACEHOLDER),
        parent=f"parent: {series.parents[0]}\n" if series.parents else "",
        access=access,
        status=status,
        reason=reason,
        source="geo" if in_geo else "record",
        page=GEO_PAGE + series.accession if in_geo else PLACEHOLDER,
    )
    return text + PAPER.format(todo=PLACEHOLDER, ref=PUBMED + pmid if pmid else PLACEHOLDER)


def _organism(names: tuple[str, ...]) -> str:
    try:
        (name,) = names
        return words("organism").resolve(name).id
    except (ValueError, EvidenceError):
        said = f"  # GEO says: {', '.join(names)}" if names else ""
        return PLACEHOLDER + said


def _scalar(text: str) -> str:
    """Write a text as a YAML value on one line, with quotes where it needs them."""
    dumped: str = yaml.safe_dump(text, allow_unicode=True, width=10**9)
    return dumped.removesuffix("\n").removesuffix("\n...")
