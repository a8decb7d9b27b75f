"""Check the table `splits`: nothing leaks, every task is there, every count is right.

Counts, groups and reasons are taken again from labels and cells. Folds are not dealt
again: they are checked by what must be true of them, however they were dealt.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from cellresponse.releases.layout import table_path
from cellresponse.releases.release_strata import release_members
from cellresponse.releases.split_rules import (
    LEAVE_ONE_OUT,
    SPLITS_OF_TRACK,
    Counts,
    Groups,
    folds_of,
    groups_of,
    held_out,
    problem_of_split,
    problem_of_task,
    problems_of_groups,
    total,
)
from cellresponse.releases.task_members import TaskKey, TaskMembers
from cellresponse.schema.errors import ReleaseError, raise_all

__all__ = ["verify_splits"]

FILE = table_path("splits")
Row = dict[str, Any]
Folds = dict[str | None, int | None]


def verify_splits(folder: Path, root: Mapping[str, Any], splits: pa.Table) -> None:
    """Check the splits of a release whose other tables are right.

    Parameters
    ----------
    folder
        The release.
    root
        What `release.json` says.
    splits
        The table.

    Raises
    ------
    ReleaseError, Problems
        A task is missing or not of the release, a count or reason is not the one that
        labels and cells give, or a fold leaks.
    """
    rows: dict[tuple[str, str], list[Row]] = {}
    for row in splits.to_pylist():
        rows.setdefault((row["task_id"], row["split"]), []).append(row)
    members = release_members(folder, root["spec"])
    wanted = {(key.task_id, split) for key in members for split in SPLITS_OF_TRACK[key.track]}
    for task_id, split in sorted(wanted - rows.keys()):
        raise _wrong(f"a task of the release is missing, split by {split}", task_id)
    for task_id, split in sorted(rows.keys() - wanted):
        raise _wrong(f"the release has no such task, split by {split}", task_id)
    equal = root["equal_count_vectors"]
    for key, task in members.items():
        problem = problem_of_task(key, task, equal)
        for split in SPLITS_OF_TRACK[key.track]:
            raise_all(_problems(split, key, task, rows[key.task_id, split], problem))


def _problems(
    split: str, key: TaskKey, task: TaskMembers, rows: list[Row], problem: str | None
) -> Iterator[ReleaseError]:
    """Check one split of one task; the first kind of fault hides those that follow from it."""
    yield from _identity(key, task, rows)
    groups = groups_of(split, key, task)
    problem = problem or problem_of_split(split, key, task, groups)
    if problem is not None:
        groups = {None: Counts(task.count("sensitive"), task.count("resistant"))}
    found = [(row["group_id"], Counts(row["n_sensitive"], row["n_resistant"])) for row in rows]
    if dict(found) != groups or len(found) != len(groups):
        yield _differs(key, split, dict(found), groups, len(found))
    elif problem is not None:
        yield from _unsplit(key, split, rows[0], problem)
    else:
        yield from _reasons(key, split, rows, groups)
        yield from _folds(split, key, task, rows, groups)


def _identity(key: TaskKey, task: TaskMembers, rows: list[Row]) -> Iterator[ReleaseError]:
    said = key._asdict() | {
        "bases": ";".join(sorted(task.bases)),
        "n_contradicting": task.contradicting,
    }
    for row in rows:
        for column, value in said.items():
            if row[column] != value:
                yield _wrong(
                    f"{key.task_id} has {row[column]}, not {value}", row[column], column=column
                )
                return


def _differs(key: TaskKey, split: str, found: Groups, groups: Groups, rows: int) -> ReleaseError:
    where = f"{key.task_id}, split by {split}"
    if rows != len(found):
        return _wrong(f"{where}: a group stands twice, so it can be on both sides", rows)
    odd = sorted(
        (g for g in found.keys() | groups.keys() if found.get(g) != groups.get(g)), key=str
    )
    said, right = found.get(odd[0]), groups.get(odd[0])
    return _wrong(
        f"{where}: a group has {_shown(said)}, where labels and cells give {_shown(right)}",
        odd[0] or "(no group)",
        column="group_id",
    )


def _shown(counts: Counts | None) -> str:
    if counts is None:
        return "no row"
    return f"{counts.sensitive} sensitive and {counts.resistant} resistant cells"


def _unsplit(key: TaskKey, split: str, row: Row, problem: str) -> Iterator[ReleaseError]:
    if row["not_evaluable"] != problem:
        yield _wrong(
            f"{key.task_id}, split by {split}: the reason is not `{problem}`",
            row["not_evaluable"],
            column="not_evaluable",
        )
    if row["fold"] is not None or row["k"] is not None:
        yield _wrong(f"{key.task_id} cannot be split by {split}, and has a fold", row["fold"])


def _reasons(key: TaskKey, split: str, rows: list[Row], groups: Groups) -> Iterator[ReleaseError]:
    """Groups that cannot be left out by themselves say so, and no others."""
    why_not = problems_of_groups(groups) if split in LEAVE_ONE_OUT else {}
    for row in rows:
        if row["not_evaluable"] != why_not.get(row["group_id"]):
            yield _wrong(
                f"{key.task_id}, split by {split}: {row['group_id']} has another reason than "
                f"`{why_not.get(row['group_id'])}`",
                row["not_evaluable"],
                column="not_evaluable",
            )


def _folds(
    split: str, key: TaskKey, task: TaskMembers, rows: list[Row], groups: Groups
) -> Iterator[ReleaseError]:
    """Check what must hold of folds, whoever dealt them."""
    where = f"{key.task_id}, split by {split}"
    folds: Folds = {row["group_id"]: row["fold"] for row in rows}
    k = folds_of(split, key, groups)
    if wrong := sorted({row["k"] for row in rows} - {k}, key=str):
        yield _wrong(f"{where}: there must be {k} folds", wrong[0], column="k")
        return
    for group, problem in _misplaced(split, key, task, folds, groups):
        yield _wrong(f"{where}: {group} {problem}", folds[group], column="fold")
        return
    numbers = {fold for fold in folds.values() if fold is not None}
    if not numbers <= set(range(k)) or (len(numbers) < k and split != "cell"):
        yield _wrong(f"{where}: the folds are not 0 to {k - 1}", sorted(numbers), column="fold")
        return
    for fold in sorted(numbers):
        test = total(counts for group, counts in groups.items() if folds[group] == fold)
        train = total(groups.values()).minus(test)
        if missing := train.missing():
            yield _wrong(f"{where}: fold {fold} has no {missing} cells to train on", fold)
        if split in ("patient", "sample") and (missing := test.missing()):
            yield _wrong(f"{where}: fold {fold} has no {missing} cells to test on", fold)


def _misplaced(
    split: str, key: TaskKey, task: TaskMembers, folds: Folds, groups: Groups
) -> Iterator[tuple[str | None, str]]:
    """Yield groups that are not where they must be."""
    if key.track == "external":
        validation = held_out(task)
        for group, fold in folds.items():
            if fold != (0 if group in validation else None):
                yield group, "must be tested if of the validation collection, and else not"
    elif split == "cell":
        for group, fold in folds.items():
            if group != str(fold):
                yield group, "is a bucket, and must be tested in the fold of its number"
    elif split in LEAVE_ONE_OUT:
        stays = problems_of_groups(groups).keys()
        for group, fold in folds.items():
            if (fold is None) != (group in stays):
                yield group, "must be left out unless one response is then not left to train on"
            elif fold is not None and list(folds.values()).count(fold) > 1:
                yield group, "must be left out by itself"
    else:
        yield from ((group, "has no fold") for group, fold in folds.items() if fold is None)


def _wrong(problem: str, value: object, *, column: str | None = None) -> ReleaseError:
    return ReleaseError(problem, file=FILE, column=column, value=value)
