"""The root `datapackage.json`: a Frictionless description of every evidence table.

Generated from the tables' models and the files that are there; never edited:
`python -m cellresponse.curation.descriptor` writes it, and a test compares.
"""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from typing import Any

from cellresponse.curation.study import study_folders
from cellresponse.schema.descriptor import table_schema
from cellresponse.schema.evidence import EVIDENCE_TABLES

__all__ = ["describe_curation"]


def describe_curation(root: Path) -> dict[str, Any]:
    """Describe the evidence tables below `root/curation`.

    Each file is a resource of its own, for optional columns may be left out.
    """
    resources = [
        _resource(root, folder / file)
        for folder in study_folders(root / "curation")
        for file in EVIDENCE_TABLES
        if (folder / file).exists()
    ]
    return {
        "$schema": "https://datapackage.org/profiles/2.0/datapackage.json",
        "name": "cellresponse-curation",
        "title": "Evidence of the cellresponse studies",
        "licenses": [
            {"name": "CC0-1.0", "title": "Curated facts; each study's data keep their own"}
        ],
        "resources": resources,
    }


def _resource(root: Path, path: Path) -> dict[str, Any]:
    full = table_schema(EVIDENCE_TABLES[path.name])
    header = _header(path)
    fields = {field["name"]: field for field in full["fields"]}
    schema = full | {"fields": [fields[name] for name in header if name in fields]}
    stem = path.name.split(".")[0].replace("_", "-")
    return {
        "name": f"{path.parent.name.lower()}-{stem}",
        "type": "table",
        "path": path.relative_to(root).as_posix(),
        "format": "csv",
        "encoding": "utf-8",
        **({"compression": "gz"} if path.suffix == ".gz" else {}),
        "schema": schema,
    }


def _header(path: Path) -> list[str]:
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8-sig", newline="") as stream:
        return next(csv.reader(stream), [])


def write(root: Path) -> Path:
    """Write `root/datapackage.json`."""
    path = root / "datapackage.json"
    path.write_text(json.dumps(describe_curation(root), indent=1) + "\n", encoding="utf-8")
    return path


if __name__ == "__main__":
    write(Path(__file__).parent.parent)
