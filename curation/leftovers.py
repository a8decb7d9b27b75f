"""Find what a curator has not filled in yet: `study new` writes TODO in its place."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from cellresponse.schema.errors import EvidenceError

__all__ = ["PLACEHOLDER", "manifest_leftovers", "table_leftovers"]

PLACEHOLDER = "TODO"
MAX_BYTES = 1024 * 1024  # a larger manifest is refused anyway

# A whole value: behind a key, a dash, or a bracket; never a word in a text or comment.
VALUE = re.compile(
    rf"""(?: ^\s* (?:-\s+)* | [\[{{,]\s* ) (?: (?P<key>[A-Za-z0-9_]+) ["']? \s*:\s+ )?
    (?P<quote>["']?) {PLACEHOLDER} (?P=quote) \s* (?= $ | [,\]}}] | \s\# )""",
    re.VERBOSE,
)


def manifest_leftovers(path: Path, *, name: str) -> Iterator[EvidenceError]:
    """Name the line and key of every placeholder in a `study.yaml`.

    The text is searched before it is read as YAML: a placeholder fits no vocabulary,
    and the contributor should read that it is one.
    """
    try:
        with path.open("rb") as stream:
            text = stream.read(MAX_BYTES).decode("utf-8", "replace")
    except OSError:
        return  # reading it as YAML says why
    for row, line in enumerate(text.splitlines(), start=1):
        for found in VALUE.finditer(line):
            yield _leftover(name, row, found["key"])


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
        Name for messages.
    """
    for place, line in enumerate(lines):
        for column, fields in columns.items():
            if fields[place] == PLACEHOLDER:
                yield _leftover(name, line, column)


def _leftover(name: str, row: int, column: str | None) -> EvidenceError:
    return EvidenceError(
        "is not filled in yet",
        file=name,
        row=row,
        column=column,
        value=PLACEHOLDER,
        hint="Type the fact and its source; what the sources do not say stays empty",
    )
