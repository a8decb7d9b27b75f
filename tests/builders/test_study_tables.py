"""Rows of labels: whole samples, or the cells that a label is true of."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from studies import treated, write_study

from cellresponse.builders.study_tables import labels_table
from cellresponse.curation.labels import derive_labels
from cellresponse.curation.study import load_study

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
