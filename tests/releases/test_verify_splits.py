"""Every fault of the table `splits` is found, whatever the checksums say."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from task_release import root, spec, task_release

from cellresponse.builders.split_tables import splits_table
from cellresponse.releases.content_hash import table_hash
from cellresponse.releases.datapackage import write_descriptor, write_root
from cellresponse.releases.release import Release
from cellresponse.releases.tables_io import read_table, write_table
from cellresponse.releases.verify import verify
from cellresponse.releases.verify_content import content_hash
from cellresponse.releases.verify_splits import verify_splits
from cellresponse.schema.errors import CellResponseError
from cellresponse.schema.tables import Splits, arrow_schema

Row = dict[str, Any]
Rows = list[Row]
TREATED = "pooled/primary/human/basis=treated_vs_untreated_control/synthetic-drug-a"
CLINIC = "pooled/primary/human/basis=clinical_response/synthetic-drug-a"
CROSS = "cross/primary/human/declared=drug_a_in_vitro/synthetic-drug-a"
EXTERNAL = "external/both/human/basis=treated_vs_untreated_control/synthetic-drug-a"
LUNG = "pooled/primary/human/tissue=lung/synthetic-drug-b"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("splits")
    task_release(made)
    return made


@pytest.fixture(scope="module")
def right(folder: Path) -> Rows:
    return splits_table(folder, spec(), []).to_pylist()


def check(folder: Path, rows: Rows) -> None:
    verify_splits(folder, root(), pa.Table.from_pylist(rows, schema=arrow_schema(Splits)))


def test_a_right_table(folder: Path, right: Rows) -> None:
    check(folder, right)


def of(rows: Rows, task: str, split: str) -> Rows:
    found = [row for row in rows if (row["task_id"], row["split"]) == (task, split)]
    assert found, (task, split)
    return found


def change(task: str, split: str, place: int = 0, **columns: Any) -> Callable[[Rows], Rows]:
    def changed(rows: Rows) -> Rows:
        of(rows, task, split)[place].update(columns)
        return rows

    return changed


def drop(task: str, split: str, place: int | None = None) -> Callable[[Rows], Rows]:
    def dropped(rows: Rows) -> Rows:
        gone = of(rows, task, split) if place is None else [of(rows, task, split)[place]]
        return [row for row in rows if row not in gone]

    return dropped


def repeat(task: str, split: str, **columns: Any) -> Callable[[Rows], Rows]:
    """A group on both sides: it stands once more, in another fold."""
    return lambda rows: [*rows, of(rows, task, split)[0] | columns]


def all_in(task: str, split: str, fold: int) -> Callable[[Rows], Rows]:
    def put(rows: Rows) -> Rows:
        for row in of(rows, task, split):
            row["fold"] = fold
        return rows

    return put


def one_response_in(task: str, split: str, fold: int) -> Callable[[Rows], Rows]:
    """Keep k folds, and empty one of them of resistant groups."""

    def moved(rows: Rows) -> Rows:
        for row in of(rows, task, split):
            if row["fold"] == fold and row["n_resistant"]:
                row["fold"] = (fold + 1) % row["k"]
        return rows

    return moved


def swap_collections(rows: Rows) -> Rows:
    for row in of(rows, EXTERNAL, "sample"):
        row["fold"] = None if row["fold"] == 0 else 0
    return rows


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (drop(TREATED, "cell"), "a task of the release is missing, split by cell"),
        (change(TREATED, "cell", task_id="pooled/none"), "the release has no such task"),
        (drop(TREATED, "sample", 2), "no row, where labels and cells give"),
        (change(TREATED, "sample", group_id="LINES:nobody"), "where labels and cells give"),
        (change(TREATED, "sample", n_sensitive=1), "where labels and cells give"),
        (change(CLINIC, "patient", n_resistant=999), "where labels and cells give"),
        (repeat(TREATED, "sample", fold=5), "a group stands twice"),
        (repeat(CLINIC, "patient", fold=1), "a group stands twice"),
        (repeat(TREATED, "cell", fold=1), "a group stands twice"),
        (change(TREATED, "cell", 3, fold=4), "must be tested in the fold of its number"),
        (change(TREATED, "cell", 3, fold=None), "must be tested in the fold of its number"),
        (change(TREATED, "cell", 3, k=9), "there must be 10 folds"),
        (change(CLINIC, "patient", k=2), "there must be 3 folds"),
        (change(CLINIC, "patient", fold=None), "has no fold"),
        (change(CLINIC, "patient", fold=3), "the folds are not 0 to 2"),
        (all_in(TREATED, "sample", 0), "the folds are not 0 to 5"),
        (one_response_in(TREATED, "sample", 2), "fold 2 has no resistant cells to test on"),
        (one_response_in(CLINIC, "patient", 1), "fold 1 has no resistant cells to test on"),
        (change(LUNG, "line", fold=None), "must be left out unless"),
        (change(LUNG, "line", 1, fold=0), "must be left out by itself"),
        (change(CROSS, "study", 1, fold=0), "must be left out by itself"),
        (change(EXTERNAL, "sample", fold=0), "LINES:.* must be tested if of the validation"),
        (swap_collections, "must be tested if of the validation collection"),
        (change(TREATED, "patient", not_evaluable="no time"), "the reason is not"),
        (change(TREATED, "patient", not_evaluable=None), "the reason is not"),
        (change(TREATED, "patient", fold=0), "cannot be split by patient, and has a fold"),
        (change(TREATED, "patient", k=2), "cannot be split by patient, and has a fold"),
        (change(TREATED, "cell", not_evaluable="no time"), "has another reason than"),
        (change(TREATED, "cell", category="moon"), "not treated_vs_untreated_control"),
        (change(TREATED, "line", bases="time_course"), "not treated_vs_untreated_control"),
        (change(TREATED, "line", n_contradicting=4), "has 4, not 0"),
    ],
)
def test_a_fault(folder: Path, right: Rows, fault: Callable[[Rows], Rows], message: str) -> None:
    rows = fault([dict(row) for row in right])
    with pytest.raises(CellResponseError, match=message) as caught:
        check(folder, rows)
    assert "splits.parquet" in str(caught.value)


def test_a_label_that_moves_to_another_response(tmp_path: Path, right: Rows) -> None:
    task_release(tmp_path)
    labels = read_table(tmp_path, "labels")
    place = labels.schema.get_field_index("response")
    said = labels["response"].to_pylist()
    said[0] = {"sensitive": "resistant", "resistant": "sensitive"}[said[0]]
    write_table(tmp_path, "labels", labels.set_column(place, labels.field(place), pa.array(said)))
    with pytest.raises(CellResponseError, match="where labels and cells give"):
        check(tmp_path, right)


def test_a_leak_under_valid_checksums(mini_release: Release, tmp_path: Path) -> None:
    """Whoever writes a release with a leak can sign it; `verify` still refuses it."""
    folder = Path(shutil.copytree(mini_release.folder, tmp_path / "mini"))
    sign(folder, read_table(folder, "splits").to_pylist())
    verify(folder)
    rows = read_table(folder, "splits").to_pylist()
    leaking = next(row for row in rows if row["split"] == "cell" and row["fold"] is not None)
    leaking["fold"] = (leaking["fold"] + 1) % 10
    sign(folder, rows)
    with pytest.raises(CellResponseError, match="must be tested in the fold of its number"):
        verify(folder)


def sign(folder: Path, rows: Rows) -> None:
    table = pa.Table.from_pylist(rows, schema=arrow_schema(Splits))
    write_table(folder, "splits", table)
    said = json.loads((folder / "release.json").read_bytes())
    said["content"]["splits"] = table_hash(table)
    said["content"]["hash"] = content_hash(said["content"])
    title = json.loads((folder / "datapackage.json").read_bytes())["title"]
    digest = write_descriptor(folder, name=said["release"], title=title, licences=[])
    write_root(folder, said, digest)
