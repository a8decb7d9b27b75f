"""When a task can be split, into how many folds, and why not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import combinations
from typing import Any, NamedTuple

from cellresponse.releases.strata import BUCKETS, Stratum
from cellresponse.releases.task_members import TaskKey, TaskMembers

__all__ = [
    "FEWEST_CELLS",
    "LEAVE_ONE_OUT",
    "SPLITS_OF_TRACK",
    "Counts",
    "folds_of",
    "groups_of",
    "held_out",
    "problem_of_split",
    "problem_of_task",
    "problems_of_groups",
]

FEWEST_CELLS = 10
"""Cells of each response that a task needs: one a fold of the split by cell."""

SPLITS_OF_TRACK = {
    "pooled": ("cell", "line", "patient", "sample", "study"),
    "pretreatment": ("cell", "line", "patient", "sample", "study"),
    "cross": ("study",),
    "external": ("sample",),
}
LEAVE_ONE_OUT = ("line", "study")
MOST_FOLDS = 10


class Counts(NamedTuple):
    """Cells of each response."""

    sensitive: int
    resistant: int

    def plus(self, other: Counts) -> Counts:
        """Add class by class."""
        return Counts(self.sensitive + other.sensitive, self.resistant + other.resistant)

    def minus(self, other: Counts) -> Counts:
        """Take away class by class."""
        return Counts(self.sensitive - other.sensitive, self.resistant - other.resistant)

    def missing(self) -> str | None:
        """Name the response that has no cells; None: both have."""
        return next((word for word in self._fields if getattr(self, word) == 0), None)


Groups = dict[str | None, Counts]


def total(groups: Iterable[Counts]) -> Counts:
    """Add up groups."""
    result = Counts(0, 0)
    for counts in groups:
        result = result.plus(counts)
    return result


def group_of(split: str, track: str, stratum: Stratum) -> str | None:
    """Name the group of a stratum's cells; None: what the split needs is not known."""
    sample = stratum.sample
    if split == "patient":
        patient = sample["patient_id"]
        return None if patient is None else f"{sample['study_id']}:{patient}"
    if split == "study":
        return stratum.unit if track == "cross" else str(sample["study_id"])
    return stratum.cell_line if split == "line" else str(sample["sample_id"])


def groups_of(split: str, key: TaskKey, task: TaskMembers) -> Groups:
    """Count the cells of a task by the groups of a split; those without a group under None."""
    found: Groups = {}
    for member in task.members:
        parts: list[tuple[str | None, int]]
        if split == "cell":
            parts = [(str(b), n) for b, n in enumerate(member.stratum.cells) if n]
        else:
            parts = [(group_of(split, key.track, member.stratum), sum(member.stratum.cells))]
        for group, cells in parts:
            sensitive = cells if member.response == "sensitive" else 0
            counts = Counts(sensitive, cells - sensitive)
            found[group] = found.get(group, Counts(0, 0)).plus(counts)
    return found


def held_out(task: TaskMembers) -> set[str | None]:
    """Name the samples that an external task tests on."""
    samples = (member.stratum.sample for member in task.members)
    return {sample["sample_id"] for sample in samples if sample["collection"] == "validation"}


def problem_of_task(
    key: TaskKey, task: TaskMembers, equal: Iterable[Mapping[str, Any]]
) -> str | None:
    """Say why a task cannot be split at all; None: it can.

    Parameters
    ----------
    key, task
        The task.
    equal
        Sets of studies that share cells with equal counts, as in `release.json`.
    """
    if key.drug_id is None and task.of_several_drugs:
        return f"{task.of_several_drugs} cells have labels of several drugs"
    for response in Counts._fields:
        cells = task.count(response)
        if cells < FEWEST_CELLS:
            return f"{cells or 'no'} {response} cells, where {FEWEST_CELLS} are needed"
    studies = {member.stratum.sample["study_id"] for member in task.members}
    for found in equal:
        for pair in combinations(found["studies"], 2):
            if studies.issuperset(pair):
                return f"{pair[0]} and {pair[1]} share {found['cells']} cells of equal counts"
    return None


def folds_of(split: str, key: TaskKey, groups: Groups) -> int:
    """Give the number of folds: min(10, groups of the rarer class), or one a group left out.

    An external task has one fold, which tests on the validation collection.
    """
    if key.track == "external":
        return 1
    if split in LEAVE_ONE_OUT:
        return len(groups) - len(problems_of_groups(groups))
    if split == "cell":
        return BUCKETS
    return min(MOST_FOLDS, *_holders(groups).values())


def _holders(groups: Groups) -> dict[str, int]:
    """Count the groups that hold cells of each response."""
    return {
        response: sum(1 for counts in groups.values() if getattr(counts, response))
        for response in Counts._fields
    }


def problems_of_groups(groups: Groups) -> dict[str | None, str]:
    """Say which groups cannot be left out by themselves, and why."""
    everything = total(groups.values())
    found = {}
    for group, counts in groups.items():
        missing = everything.minus(counts).missing()
        if missing is not None:
            found[group] = f"without it no {missing} cells are left to train on"
    return found


def problem_of_split(split: str, key: TaskKey, task: TaskMembers, groups: Groups) -> str | None:
    """Say why a split of a task cannot be made; None: it can."""
    if key.track == "external":
        return _problem_of_hold_out(task)
    if None in groups:
        return f"{sum(groups[None])} cells are of no known {split}"
    if len(groups) == 1:
        return f"all cells are of one {'unit' if key.track == 'cross' else split}"
    if split == "cell":
        return next(iter(problems_of_groups(groups).values()), None)
    if split == "study":
        return _problem_of_studies(groups)
    lonely = [response for response, holders in _holders(groups).items() if holders == 1]
    return f"all {lonely[0]} cells are of one {split}" if lonely else None


def _problem_of_studies(groups: Groups) -> str | None:
    """Whether those that can be left out one at a time hold both responses, taken together."""
    problems = problems_of_groups(groups)
    tested = total(counts for group, counts in groups.items() if group not in problems)
    if len(problems) == len(groups):
        return "whichever is left out, one response has no cells left to train on"
    missing = tested.missing()
    return None if missing is None else f"no {missing} cells can be left out to test on"


def _problem_of_hold_out(task: TaskMembers) -> str | None:
    sides = {"primary": Counts(0, 0), "validation": Counts(0, 0)}
    patients: dict[str, set[str]] = {"primary": set(), "validation": set()}
    for member in task.members:
        sample, cells = member.stratum.sample, sum(member.stratum.cells)
        sensitive = cells if member.response == "sensitive" else 0
        side = sample["collection"]
        sides[side] = sides[side].plus(Counts(sensitive, cells - sensitive))
        if sample["patient_id"] is not None:
            patients[side].add(f"{sample['study_id']}:{sample['patient_id']}")
    for side, counts in sides.items():
        if missing := counts.missing():
            return f"no {missing} cells in the {side} collection"
    both = sorted(patients["primary"] & patients["validation"])
    return f"the patient {both[0]} is in both collections" if both else None
