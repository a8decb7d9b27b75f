"""A release of hand-written tables, without matrices, to try tasks and splits on.

- LINES (primary): two drugs share their untreated controls; three lines in two batches.
  One sample of drug-a is called sensitive on another basis: its labels contradict each other.
- CLINIC (primary): patients before and after drug-a; only malignant cells have labels.
- OUTSIDE (validation): one line under drug-a, and one that is left untreated.
- IC50 (primary): four untreated lines with measured IC50 of drug-a.
- MICE (primary): drug-a in mice, which share no gene axis with the others.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from cellresponse.releases.release import Release
from cellresponse.releases.tables_io import write_table
from cellresponse.schema.ids import cell_ids
from cellresponse.schema.spec import ReleaseSpec
from cellresponse.schema.tables import TABLES, arrow_schema

CELLS = 24
"""Cells of each sample."""

GENES = {"source": "none", "release": "1", "table": "g.csv", "table_sha256": "0" * 64}
ORGANISM = {"genes": GENES, "qc": {"min_genes": 0}}
SPEC: dict[str, Any] = {
    "release": "tasks",
    "schema_version": 1,
    "title": "Tables to try tasks on",
    "organisms": {"human": ORGANISM, "mouse": ORGANISM},
    "studies": {
        "CLINIC": {"revision": 1},
        "IC50": {"revision": 1},
        "LINES": {"revision": 1, "units": "batch"},
        "MICE": {"revision": 1},
        "OUTSIDE": {"revision": 1},
    },
    "tasks": [
        {
            "name": "drug_a_in_vitro",
            "labels": [
                {
                    "study": "LINES",
                    "drug": "synthetic-drug-a",
                    "basis": "treated_vs_untreated_control",
                },
                {"study": "IC50", "drug": "synthetic-drug-a", "basis": "cell_line_ic50"},
            ],
        },
        {
            "name": "both_drugs",
            "labels": [
                {
                    "study": "LINES",
                    "drug": f"synthetic-drug-{which}",
                    "basis": "treated_vs_untreated_control",
                }
                for which in "ab"
            ],
        },
    ],
}

TREATED = "treated_vs_untreated_control"


def task_release(folder: Path) -> Release:
    """Write the tables but for `splits`, and give the release."""
    rows: dict[str, list[dict[str, Any]]] = {"samples": [], "cells": [], "labels": []}
    for add in (_clinic, _ic50, _lines, _mice, _outside):
        add(rows)
    rows["drugs"] = [
        {"drug_id": f"synthetic-drug-{which}", "name": which, "kind": "single", "drug_class": kind}
        for which, kind in (("a", "targeted"), ("b", "chemo"))
    ]
    rows["studies"] = [_study(name) for name in sorted(SPEC["studies"])]
    for table, found in rows.items():
        schema = arrow_schema(TABLES[table])
        full = [{name: row.get(name) for name in schema.names} for row in found]
        write_table(folder, table, pa.Table.from_pylist(full, schema=schema))
    return Release(folder, root())


def spec() -> ReleaseSpec:
    return ReleaseSpec.model_validate(SPEC)


def root() -> dict[str, Any]:
    """What `release.json` would say."""
    return {
        "release": "tasks",
        "content": {"hash": "0" * 64},
        "spec": spec().model_dump(mode="json"),
        "equal_count_vectors": [],
    }


def _study(name: str) -> dict[str, Any]:
    return {
        "study_id": name,
        "title": name,
        "organism": "mouse" if name == "MICE" else "human",
        "assays": "",
        "licence": "CC0-1.0",
        "access": "open",
        "curator": "tests",
        "revision": 1,
        "synthetic": True,
        "n_samples": 0,
        "n_cells": 0,
        "n_labelled_cells": 0,
    }


def _sample(rows: dict[str, list[Any]], study: str, name: str, **facts: Any) -> list[str]:
    """Add a sample with its cells; give the ids of the cells."""
    sample_id = f"{study}:{name}"
    facts = {"source_type": "cell_line", "collection": "primary", "arm": "untreated"} | facts
    rows["samples"].append(
        {"study_id": study, "sample_id": sample_id, "file": "f", "n_cells": CELLS} | facts
    )
    ids = cell_ids(study, name, [f"b{place}" for place in range(CELLS)])
    first = sum(1 for cell in rows["cells"] if cell["study_id"] == study)
    rows["cells"] += [
        {
            "cell_id": cell_id,
            "study_id": study,
            "sample_id": sample_id,
            "barcode": f"b{place}",
            "cell_line": facts.get("cell_line"),
            "malignant": "unknown",
            "n_counts": 1,
            "n_genes": 1,
            "row": first + place,
        }
        for place, cell_id in enumerate(ids)
    ]
    return ids


def _label(
    rows: dict[str, list[Any]],
    study: str,
    name: str,
    drug: str,
    response: str,
    basis: str,
    cells: tuple[str | None, ...] = (None,),
    stars: int = 2,
) -> None:
    rows["labels"] += [
        {
            "study_id": study,
            "sample_id": f"{study}:{name}",
            "cell_id": cell,
            "drug_id": f"synthetic-drug-{drug}",
            "response": response,
            "stars": {"resistant": stars}.get(response),
            "basis": basis,
            "rule_id": "rule",
            "evidence_ref": "evidence",
        }
        for cell in cells
    ]


def _lines(rows: dict[str, list[Any]]) -> None:
    for line in ("L1", "L2", "L3"):
        for batch in ("one", "two"):
            facts = {"cell_line": line, "batch": batch, "tissue": "lung"}
            control = f"{line}.{batch}.untreated"
            _sample(rows, "LINES", control, **facts)
            for drug in "ab":
                treated = f"{line}.{batch}.{drug}"
                _sample(rows, "LINES", treated, arm="treated", **facts)
                _label(rows, "LINES", treated, drug, "resistant", TREATED)
                _label(rows, "LINES", control, drug, "sensitive", TREATED)
    _label(rows, "LINES", "L3.two.a", "a", "sensitive", "time_course")
    _label(rows, "LINES", "L1.one.a", "a", "resistant", "time_course", stars=3)


def _clinic(rows: dict[str, list[Any]]) -> None:
    for patient in range(1, 7):
        response = "resistant" if patient % 2 else "sensitive"
        for arm in ("pre_treatment", "post_treatment"):
            name = f"P{patient}.{arm}"
            facts = {"patient_id": f"P{patient}", "source_type": "patient_tumour", "arm": arm}
            ids = _sample(rows, "CLINIC", name, tissue="skin", **facts)
            malignant = tuple(ids[: CELLS - patient])
            _label(rows, "CLINIC", name, "a", response, "clinical_response", malignant)


def _outside(rows: dict[str, list[Any]]) -> None:
    facts = {"collection": "validation", "cell_line": "L9", "tissue": "lung"}
    _sample(rows, "OUTSIDE", "untreated", **facts)
    _sample(rows, "OUTSIDE", "a", arm="treated", **facts)
    _label(rows, "OUTSIDE", "untreated", "a", "sensitive", TREATED)
    _label(rows, "OUTSIDE", "a", "a", "resistant", TREATED)


def _ic50(rows: dict[str, list[Any]]) -> None:
    for line, response in (("L1", "sensitive"), ("L5", "sensitive"), ("L6", "resistant")):
        _sample(rows, "IC50", line, cell_line=line, tissue="lung", batch="one")
        _label(rows, "IC50", line, "a", response, "cell_line_ic50")
        _label(rows, "IC50", line, "b", response, "cell_line_ic50")


def _mice(rows: dict[str, list[Any]]) -> None:
    for name, response in (("control", "sensitive"), ("treated", "resistant")):
        _sample(rows, "MICE", name, source_type="mouse", tissue="lung")
        _label(rows, "MICE", name, "a", response, TREATED)
