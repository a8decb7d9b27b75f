"""Folds of a benchmark task: which cells train, and which are tested."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from cellresponse.releases.strata import buckets
from cellresponse.schema.errors import ReleaseError

if TYPE_CHECKING:
    from cellresponse.releases.release import Release
    from cellresponse.releases.tasks import Task

__all__ = ["Fold", "class_counts", "counts_of_folds", "folds"]


@dataclass(frozen=True)
class Fold:
    """One fold of a split of a task.

    Attributes
    ----------
    task, split
        What it is a fold of.
    fold
        Its number.
    cells
        Cells of the whole task, as `Task.cells` gives them, with the column `fold`: the
        one that tests on the cell, null where none does.
    """

    task: Task
    split: str
    fold: int
    cells: pa.Table

    @cached_property
    def test(self) -> pa.Table:
        """Cells to predict; columns as in `cells`."""
        return self.cells.filter(self._tested())

    @cached_property
    def train(self) -> pa.Table:
        """All other cells of the task; columns as in `cells`."""
        return self.cells.filter(pc.invert(self._tested()))

    def _tested(self) -> pa.ChunkedArray:
        return pc.fill_null(pc.equal(self.cells["fold"], self.fold), False)


def folds(release: Release, task: Task, split: str) -> Iterator[Fold]:
    """Yield the folds of a split of a task.

    The cells are read once; a fold's two sides are made when they are asked for. Every cell
    of the task is on exactly one side. A test side may hold one response only: pool the
    predictions of several folds before a rank metric.

    Parameters
    ----------
    release
        The release that the task is of.
    task
        One of `tasks`.
    split
        `cell`, `sample`, `patient`, `study` or `line`.

    Yields
    ------
    Fold
        By number.

    Raises
    ------
    ReleaseError
        The task has no such split, or it cannot be made: with the reason.
    """
    if split not in task.splits:
        raise ReleaseError(
            f"the task {task.task_id} has no such split", value=split, allowed=sorted(task.splits)
        )
    if (reason := task.splits[split]) is not None:
        possible = [name for name, problem in sorted(task.splits.items()) if problem is None]
        raise ReleaseError(
            f"{task.task_id} cannot be split by {split}: {reason}",
            allowed=possible,
            hint=None if possible else "`tasks` tells which tasks can be evaluated",
        )
    rows = _rows(release, task, split)
    cells = task.cells(release)
    groups = group_column(cells, split, _units(release, task))
    place = pc.index_in(groups, value_set=rows["group_id"].combine_chunks())
    if place.null_count:
        raise ReleaseError(
            "the splits table does not know a group of the task's cells",
            file="tables/splits.parquet",
            value=task.task_id,
            hint="Verify the release: python cli.py verify",
        )
    cells = cells.append_column("fold", rows["fold"].combine_chunks().take(place))
    for fold in sorted(pc.unique(rows["fold"].drop_null()).to_pylist()):
        yield Fold(task, split, fold, cells)


def class_counts(release: Release, task: Task, split: str) -> list[dict[str, int]]:
    """Count the cells of each response on both sides of every fold, from the table alone.

    Returns
    -------
    list of dict
        fold, train_sensitive, train_resistant, test_sensitive, test_resistant; by fold.
        Empty where the split cannot be made.
    """
    return counts_of_folds(_rows(release, task, split).to_pylist())


def counts_of_folds(rows: list[dict[str, Any]]) -> list[dict[str, int]]:
    """Count as `class_counts` does, from the rows of one split of one task."""
    numbers = sorted({row["fold"] for row in rows if row["fold"] is not None})
    return [{"fold": fold, **_sides(rows, fold)} for fold in numbers]


def _sides(rows: list[dict[str, Any]], fold: int) -> dict[str, int]:
    return {
        f"{side}_{response}": sum(
            row[f"n_{response}"] for row in rows if (row["fold"] == fold) == (side == "test")
        )
        for side in ("train", "test")
        for response in ("sensitive", "resistant")
    }


def group_column(cells: pa.Table, split: str, units: dict[str, str]) -> pa.ChunkedArray:
    """Name the group of each cell in a split; `units` are those of the cross track, by study."""
    if split == "cell":
        return pa.chunked_array([pa.array(buckets(cells["cell_id"])).cast(pa.string())])
    if split == "patient":
        return pc.binary_join_element_wise(cells["study_id"], cells["patient_id"], ":")
    if split == "study":
        by_batch = [study for study, unit in units.items() if unit == "batch"]
        split_up = pc.is_in(cells["study_id"], value_set=pa.array(by_batch, pa.string()))
        batches = pc.binary_join_element_wise(cells["study_id"], cells["batch"], ":")
        return pc.if_else(split_up, batches, cells["study_id"])
    return cells["cell_line" if split == "line" else "sample_id"]


def _rows(release: Release, task: Task, split: str) -> pa.Table:
    splits = release.tables["splits"]
    mine = pc.and_(pc.equal(splits["task_id"], task.task_id), pc.equal(splits["split"], split))
    return splits.filter(mine)


def _units(release: Release, task: Task) -> dict[str, str]:
    """Units of the cross track; elsewhere a study is a study."""
    if task.track != "cross":
        return {}
    return {name: study["units"] for name, study in release.root["spec"]["studies"].items()}
