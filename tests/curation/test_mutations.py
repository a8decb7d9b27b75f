"""Whatever is done to a real study's files, it loads or says what is wrong: never a traceback.

`CELLRESPONSE_EXAMPLES` sets how many mutations are tried, `CELLRESPONSE_SEED` which ones.
"""

from __future__ import annotations

import os
import random
import shutil
from collections import Counter
from pathlib import Path

import pytest
from blind_mutations import ENCODINGS, MUTATIONS, Mutation
from hypothesis import given, settings
from hypothesis import strategies as st
from spoiled import SPOILERS, Spoiled
from studies import CURATION, REAL_STUDIES

from cellresponse.curation.labels import derive_labels
from cellresponse.curation.study import load_study, study_folders
from cellresponse.schema.errors import CellResponseError, Problems

EXAMPLES = int(os.environ.get("CELLRESPONSE_EXAMPLES", "300"))
SEED = int(os.environ.get("CELLRESPONSE_SEED", "0"))
STUDIES = [folder.name for folder in study_folders(CURATION)]
TYPED = ("study.yaml", "samples.csv", "dose_response.csv")
FILES = [(name, file) for name in STUDIES for file in TYPED if (CURATION / name / file).exists()]


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("mutations")
    for study in STUDIES:
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


def require_helpful(error: CellResponseError, study: str) -> None:
    """An error names the study's file, and what would be right or what to do."""
    assert str(error.file).startswith(f"{study}/")
    assert error.problem
    assert error.allowed or error.hint, str(error)
    str(error).encode()


def names(error: CellResponseError, study: str, place: Spoiled) -> bool:
    """Whether an error names file, row, column and value of a mistake."""
    return (
        error.file == f"{study}/{place.file}"
        and place.row in (None, error.row)
        and (place.column is None or str(error.column).split(".")[-1] == place.column)
        and (place.value is None or _same(error.value, place.value))
    )


def _same(shown: object, typed: str) -> bool:
    if isinstance(shown, float):
        return shown == float(typed)
    return str(shown) == typed


@settings(max_examples=EXAMPLES // 2, deadline=None)
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
    chance = random.Random(seed + SEED)  # noqa: S311 - repeatable
    lines = original.decode().split("\n")
    for mutate in mutations:
        if lines:
            mutate(lines, chance)
    try:
        path.write_bytes("\n".join(lines).encode(encoding, "replace"))
        for error in outcome(path.parent):
            require_helpful(error, place[0])
    finally:
        path.write_bytes(original)


@settings(max_examples=EXAMPLES - EXAMPLES // 2, deadline=None)
@given(st.sampled_from(sorted(SPOILERS)), st.sampled_from(STUDIES), st.integers(0, 2**32))
def test_a_mistake_is_named_with_its_place(scratch: Path, kind: str, study: str, seed: int) -> None:
    """Types, units, vocabularies, references, encodings, YAML tricks, huge and empty files."""
    folder = scratch / study
    before = {path: path.read_bytes() for path in folder.iterdir()}
    try:
        place = SPOILERS[kind](folder, random.Random(seed + SEED))  # noqa: S311 - repeatable
        if place is None:
            return
        errors = outcome(folder)
        assert any(names(error, study, place) for error in errors), (place, list(map(str, errors)))
        for error in errors:
            require_helpful(error, study)
    finally:
        for path, data in before.items():
            path.write_bytes(data)


@pytest.mark.parametrize("kind", sorted(SPOILERS))
def test_every_kind_of_mistake_is_made(scratch: Path, kind: str, tmp_path: Path) -> None:
    """No strategy passes because it finds nothing to spoil."""
    made: Counter[str] = Counter()
    for seed in range(40):
        folder = tmp_path / str(seed) / "GSE118767"
        shutil.copytree(scratch / "GSE118767", folder)
        place = SPOILERS[kind](folder, random.Random(seed))  # noqa: S311 - repeatable
        made[place.file if place else "nothing"] += 1
    assert made["nothing"] < 20
    both = {"types", "vocabularies", "encodings", "huge files", "empty files"}
    assert {"study.yaml", "samples.csv"} <= made.keys() or kind not in both


@pytest.mark.parametrize(("study", "file"), [place for place in FILES if place[0] in REAL_STUDIES])
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
