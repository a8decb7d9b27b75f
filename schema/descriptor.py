"""Frictionless table schemas, generated from the Pandera models.

Source of the vocabulary: Frictionless Table Schema (https://specs.frictionlessdata.io/table-schema/).
"""

from __future__ import annotations

from typing import Any

import pandera.pandas as pr

from cellresponse.schema.tables import arrow_schema

__all__ = ["table_schema"]

TYPES = {"string": "string", "int64": "integer", "double": "number", "bool": "boolean"}


def table_schema(model: type[pr.DataFrameModel]) -> dict[str, Any]:
    """Describe a table as a Frictionless Table Schema.

    Parameters
    ----------
    model
        One of `schema.tables.TABLES` or `schema.evidence.EVIDENCE_TABLES`.

    Returns
    -------
    dict
        Fields with type, description and constraints, and the primary key where the
        key has no null.

    Examples
    --------
    >>> from cellresponse.schema.tables import Genes
    >>> table_schema(Genes)["primaryKey"]
    ['organism', 'gene_id']
    """
    columns = model.to_schema().columns
    fields = [
        {
            "name": field.name,
            "type": TYPES[str(field.type)],
            "description": columns[field.name].description,
            "constraints": _constraints(columns[field.name]),
        }
        for field in arrow_schema(model)
    ]
    described: dict[str, Any] = {"fields": fields, "missingValues": [""]}
    key = list(getattr(model.Config, "unique", None) or ())
    if key and not any(columns[name].nullable for name in key):
        described["primaryKey"] = key
    return described


def _constraints(column: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"required": not column.nullable}
    if column.unique:
        found["unique"] = True
    for check in column.checks:
        values = check.statistics
        if check.name == "isin":
            found["enum"] = list(values["allowed_values"])
        elif check.name == "str_matches":
            found["pattern"] = values["pattern"].removeprefix("^").removesuffix("$")
        elif check.name in ("greater_than_or_equal_to", "greater_than"):
            found["minimum"] = values["min_value"]
        elif check.name == "less_than_or_equal_to":
            found["maximum"] = values["max_value"]
        elif check.name == "in_range":
            found["minimum"], found["maximum"] = values["min_value"], values["max_value"]
    return found
