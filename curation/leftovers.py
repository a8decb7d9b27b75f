"""Find what a curator has not filled in yet: `study new` writes TODO in its place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from cellresponse.curation.sample_checks import NEEDED_TO_BUILD
from cellresponse.schema.errors import EvidenceError
from cellresponse.schema.evidence import EVIDENCE_TABLES
from cellresponse.schema.reader_options import option_key
from cellresponse.schema.study import StudyManifest
from cellresponse.schema.vocabulary import words
from cellresponse.schema.yaml_file import Key, Place, dotted, key_at, load_yaml

__all__ = ["PLACEHOLDER", "manifest_leftovers", "table_leftovers"]

PLACEHOLDER = "TODO"
MAX_BYTES = 1024 * 1024  # a larger manifest is refused anyway
REQUIRED = "It is required"
READY = "A study that is ready needs it"
OPTIONAL = "Type the fact and its source; what the sources do not say stays empty"
LARGE = ("assays", "cancer_types", "cell_lines", "treatments")  # vocabularies too long to list


def manifest_leftovers(path: Path, *, name: str) -> Iterator[EvidenceError]:
    """Name the line and key of every placeholder in a `study.yaml`.

    A placeholder fits no vocabulary, and the contributor should read that it is one.

    Raises
    ------
    EvidenceError
        The file is not YAML.
    """
    try:
        with path.open("rb") as stream:
            if PLACEHOLDER.encode() not in stream.read(MAX_BYTES):
                return  # reading YAML is slow, and most manifests are filled in
    except OSError:
        return  # reading it as YAML says why
    document, lines = load_yaml(path, name=name)
    for place, around in _placeholders(document):
        key = _key(place, around)
        if (key and key.required) or place == ("reason",):
            hint = REQUIRED
        else:
            hint = READY if place == ("title",) else OPTIONAL
        yield EvidenceError(
            "is not filled in yet",
            file=name,
            row=lines[place],
            column=dotted(place),
            value=PLACEHOLDER,
            allowed=key.allowed if key else None,
            hint=hint,
        )


def table_leftovers(
    columns: Mapping[str, Sequence[str]], lines: Sequence[int], *, name: str
) -> Iterator[EvidenceError]:
    """Name the row and column of every placeholder in an evidence table.

    Parameters
    ----------
    columns
        Fields of each column, one a row.
    lines
        Line of each row in the file.
    name
        Name for messages; it ends with the name of the table.
    """
    for place, line in enumerate(lines):
        for column, fields in columns.items():
            if fields[place] == PLACEHOLDER:
                allowed, hint = _of_column(PurePosixPath(name).name, column)
                yield EvidenceError(
                    "is not filled in yet",
                    file=name,
                    row=line,
                    column=column,
                    value=PLACEHOLDER,
                    allowed=allowed,
                    hint=hint,
                )


def _placeholders(
    value: object, place: Place = (), around: tuple[object, ...] = ()
) -> Iterator[tuple[Place, tuple[object, ...]]]:
    """Each placeholder's place, and the lists and mappings that it lies in, from the outside."""
    if isinstance(value, str) and value.strip() == PLACEHOLDER:
        yield place, around
    inner = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for step, below in inner:
        yield from _placeholders(below, (*place, step), (*around, value))


def _key(place: Place, around: tuple[object, ...]) -> Key | None:
    if len(place) > 2 and place[-2] == "options":
        entry = around[-2]
        reader = entry.get("reader") if isinstance(entry, dict) else None
        return option_key(str(reader), str(place[-1]))
    return key_at(StudyManifest, place)


def _of_column(table: str, column: str) -> tuple[str | list[str] | None, str]:
    """What a column takes, and whether it may stay empty."""
    model = EVIDENCE_TABLES.get(table)
    field = model.to_schema().columns.get(column) if model else None
    if field is None:
        return None, OPTIONAL
    said = field.metadata or {}
    vocabulary = said.get("vocabulary")
    allowed = (
        words(vocabulary).words if vocabulary and vocabulary not in LARGE else said.get("form")
    )
    if not field.nullable:
        return allowed, REQUIRED
    return allowed, READY if column in (*NEEDED_TO_BUILD, "fact_sources") else OPTIONAL
