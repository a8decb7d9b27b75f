"""Every contradiction inside a release whose files have the right bytes is found."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import zarr

from cellresponse.releases.layout import matrix_path
from cellresponse.releases.matrix_store import MatrixStore
from cellresponse.releases.release import Release
from cellresponse.releases.tables_io import read_table, write_table
from cellresponse.releases.verify_content import PARTS, verify_content
from cellresponse.schema.errors import CellResponseError, ReleaseError

Change = Callable[[Any], Any]


@pytest.fixture
def folder(mini_release: Release, tmp_path: Path) -> Path:
    """A copy to change."""
    return Path(shutil.copytree(mini_release.folder, tmp_path / "mini"))


@pytest.fixture(params=[2**21, 7, 1])
def _blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Values are read in blocks of several sizes, so that faults lie at their borders too."""
    read = MatrixStore.value_blocks
    monkeypatch.setattr(MatrixStore, "value_blocks", lambda store: read(store, request.param))


def check(folder: Path) -> tuple[int, int]:
    return verify_content(folder, json.loads((folder / "release.json").read_bytes()))


def refused(folder: Path, message: str) -> None:
    with pytest.raises(CellResponseError, match=message):
        check(folder)


def counts(folder: Path) -> Any:
    return zarr.open_group(folder / matrix_path("MINI1") / "X", mode="r+")


def change_table(folder: Path, table: str, column: str, row: int, value: object) -> None:
    rows = read_table(folder, table)
    values = rows[column].to_pylist()
    values[row] = value
    place = rows.schema.get_field_index(column)
    write_table(
        folder,
        table,
        rows.set_column(place, rows.field(column), pa.array(values, rows[column].type)),
    )


@pytest.mark.usefixtures("_blocks")
def test_right_release(mini_release: Release) -> None:
    assert check(mini_release.folder) == (50, 6)


@pytest.mark.usefixtures("_blocks")
@pytest.mark.parametrize(
    ("array", "place", "change", "message"),
    [
        ("data", 40, lambda _: 0, "count below 1"),
        ("data", 41, lambda _: -3, "count below 1"),
        ("data", 42, lambda count: count + 1000, "more counts than n_counts"),
        ("indices", 40, lambda _: 30, "beyond the axis"),
        ("indices", 40, lambda _: -1, "beyond the axis"),
        ("indptr", 0, lambda _: 1, "does not rise from 0"),
        ("indptr", 3, lambda _: 0, "does not rise from 0"),
        ("indptr", -1, lambda last: last - 1, "do not fit each other"),
    ],
)
def test_one_number(folder: Path, array: str, place: int, change: Change, message: str) -> None:
    values = counts(folder)[array]
    place %= values.shape[0]
    values[place] = change(int(values[place]))
    refused(folder, message)


@pytest.mark.usefixtures("_blocks")
@pytest.mark.parametrize("twice", [True, False], ids=["a gene twice", "genes swapped"])
@pytest.mark.parametrize("within", [0, 3, -2])
def test_genes_that_do_not_rise(folder: Path, twice: bool, within: int) -> None:
    indptr, indices = counts(folder)["indptr"][:], counts(folder)["indices"]
    place = int(indptr[4]) + within if within >= 0 else int(indptr[5]) + within
    first, second = int(indices[place]), int(indices[place + 1])
    indices[place : place + 2] = np.array([first, first] if twice else [second, first], np.int32)
    refused(folder, "do not rise")


def test_two_counts_exchanged(folder: Path) -> None:
    """No sum changes: only the hash tells."""
    data, indptr = counts(folder)["data"], counts(folder)["indptr"][:]
    row = data[int(indptr[2]) : int(indptr[3])]
    other = int(np.flatnonzero(row != row[0])[0])
    row[[0, other]] = row[[other, 0]]
    data[int(indptr[2]) : int(indptr[3])] = row
    refused(folder, "content of studies")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        ("indices", "do not fit each other"),
        ("data", "do not fit each other"),
        ("indptr", "does not rise from 0"),
    ],
)
def test_an_array_that_is_too_long(folder: Path, array: str, message: str) -> None:
    values = counts(folder)[array]
    last = int(values[-1])
    values.resize((values.shape[0] + 1,))
    values[-1] = last
    refused(folder, message)


def recorded(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "release.json").read_bytes())
    return found


@pytest.mark.parametrize("part", PARTS)
def test_another_hash_of_a_part_is_recorded(mini_release: Release, part: str) -> None:
    root = recorded(mini_release.folder)
    root["content"][part] = "0" * 64
    with pytest.raises(ReleaseError, match=f"the content of {part} is not the one"):
        verify_content(mini_release.folder, root)


def test_other_studies_are_recorded(mini_release: Release) -> None:
    root = recorded(mini_release.folder)
    del root["studies"]["MINI2"]
    with pytest.raises(ReleaseError, match=r"studies\.parquet: other studies than release\.json"):
        verify_content(mini_release.folder, root)


def test_shape(folder: Path) -> None:
    group = counts(folder)
    group.attrs["shape"] = [group.attrs["shape"][0], 31]
    refused(folder, "has the shape")


