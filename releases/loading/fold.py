"""Choose the cells to learn from: one side of a fold of a benchmark task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import pyarrow as pa

from cellresponse.releases.splits import folds
from cellresponse.releases.stars import of_stars
from cellresponse.releases.tasks import Task, tasks
from cellresponse.schema.errors import ReleaseError

if TYPE_CHECKING:
    from cellresponse.releases.release import Release

__all__ = ["fold_cells"]


def fold_cells(
    release: Release,
    *,
    task: str | None = None,
    track: str | None = None,
    by: str | None = None,
    category: str | None = None,
    drug: str | None = None,
    split: str | None = None,
    fold: int | None = None,
    part: Literal["train", "test"] | None = None,
    stars: int | None = None,
) -> pa.Table:
    """Give the cells of one side of a fold.

    Parameters
    ----------
    release
        The release.
    task, track, by, category, drug
        What names the task: its `task_id`, or enough to leave one (`releases.tasks`).
    split
        `cell`, `sample`, `patient`, `study` or `line`. None: `cell`.
    fold
        Number of the fold. None: all cells of the task; `split` and `part` are then left out.
    part
        Which side of the fold. None: `train`.
    stars
        At least so many stars for resistant cells, and all sensitive ones. None: all.

    Returns
    -------
    pyarrow.Table
        Columns as `Task.cells` gives them.

    Raises
    ------
    ReleaseError
        There is no such task, fold or cell, several tasks fit, or a split or part has no fold.
    """
    chosen = _task(release, task, track=track, by=by, category=category, drug=drug)
    if fold is None and split is None and part is None:
        cells = chosen.cells(release)
    else:
        cells = _side(release, chosen, split or "cell", fold, part or "train")
    cells = of_stars(cells, stars)
    if len(cells) == 0:
        raise ReleaseError("no cell matches", value=chosen.task_id)
    return cells


def _side(release: Release, task: Task, split: str, fold: int | None, part: str) -> pa.Table:
    found = {one.fold: one for one in folds(release, task, split)}
    if fold is None:
        raise ReleaseError(
            "a split or part needs a fold",
            allowed=f"fold={', '.join(map(str, found))}",
            hint="Name a fold, or leave split and part out for all cells of the task",
        )
    if fold not in found:
        raise ReleaseError(
            f"{task.task_id} has no such fold by {split}",
            value=fold,
            allowed=", ".join(map(str, found)),
        )
    if part not in ("train", "test"):
        raise ReleaseError("a fold has no such side", value=part, allowed=["train", "test"])
    cells: pa.Table = getattr(found[fold], part)
    return cells


def _task(release: Release, task_id: str | None, **wanted: str | None) -> Task:
    found = tasks(release, **wanted)
    if task_id is not None:
        found = [task for task in found if task.task_id == task_id]
        if not found:
            raise ReleaseError("there is no such task", value=task_id)
    if len(found) > 1:
        names = [task.task_id for task in found]
        raise ReleaseError(
            f"{len(names)} tasks fit",
            allowed=names[:10] + (["..."] if len(names) > 10 else []),
            hint="Name one with task=",
        )
    return found[0]
