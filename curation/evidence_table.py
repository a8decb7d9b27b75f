"""Read one evidence table (CSV, plain or gzip) strictly, with the line of every row."""

from __future__ import annotations

import csv
import difflib
import gzip
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pandas as pd
import pandera.pandas as pr

from cellresponse.curation.leftovers import table_leftovers
from cellresponse.schema.errors import CellResponseError, EvidenceError, raise_all
from cellresponse.schema.tables import arrow_schema
from cellresponse.schema.vocabulary import (
    assays,
    cancer_types,
    cell_lines,
    treatment_id,
    words,
)

__all__ = ["no_evidence", "read_evidence"]

MAX_BYTES = 512 * 1024 * 1024  # of text, so that a small gzip file cannot fill the memory
MAX_LINE_BYTES = 128 * 1024  # as much as the csv module takes for one field
MAX_PROBLEMS = 1000
LABEL_COLUMNS = {
    "basis",
    "condition",
    "drugresponse",
    "label",
    "labels",
    "resistant",
    "response",
    "ruleid",
    "sensitive",
    "sensitivity",
    "star",
    "stars",
}
# Python's own int() and float() take `1_000`, `nan` and digits of other scripts.
INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
NUMBER = re.compile(r"[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]{1,2})?")
UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


def read_evidence(path: Path, model: type[pr.DataFrameModel], *, name: str) -> pd.DataFrame:
    """Read a table that a curator typed.

    Parameters
    ----------
    path
        CSV with a header, UTF-8; gzip where the name ends with `.gz`.
    model
        One of `cellresponse.schema.evidence.EVIDENCE_TABLES`.
    name
        Name for messages.

    Returns
    -------
    pandas.DataFrame
        Arrow-backed columns of the model, in its order; optional columns that the
        file leaves out are null; words are those of the vocabularies. The index
        holds the line at which each row begins.

    Raises
    ------
    EvidenceError, Problems
        With file, row, column, value and what is allowed.
    """
    rows = _rows(path, name)
    header = _header(next(rows, None), model, name)
    problems: list[CellResponseError] = []
    lines: list[int] = []
    columns: dict[str, list[str]] = {column: [] for column in header}
    for line, row in rows:
        if not any(field.strip() for field in row):
            continue
        if len(row) != len(header):
            problems.append(
                EvidenceError(
                    f"the row has {len(row)} fields, the header {len(header)}",
                    file=name,
                    row=line,
                    hint="Put quotes around a field that holds a comma",
                )
            )
            if len(problems) == MAX_PROBLEMS:
                break
            continue
        lines.append(line)
        for column, field in zip(header, row, strict=True):
            columns[column].append(field.strip())
    raise_all(problems)
    raise_all(table_leftovers(columns, lines, name=name))
    frame = _typed(columns, lines, model, name)
    _check(frame, model, name)
    return frame


def no_evidence(model: type[pr.DataFrameModel]) -> pd.DataFrame:
    """Give an evidence table without rows, in the types that `read_evidence` gives."""
    return _typed({}, [], model, "")


def _rows(path: Path, name: str) -> Iterator[tuple[int, list[str]]]:
    """Yield each row with the line at which it begins."""
    start = 1
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as raw:
            reader = csv.reader(_lines(raw, name), strict=True)
            for row in reader:
                yield start, row
                start = reader.line_num + 1
    except csv.Error as error:
        mac = "new-line character" in str(error)
        raise EvidenceError(
            "has line ends of another kind" if mac else f"is not CSV: {error}",
            file=name,
            row=start,
            hint="Save it as CSV with Unix or Windows line ends"
            if mac
            else "Put quotes around a field that holds a comma, and double the quotes in it",
        ) from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise EvidenceError(
            f"is not a whole gzip file: {error}", file=name, hint="Pack it again with gzip"
        ) from None
    except OSError as error:
        raise EvidenceError(f"cannot be read: {error.strerror or error}", file=name) from None


def _lines(raw: BinaryIO | gzip.GzipFile, name: str) -> Iterator[str]:
    """Decode line by line: an error then has its line, and no line its file's size."""
    size = number = 0
    while line := raw.readline(MAX_LINE_BYTES):
        size, number = size + len(line), number + 1
        if size > MAX_BYTES:
            raise EvidenceError(
                "the file is too large for an evidence table",
                file=name,
                allowed=f"{MAX_BYTES} bytes of text",
            )
        if len(line) == MAX_LINE_BYTES:
            raise EvidenceError(
                "the line is too long",
                file=name,
                row=number,
                allowed=f"{MAX_LINE_BYTES} bytes",
            )
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError:
            raise EvidenceError(
                "is not UTF-8 text",
                file=name,
                row=number,
                hint="Save it as UTF-8",
            ) from None
        if odd := UNPRINTABLE.search(text):
            raise EvidenceError(
                "the line holds a character that cannot be printed",
                file=name,
                row=number,
                value=odd[0],
                hint="Type what can be seen",
            )
        yield text


def _header(
    first: tuple[int, list[str]] | None, model: type[pr.DataFrameModel], name: str
) -> list[str]:
    if first is None or not any(field.strip() for field in first[1]):
        raise EvidenceError(
            "there is no header line", file=name, row=1, hint="It names the columns"
        )
    header = [field.strip() for field in first[1]]
    known = arrow_schema(model)
    problems: list[CellResponseError] = []
    for position, column in enumerate(header):
        if column in header[:position]:
            problems.append(
                EvidenceError(
                    "the column stands twice",
                    file=name,
                    row=1,
                    column=column,
                    value=column,
                    hint="Keep one of them",
                )
            )
        elif column not in known.names:
            problems.append(_unknown_column(column, known.names, name))
    needed = [field.name for field in known if not field.nullable]
    for field in known:
        if field.name in needed and field.name not in header:
            problems.append(
                EvidenceError(
                    "the column is missing",
                    file=name,
                    row=1,
                    column=field.name,
                    allowed=f"a header with {', '.join(needed)}",
                )
            )
    raise_all(problems)
    return header


