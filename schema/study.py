"""Typed model of `study.yaml`: what a study is and where its files are."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    Field,
    PlainValidator,
    PositiveInt,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from cellresponse.schema.errors import EvidenceError
from cellresponse.schema.reader_options import (
    READER_OPTIONS,
    OptionProblem,
    list_problems,
    option_problems,
)
from cellresponse.schema.vocabulary import words
from cellresponse.schema.yaml_file import Place, Strict

__all__ = [
    "BarcodeRule",
    "Disagreement",
    "FactSource",
    "Member",
    "SourceFile",
    "StatedCells",
    "StudyManifest",
    "form",
    "word",
]

CELL_FACTS = ("cell_line", "cell_type", "malignant", "doublet")
OPTION = "a text, or a list of texts"
WEB = "https://..., http://... or ftp://..."
READABLE = "dense_text, 10x_mtx, 10x_h5, h5ad, cell_table or companion"
NOT_READY = "it, or the status metadata"
KEYED = "a regular expression with a group (?P<key>...)"
COUNT_READERS = tuple(READER_OPTIONS)
LIST_READERS = ("companion", "cell_table")


def word(vocabulary: str) -> AfterValidator:
    """Accept any spelling of a vocabulary's word, keep the word."""

    def check(value: str) -> str:
        try:
            return words(vocabulary).resolve(value).id
        except EvidenceError as error:
            raise PydanticCustomError(
                "vocabulary", "{problem}", {"problem": error.problem, "allowed": error.allowed}
            ) from None

    return AfterValidator(check)


def form(pattern: str, allowed: str) -> AfterValidator:
    """Accept text that a pattern fits as a whole; `allowed` says it for people."""
    compiled = re.compile(pattern, re.ASCII | re.DOTALL)

    def check(value: str) -> str:
        if not compiled.fullmatch(value):
            raise PydanticCustomError("form", "has the wrong form", {"allowed": allowed})
        return value

    return AfterValidator(check)


def _option(value: object) -> str | list[str] | None:
    texts = value if isinstance(value, list) else [value or ""]
    if not all(isinstance(text, str) for text in texts):
        raise PydanticCustomError(
            "option", "an option has no options of its own", {"allowed": OPTION}
        )
    return value  # type: ignore[return-value]


def _refused(problem: str, allowed: str | list[str], *keys: str | int) -> PydanticCustomError:
    """What is wrong, what is allowed, and at which key below the one that was looked at."""
    return PydanticCustomError(
        "refused", "{problem}", {"problem": problem, "allowed": allowed, "keys": keys}
    )


def _refuse_options(problems: Iterable[tuple[Place, OptionProblem]]) -> None:
    """Raise every problem of options, each with the place of its `options`."""
    details = [
        InitErrorDetails(
            type=PydanticCustomError(
                "option",
                "{problem}",
                {"problem": said.problem, "allowed": said.allowed, "hint": said.hint},
            ),
            loc=(*place, *said.place),
            input=said.value,
        )
        for place, said in problems
    ]
    if details:
        raise ValidationError.from_exception_data("options", details)


def _option_problems(reader: str, options: Mapping[str, object]) -> list[OptionProblem]:
    model = READER_OPTIONS.get(reader)
    if model:
        return option_problems(model, options)
    if not options:
        return []
    takers = f"no options; they are for {', '.join(READER_OPTIONS)}"
    return [OptionProblem((), f"the reader {reader} takes none", None, takers)]


def _plain_name(value: str) -> str:
    plain = "a name without spaces around it, `\\`, or `..`"
    if not value or value != value.strip() or value.startswith("/") or "\\" in value:
        raise _refused("not a plain file name", plain)
    if any(part in ("", ".", "..") for part in value.split("/")):
        raise _refused("a file name must not leave its folder", plain)
    return value


def _web_address(value: str) -> str:
    try:
        parts = urlsplit(value)
    except ValueError as error:
        raise _refused(f"not a web address ({error})", WEB) from None
    if parts.scheme not in ("https", "http", "ftp") or not parts.netloc:
        raise _refused("not a web address", WEB)
    if parts.username or parts.password:
        raise _refused("a web address must not hold a user name or password", WEB)
    return value


def _pattern(value: str) -> str:
    try:
        compiled = re.compile(value)
    except re.error as error:
        raise _refused(f"not a regular expression ({error})", KEYED) from None
    if "key" not in compiled.groupindex:
        raise _refused("the pattern needs a group named key", KEYED)
    return value


