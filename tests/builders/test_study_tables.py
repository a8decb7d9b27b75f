"""Rows of labels: whole samples, or the cells that a label is true of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from studies import file_entry, sample, treated, write_study

from cellresponse.builders.genes import gene_axis
from cellresponse.builders.match import Matched
from cellresponse.builders.matrix_writer import MatrixWriter
from cellresponse.builders.ordered_rows import rank_cells
from cellresponse.builders.quality import CellQuality
from cellresponse.builders.read import CellBlocks, CountSource, Features
from cellresponse.builders.study_counts import StudyCounts
from cellresponse.builders.study_tables import (
    cells_table,
    drug_rows,
    labelled_cells,
    labels_table,
    samples_table,
)
from cellresponse.curation.labels import derive_labels
from cellresponse.curation.study import load_study
from cellresponse.schema.ids import cell_ids

GENES = [("ENSG00000000001", "G", "1")]
CALLS = ("malignant", "non_malignant", "unknown")


def labelled(folder: Path, source_type: str, calls: tuple[str, ...]) -> list[str | None]:
    """Give the cell ids of the label rows of a sample whose cells were called so."""
    root = folder / "-".join(calls)
    root.mkdir()
    study = load_study(write_study(root, [treated(source_type=source_type)]))
    cells = pa.table(
        {
            "cell_id": [f"c{number}" for number in range(len(calls))],
            "sample_id": ["GSE1:T1"] * len(calls),
            "malignant": list(calls),
        }
    )
    rows = labels_table(study, derive_labels(study).labels, cells).to_pylist()
    assert {row["response"] for row in rows} <= {"resistant"}
    return [row["cell_id"] for row in rows]


@pytest.mark.parametrize("source_type", ["patient_tumour", "pbmc", "bone_marrow"])
def test_only_malignant_cells_of_patients(tmp_path: Path, source_type: str) -> None:
    assert labelled(tmp_path, source_type, CALLS) == ["c0"]
    assert labelled(tmp_path, source_type, ("unknown", "unknown")) == []


@pytest.mark.parametrize("source_type", ["pdx", "mouse", "organoid", "cell_line"])
def test_no_cell_that_the_source_calls_non_malignant(tmp_path: Path, source_type: str) -> None:
    assert labelled(tmp_path, source_type, CALLS) == ["c0", "c2"]
    assert labelled(tmp_path, source_type, ("non_malignant",)) == []
    assert labelled(tmp_path, source_type, ("malignant", "unknown")) == [None]


def test_labels_of_samples_without_cells_are_left_out(tmp_path: Path) -> None:
    study = load_study(write_study(tmp_path, [treated("T1"), treated("T2")]))
    cells = pa.table({"cell_id": ["c"], "sample_id": ["GSE1:T2"], "malignant": ["unknown"]})
    labels = labels_table(study, derive_labels(study).labels, cells)
    assert labels["sample_id"].to_pylist() == ["GSE1:T2"]


def test_labels_of_cells_stand_in_their_order(tmp_path: Path) -> None:
    study = load_study(write_study(tmp_path, [treated(source_type="pbmc")]))
    ids = ["b", "c", "a"]
    cells = pa.table({"cell_id": ids, "sample_id": ["GSE1:T1"] * 3, "malignant": ["malignant"] * 3})
    labels = labels_table(study, derive_labels(study).labels, cells)
    assert labels["cell_id"].to_pylist() == sorted(ids)


def test_cells_have_a_label_by_their_sample_or_their_own() -> None:
    labels = pa.table({"sample_id": ["S1", "S2", "S2"], "cell_id": [None, "c3", "c3"]})
    cells = pa.table(
        {
            "cell_id": ["c1", "c2", "c3", "c4", "c5"],
            "sample_id": ["S1", "S1", "S2", "S2", "S3"],
        }
    )
    assert labelled_cells(labels, cells) == 3
    assert labelled_cells(labels.slice(0, 1), cells) == 2
    assert labelled_cells(labels.slice(1), cells) == 1
    assert labelled_cells(labels, cells.slice(0, 0)) == 0


def test_samples_have_exposure_controls_and_cells(tmp_path: Path) -> None:
    arm = treated("T1", exposure_days="7-14", control_samples="U1; U2", control_outcome="died")
    study = load_study(write_study(tmp_path, [sample("U1"), sample("U2"), arm]))
    cells = pa.table({"sample_id": ["GSE1:T1", "GSE1:U1", "GSE1:T1"]})
    rows = {row["sample_id"]: row for row in samples_table(study, cells).to_pylist()}
    assert list(rows) == ["GSE1:T1", "GSE1:U1", "GSE1:U2"]
    found = rows["GSE1:T1"]
    assert (found["exposure_days_min"], found["exposure_days_max"]) == (7, 14)
    assert found["control_samples"] == "GSE1:U1;GSE1:U2"
    assert [row["n_cells"] for row in rows.values()] == [2, 1, 0]


def test_the_class_of_a_regimen_is_that_of_all_its_drugs() -> None:
    rows = {row["drug_id"]: row for row in drug_rows(["afatinib+adagrasib", "afatinib+abt737"])}
    assert rows["adagrasib+afatinib"]["drug_class"] == "targeted"
    rows = {row["drug_id"]: row for row in drug_rows(["afatinib + 5-fluorouracil"])}
    assert list(rows) == ["5-fluorouracil", "5-fluorouracil+afatinib", "afatinib"]
    assert rows["5-fluorouracil"]["drug_class"] == "chemo"
    assert rows["5-fluorouracil+afatinib"]["drug_class"] is None


def test_cells_of_files_whose_samples_alternate(tmp_path: Path) -> None:
    """Ids, facts and measures stay with their cell, in whatever order the files have them."""
    by_prefix = {"rule": "pattern", "pattern": "^(?P<key>[^_]+)_"}
    files = [file_entry("a.csv.gz", barcodes=by_prefix), file_entry("b.csv.gz")]
    rows = [
        sample("S1", file="a.csv.gz", barcode_key="S1"),
        sample("S2", file="b.csv.gz"),
        sample("S3", file="a.csv.gz", barcode_key="S3"),
    ]
    study = load_study(write_study(tmp_path, rows, files=files))
    barcodes = {"a.csv.gz": ["S3_x", "S1_z", "U_y", "S1_w"], "b.csv.gz": ["q", "p"]}
    types: list[str | None] = ["T cell", "B cell", "monocyte", None]
    matched = [
        Matched(["S1", "S3"], np.array([1, 0, -1, 0], np.int32), {"cell_type": types}),
        Matched(["S2"], np.zeros(2, np.int32)),
    ]
    sources: list[CountSource] = [
        CellBlocks(name, names, Features([]), lambda: iter(())) for name, names in barcodes.items()
    ]
    _, _, ranked = rank_cells(sources, matched)
    quality = CellQuality.empty(5)
    quality.n_genes[:] = range(5)
    kept = np.array([True, True, True, False, True])
    with MatrixWriter(tmp_path / "m.zarr", gene_axis("human", GENES, "MT", name="g")) as writer:
        counts = StudyCounts(
            list(barcodes), sources, matched, [], ranked, quality, kept, {}, writer
        )
        found = cells_table(study, counts).to_pylist()
    assert [
        (row["sample_id"], row["barcode"], row["cell_type"], row["n_genes"]) for row in found
    ] == [
        ("GSE1:S1", "S1_w", None, 0),
        ("GSE1:S1", "S1_z", "B cell", 1),
        ("GSE1:S2", "p", None, 2),
        ("GSE1:S3", "S3_x", "T cell", 4),
    ]
    owners = ["a.csv.gz", "a.csv.gz", "b.csv.gz", "a.csv.gz"]
    wanted = [
        cell_ids("GSE1", file, [row["barcode"]])[0] for file, row in zip(owners, found, strict=True)
    ]
    assert [row["cell_id"] for row in found] == wanted
    assert [row["row"] for row in found] == [0, 1, 2, 3]
