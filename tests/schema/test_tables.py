"""Tables of a release: types come from the models, and every bad value is found."""

from __future__ import annotations

from typing import Any

import pandera.pandas as pr
import pyarrow as pa
import pytest

from cellresponse.schema.errors import ReleaseError
from cellresponse.schema.evidence import EVIDENCE_TABLES
from cellresponse.schema.ids import cell_ids, sample_key
from cellresponse.schema.tables import TABLES, Cells, Labels, arrow_schema, check_table
from cellresponse.schema.vocabulary import words

LABEL: dict[str, Any] = {
    "study_id": "GSE1",
    "sample_id": "GSE1:S1",
    "cell_id": None,
    "drug_id": "erlotinib",
    "response": "resistant",
    "stars": 1,
    "basis": "time_course",
    "rule_id": "treated_survivors+stars1_under_one_month",
    "evidence_ref": "GSE1/samples.csv:S1",
}
CELL: dict[str, Any] = {
    "cell_id": "0" * 24,
    "study_id": "GSE1",
    "sample_id": "GSE1:S1",
    "barcode": "AAAC",
    "cell_line": None,
    "cell_type": None,
    "malignant": "unknown",
    "doublet": None,
    "n_counts": 900,
    "n_genes": 600,
    "pct_mito": None,
    "row": 0,
}


def table(model: type[pr.DataFrameModel], *rows: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=arrow_schema(model))


def refused(found: pa.Table, model: type[pr.DataFrameModel]) -> ReleaseError:
    with pytest.raises(ReleaseError) as error:
        check_table(found, model, file="tables/x.parquet")
    assert error.value.file == "tables/x.parquet"
    return error.value


@pytest.mark.parametrize("model", [*TABLES.values(), *EVIDENCE_TABLES.values()])
def test_arrow_schema_has_a_type_and_nullability_a_column(model: type[pr.DataFrameModel]) -> None:
    schema, columns = arrow_schema(model), model.to_schema().columns
    assert schema.names == list(columns)
    for field in schema:
        assert field.type in (pa.string(), pa.int64(), pa.float64(), pa.bool_())
        assert field.nullable == columns[field.name].nullable
        assert columns[field.name].description


def test_arrow_schema_of_labels() -> None:
    schema = arrow_schema(Labels)
    assert schema.field("stars") == pa.field("stars", pa.int64(), nullable=True)
    assert schema.field("response") == pa.field("response", pa.string(), nullable=False)


def test_right_tables_pass() -> None:
    cell_label = LABEL | {"cell_id": "a" * 24, "response": "sensitive", "stars": None}
    check_table(table(Labels, LABEL, cell_label), Labels, file="x")
    check_table(table(Cells, CELL, CELL | {"cell_id": "1" * 24}), Cells, file="x")
    for model in TABLES.values():
        check_table(table(model), model, file="x")


@pytest.mark.parametrize(
    ("change", "column", "value"),
    [
        ({"response": "Resistant"}, "response", "Resistant"),
        ({"basis": "guess"}, "basis", "guess"),
        ({"stars": 0}, "stars", 0),
        ({"stars": 4}, "stars", 4),
        ({"cell_id": "xyz"}, "cell_id", "xyz"),
        ({"cell_id": "a" * 24 + "\n"}, "cell_id", "a" * 24 + "\n"),
        ({"study_id": "a:b"}, "study_id", "a:b"),
    ],
)
def test_bad_label(change: dict[str, Any], column: str, value: object) -> None:
    error = refused(table(Labels, LABEL, LABEL | {"drug_id": "docetaxel"} | change), Labels)
    assert (error.row, error.column, error.value) == (2, column, value)


@pytest.mark.parametrize(
    ("change", "column"),
    [
        ({"n_counts": -1}, "n_counts"),
        ({"pct_mito": 100.1}, "pct_mito"),
        ({"pct_mito": -0.1}, "pct_mito"),
        ({"malignant": "perhaps"}, "malignant"),
        ({"cell_id": "0" * 23}, "cell_id"),
        ({"cell_id": "G" * 24}, "cell_id"),
    ],
)
def test_bad_cell(change: dict[str, Any], column: str) -> None:
    assert refused(table(Cells, CELL | change), Cells).column == column


def test_one_bad_value_among_many_rows_is_found() -> None:
    rows = [CELL | {"cell_id": f"{n:024x}", "row": n} for n in range(5000)]
    rows[4321] |= {"pct_mito": 101.0}
    error = refused(table(Cells, *rows), Cells)
    assert (error.row, error.column, error.value) == (4322, "pct_mito", 101.0)


@pytest.mark.parametrize("cell_id", [None, "a" * 24])
def test_a_key_stands_once(cell_id: str | None) -> None:
    label = LABEL | {"cell_id": cell_id}
    check_table(table(Labels, label, label | {"basis": "clinical_response"}), Labels, file="x")
    refused(table(Labels, label, label), Labels)


def test_a_cell_stands_once() -> None:
    assert refused(table(Cells, CELL, CELL), Cells).column == "cell_id"


def test_columns_and_types_are_those_of_the_schema() -> None:
    found = table(Labels, LABEL)
    assert "columns are not those" in refused(found.drop_columns(["stars"]), Labels).problem
    assert (
        "columns are not those" in refused(found.select(found.schema.names[::-1]), Labels).problem
    )
    stars = found.schema.get_field_index("stars")
    for wrong in (pa.array([1], pa.int32()), pa.array(["1"]), pa.array([1.0])):
        assert refused(found.set_column(stars, "stars", wrong), Labels).column == "stars"


def test_null_where_none_is_allowed() -> None:
    found = pa.Table.from_pylist([LABEL | {"response": None}], schema=arrow_schema(Labels))
    error = refused(found, Labels)
    assert (error.column, error.row) == ("response", 1)


def test_closed_columns_hold_words_of_their_vocabulary() -> None:
    for model in TABLES.values():
        for column in model.to_schema().columns.values():
            enums = [c.statistics["allowed_values"] for c in column.checks if c.name == "isin"]
            vocabulary = (column.metadata or {}).get("vocabulary")
            assert enums == ([words(vocabulary).words] if vocabulary else [])


def test_cell_ids_depend_on_study_file_and_barcode_alone() -> None:
    ids = {
        each
        for study in ("GSE1", "GSE2")
        for file in ("a", "b")
        for each in cell_ids(study, file, ["AC", "AG"])
    }
    assert len(ids) == 8
    assert cell_ids("GSE1", "a", ["AG", "AC"]) == cell_ids("GSE1", "a", ["AC", "AG"])[::-1]
    # No two ways to cut the same text into study, file and barcode.
    assert cell_ids("GSE1", "ab", ["c"]) != cell_ids("GSE1", "a", ["bc"])
    assert cell_ids("GSE1", "2.csv", ["c"]) != cell_ids("GSE12", ".csv", ["c"])


def test_a_cell_id_is_the_same_for_ever() -> None:
    assert cell_ids("GSE1", "counts.csv.gz", ["AAAC"]) == ["a1ea0ff5aaa8c9954191f972"]
    assert sample_key("GSE1", "S1") == "GSE1:S1"