@pytest.mark.parametrize(
    ("slot", "column", "message"),
    [
        ("obs", None, "different cells"),
        ("obs", "sample_id", "differ in sample_id"),
        ("var", None, "different genes"),
    ],
)
def test_tables_beside_the_matrix(
    folder: Path, slot: str, column: str | None, message: str
) -> None:
    group = zarr.open_group(folder / matrix_path("MINI1"), mode="r+")
    frame = anndata.io.read_elem(group[slot])
    swapped = [1, 0, *range(2, len(frame))]
    if column is None:
        frame = frame.set_index(frame.index[swapped].rename(frame.index.name))
    else:
        frame[column] = list(frame[column])[::-1]
    with anndata.settings.override(allow_write_nullable_strings=False):
        anndata.io.write_elem(group, slot, frame)
    refused(folder, message)


@pytest.mark.parametrize(
    ("table", "column", "value", "message"),
    [
        ("cells", "row", 1, "matrix order"),
        ("cells", "n_counts", 3, "obs and the cells table differ in n_counts"),
        ("cells", "n_genes", 3, "obs and the cells table differ in n_genes"),
        ("cells", "barcode", "AC", "obs and the cells table differ in barcode"),
        ("cells", "pct_mito", None, "obs and the cells table differ in pct_mito"),
        ("cells", "sample_id", "MINI1:nobody", "refers to what is not there"),
        ("cells", "cell_id", "0" * 24, "different cells"),
        ("cells", "malignant", "malignant", "obs and the cells table differ in malignant"),
        ("samples", "n_cells", 1000, "cells, not 1000"),
        ("samples", "control_samples", "MINI1:nobody", "refers to what is not there"),
        ("samples", "treatment", "erlotinib", "refers to what is not there"),
        ("labels", "sample_id", "MINI1:nobody", "refers to what is not there"),
        ("labels", "drug_id", "erlotinib", "refers to what is not there"),
        ("labels", "cell_id", "0" * 24, "no cell of its sample"),
        ("studies", "n_cells", 1000, "not 1000"),
        ("studies", "n_samples", 1000, "not 1000"),
        ("studies", "title", "Another", "content of studies"),
        ("genes", "gene_name", "Another", "var and the genes table differ in gene_name"),
        ("drugs", "name", "Another", "content of drugs"),
        ("drugs", "components", "erlotinib", "refers to what is not there"),
    ],
)
def test_one_value_of_a_table(
    folder: Path, table: str, column: str, value: object, message: str
) -> None:
    change_table(folder, table, column, 0, value)
    refused(folder, message)


@pytest.mark.parametrize("what", ["counts", "genes"])
def test_more_than_the_tables_say(folder: Path, what: str) -> None:
    """Beside the matrix and in the table alike: its own values tell."""
    change_table(folder, "cells", f"n_{what}", 0, 3)
    group = zarr.open_group(folder / matrix_path("MINI1"), mode="r+")
    group[f"obs/n_{what}"][0] = 3
    refused(folder, f"more {what} than n_{what}")


def test_a_column_that_no_table_has(folder: Path) -> None:
    group = zarr.open_group(folder / matrix_path("MINI1"), mode="r+")
    frame = anndata.io.read_elem(group["obs"]).assign(response="sensitive")
    with anndata.settings.override(allow_write_nullable_strings=False):
        anndata.io.write_elem(group, "obs", frame)
    refused(folder, "obs and the cells table differ in response")


def test_a_sensitive_label_with_stars(folder: Path) -> None:
    responses = read_table(folder, "labels")["response"].to_pylist()
    change_table(folder, "labels", "stars", responses.index("sensitive"), 1)
    refused(folder, "sensitive label has stars")


def test_a_cell_of_another_sample(folder: Path) -> None:
    """A label's cell must be of the label's sample, not only of the study."""
    cells, labels = read_table(folder, "cells"), read_table(folder, "labels")
    sample = labels["sample_id"][0]
    others = cells.filter(pc.not_equal(cells["sample_id"], sample))
    change_table(folder, "labels", "cell_id", 0, others["cell_id"][0].as_py())
    refused(folder, "no cell of its sample")


@pytest.mark.parametrize("table", ["cells", "labels"])
def test_rows_of_no_study(folder: Path, table: str) -> None:
    rows = read_table(folder, table)
    place = rows.schema.get_field_index("study_id")
    strange = rows.slice(0, 1).set_column(place, rows.field("study_id"), pa.array(["GHOST"]))
    write_table(folder, table, pa.concat_tables([rows, strange]))
    refused(folder, "rows of no study")


def test_stores_and_studies(folder: Path) -> None:
    shutil.copytree(folder / matrix_path("MINI1"), folder / matrix_path("MINI3"))
    refused(folder, "other stores than the studies")
    shutil.rmtree(folder / matrix_path("MINI3"))
    shutil.rmtree(folder / matrix_path("MINI1"))
    refused(folder, "other stores than the studies")


def test_the_recorded_hash(folder: Path) -> None:
    root = json.loads((folder / "release.json").read_bytes())
    root["content"]["hash"] = "0" * 64
    with pytest.raises(ReleaseError, match="content hash is not the one"):
        verify_content(folder, root)
