"""Whatever is done to a real study's files, it loads or says what is wrong: never a traceback.

`CELLRESPONSE_EXAMPLES` sets how many mutations are tried.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from studies import CURATION

from cellresponse.curation.labels import derive_labels
from cellresponse.curation.study import load_study
from cellresponse.schema.errors import CellResponseError, Problems

EXAMPLES = int(os.environ.get("CELLRESPONSE_EXAMPLES", "300"))
FILES = [
    ("GSE118767", "study.yaml"),
    ("GSE118767", "samples.csv"),
    ("GSE118767", "dose_response.csv"),
    ("GSE149214", "study.yaml"),
    ("GSE149214", "samples.csv"),
]
WORDS = [
    *[
        "",
        " ",
        "~",
        "no",
        "0",
        "-1",
        "1e400",
        "nan",
        "2021-01-01",
        "9" * 30,
        "x" * 5000,
        "[]",
        "{}",
    ],
    *[
        "[[a]]",
        "{a: b}",
        "&a b",
        "*a",
        "!!int 1",
        "- a",
        "a: b",
        '"',
        "'",
        '"\\0"',
        '"\\UFFFFFFFF"',
    ],
    *["../x", "/etc/passwd", "file:///x", "http://[", "(", "(?P<key>", "a+b", "erlotinib + ", "+"],
    *["=", "*=", "a=b=c", ";", "\x00", "\ufeff", "\u2028", "\r", "é", "\U0001f600", "\t", "GSE1:2"],
    *[
        "ready",
        "archive",
        "cells",
        "table",
        "pattern",
        "whole_file",
        "resistant",
        "treated",
        ">183",
    ],
]

type Mutation = Callable[[list[str], random.Random], None]


def drop_line(lines: list[str], chance: random.Random) -> None:
    del lines[chance.randrange(len(lines))]


def repeat_line(lines: list[str], chance: random.Random) -> None:
    lines.insert(chance.randrange(len(lines)), chance.choice(lines))


def swap_lines(lines: list[str], chance: random.Random) -> None:
    one, other = chance.randrange(len(lines)), chance.randrange(len(lines))
    lines[one], lines[other] = lines[other], lines[one]


def indent_line(lines: list[str], chance: random.Random) -> None:
    at = chance.randrange(len(lines))
    lines[at] = chance.choice(["  ", "\t", "- "]) + lines[at]


def dedent_line(lines: list[str], chance: random.Random) -> None:
    at = chance.randrange(len(lines))
    lines[at] = lines[at].lstrip(" -")


def alter_part(lines: list[str], chance: random.Random) -> None:
    """Put a word for one value, key or field of a line."""
    at = chance.randrange(len(lines))
    separator = ": " if ": " in lines[at] else ","
    parts = lines[at].split(separator)
    parts[chance.randrange(len(parts))] = chance.choice(WORDS)
    lines[at] = separator.join(parts)


def alter_character(lines: list[str], chance: random.Random) -> None:
    at = chance.randrange(len(lines))
    if lines[at]:
        place = chance.randrange(len(lines[at]))
        character = chance.choice([*"aZ0,:;=-'\"[{&*!|#>%@ \n", "\x00", "\x85", "\u00e9"])
        lines[at] = lines[at][:place] + character + lines[at][place + 1 :]


def drop_column(lines: list[str], chance: random.Random) -> None:
    at = chance.randrange(lines[0].count(",") + 1)
    for number, line in enumerate(lines):
        fields = line.split(",")
        lines[number] = ",".join(fields[:at] + fields[at + 1 :])


def cut(lines: list[str], chance: random.Random) -> None:
    del lines[chance.randrange(1, len(lines) + 1) :]


MUTATIONS: list[Mutation] = [
    drop_line,
    repeat_line,
    swap_lines,
    indent_line,
    dedent_line,
    alter_part,
    alter_part,
    alter_part,
    alter_character,
    drop_column,
    cut,
]
ENCODINGS = ["utf-8"] * 8 + ["utf-8-sig", "latin-1", "utf-16"]


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("mutations")
    for study in ("GSE118767", "GSE149214"):
        shutil.copytree(CURATION / study, root / study)
    return root


def outcome(folder: Path) -> list[CellResponseError]:
    try:
        derive_labels(load_study(folder))
    except Problems as several:
        return several.problems
    except CellResponseError as error:
        return [error]
    return []


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    st.sampled_from(FILES),
    st.lists(st.sampled_from(MUTATIONS), min_size=1, max_size=3),
    st.integers(0, 2**32),
    st.sampled_from(ENCODINGS),
)
def test_a_mutated_study_loads_or_names_the_file(
    scratch: Path, place: tuple[str, str], mutations: list[Mutation], seed: int, encoding: str
) -> None:
    path = scratch.joinpath(*place)
    original = path.read_bytes()
    lines, chance = original.decode().split("\n"), random.Random(seed)  # noqa: S311 - repeatable
    for mutate in mutations:
        if lines:
            mutate(lines, chance)
    try:
        path.write_bytes("\n".join(lines).encode(encoding, "replace"))
        for error in outcome(path.parent):
            assert str(error.file).startswith(f"{place[0]}/")
            assert error.problem
            str(error).encode()
    finally:
        path.write_bytes(original)


@pytest.mark.parametrize(("study", "file"), FILES)
def test_mutations_are_noticed(scratch: Path, study: str, file: str) -> None:
    """The harness does change what is read: without the file's end nothing stays as it was."""
    path = scratch / study / file
    original = path.read_bytes()
    assert outcome(path.parent) == []
    try:
        path.write_bytes(original[: len(original) // 10])
        assert {each.file for each in outcome(path.parent)} <= {f"{study}/{file}"}
        assert outcome(path.parent)
    finally:
        path.write_bytes(original)
