"""The message format, and errors on their way between processes."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellresponse.schema.errors import (
    CellResponseError,
    CountsError,
    EvidenceError,
    Problems,
    ReleaseError,
    SourceFileError,
    StorageError,
    raise_all,
    shorten,
)

KINDS = [
    CellResponseError,
    CountsError,
    EvidenceError,
    ReleaseError,
    SourceFileError,
    StorageError,
]
PLACES = st.fixed_dictionaries(
    {},
    optional={
        "file": st.text(min_size=1),
        "row": st.integers(1),
        "column": st.text(min_size=1),
        "value": st.text() | st.integers() | st.none(),
        "allowed": st.text() | st.lists(st.text()),
        "hint": st.text(),
    },
)


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ({}, "no good."),
        ({"file": Path("a") / "b.csv"}, "a/b.csv: no good."),
        ({"row": 3}, "row 3: no good."),
        ({"file": "f", "row": 3, "column": "c"}, "f, row 3, column c: no good."),
        ({"value": "x"}, "no good 'x'."),
        ({"value": ""}, "no good ''."),
        ({"value": 0}, "no good 0."),
        ({"allowed": ["a", "b"]}, "no good. Allowed: a, b."),
        ({"allowed": "a or b"}, "no good. Allowed: a or b."),
        ({"allowed": []}, "no good."),
        ({"hint": "Do this"}, "no good. Do this."),
        ({"hint": "Do this."}, "no good. Do this."),
    ],
)
def test_message(place: dict[str, object], text: str) -> None:
    assert str(CellResponseError("no good", **place)) == text  # type: ignore[arg-type]


@given(st.sampled_from(KINDS), st.text(min_size=1), PLACES)
def test_pickle_keeps_kind_message_and_place(
    kind: type[CellResponseError], problem: str, place: dict[str, object]
) -> None:
    error = kind(problem, **place)  # type: ignore[arg-type]
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - its own bytes
    assert type(copy) is kind
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)


def test_problems_pickle() -> None:
    problems = Problems([EvidenceError("one", file="a"), CountsError("two", row=1)])
    copy = pickle.loads(pickle.dumps(problems))  # noqa: S301 - its own bytes
    assert str(copy) == str(problems) == "a: one.\nrow 1: two."
    assert [type(each) for each in copy.problems] == [EvidenceError, CountsError]


@pytest.mark.parametrize(("number", "more"), [(1, 0), (20, 0), (21, 1), (40, 20)])
def test_problems_shows_twenty(number: int, more: int) -> None:
    lines = str(Problems(EvidenceError(f"number {n}") for n in range(number))).splitlines()
    assert lines[:20] == [f"number {n}." for n in range(min(number, 20))]
    assert lines[20:] == ([f"... and {more} more problems."] if more else [])


def test_problems_needs_one() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Problems([])


def test_raise_all_raises_what_there_is() -> None:
    raise_all([])
    one, two = EvidenceError("one"), EvidenceError("two")
    with pytest.raises(EvidenceError) as single:
        raise_all(iter([one]))
    assert single.value is one
    with pytest.raises(Problems) as several:
        raise_all(iter([one, two]))
    assert several.value.problems == [one, two]


@given(st.text() | st.lists(st.text()) | st.integers(), st.integers(10, 100))
def test_shortened_values_are_short_and_on_one_line(value: object, limit: int) -> None:
    text = shorten(value, limit)
    assert len(text) <= limit
    assert len(text.splitlines()) <= 1


def test_short_values_stay_whole() -> None:
    assert shorten("uMM") == "'uMM'"
    assert shorten("x" * 100, 10) == "'xxxxxx..."
    assert shorten(Path("a\nb")) == "a b"
