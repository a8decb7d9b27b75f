"""`datapackage.json` is what Frictionless's own tool says is right."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from frictionless import Package, Resource

from cellresponse.releases.layout import files_of
from cellresponse.releases.release import Release


def resources(release: Release) -> list[dict[str, Any]]:
    return json.loads((release.folder / "datapackage.json").read_bytes())["resources"]


def test_own_tool(mini_release: Release) -> None:
    report = Package(str(mini_release.folder / "datapackage.json")).validate()
    assert report.valid, report.to_summary()


def test_own_tool_on_real_cells(real_release: tuple[Release, dict[str, Any]]) -> None:
    """Every table but the 78,894 genes, which take the tool ten seconds and have no nulls."""
    release, _ = real_release
    tables = [one for one in resources(release) if one["type"] == "table"]
    assert {one["name"] for one in tables} == set(release.tables)
    for table in tables:
        if table["name"] != "genes":
            report = Resource.from_descriptor(table, basepath=str(release.folder)).validate()
            assert report.valid, report.to_summary()


def test_every_file_has_size_and_checksum(mini_release: Release) -> None:
    named = [one["path"] for one in resources(mini_release) if one["type"] == "file"]
    own = {"datapackage.json", "release.json"}
    assert sorted(named) == [path for path in files_of(mini_release.folder) if path not in own]
    assert all(
        {"bytes", "hash"} <= one.keys() for one in resources(mini_release) if one["type"] == "file"
    )


@pytest.mark.parametrize(
    ("column", "value", "error"),
    [("stars", 9, "constraint-error"), ("response", "immune", "constraint-error")],
)
def test_own_tool_finds_a_wrong_value(
    mini_release: Release, tmp_path: Path, column: str, value: object, error: str
) -> None:
    (labels,) = (one for one in resources(mini_release) if one["name"] == "labels")
    rows = mini_release.tables["labels"]
    at = rows.schema.get_field_index(column)
    values = rows[column].to_pylist()
    values[values.index(next(v for v in values if v is not None))] = value
    (tmp_path / "tables").mkdir()
    changed = rows.set_column(
        at, rows.schema.field(at), pa.array(values, rows.schema.field(at).type)
    )
    pq.write_table(changed, tmp_path / "tables" / "labels.parquet")
    report = Resource.from_descriptor(labels, basepath=str(tmp_path)).validate()
    assert report.flatten(["type", "fieldName"]) == [[error, column]]


def test_own_tool_finds_changed_bytes(mini_release: Release, tmp_path: Path) -> None:
    """The file's resource is checked byte by byte, a table's too."""
    (file,) = (one for one in resources(mini_release) if one["name"] == "tables-labels.parquet")
    (tmp_path / "tables").mkdir()
    data = bytearray((mini_release.folder / file["path"]).read_bytes())
    data[-20] ^= 1
    (tmp_path / file["path"]).write_bytes(bytes(data))
    report = Resource.from_descriptor(file, basepath=str(tmp_path)).validate()
    assert report.flatten(["type"]) == [["hash-count"]]
