"""Read the strata and task members of a release, study by study."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cellresponse.releases.strata import Stratum, strata_of_study
from cellresponse.releases.tables_io import StudyTable, read_table
from cellresponse.releases.task_members import TaskKey, TaskMembers, declared_labels, gather

__all__ = ["release_members"]


def release_members(folder: Path, spec: Mapping[str, Any]) -> dict[TaskKey, TaskMembers]:
    """Give the tasks of a release with their cells, counted.

    One study's cells are in memory at a time.

    Parameters
    ----------
    folder
        A release whose tables stand, but for `splits`.
    spec
        Its spec, as `release.json` holds it.
    """
    drugs = read_table(folder, "drugs").select(["drug_id", "drug_class"]).to_pylist()
    classes = {row["drug_id"]: row["drug_class"] for row in drugs}
    return gather(_strata(folder, spec["studies"]), classes, declared_labels(spec["tasks"]))


def _strata(folder: Path, described: Mapping[str, Any]) -> Iterator[Stratum]:
    tables = [
        StudyTable(folder, "samples"),
        StudyTable(folder, "cells", ["cell_id", "sample_id", "cell_line"]),
        StudyTable(folder, "labels", ["sample_id", "cell_id", "drug_id", "basis", "response"]),
    ]
    for study in read_table(folder, "studies").to_pylist():
        name = study["study_id"]
        samples, cells, labels = (table.read(name) for table in tables)
        units = described[name]["units"]
        yield from strata_of_study(study["organism"], units, samples, cells, labels)
