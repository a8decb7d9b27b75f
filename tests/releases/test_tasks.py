"""Tasks and folds of a release of hand-written tables (`tests/support/task_release.py`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from task_release import CELLS, SPEC, spec, task_release

from cellresponse.builders.split_tables import splits_table
from cellresponse.releases.release import Release
from cellresponse.releases.splits import class_counts, folds
from cellresponse.releases.tables_io import write_table
from cellresponse.releases.task_cells import _joined, cells_of, label_pairs_of
from cellresponse.releases.tasks import Task, tasks
from cellresponse.schema.errors import ReleaseError

A, B = "synthetic-drug-a", "synthetic-drug-b"
TREATED = "treated_vs_untreated_control"


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    folder = tmp_path_factory.mktemp("tasks")
    found = task_release(folder)
    write_table(folder, "splits", splits_table(folder, spec(), []))
    return found


def task(release: Release, **wanted: Any) -> Task:
    wanted = {"track": "pooled", "category": TREATED} | wanted
    (found,) = [
        task
        for task in tasks(release, **wanted)
        if task.organism == "human"
        and task.collection in ("primary", None)
        and task.drug_id == wanted.get("drug")
    ]
    return found


def responses(cells: Any) -> tuple[int, int]:
    said = cells["response"].to_pylist()
    return said.count("sensitive"), said.count("resistant")


def test_cells_and_folds_are_what_the_table_says(release: Release) -> None:
    """The table is counted over strata; here every cell is read and put into its fold."""
    evaluable = 0
    for found in tasks(release):
        cells = found.cells(release)
        assert responses(cells) == (found.n_sensitive, found.n_resistant), found.task_id
        assert pc.count_distinct(cells["cell_id"]).as_py() == len(cells)
        for split, problem in found.splits.items():
            counts = class_counts(release, found, split)
            if problem is not None:
                assert counts == []
                with pytest.raises(ReleaseError, match="cannot be split"):
                    list(folds(release, found, split))
                continue
            evaluable += 1
            for fold, counted in zip(folds(release, found, split), counts, strict=True):
                train, test = responses(fold.train), responses(fold.test)
                assert fold.fold == counted["fold"]
                assert train == (counted["train_sensitive"], counted["train_resistant"])
                assert test == (counted["test_sensitive"], counted["test_resistant"])
                assert len(fold.train) + len(fold.test) == len(cells)
                ids = [set(side["cell_id"].to_pylist()) for side in (fold.train, fold.test)]
                assert not ids[0] & ids[1]
                assert min(train) > 0
    assert evaluable > 30


@pytest.mark.parametrize(
    ("split", "column"),
    [
        ("sample", "sample_id"),
        ("patient", "patient_id"),
        ("study", "study_id"),
        ("line", "cell_line"),
    ],
)
def test_no_group_is_on_both_sides(release: Release, split: str, column: str) -> None:
    tried = 0
    for found in tasks(release, track="pooled"):
        if found.splits[split] is not None:
            continue
        for fold in folds(release, found, split):
            sides = [set(side[column].to_pylist()) for side in (fold.train, fold.test)]
            assert not sides[0] & sides[1]
            assert sides[0]
            assert sides[1]
            tried += 1
    assert tried


def test_shared_controls_are_in_one_fold_of_every_task(release: Release) -> None:
    place: dict[str, int] = {}
    seen = 0
    for found in tasks(release):
        if found.splits.get("cell", "no such split") is not None:
            continue
        for fold in folds(release, found, "cell"):
            for cell in fold.test["cell_id"].to_pylist():
                seen += 1
                assert place.setdefault(cell, fold.fold) == fold.fold
    assert seen > len(place) > 0


def test_drugs_do_not_mix_where_a_cell_has_labels_of_two(release: Release) -> None:
    mixed = task(release, by="basis")
    assert mixed.drug_id is None
    assert set(mixed.splits.values()) == {"144 cells have labels of several drugs"}
    declared = task(release, by="declared", category="both_drugs")
    assert set(declared.splits.values()) == {"144 cells have labels of several drugs"}


def test_labels_by_ic50_are_in_tasks_of_one_drug_only(release: Release) -> None:
    for found in tasks(release):
        if "cell_line_ic50" in found.bases:
            assert found.drug_id is not None
    assert "cell_line_ic50" in task(release, by="tissue", category="lung", drug=A).bases
    assert "cell_line_ic50" not in task(release, by="tissue", category="lung").bases


def test_a_cell_of_several_bases_is_one_cell(release: Release) -> None:
    found = task(release, by="tissue", category="lung", drug=A)
    cells = found.cells(release)
    agreed = cells.filter(pc.equal(cells["sample_id"], "LINES:L1.one.a"))
    assert set(agreed["basis"].to_pylist()) == {f"time_course;{TREATED}"}
    assert set(agreed["stars"].to_pylist()) == {3}  # the highest of 2 and 3
    assert len(agreed) == CELLS
    pairs = label_pairs_of(found, release)
    both = pairs.filter(pc.equal(pairs["sample_id"], "LINES:L1.one.a"))
    assert len(both) == 2 * CELLS
    assert both["basis"].to_pylist() == ["time_course", TREATED] * CELLS


def test_several_bases_are_named_in_one_order() -> None:
    assert _joined(pa.chunked_array([[["b", "a"], ["a"], ["a", "b"]]])).to_pylist() == [
        "a;b",
        "a",
        "a;b",
    ]


def test_cells_are_in_the_order_of_the_matrices(release: Release) -> None:
    tables = {name: release.tables[name] for name in release.tables}
    tables["cells"] = tables["cells"].take(list(range(tables["cells"].num_rows))[::-1])
    found = task(release, by="basis", drug=A)
    cells = cells_of(found, tables, release.root["spec"])
    assert cells.equals(found.cells(release))
    places = list(zip(cells["study_id"].to_pylist(), cells["row"].to_pylist(), strict=True))
    assert places == sorted(places)


def test_labels_that_contradict_each_other_are_left_out_and_counted(release: Release) -> None:
    found = task(release, by="tissue", category="lung", drug=A)
    assert found.n_contradicting == CELLS
    samples = found.cells(release)["sample_id"].to_pylist()
    assert "LINES:L3.two.a" not in samples
    alone = task(release, by="basis", drug=A)
    assert alone.n_contradicting == 0
    assert "LINES:L3.two.a" in alone.cells(release)["sample_id"].to_pylist()


def test_only_malignant_cells_of_patients(release: Release) -> None:
    found = task(release, by="basis", category="clinical_response", drug=A)
    assert found.n_sensitive + found.n_resistant == 2 * sum(CELLS - p for p in range(1, 7))


def test_pretreatment_has_cells_from_before_the_drug(release: Release) -> None:
    found = task(release, track="pretreatment", by="basis", category="clinical_response", drug=A)
    names = found.cells(release)["sample_id"].to_pylist()
    assert {name.split(".")[1] for name in names} == {"pre_treatment"}
    assert found.splits["patient"] is None


def test_patients_stay_together(release: Release) -> None:
    found = task(release, by="basis", category="clinical_response", drug=A)
    counts = class_counts(release, found, "patient")
    assert len(counts) == 3  # three patients of each response, so three folds
    assert all(min(fold["test_sensitive"], fold["test_resistant"]) > 0 for fold in counts)
    assert len(class_counts(release, found, "sample")) == 6


def test_missing_patients_and_lines_are_never_guessed(release: Release) -> None:
    found = task(release, by="basis", drug=A)
    assert found.splits["patient"] == "288 cells are of no known patient"
    clinic = task(release, by="basis", category="clinical_response", drug=A)
    assert clinic.splits["line"] == "246 cells are of no known line"


def test_cross_leaves_out_studies_or_named_batches(release: Release) -> None:
    found = task(release, track="cross", by="declared", category="drug_a_in_vitro", drug=A)
    assert {fold.fold: set(_units(fold.test)) for fold in folds(release, found, "study")} == {
        0: {("IC50", "one")},
        1: {("LINES", "one")},
        2: {("LINES", "two")},
    }
    assert {fold.fold for fold in folds(release, found, "study")} == {0, 1, 2}


def _units(cells: Any) -> list[tuple[str, str]]:
    return list(zip(cells["study_id"].to_pylist(), cells["batch"].to_pylist(), strict=True))


def test_external_tests_on_the_validation_collection(release: Release) -> None:
    found = task(release, track="external", by="basis", drug=A)
    (fold,) = folds(release, found, "sample")
    assert set(fold.test["collection"].to_pylist()) == {"validation"}
    assert set(fold.train["collection"].to_pylist()) == {"primary"}
    assert set(fold.test["study_id"].to_pylist()) == {"OUTSIDE"}


def test_organisms_do_not_mix(release: Release) -> None:
    mouse = {found.task_id for found in tasks(release) if found.organism == "mouse"}
    assert "pooled/primary/mouse/tissue=lung/synthetic-drug-a" in mouse
    cells = task(release, by="tissue", category="lung", drug=A).cells(release)
    assert "MICE" not in cells["study_id"].to_pylist()


def test_leave_one_line_out_needs_two_lines_of_each_response(release: Release) -> None:
    found = task(release, by="basis", category="cell_line_ic50", drug=A)
    assert found.splits["line"] == "all resistant cells are of one line"
    assert task(release, by="basis", drug=A).splits["line"] is None


def test_studies_with_equal_cells_are_not_split(tmp_path: Path) -> None:
    found = task_release(tmp_path)
    equal = [{"studies": ["IC50", "LINES"], "cells": 3}]
    write_table(tmp_path, "splits", splits_table(tmp_path, spec(), equal))
    both = task(found, by="tissue", category="lung", drug=A)
    assert set(both.splits.values()) == {"IC50 and LINES share 3 cells of equal counts"}
    assert task(found, by="basis", drug=A).splits["cell"] is None


@pytest.mark.parametrize(
    "wanted",
    [{"track": "zero"}, {"by": "colour"}, {"category": "moon"}, {"drug": "none"}],
)
def test_no_such_task(release: Release, wanted: dict[str, str]) -> None:
    with pytest.raises(ReleaseError, match="has no such task") as caught:
        tasks(release, **wanted)
    assert caught.value.allowed


def test_no_such_split(release: Release) -> None:
    found = task(release, track="external", by="basis", drug=A)
    with pytest.raises(ReleaseError, match="has no such split") as caught:
        next(folds(release, found, "cell"))
    assert caught.value.allowed == ["sample"]


def test_table_without_a_group_of_the_cells(release: Release, tmp_path: Path) -> None:
    found = task_release(tmp_path)
    table = splits_table(tmp_path, spec(), [])
    lost = pc.and_kleene(pc.equal(table["split"], "cell"), pc.equal(table["group_id"], "3"))
    write_table(tmp_path, "splits", table.filter(pc.invert(pc.fill_null(lost, False))))
    with pytest.raises(ReleaseError, match="does not know a group"):
        next(folds(found, task(found, by="basis", drug=A), "cell"))


def test_tasks_of_the_spec_are_declared(release: Release) -> None:
    names = {found.category for found in tasks(release, by="declared")}
    assert names == {described["name"] for described in SPEC["tasks"]}
