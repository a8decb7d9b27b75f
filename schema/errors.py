"""The errors a user can meet: one small family, one message format.

Every mistake in evidence, source files or releases ends as a
`CellResponseError`. The command line prints it and exits with code 1; it never
shows a traceback. A message says what is wrong, where (file, row, column,
value), what is allowed, and what to do next.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

__all__ = [
    "CellResponseError",
    "CountsError",
    "EvidenceError",
    "HubError",
    "ModelError",
    "Problems",
    "ReleaseError",
    "SourceFileError",
    "StorageError",
    "UnknownWord",
]


class CellResponseError(Exception):
    """Base of all errors that are the input's fault, not the program's.

    Parameters
    ----------
    problem
        What is wrong, in one sentence without a full stop.
    file
        File, or folder, that holds the mistake. None where there is none.
    row
        1-based line of the file as an editor counts it (a table's header is
        row 1). None where the mistake is not in one row.
    column
        Column of a table, or dotted path of a YAML key.
    value
        The offending value; shown shortened.
    allowed
        What would be accepted: a sentence, or a list of words.
    hint
        What to do next.

    Examples
    --------
    >>> str(CellResponseError("unknown unit", file="samples.csv", row=3,
    ...                       column="dose_unit", value="uMM", allowed=["nM", "uM"]))
    "samples.csv, row 3, column dose_unit: unknown unit 'uMM'. Allowed: nM, uM."
    """

    def __init__(
        self,
        problem: str,
        *,
        file: str | Path | None = None,
        row: int | None = None,
        column: str | None = None,
        value: object = None,
        allowed: str | Sequence[str] | None = None,
        hint: str | None = None,
    ) -> None:
        self.problem = problem
        self.file = None if file is None else str(file)
        self.row = row
        self.column = column
        self.value = value
        self.allowed = allowed
        self.hint = hint
        super().__init__(self._text())

    def _text(self) -> str:
        where = [self.file] if self.file else []
        if self.row is not None:
            where.append(f"row {self.row}")
        if self.column is not None:
            where.append(f"column {self.column}")
        text = ", ".join(where) + (": " if where else "") + self.problem
        if self.value is not None:
            text += f" {shorten(self.value)}"
        text += "."
        if self.allowed:
            allowed = self.allowed if isinstance(self.allowed, str) else ", ".join(self.allowed)
            text += f" Allowed: {allowed}."
        if self.hint:
            text += f" {self.hint.rstrip('.')}."
        return text

    def __reduce__(self) -> tuple[object, ...]:
        # Worker processes send errors back by pickle; keyword arguments must survive it.
        keywords = {
            key: getattr(self, key) for key in ("file", "row", "column", "value", "allowed", "hint")
        }
        return _rebuild, (type(self), self.problem, keywords)


def _rebuild(
    kind: type[CellResponseError], problem: str, keywords: dict[str, object]
) -> CellResponseError:
    return kind(problem, **keywords)  # type: ignore[arg-type]


class EvidenceError(CellResponseError):
    """A study folder, vocabulary or release spec says something that cannot be."""


class UnknownWord(EvidenceError):
    """A text is none of a vocabulary's words."""


class SourceFileError(CellResponseError):
    """A source file is missing, changed, truncated, unsafe or unreadable."""


class CountsError(CellResponseError):
    """A matrix does not hold raw counts."""


class ReleaseError(CellResponseError):
    """A release folder is incomplete, changed or contradicts itself."""


class HubError(CellResponseError):
    """The Hub refuses, cannot be reached, or holds another thing than was expected."""


class ModelError(CellResponseError):
    """A model's weights, vocabulary or input are not what the model needs."""


class StorageError(CellResponseError):
    """The output cannot be written: disk full, no permission, busy."""


class Problems(CellResponseError):
    """Several errors found in one go, so that a contributor sees all at once.

    Parameters
    ----------
    problems
        The single errors, at least one.
    """

    shown = 20

    def __init__(self, problems: Iterable[CellResponseError]) -> None:
        self.problems = list(problems)
        if not self.problems:
            raise ValueError("Problems needs at least one error")
        super().__init__(f"{len(self.problems)} problems")

    def __str__(self) -> str:
        lines = [str(problem) for problem in self.problems[: self.shown]]
        if len(self.problems) > self.shown:
            lines.append(f"... and {len(self.problems) - self.shown} more problems.")
        return "\n".join(lines)

    def __reduce__(self) -> tuple[object, ...]:
        return Problems, (self.problems,)


def raise_all(problems: Iterable[CellResponseError]) -> None:
    """Raise nothing, the one error, or `Problems` for several."""
    found = list(problems)
    if len(found) == 1:
        raise found[0]
    if found:
        raise Problems(found)


def shorten(value: object, limit: int = 80) -> str:
    """Show a value in a message: quoted, on one line, at most `limit` characters."""
    text = repr(value) if isinstance(value, str) else " ".join(str(value).split())
    return text if len(text) <= limit else f"{text[: limit - 3]}..."
