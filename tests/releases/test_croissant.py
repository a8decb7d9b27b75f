"""`croissant.json` is what mlcroissant says is right, and its records are the tables."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cellresponse.releases.croissant import write_croissant
from cellresponse.releases.release import Release

# mlcroissant 1.1 calls pandas and rdflib in ways that these have deprecated.
pytestmark = [
    pytest.mark.filterwarnings("ignore:The inplace keyword in DataFrame"),
    pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated"),
]


def opened(folder: Path) -> Any:
    import mlcroissant

    return mlcroissant.Dataset(jsonld=str(folder / "croissant.json"))


def records(folder: Path, table: str) -> list[dict[str, Any]]:
    """Read a record set, text as text."""
    return [
        {
            name.partition("/")[2]: value.decode() if isinstance(value, bytes) else value
            for name, value in record.items()
        }
        for record in opened(folder).records(table)
    ]


def test_own_tool_takes_it(mini_release: Release) -> None:
    issues = opened(mini_release.folder).metadata.ctx.issues
    assert issues.errors == set()


@pytest.mark.parametrize("table", ["labels", "cells", "samples", "splits"])
def test_records_are_the_table(mini_release: Release, table: str) -> None:
    assert same(records(mini_release.folder, table), mini_release.tables[table].to_pylist())


def same(found: list[dict[str, Any]], right: list[dict[str, Any]]) -> bool:
    """Compare rows; the tool gives NaN where a number is missing."""
    return [
        {key: None if value != value else value for key, value in row.items()} for row in found
    ] == right


def test_table_of_one_file_a_study(mini_release: Release, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(mini_release.folder, tmp_path / "mini"))
    cells = pq.read_table(folder / "tables" / "cells.parquet")
    (folder / "tables" / "cells.parquet").unlink()
    (folder / "tables" / "cells").mkdir()
    for number, part in enumerate((cells.slice(0, 36), cells.slice(36))):
        pq.write_table(part, folder / "tables" / "cells" / f"MINI{number + 1}.parquet")
    write_croissant(folder, dict(mini_release.root), [{"name": "a", "title": "CC0"}])
    assert same(records(folder, "cells"), cells.to_pylist())


def test_matrices_are_described(mini_release: Release) -> None:
    described = json.loads((mini_release.folder / "croissant.json").read_text())
    named = {one["@id"] for one in described["distribution"]}
    assert {"matrices/MINI1.zarr", "matrices/MINI2.zarr", "tables/labels.parquet"} <= named


def test_counts_as_lists_are_described(mini_release: Release, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(mini_release.folder, tmp_path / "mini"))
    (folder / "expression").mkdir()
    rows = {"cell_id": ["a", "b"], "genes": [[1, 5], [2]], "counts": [[3, 1], [9]]}
    pq.write_table(pa.table(rows), folder / "expression" / "MINI1.00000.parquet")
    write_croissant(folder, dict(mini_release.root), [{"name": "a", "title": "CC0"}])
    found = records(folder, "expression")
    assert [{key: list(value) for key, value in row.items()} for row in found] == [
        {"cell_id": ["a"], "genes": [1, 5], "counts": [3, 1]},
        {"cell_id": ["b"], "genes": [2], "counts": [9]},
    ]
