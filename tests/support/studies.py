"""Small study folders for tests: a manifest and tables from a few words."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from cellresponse.schema.rules import SampleFacts

CURATION = Path(__file__).parents[2] / "curation"
REAL_STUDIES = ("GSE118767", "GSE149214")

Row = Mapping[str, str]


def file_entry(name: str = "counts.csv.gz", **keys: Any) -> dict[str, Any]:
    """Give a pinned dense file of `study.yaml`."""
    entry = {
        "name": name,
        "url": f"https://example.org/{name}",
        "sha256": "0" * 64,
        "bytes": "10",
        "reader": "dense_text",
    } | keys
    if entry["reader"] == "dense_text":
        entry.setdefault("options", {"orientation": "features_by_cells"})
    return entry


def manifest(**keys: Any) -> dict[str, Any]:
    """Give a right manifest of a study that is ready."""
    return {
        "study_id": "GSE1",
        "title": "A study",
        "organism": "human",
        "licence": "CC0-1.0",
        "access": "open",
        "curator": "a curator",
        "revision": "1",
        "status": "ready",
        "sources": {
            "paper": {"ref": "PMID:1", "kind": "paper"},
            "geo": {"ref": "https://example.org/geo", "kind": "database"},
        },
        "files": [file_entry()],
    } | keys


def sample(sample_id: str = "S1", **columns: str) -> dict[str, str]:
    """Give a right row of `samples.csv`: untreated cells of a line."""
    return {
        "sample_id": sample_id,
        "file": "counts.csv.gz",
        "cell_line": "PC9",
        "source_type": "cell_line",
        "collection": "primary",
        "arm": "untreated",
        "fact_sources": "*=paper",
    } | columns


def treated(sample_id: str = "T1", **columns: str) -> dict[str, str]:
    """Give a right row of `samples.csv`: cells that survived eleven days of erlotinib."""
    return (
        sample(
            sample_id, arm="treated", treatment="erlotinib", outcome="survived", exposure_days="11"
        )
        | columns
    )


def measured(cell_line: str, ln_ic50: float, **columns: str) -> dict[str, str]:
    """Give a right row of `dose_response.csv`."""
    return {
        "cell_line": cell_line,
        "treatment": "erlotinib",
        "ln_ic50": str(ln_ic50),
        "q25_ln_ic50": "2",
        "median_ln_ic50": "3",
        "n_lines_tested": "900",
        "source": "geo",
    } | columns


def csv_text(rows: Iterable[Row]) -> str:
    """Write rows as CSV with the columns that any of them has."""
    rows = list(rows)
    stream = io.StringIO()
    columns = list(dict.fromkeys(column for row in rows for column in row))
    writer = csv.DictWriter(stream, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def write_study(
    root: Path,
    samples: Iterable[Row] | None = None,
    *,
    cells: Iterable[Row] | None = None,
    dose_response: Iterable[Row] | None = None,
    **keys: Any,
) -> Path:
    """Write a study folder below `root`; the other keywords are keys of its manifest.

    Where several samples share the file, a barcode rule tells them apart by `barcode_key`,
    unless the keywords hold `files`.
    """
    rows = [treated()] if samples is None else [dict(row) for row in samples]
    if len(rows) > 1 and "files" not in keys:
        rule = {"rule": "pattern", "pattern": "^(?P<key>[^_]+)_"}
        keys["files"] = [file_entry(barcodes=rule)]
        for row in rows:
            row.setdefault("barcode_key", row["sample_id"])
    content = manifest(**keys)
    folder = root / content["study_id"]
    folder.mkdir()
    # Through JSON, so that two entries never share an object: YAML would write an alias.
    apart = json.loads(json.dumps(content))
    (folder / "study.yaml").write_text(yaml.safe_dump(apart, sort_keys=False), "utf-8")
    (folder / "samples.csv").write_text(csv_text(rows), "utf-8")
    if cells is not None:
        (folder / "cells.csv.gz").write_bytes(gzip.compress(csv_text(cells).encode()))
    if dose_response is not None:
        (folder / "dose_response.csv").write_text(csv_text(dose_response), "utf-8")
    return folder


def facts(arm: str = "treated", **known: Any) -> SampleFacts:
    """Give the facts of one sample of a line, for the rules."""
    return SampleFacts(**{"sample_id": "S", "arm": arm, "source_type": "cell_line"} | known)
