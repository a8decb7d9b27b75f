"""Frictionless schemas are those of the models, and Frictionless agrees with Pandera."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandera.pandas as pr
import pytest
from frictionless import Resource, Schema
from studies import csv_text, measured, sample, treated

from cellresponse.curation.evidence_table import read_evidence
from cellresponse.schema.descriptor import table_schema
from cellresponse.schema.errors import CellResponseError
from cellresponse.schema.evidence import EVIDENCE_TABLES, DoseResponse, SampleEvidence
from cellresponse.schema.tables import TABLES, Cells, Labels, Samples, arrow_schema

TYPES = {"string": "string", "integer": "int64", "number": "double", "boolean": "bool"}
MODELS = [*TABLES.values(), *EVIDENCE_TABLES.values()]


def fields(model: type[pr.DataFrameModel]) -> dict[str, dict[str, Any]]:
    return {field["name"]: field for field in table_schema(model)["fields"]}


@pytest.mark.parametrize("model", MODELS)
def test_frictionless_takes_the_schema_as_it_is(model: type[pr.DataFrameModel]) -> None:
    described = table_schema(model)
    schema = Schema.from_descriptor(described)
    assert [field.name for field in schema.fields] == arrow_schema(model).names
    for field, ours, arrow in zip(
        schema.fields, described["fields"], arrow_schema(model), strict=True
    ):
        assert TYPES[field.type] == str(arrow.type)
        assert field.required == (not arrow.nullable)
        assert field.constraints == ours["constraints"]
        assert field.description


def test_constraints() -> None:
    assert fields(Labels)["stars"]["constraints"] == {"required": False, "minimum": 1, "maximum": 3}
    assert fields(Labels)["response"]["constraints"] == {
        "required": True,
        "enum": ["resistant", "sensitive"],
    }
    assert fields(Cells)["pct_mito"]["constraints"] == {
        "required": False,
        "minimum": 0,
        "maximum": 100,
    }
    assert fields(Cells)["cell_id"]["constraints"] == {
        "required": True,
        "unique": True,
        "pattern": "[0-9a-f]{24}",
    }
    assert fields(Samples)["dose"]["constraints"] == {"required": False, "minimum": 0}


def test_primary_key_only_where_no_column_of_it_is_null() -> None:
    assert table_schema(DoseResponse)["primaryKey"] == ["cell_line", "treatment"]
    assert "primaryKey" not in table_schema(Labels)  # cell_id is null for a whole sample


def frictionless_errors(folder: Path, rows: list[dict[str, str]], model: Any) -> list[str]:
    (folder / "table.csv").write_text(csv_text(rows), "utf-8")
    described = table_schema(model)
    names = list(dict.fromkeys(column for row in rows for column in row))
    described["fields"] = [fields(model)[name] for name in names]
    resource = Resource(
        path="table.csv", basepath=str(folder), schema=Schema.from_descriptor(described)
    )
    return [error.type for error in resource.validate().task.errors]


SAMPLES = [
    ([sample(), treated(gsm="GSM1", dose="0.5", dose_unit="uM", time_point="1")], None),
    ([sample("S 1")], "constraint-error"),
    ([sample(), sample()], "unique-error"),
    ([sample(gsm="GSE1")], "constraint-error"),
    ([treated(time_point="-1")], "constraint-error"),
    ([treated(time_point="x")], "type-error"),
    ([treated(dose="x")], "type-error"),
    ([sample(collection="")], "constraint-error"),
    *(
        ([treated(exposure_days=days)], None)
        for days in ("0", "11", "1.5", "30-60", ">183", ">=183", "<30", "<=30.5")
    ),
    *(
        ([treated(exposure_days=days)], "constraint-error")
        for days in ("-1", "30-", "-", "x", "11 d", "30-60-90", "> 183", "1e3", "11x30-60")
    ),
    ([treated(fact_sources="*=a;outcome=b")], None),
    *(
        ([treated(fact_sources=sources)], "constraint-error")
        for sources in ("paper", "*=", "=paper", "outcome=A", "*=a; outcome=b", "*x=a", "*=a;")
    ),
]


@pytest.mark.parametrize(("rows", "error"), SAMPLES)
def test_frictionless_and_the_reader_agree(
    tmp_path: Path, rows: list[dict[str, str]], error: str | None
) -> None:
    found = frictionless_errors(tmp_path, rows, SampleEvidence)
    if error is None:
        assert found == []
        assert len(read_evidence(tmp_path / "table.csv", SampleEvidence, name="t")) == len(rows)
    else:
        assert found
        assert set(found) == {error}
        with pytest.raises(CellResponseError):
            read_evidence(tmp_path / "table.csv", SampleEvidence, name="t")


def test_frictionless_sees_a_key_that_stands_twice(tmp_path: Path) -> None:
    rows = [measured("PC9", 1.0), measured("A549", 2.0)]
    assert frictionless_errors(tmp_path, rows, DoseResponse) == []
    assert frictionless_errors(tmp_path, [*rows, rows[0]], DoseResponse) == ["primary-key"]
