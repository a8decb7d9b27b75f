"""Check what the files of a release say: tables, references, matrices, content hash."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from cellresponse.releases.content_hash import combine, table_hash
from cellresponse.releases.expression import verify_expression
from cellresponse.releases.layout import table_path
from cellresponse.releases.processes import processes, submit_all
from cellresponse.releases.tables_io import count_rows
from cellresponse.releases.verify_cohorts import verify_cohorts
from cellresponse.releases.verify_splits import verify_splits
from cellresponse.releases.verify_study import (
    VerifiedStudy,
    checked_table,
    require_known,
    verify_study,
)
from cellresponse.schema.errors import ReleaseError

__all__ = ["content_hash", "verify_content"]

# Each study keeps three threads busy already, and has its cells in memory.
AT_ONCE = 4
PARTS = ("studies", "genes", "drugs", "splits", "cohorts")


def content_hash(parts: dict[str, Any]) -> str:
    """Combine the hashes of a release's parts, those of `PARTS`."""
    return combine({key: parts[key] for key in PARTS})


def verify_content(folder: Path, root: dict[str, Any], workers: int = 1) -> tuple[int, int]:
    """Check a release whose bytes are right; give its number of cells and labels.

    A few studies are checked at a time, each in a thread, or in a process where there are
    several `workers`; in memory are their cells, and of each matrix some blocks.

    Raises
    ------
    ReleaseError
        At the first contradiction.
    """
    studies = checked_table(folder, "studies")
    genes = checked_table(folder, "genes")
    drugs = checked_table(folder, "drugs")
    splits = checked_table(folder, "splits")
    named = studies["study_id"].to_pylist()
    if named != sorted(root["studies"]):
        raise ReleaseError("other studies than release.json", file=table_path("studies"))
    stores = sorted(path.name for path in (folder / "matrices").iterdir())
    if stores != [f"{study}.zarr" for study in named]:
        raise ReleaseError(
            "other stores than the studies", file="matrices", value=", ".join(stores)
        )
    require_known(drugs, "components", set(drugs["drug_id"].to_pylist()), table_path("drugs"))
    parts: dict[str, Any] = {
        "studies": {},
        "genes": {
            organism: table_hash(genes.filter(pc.equal(genes["organism"], organism)))
            for organism in sorted(set(genes["organism"].to_pylist()))
        },
        "drugs": table_hash(drugs),
        "splits": table_hash(splits),
    }
    known_drugs = set(drugs["drug_id"].to_pylist())
    cells = labels = 0
    for checked in _studies(folder, studies.to_pylist(), genes, known_drugs, workers):
        parts["studies"][checked.study_id] = checked.hashes
        cells, labels = cells + checked.cells, labels + checked.labels
    _table_sizes(folder, cells, labels)
    parts["cohorts"] = verify_cohorts(folder, root["spec"])
    verify_expression(folder, root["spec"].get("expression", False), studies.to_pylist())
    recorded = root["content"]
    for key in PARTS:
        if parts[key] != recorded[key]:
            raise ReleaseError(
                f"the content of {key} is not the one that is recorded", file="release.json"
            )
    if content_hash(parts) != recorded["hash"]:
        raise ReleaseError("the content hash is not the one that is recorded", file="release.json")
    verify_splits(folder, root, splits)
    return cells, labels


def _studies(
    folder: Path, studies: list[dict[str, Any]], genes: pa.Table, drugs: set[str], workers: int
) -> Iterator[VerifiedStudy]:
    """Check the studies side by side; give them, or the first error, in their order."""
    check = partial(verify_study, folder, genes=genes, drugs=drugs)
    if min(workers, len(studies)) > 1:
        with processes(min(workers, len(studies))) as pool:
            for running in submit_all(pool, check, studies):
                yield running.result()
        return
    with ThreadPoolExecutor(min(AT_ONCE, os.cpu_count() or 1)) as pool:
        try:
            yield from pool.map(check, studies)
        finally:
            pool.shutdown(cancel_futures=True)


def _table_sizes(folder: Path, cells: int, labels: int) -> None:
    """No rows belong to a study that is not in the release."""
    for table, expected in (("cells", cells), ("labels", labels)):
        if count_rows(folder, table) != expected:
            raise ReleaseError("has rows of no study of the release", file=table_path(table))
