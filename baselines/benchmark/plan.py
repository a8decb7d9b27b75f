"""What a run consists of: cells, folds and the tasks that share them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cellresponse.releases.split_rules import FEWEST_CELLS, Counts
from cellresponse.releases.splits import folds
from cellresponse.releases.tasks import Task, tasks
from cellresponse.schema.errors import ReleaseError

if TYPE_CHECKING:
    from cellresponse.baselines.benchmark.options import BenchmarkOptions
    from cellresponse.releases.release import Release

__all__ = ["Folds", "Job", "TaskOfJob", "plan", "random_split"]

RESPLIT = frozenset({"random-split", "copied-controls", "split-per-model"})
"""Faults of the split itself: any of them needs the published 80/20 split."""

TRACK_OF_TASKS = {"zero-shot": "external", "few-shot": "cross"}
"""Tracks that are another way to train on the tasks of a track."""


@dataclass(frozen=True)
class TaskOfJob:
    """A task whose cells, labels and folds are the job's."""

    task: str
    track: str
    by: str
    category: str
    drug_id: str | None
    basis: str
    split: str


@dataclass
class Job:
    """Cells, labels and folds that models are run on once, for every task that has them.

    Attributes
    ----------
    cells
        One row a cell: cell_id, study_id, row, sample_id, cell_line, batch.
    sensitive
        (cells,) bool.
    folds
        By name, the rows that train and the rows that are tested. Empty: the model's own
        split, as published.
    tasks
        Drugs that rank cell lines alike give the same job: it is run once.
    """

    cells: pd.DataFrame
    sensitive: NDArray[np.bool_]
    folds: Folds
    tasks: list[TaskOfJob] = field(default_factory=list)


def plan(release: Release, options: BenchmarkOptions) -> tuple[list[Job], list[dict[str, str]]]:
    """Choose tasks and lay out their folds.

    Returns
    -------
    jobs : list of Job
    not_evaluable : list of dict
        task, split and the reason, for each split, or single fold, that cannot be made.

    Raises
    ------
    ReleaseError
        The release has no such task, or none that can be evaluated: with the reasons.
    """
    chosen = _tasks(release, options)
    if options.as_published & RESPLIT:
        return _all_as_published(release, chosen, options)
    jobs: dict[str, Job] = {}
    problems: list[dict[str, str]] = []
    for task in chosen:
        for split in sorted(task.splits):
            if options.splits and split not in options.splits:
                continue
            try:
                cells, sensitive, laid, lost = _lay_out(release, task, split, options)
            except ReleaseError as error:
                problems.append({"task": task.task_id, "split": split, "reason": error.problem})
                continue
            problems += [{"task": task.task_id, "split": split, "reason": one} for one in lost]
            key = _signature(cells, sensitive, laid)
            job = jobs.setdefault(key, Job(cells, sensitive, laid))
            job.tasks.append(_task_of_job(task, split, options))
    if not jobs:
        raise _nothing_left(release, options, problems)
    return list(jobs.values()), problems


def _tasks(release: Release, options: BenchmarkOptions) -> list[Task]:
    track = TRACK_OF_TASKS.get(options.track, options.track)
    wanted = {"by": options.by, "category": options.category, "drug": options.drug}
    try:
        return tasks(release, track=track, **wanted)
    except ReleaseError as error:
        if track == options.track or error.column != "track":
            raise
        raise ReleaseError(
            f"the track {options.track} uses the tasks of the track {track}, and {error.problem}",
            column=error.column,
            value=error.value,
            allowed=error.allowed,
        ) from None


def _all_as_published(
    release: Release, chosen: list[Task], options: BenchmarkOptions
) -> tuple[list[Job], list[dict[str, str]]]:
    jobs: list[Job] = []
    problems: list[dict[str, str]] = []
    for task in chosen:
        try:
            jobs.append(as_published(release, task, options))
        except ReleaseError as error:
            reason = error.problem
            problems.append({"task": task.task_id, "split": "as-published", "reason": reason})
    if not jobs:
        raise _nothing_left(release, options, problems)
    return jobs, problems


def as_published(release: Release, task: Task, options: BenchmarkOptions) -> Job:
    """Lay a task out as the published code does: rows without regard for cells.

    With `copied-controls` a cell is one row for each of its labels; the row is named
    `<cell_id>#<drug_id>`.
    """
    from cellresponse.releases.task_cells import label_pairs_of

    pairs = label_pairs_of(task, release).to_pandas()
    cells = with_stars(pairs, options.stars)
    if missing := _counts(cells).missing():
        raise ReleaseError(f"no {missing} cells are left{_why(pairs, options)}")
    if "copied-controls" in options.as_published:
        cells["cell_id"] += "#" + cells["drug_id"]
    cells = cells.drop_duplicates("cell_id").reset_index(drop=True)
    sensitive = (cells["response"] == "sensitive").to_numpy()
    return Job(cells, sensitive, {}, [_task_of_job(task, "as-published", options)])


def random_split(rows: int, seed: int, model: str | None) -> Folds:
    """Split rows 80 to 20, unstratified; `model` None: the same for every model."""
    name = "" if model is None else model
    rng = np.random.default_rng([seed, *name.encode()])
    mixed = rng.permutation(rows)
    held = rows // 5
    return {"0": (np.sort(mixed[held:]), np.sort(mixed[:held]))}