Name = Annotated[str, AfterValidator(_plain_name)]
Url = Annotated[str, AfterValidator(_web_address)]
Sha256 = Annotated[str, form(r"[0-9a-f]{64}", "64 digits 0-9 and a-f, in lower case")]
Accession = Annotated[
    str, form(r"[A-Za-z0-9][A-Za-z0-9._-]*", "an accession: letters, digits, `.`, `_` and `-`")
]
Doi = Annotated[str, form(r"10\.\d{4,9}/\S+", "a DOI such as 10.1038/s41592-019-0425-8")]
Pmid = Annotated[str, form(r"\d{1,9}", "the digits of a PubMed id")]
Text = Annotated[str, form(r".*\S.*", "a text that is not empty")]
SourceKey = Annotated[str, form(r"[a-z0-9_]+", "a key of small letters, digits and `_`")]
Option = Annotated[str | list[str] | None, PlainValidator(_option)]


def _require_distinct(names: list[str], problem: str, key: str) -> None:
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise _refused(f"{problem}: {twice[0]}", "each name once", key)


class FactSource(Strict):
    """Where a fact was read, and in what kind of text."""

    ref: Text
    """URL, DOI, `PMID:...` or accession."""
    kind: Literal["paper", "database", "benchmark_table", "code", "source_file"]
    where: str | None = None
    """Place in it: section, table, line."""
    terms: str | None = None
    """Terms of use where it is a data resource."""


class BarcodeRule(Strict):
    """How a barcode of a file finds its sample.

    `whole_file`: every barcode belongs to the file's one sample.
    `table`: a companion file names a key for each barcode (`key_column`).
    `pattern`: the group `key` of a regular expression on the barcode.
    `cells`: the study's own `cells.csv.gz`.
    A key is matched with `barcode_key` of `samples.csv`.
    """

    rule: Annotated[str, word("barcode_rule")]
    pattern: Annotated[str, AfterValidator(_pattern)] | None = None
    table: Name | None = None
    delimiter: str = ","
    barcode_column: str | None = None
    """Column of the table with the barcode; None: the first, as R writes row names."""
    key_column: str | None = None
    columns: dict[Literal["cell_line", "cell_type", "malignant", "doublet"], str] = {}
    """Facts of single cells: our column, the table's column."""
    values: dict[str, dict[str, str]] = {}
    """Translation of the table's values, by the table's column."""
    keep: dict[str, list[str]] = {}
    """Rows to keep: a column of the table, the values that stay."""

    @model_validator(mode="after")
    def _complete(self) -> BarcodeRule:
        needs = {"table": ("table", "key_column"), "pattern": ("pattern",)}.get(self.rule, ())
        for field in needs:
            if getattr(self, field) is None:
                raise _refused(f"the rule {self.rule} needs {field}", "a value for it", field)
        return self


class _Read(Strict):
    """How a file is read."""

    reader: Annotated[str, word("reader")]
    options: dict[str, Option] = {}
    """What its reader asks: `cellresponse.schema.reader_options`. A study that is not
    ready may leave them out, until somebody has seen the file."""
    barcodes: BarcodeRule = BarcodeRule(rule="whole_file")

    @field_validator("options")
    @classmethod
    def _options_fit(cls, value: dict[str, Option], info: ValidationInfo) -> dict[str, Option]:
        if value and "reader" in info.data:
            _refuse_options(((), said) for said in _option_problems(info.data["reader"], value))
        return value

    def option_problems(self) -> list[OptionProblem]:
        """What is wrong with the options, or missing among them."""
        return _option_problems(self.reader, self.options)


class Member(_Read):
    """A file inside an archive."""

    name: Name

    @model_validator(mode="after")
    def _plain_file(self) -> Member:
        if self.reader == "archive":
            raise _refused("an archive inside an archive is not read", READABLE, "reader")
        return self


class SourceFile(_Read):
    """A file to fetch: address, checksum, size, and how it is read."""

    name: Name
    url: Url
    sha256: Sha256 | None = None
    """None: not pinned yet."""
    bytes: PositiveInt | None = None
    members: list[Member] = []

    @model_validator(mode="after")
    def _archive(self) -> SourceFile:
        if self.members and self.reader != "archive":
            raise _refused(
                "reader `archive` and a list of members belong together", "archive", "reader"
            )
        _require_distinct(
            [member.name for member in self.members], "two members have one name", "members"
        )
        return self

    @property
    def pinned(self) -> bool:
        """Whether checksum and size are known."""
        return self.sha256 is not None and self.bytes is not None


class StatedCells(Strict):
    """How many cells a source says the study has; for the catalogue, no rule reads it."""

    count: PositiveInt
    of: Text
    """What was counted, such as "cells of the object" or "cells that a benchmark kept"."""
    source: SourceKey