def _unknown_column(column: str, known: list[str], name: str) -> EvidenceError:
    if re.sub("[^a-z]", "", column.lower()) in LABEL_COLUMNS:
        allowed, hint = (
            None,
            "A label is computed from evidence, never typed: give the facts instead",
        )
    else:
        allowed, hint = difflib.get_close_matches(column, known, n=3, cutoff=0.5) or known, None
    return EvidenceError(
        "unknown column", file=name, row=1, value=column, allowed=allowed, hint=hint
    )


def _typed(
    columns: dict[str, list[str]],
    lines: list[int],
    model: type[pr.DataFrameModel],
    name: str,
) -> pd.DataFrame:
    problems: list[CellResponseError] = []
    typed: dict[str, pd.Series] = {}
    fields = model.to_schema().columns
    for field in arrow_schema(model):
        texts = columns.get(field.name, [""] * len(lines))
        metadata = fields[field.name].metadata or {}
        convert = _converter(str(field.type), metadata.get("vocabulary"))
        values: list[object] = []
        seen: dict[str, object] = {}  # a column repeats few words: convert each once
        for line, text in zip(lines, texts, strict=True):
            if text not in seen:
                try:
                    seen[text] = convert(text) if text else None
                except CellResponseError as error:
                    seen[text] = None
                    problems.append(
                        EvidenceError(
                            error.problem,
                            file=name,
                            row=line,
                            column=field.name,
                            value=text,
                            allowed=error.allowed,
                            hint=error.hint,
                        )
                    )
            values.append(seen[text])
        typed[field.name] = pd.Series(values, index=lines, dtype=pd.ArrowDtype(field.type))
    raise_all(problems)
    return pd.DataFrame(typed, index=lines)


def _converter(kind: str, vocabulary: str | None) -> Callable[[str], object]:
    if kind == "int64":
        return _integer
    if kind == "double":
        return _number
    if vocabulary is None:
        return str
    if vocabulary == "treatments":
        return treatment_id
    open_ended = {
        "cell_lines": cell_lines,
        "cancer_types": cancer_types,
        "assays": assays,
    }
    found = open_ended[vocabulary]() if vocabulary in open_ended else words(vocabulary)
    return lambda text: found.resolve(text).id


def _integer(text: str) -> int:
    if not INTEGER.fullmatch(text):
        raise EvidenceError("not a whole number", allowed="digits such as 12")
    return int(text)


def _number(text: str) -> float:
    if not NUMBER.fullmatch(text):
        raise EvidenceError("not a number", allowed="a number such as 0.5; empty where not known")
    return float(text)


def _check(frame: pd.DataFrame, model: type[pr.DataFrameModel], name: str) -> None:
    problems: list[CellResponseError] = []
    columns = model.to_schema().columns
    try:
        model.validate(frame, lazy=True)
    except pr.errors.SchemaErrors as error:
        # Pandera reports every row and column of a key that stands twice: see _key_problems.
        cases = error.failure_cases
        cases = cases[~cases["check"].str.endswith("uniqueness")].head(MAX_PROBLEMS)
        problems += [_failure(case, columns, name) for case in cases.to_dict(orient="records")]
    keys = [[column] for column, field in columns.items() if field.unique]
    for key in [*keys, list(getattr(model.Config, "unique", None) or ())]:
        problems += _key_problems(frame, key, name)
    raise_all(problems)


def _key_problems(frame: pd.DataFrame, key: list[str], name: str) -> Iterator[EvidenceError]:
    """Name the first row whose key an earlier row has."""
    if not key:
        return
    twice = frame.index[frame.duplicated(key)]
    if len(twice):
        values = frame.loc[twice[0], key]
        first = frame.index[(frame[key] == values).all(axis=1)][0]
        several = f"; {len(twice)} such rows" if len(twice) > 1 else ""
        yield EvidenceError(
            f"the {' and '.join(key)} of row {first} once more{several}",
            file=name,
            row=int(twice[0]),
            column=key[0] if len(key) == 1 else None,
            value=", ".join(map(str, values)),
            allowed=f"one row for each {' and '.join(key)}",
        )


CHECKS = {
    "not_nullable": ("the field is empty", "a value"),
    "greater_than_or_equal_to": ("too small", "at least {}"),
    "greater_than": ("too small", "more than {}"),
    "str_matches": ("has the wrong form", "text that fits {}"),
}
"""Pandera's name of a check: what is wrong, and what is allowed."""


def _failure(case: dict[Any, Any], columns: dict[str, Any], name: str) -> EvidenceError:
    check, _, argument = str(case["check"]).partition("(")
    problem, allowed = CHECKS.get(check, (f"fails the check {case['check']}", None))
    form = (columns[case["column"]].metadata or {}).get("form")
    value = case["failure_case"]
    return EvidenceError(
        problem,
        file=name,
        row=int(case["index"]),
        column=case["column"],
        value=None if pd.isna(value) else value,
        allowed=form
        if check == "str_matches" and form
        else allowed and allowed.format(argument[:-1]),
    )