def _nothing_left(
    release: Release, options: BenchmarkOptions, problems: list[dict[str, str]]
) -> ReleaseError:
    # What an option did comes first: it can be given otherwise.
    problems = sorted(problems, key=lambda problem: "--" not in problem["reason"])
    shown = [f"{p['task']} by {p['split']}: {p['reason']}" for p in problems[:5]]
    more = f"; and {len(problems) - 5} more" if len(problems) > 5 else ""
    return ReleaseError(
        f"no task of the release {release.name} can be evaluated on the track "
        + options.track
        + (f" with --stars {options.stars}" if options.stars is not None else ""),
        hint=("; ".join(shown) + more) or f"Choose other splits than {options.splits}",
    )


def _task_of_job(task: Task, split: str, options: BenchmarkOptions) -> TaskOfJob:
    return TaskOfJob(
        task=task.task_id,
        track=options.track,
        by=task.by,
        category=task.category,
        drug_id=task.drug_id,
        basis=";".join(task.bases),
        split=split,
    )


type Folds = dict[str, tuple[NDArray[np.int64], NDArray[np.int64]]]


def _lay_out(
    release: Release, task: Task, split: str, options: BenchmarkOptions
) -> tuple[pd.DataFrame, NDArray[np.bool_], Folds, list[str]]:
    """Give cells, labels and folds of a split, and why folds of the release are not among them."""
    numbers, everything = [], pd.DataFrame()
    for fold in folds(release, task, split):
        numbers.append(fold.fold)
        everything = fold.cells.to_pandas()
    cells = with_stars(everything, options.stars)
    why = _why(everything, options)
    for response, count in _counts(cells)._asdict().items():
        if count < FEWEST_CELLS:
            needed = f"where {FEWEST_CELLS} are needed"
            raise ReleaseError(f"{count or 'no'} {response} cells, {needed}{why}")
    sensitive = (cells["response"] == "sensitive").to_numpy()
    tested_in = cells["fold"].fillna(-1).to_numpy(np.int64)
    laid: Folds = {}
    lost: list[str] = []
    for number in numbers:
        train, test = np.flatnonzero(tested_in != number), np.flatnonzero(tested_in == number)
        if options.shots is not None:
            moved = _shots(cells["cell_id"].to_numpy(str), sensitive, test, options)
            train, test = np.union1d(train, moved), np.setdiff1d(test, moved)
        if len(test) == 0:
            lost.append(f"fold {number}: no cell is left to test on{why}")
        elif missing := _counts(cells.iloc[train]).missing():
            lost.append(f"fold {number}: no {missing} cells are left to train on{why}")
        else:
            laid[str(number)] = (train, test)
    if not laid:
        raise ReleaseError(f"no fold is left with both responses to train on{why}")
    tested = np.concatenate([test for _, test in laid.values()])
    if missing := _counts(cells.iloc[tested]).missing():
        raise ReleaseError(f"no {missing} cells can be left out to test on{why}")
    return cells.drop(columns="fold"), sensitive, laid, lost


def _counts(cells: pd.DataFrame) -> Counts:
    sensitive = int((cells["response"] == "sensitive").sum())
    return Counts(sensitive, len(cells) - sensitive)


def _why(everything: pd.DataFrame, options: BenchmarkOptions) -> str:
    """Say what options took away from the cells of a task, to end a reason with."""
    parts = []
    resistant = everything[everything["response"] == "resistant"]
    if options.stars is not None:
        kept = len(with_stars(resistant, options.stars))
        parts.append(f"--stars {options.stars} keeps {kept} of {len(resistant)} resistant cells")
        unknown = resistant[resistant["stars"].isna()]
        if len(unknown):
            bases = ", ".join(sorted(set(";".join(unknown["basis"]).split(";"))))
            parts.append(f"{len(unknown)}, labelled by {bases}, have no stars")
    if options.shots is not None:
        parts.append(f"--shots {options.shots} moves test cells to training")
    return f" ({'; '.join(parts)})" if parts else ""


def with_stars(cells: pd.DataFrame, stars: int | None) -> pd.DataFrame:
    """Leave out resistant cells with fewer stars; None: keep all."""
    if stars is None:
        return cells
    enough = (cells["response"] == "sensitive") | (cells["stars"].fillna(0) >= stars)
    return cells[enough].reset_index(drop=True)


def _shots(
    ids: NDArray[np.str_],
    sensitive: NDArray[np.bool_],
    test: NDArray[np.int64],
    options: BenchmarkOptions,
) -> NDArray[np.int64]:
    """Choose as many test cells of each response as asked for, by seed and cell."""
    rank = {
        row: hashlib.sha256(f"{options.seed}\0{ids[row]}".encode()).digest()
        for row in test.tolist()
    }
    chosen: list[int] = []
    for label in (True, False):
        of_class = [row for row in test.tolist() if sensitive[row] == label]
        chosen += sorted(of_class, key=rank.__getitem__)[: options.shots]
    return np.array(sorted(chosen), np.int64)


def _signature(cells: pd.DataFrame, sensitive: NDArray[np.bool_], laid: Folds) -> str:
    state = hashlib.sha256("\0".join(cells["cell_id"]).encode())
    state.update(sensitive.tobytes())
    for name, (train, test) in laid.items():
        state.update(f"\0{name}\0{len(train)}\0".encode() + train.tobytes() + test.tobytes())
    return state.hexdigest()
