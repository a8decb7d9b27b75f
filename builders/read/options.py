"""The options of each reader, as a file's entry in `study.yaml` gives them."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cellresponse.schema.errors import EvidenceError, raise_all

__all__ = [
    "DenseTextOptions",
    "H5adOptions",
    "TenxH5Options",
    "TenxMtxOptions",
    "parse_options",
]

GENE_EXPRESSION = "Gene Expression"


class _Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DenseTextOptions(_Options):
    """A table with a number for every pair of cell and feature."""

    orientation: Literal["features_by_cells", "cells_by_features"]
    delimiter: Literal["comma", "tab", "semicolon", "space", ",", "\t", ";", " "] | None = None
    id_column: str | None = None
    skip_columns: tuple[str, ...] = ()


class TenxMtxOptions(_Options):
    """A Matrix Market file with the names of its barcode and feature lists."""

    barcodes: str
    features: str
    feature_types: tuple[str, ...] = Field(default=(GENE_EXPRESSION,), min_length=1)


class TenxH5Options(_Options):
    """The HDF5 matrix of Cell Ranger; `genome` picks a group of a version 2 file."""

    genome: str | None = None
    feature_types: tuple[str, ...] = Field(default=(GENE_EXPRESSION,), min_length=1)


class H5adOptions(_Options):
    """An AnnData file; `id_column` is a column of `var`, None its index."""

    layer: Annotated[str, Field(pattern=r"^(X|raw/X|layers/[^/]+)$")] = "X"
    id_column: str | None = None


def parse_options[Model: BaseModel](
    model: type[Model], options: Mapping[str, object], *, name: str
) -> Model:
    """Check a file's options against its reader's model.

    Raises
    ------
    EvidenceError
        For an unknown option, with the nearest known one, a missing one, or a
        value that does not fit. `Problems` where there are several.
    """
    try:
        return model.model_validate(dict(options))
    except ValidationError as error:
        raise_all(_problem(model, detail, name) for detail in error.errors())
        raise  # not reached: a ValidationError holds at least one detail


def _problem(model: type[BaseModel], detail: Any, name: str) -> EvidenceError:
    path = ".".join(["options", *(str(part) for part in detail["loc"])])
    known = list(model.model_fields)
    if detail["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(detail["loc"][-1]), known, n=1)
        hint = f"Did you mean {near[0]}?" if near else None
        return EvidenceError("unknown option", file=name, column=path, allowed=known, hint=hint)
    if detail["type"] == "missing":
        return EvidenceError("the option is required", file=name, column=path)
    return EvidenceError(
        f"the option does not fit ({detail['msg']})", file=name, column=path, value=detail["input"]
    )