class Disagreement(Strict):
    """Two readings of one fact, and what was decided."""

    about: Text
    readings: list[Text] = Field(min_length=2)
    decision: Text


class StudyManifest(Strict):
    """One study: identity, licence, status, files, and sources of its facts."""

    study_id: Accession
    title: Text | None = None
    """None: not read yet; a study that is ready has one."""
    organism: Annotated[str, word("organism")]
    platform: str | None = None
    doi: Doi | None = None
    pmid: Pmid | None = None
    parent: Accession | None = None
    year: Annotated[int, Field(ge=1990, le=2100)] | None = None
    licence: Text
    licence_url: Url | None = None
    access: Annotated[str, word("access")]
    curator: Text
    revision: PositiveInt
    status: Annotated[str, word("status")]
    reason: str | None = None
    """Why the study is not `ready`."""
    synthetic: bool = False
    notes: str | None = None
    cells_stated: StatedCells | None = None
    files: list[SourceFile] = []
    sources: dict[SourceKey, FactSource] = {}
    disagreements: list[Disagreement] = []

    @model_validator(mode="after")
    def _consistent(self) -> StudyManifest:
        if self.status == "ready":
            self._require_buildable()
        if self.status in ("excluded", "needs_conversion", "controlled") and not self.reason:
            raise _refused(f"the status {self.status} needs a reason", "a sentence", "reason")
        if self.cells_stated and self.cells_stated.source not in self.sources:
            raise _refused(
                f"{self.cells_stated.source!r} is not among the sources",
                sorted(self.sources) or "name it under `sources:` first",
                *("cells_stated", "source"),
            )
        _require_distinct([file.name for file in self.files], "two files have one name", "files")
        for place, entry in self._entries():
            table = entry.barcodes.table if entry.barcodes.rule == "table" else None
            if table and table not in (known := self._names(place)):
                raise _refused(
                    f"the table of a barcode rule is not a file of the study: {table}",
                    sorted(known),
                    *(*place, "barcodes", "table"),
                )
        _refuse_options(
            ((*place, "options"), said)
            for place, entry in self._entries()
            for said in list_problems(entry.reader, entry.options, self._names(place, LIST_READERS))
        )
        return self

    def _require_buildable(self) -> None:
        if not self.files:
            raise _refused("a study that is ready lists its files", NOT_READY, "files")
        if self.title is None:
            raise _refused("a study that is ready has a title", NOT_READY, "title")
        for place, file in enumerate(self.files):
            if not file.pinned:
                raise _refused(
                    "a study that is ready has sha256 and bytes for every file, and "
                    f"{file.name} has not: `study pin` writes them",
                    NOT_READY,
                    "files",
                    place,
                )
            if file.reader == "archive" and not file.members:
                raise _refused(
                    f"a study that is ready lists the members of {file.name}",
                    NOT_READY,
                    *("files", place, "members"),
                )
            if file.reader == "r_object":
                raise _refused(
                    f"no step reads {file.name}: convert it first",
                    READABLE,
                    *("files", place, "reader"),
                )
        _refuse_options(
            ((*place, "options"), said)
            for place, entry in self._entries()
            for said in entry.option_problems()
        )

    def _entries(self) -> Iterator[tuple[Place, SourceFile | Member]]:
        """Files and members of archives, with their places."""
        for i, file in enumerate(self.files):
            yield ("files", i), file
            for k, member in enumerate(file.members):
                yield ("files", i, "members", k), member

    def _names(self, place: Place, readers: Container[str] | None = None) -> set[str]:
        """Names that a matrix may use for other files of the study. `readers` None: of any reader.

        A member goes by `archive/member`; by its own name for the matrices of its archive,
        and for others where no second archive has that name.
        """
        times = Counter(member.name for file in self.files for member in file.members)
        own = place[1] if "members" in place else None
        found = set()
        for i, file in enumerate(self.files):
            if readers is None or file.reader in readers:
                found.add(file.name)
            for member in file.members:
                if readers is None or member.reader in readers:
                    found.add(f"{file.name}/{member.name}")
                    if i == own or times[member.name] == 1:
                        found.add(member.name)
        return found

    def matrices(self) -> dict[str, SourceFile | Member]:
        """Count matrices by their name; members of an archive as `archive/member`."""
        found: dict[str, SourceFile | Member] = {}
        for file in self.files:
            if file.reader in COUNT_READERS:
                found[file.name] = file
            for member in file.members:
                if member.reader in COUNT_READERS:
                    found[f"{file.name}/{member.name}"] = member
        return found
