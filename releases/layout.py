"""Names of the files of a release."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

__all__ = [
    "CARD",
    "CROISSANT",
    "DESCRIPTOR",
    "INDEX",
    "PARTIAL",
    "ROOT",
    "cohort_path",
    "expression_path",
    "files_of",
    "matrix_path",
    "shown",
    "study_of",
    "table_path",
]

ROOT = "release.json"
DESCRIPTOR = "datapackage.json"
CARD = "README.md"
CROISSANT = "croissant.json"
PARTIAL = "partial.json"
"""Says which files a partial pull took; a whole release has none."""
INDEX = "index.yaml"
"""Beside the releases, not in them: names, aliases, retractions."""

PARTITION_ABOVE = 10_000_000
"""Cells above which `cells` and `labels` are one file a study."""


def matrix_path(study_id: str) -> str:
    """Give the path of a study's matrix inside a release."""
    return f"matrices/{study_id}.zarr"


def cohort_path(cohort: str) -> str:
    """Give the path of a cohort inside a release."""
    return f"cohorts/{cohort}.zarr"


def expression_path(study_id: str, part: int) -> str:
    """Give the path of a part of a study's cells as rows of Parquet."""
    return f"expression/{study_id}.{part:05d}.parquet"


def table_path(table: str, study_id: str | None = None) -> str:
    """Give the path of a table; with a study, of its part of a partitioned table."""
    return f"tables/{table}.parquet" if study_id is None else f"tables/{table}/{study_id}.parquet"


def study_of(path: str) -> str | None:
    """Give the study that a file belongs to alone; None for a file of the whole release.

    Examples
    --------
    >>> study_of("matrices/GSE1.zarr/X/data/c/0"), study_of("tables/cells/GSE1.parquet")
    ('GSE1', 'GSE1')
    >>> study_of("tables/cells.parquet") is None
    True
    """
    top, *below = path.split("/")
    if top == "matrices" and below:
        return below[0].removesuffix(".zarr")
    if top == "expression" and below:
        return below[0].rsplit(".", 2)[0]
    if top == "tables" and len(below) == 2:
        return below[1].removesuffix(".parquet")
    return None


def shown(path: Path) -> str:
    """Write a path for a message: from the present folder on, where it lies below."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def files_of(folder: Path) -> Iterator[str]:
    """Yield every file below a folder as a relative path, sorted; links are files too."""
    found = [
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_symlink() or not path.is_dir()
    ]
    yield from sorted(found)
