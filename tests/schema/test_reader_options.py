"""Options of readers: what is asked is said, in messages and in CONTRIBUTING.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest

from cellresponse.schema.reader_options import (
    READER_OPTIONS,
    DenseTextOptions,
    H5adOptions,
    TenxMtxOptions,
    option_key,
    option_problems,
)
from cellresponse.schema.study import COUNT_READERS
from cellresponse.schema.yaml_file import Strict

CONTRIBUTING = Path(__file__).parents[2] / "CONTRIBUTING.md"
OPTIONS = [
    (reader, option) for reader, model in READER_OPTIONS.items() for option in model.model_fields
]


def test_the_table_of_contributing_is_that_of_the_models() -> None:
    lines = [line.strip() for line in CONTRIBUTING.read_text("utf-8").splitlines()]
    start = lines.index("| reader | option | takes | what it says |") + 2
    shown = lines[start : lines.index("", start)]
    expected = []
    for reader, option in OPTIONS:
        key, field = option_key(reader, option), READER_OPTIONS[reader].model_fields[option]
        assert key is not None
        name = f"`{option}`" + (", required" if key.required else "")
        expected.append(f"| `{reader}` | {name} | {key.allowed} | {field.description} |")
    assert shown == expected


def test_every_reader_of_counts_has_a_model() -> None:
    assert set(COUNT_READERS) == set(READER_OPTIONS)
    assert option_key("dense_text", "layer") is None
    assert option_key("TODO", "layer") is None


def test_what_is_said_to_be_allowed_is() -> None:
    for option in ("orientation", "delimiter"):
        key = option_key("dense_text", option)
        assert key is not None
        for word in str(key.allowed).split(", "):
            given = {"orientation": "features_by_cells"} | {option: word}
            assert option_problems(DenseTextOptions, given) == []
    words = get_args(DenseTextOptions.model_fields["orientation"].annotation)
    assert ", ".join(words) == option_key("dense_text", "orientation").allowed  # type: ignore[union-attr]
    for layer in ("X", "raw/X", "layers/counts"):
        assert option_problems(H5adOptions, {"layer": layer}) == []


@pytest.mark.parametrize(
    ("model", "options", "place", "problem"),
    [
        (DenseTextOptions, {}, ("orientation",), "the option is required"),
        (DenseTextOptions, {"orientation": None}, ("orientation",), "the option is required"),
        (H5adOptions, {"layer": None}, ("layer",), "the option is empty"),
        (H5adOptions, {"layer": "layers/"}, ("layer",), "the option does not fit"),
        (H5adOptions, {"leyer": "X"}, ("leyer",), "unknown option"),
        (
            TenxMtxOptions,
            {"barcodes": "", "features": "f"},
            ("barcodes",),
            "the option does not fit",
        ),
        (
            TenxMtxOptions,
            {"barcodes": "b", "features": "f", "feature_types": ["a", None]},
            ("feature_types", 1),
            "the option is empty",
        ),
    ],
)
def test_problem_of_an_option(
    model: type[Strict], options: dict[str, Any], place: tuple[str | int, ...], problem: str
) -> None:
    (found,) = option_problems(model, options)
    assert (found.place, found.problem) == (place, problem)
    assert found.allowed
