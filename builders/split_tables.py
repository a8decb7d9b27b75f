"""Deal the groups of every task into folds: the table `splits`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

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
)
from cellresponse.releases.tables_io import read_table
from cellresponse.releases.task_members import TaskKey, TaskMembers
from cellresponse.schema.errors import ReleaseError, raise_all
from cellresponse.schema.spec import ReleaseSpec
from cellresponse.schema.tables import Splits, arrow_schema

__all__ = ["deal", "splits_table"]


def splits_table(folder: Path, spec: ReleaseSpec, equal: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Make the table `splits` of a release whose other tables stand.

    Parameters
    ----------
    folder
        The release.
    spec
        What it is made of.
    equal
        Sets of studies that share cells with equal counts.

    Returns
    -------
    pyarrow.Table
        Columns of `schema.tables.Splits`, sorted by task, split and group.

    Raises
    ------
    ReleaseError, Problems
        A declared task names labels that the release does not have.
    """
    if spec.tasks:
        raise_all(_without_labels(folder, spec))
    equal = list(equal)
    rows: list[dict[str, Any]] = []
    for key, task in release_members(folder, spec.model_dump(mode="json")).items():
        problem = problem_of_task(key, task, equal)
        for split in SPLITS_OF_TRACK[key.track]:
            about = _about(key, task) | {"split": split}
            rows += [about | row for row in _split_rows(split, key, task, problem)]
    return pa.Table.from_pylist(rows, schema=arrow_schema(Splits))


def _without_labels(folder: Path, spec: ReleaseSpec) -> Iterator[ReleaseError]:
    columns = ["study_id", "drug_id", "basis"]
    labels = read_table(folder, "labels").select(columns).group_by(columns).aggregate([])
    there = {tuple(row[column] for column in columns) for row in labels.to_pylist()}
    for task in spec.tasks:
        for part in task.labels:
            if (part.study, part.drug, part.basis) not in there:
                yield ReleaseError(
                    f"the task {task.name} takes labels that the release does not have",
                    file=spec.file,
                    column="tasks",
                    value=f"{part.study}, {part.drug}, {part.basis}",
                    allowed=sorted(", ".join(labels) for labels in there if labels[0] == part.study)
                    or f"another study: {part.study} has no label",
                )


def _about(key: TaskKey, task: TaskMembers) -> dict[str, Any]:
    return key._asdict() | {
        "task_id": key.task_id,
        "bases": ";".join(sorted(task.bases)),
        "n_contradicting": task.contradicting,
    }


def _split_rows(
    split: str, key: TaskKey, task: TaskMembers, problem: str | None
) -> Iterator[dict[str, Any]]:
    groups = groups_of(split, key, task)
    problem = problem or problem_of_split(split, key, task, groups)
    if problem is not None:
        whole = Counts(task.count("sensitive"), task.count("resistant"))
        yield _row(None, whole, None, None, problem)
        return
    k = folds_of(split, key, groups)
    folds = _folds(split, key, task, groups, k)
    why_not = problems_of_groups(groups) if split in LEAVE_ONE_OUT else {}
    for group in sorted(groups, key=str):
        yield _row(group, groups[group], folds.get(group), k, why_not.get(group))


def _row(
    group: str | None, counts: Counts, fold: int | None, k: int | None, problem: str | None
) -> dict[str, Any]:
    return {
        "group_id": group,
        "fold": fold,
        "k": k,
        "n_sensitive": counts.sensitive,
        "n_resistant": counts.resistant,
        "not_evaluable": problem,
    }


def _folds(
    split: str, key: TaskKey, task: TaskMembers, groups: Groups, k: int
) -> dict[str | None, int]:
    """Give the fold of each group that is tested."""
    if key.track == "external":
        return dict.fromkeys(held_out(task), 0)
    if split == "cell":
        return {group: int(str(group)) for group in groups}
    if split in LEAVE_ONE_OUT:
        left_out = sorted(groups.keys() - problems_of_groups(groups).keys(), key=str)
        return {group: fold for fold, group in enumerate(left_out)}
    return deal(groups, k)


def deal(groups: Mapping[str | None, Counts], k: int) -> dict[str | None, int]:
    """Deal groups into k folds so that every fold has groups of both responses.

    Groups that hold both responses are dealt first; then those of one response, each kind
    going on where the first left off. Within a kind the order is that of a hash of the
    group's id, which no name, size or order of the source can steer.

    Parameters
    ----------
    groups
        Cells of each response by group; each response is held by at least k groups.
    k
        Number of folds.

    Returns
    -------
    dict
        Fold by group, 0 to k - 1.

    Examples
    --------
    >>> groups = {"a": Counts(5, 0), "b": Counts(3, 0), "c": Counts(0, 2), "d": Counts(1, 9)}
    >>> sorted(deal(groups, 2).items())
    [('a', 0), ('b', 1), ('c', 1), ('d', 0)]
    """
    ordered = sorted(groups, key=_hash_of)
    both = [group for group in ordered if groups[group].missing() is None]
    folds = {group: place % k for place, group in enumerate(both)}
    for response in Counts._fields:
        single = [group for group in ordered if groups[group].missing() == response]
        folds |= {group: place % k for place, group in enumerate(single, start=len(both))}
    return folds


def _hash_of(group: str | None) -> str:
    return hashlib.sha256(str(group).encode()).hexdigest()
