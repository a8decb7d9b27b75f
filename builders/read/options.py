"""Check the options of a file before its reader opens it."""

from __future__ import annotations

from collections.abc import Mapping

from cellresponse.schema.errors import EvidenceError, raise_all
from cellresponse.schema.reader_options import (
    DenseTextOptions,
    H5adOptions,
    TenxH5Options,
    TenxMtxOptions,
    option_problems,
)
from cellresponse.schema.yaml_file import Strict, dotted

__all__ = [
    "DenseTextOptions",
    "H5adOptions",
    "TenxH5Options",
    "TenxMtxOptions",
    "parse_options",
]


def parse_options[Model: Strict](
    model: type[Model], options: Mapping[str, object], *, name: str
) -> Model:
    """Check a file's options against its reader's model.

    Raises
    ------
    EvidenceError
        For an unknown option, with the nearest known one, a missing one, or a
        value that does not fit. `Problems` where there are several.
    """
    raise_all(
        EvidenceError(
            found.problem,
            file=name,
            column=dotted(("options", *found.place)),
            value=found.value,
            allowed=found.allowed,
            hint=found.hint,
        )
        for found in option_problems(model, options)
    )
    return model.model_validate(dict(options))
