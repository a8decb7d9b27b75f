"""Names of the files of a release."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

__all__ = ["CARD", "DESCRIPTOR", "ROOT", "files_of", "matrix_path", "table_path"]

ROOT = "release.json"
DESCRIPTOR = "datapackage.json"
CARD = "README.md"

PARTITION_ABOVE = 10_000_000
"""Cells above which `cells` and `labels` are one file a study."""


def matrix_path(study_id: str) -> str:
    """Give the path of a study's matrix inside a release."""
    return f"matrices/{study_id}.zarr"


def table_path(table: str, study_id: str | None = None) -> str:
    """Give the path of a table; with a study, of its part of a partitioned table."""
    return f"tables/{table}.parquet" if study_id is None else f"tables/{table}/{study_id}.parquet"


def files_of(folder: Path) -> Iterator[str]:
    """Yield every file below a folder as a relative path, sorted; links are files too."""
    found = [
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_symlink() or not path.is_dir()
    ]
    yield from sorted(found)
