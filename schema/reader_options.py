"""The options of each reader of counts, as a file's entry in `study.yaml` gives them."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from cellresponse.schema.yaml_file import Key, Place, Strict

__all__ = [
    "LIST",
    "READER_OPTIONS",
    "DenseTextOptions",
    "H5adOptions",
    "OptionProblem",
    "TenxH5Options",
    "TenxMtxOptions",
    "list_problems",
    "option_key",
    "option_problems",
]

GENE_EXPRESSION = "Gene Expression"
LIST = "a file of the study"
"""What an option takes that names another file, a list."""


def _says(allowed: str, meaning: str, **checks: Any) -> Any:
    """What an option takes and means: for messages and for the table in CONTRIBUTING.md."""
    return Field(description=meaning, json_schema_extra={"allowed": allowed}, **checks)


FeatureTypes = Annotated[
    tuple[str, ...],
    _says(
        "a list of feature types",
        "types that are read; `Gene Expression` where left out",
        min_length=1,
    ),
]


class DenseTextOptions(Strict):
    """A table with a number for every pair of cell and feature."""

    orientation: Annotated[
        Literal["features_by_cells", "cells_by_features"],
        _says("features_by_cells, cells_by_features", "what the rows are, by what the columns are"),
    ]
    delimiter: Annotated[
        Literal["comma", "tab", "semicolon", "space", ",", "\t", ";", " "] | None,
        _says("comma, tab, semicolon, space", "what parts the columns; found out where left out"),
    ] = None
    id_column: Annotated[
        str | None,
        _says("a column of the file", "holds the names of the rows; the first where left out"),
    ] = None
    skip_columns: Annotated[
        tuple[str, ...], _says("a list of columns of the file", "columns that hold no counts")
    ] = ()


class TenxMtxOptions(Strict):
    """A Matrix Market file with the names of its barcode and feature lists."""

    barcodes: Annotated[
        str,
        _says(LIST, "lists the barcodes, with the reader `companion`", min_length=1),
    ]
    features: Annotated[
        str,
        _says(LIST, "lists the features, with the reader `companion`", min_length=1),
    ]
    feature_types: FeatureTypes = (GENE_EXPRESSION,)


class TenxH5Options(Strict):
    """The HDF5 matrix of Cell Ranger; `genome` picks a group of a version 2 file."""

    genome: Annotated[
        str | None,
        _says("a group of the file", "for a file with several genomes (Cell Ranger 2)"),
    ] = None
    feature_types: FeatureTypes = (GENE_EXPRESSION,)


class H5adOptions(Strict):
    """An AnnData file; `id_column` is a column of `var`, None its index."""

    layer: Annotated[
        str,
        _says(
            "X, raw/X, layers/NAME",
            "where the counts are; `X` where left out",
            pattern=r"^(X|raw/X|layers/[^/]+)$",
        ),
    ] = "X"
    id_column: Annotated[
        str | None,
        _says("a column of `var`", "holds the feature ids; its index where left out"),
    ] = None


READER_OPTIONS: dict[str, type[Strict]] = {
    "dense_text": DenseTextOptions,
    "10x_mtx": TenxMtxOptions,
    "10x_h5": TenxH5Options,
    "h5ad": H5adOptions,
}
"""Model of the options by reader; the other readers take none."""


@dataclass(frozen=True)
class OptionProblem:
    """What is wrong with one option; `place` is below `options`."""

    place: Place
    problem: str
    value: object
    allowed: str | list[str] | None
    hint: str | None = None


def option_key(reader: str, option: str) -> Key | None:
    """Say what a reader asks of an option; None where it has no such option."""
    model = READER_OPTIONS.get(reader)
    return _key(model, option) if model and option in model.model_fields else None


def option_problems(model: type[Strict], options: Mapping[str, object]) -> list[OptionProblem]:
    """Name every option that is missing, unknown or does not fit."""
    try:
        model.model_validate(dict(options))
    except ValidationError as error:
        return [_problem(model, found) for found in error.errors()]
    return []


def list_problems(
    reader: str, options: Mapping[str, object], names: Collection[str]
) -> list[OptionProblem]:
    """Name every option that names a list which is not among the names."""
    found = []
    for option, value in options.items():
        key = option_key(reader, option)
        if key and key.allowed == LIST and isinstance(value, str) and value not in names:
            near = difflib.get_close_matches(value, names, n=1)
            hint = f"Did you mean {near[0]}?" if near else None
            allowed = sorted(names) or "a file listed under `files:` with the reader `companion`"
            problem = "the study has no such file"
            found.append(OptionProblem((option,), problem, value, allowed, hint))
    return found


def _key(model: type[Strict], option: str) -> Key:
    field = model.model_fields[option]
    extra = field.json_schema_extra
    allowed = extra.get("allowed") if isinstance(extra, dict) else None
    return Key(field.is_required(), str(allowed))


def _problem(model: type[Strict], found: Any) -> OptionProblem:
    place, value = found["loc"], found["input"]
    known = list(model.model_fields)
    if found["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(place[-1]), known, n=1)
        hint = f"Did you mean {near[0]}?" if near else None
        return OptionProblem(place, "unknown option", place[-1], known, hint)
    key = _key(model, place[0])
    if found["type"] == "missing" or (value is None and key.required):
        return OptionProblem(place, "the option is required", None, key.allowed)
    problem = "the option is empty" if value is None else "the option does not fit"
    return OptionProblem(place, problem, value, key.allowed)
