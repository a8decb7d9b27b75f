"""Which labelled cells belong to which benchmark task, counted over strata."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from cellresponse.releases.strata import Label, Stratum

__all__ = [
    "IC50",
    "SAMPLE_CATEGORIES",
    "Member",
    "TaskKey",
    "TaskMembers",
    "before_drug",
    "declared_labels",
    "gather",
]

Declared = Mapping[str, frozenset[tuple[str, str, str]]]

IC50 = "cell_line_ic50"

SAMPLE_CATEGORIES = {
    "tissue": "tissue",
    "cancer": "cancer_type",
    "source": "source_type",
    "assay": "assay",
}
"""Columns of `samples` that give categories, by kind of category."""


class TaskKey(NamedTuple):
    """What makes a task one of its own."""

    track: str
    collection: str | None
    organism: str
    by: str
    category: str
    drug_id: str | None

    @property
    def task_id(self) -> str:
        """Name of the task: `pooled/primary/human/cancer=melanoma/vemurafenib`."""
        parts = (self.track, self.collection or "both", self.organism)
        return "/".join((*parts, f"{self.by}={self.category}", self.drug_id or "all"))


@dataclass(frozen=True)
class Member:
    """Cells of a task that have one response, by bucket."""

    stratum: Stratum
    response: str


@dataclass
class TaskMembers:
    """What a task is made of.

    Attributes
    ----------
    members
        Its cells.
    bases, drugs
        Of its labels.
    contradicting
        Cells that have both responses; they are no members.
    of_several_drugs
        Cells that have labels of several drugs, so that no task can take them all.
    """

    members: list[Member] = field(default_factory=list)
    bases: set[str] = field(default_factory=set)
    drugs: set[str] = field(default_factory=set)
    contradicting: int = 0
    of_several_drugs: int = 0

    def add(self, stratum: Stratum, labels: Iterable[Label]) -> None:
        """Add a stratum by those of its labels that belong to the task."""
        labels = list(labels)
        responses = {label.response for label in labels}
        drugs = {label.drug_id for label in labels}
        self.bases |= {label.basis for label in labels}
        self.drugs |= drugs
        if len(drugs) > 1:
            self.of_several_drugs += sum(stratum.cells)
        if len(responses) > 1:
            self.contradicting += sum(stratum.cells)
        else:
            self.members.append(Member(stratum, *responses))

    def count(self, response: str) -> int:
        """Count the cells of a response."""
        return sum(sum(m.stratum.cells) for m in self.members if m.response == response)


def gather(
    strata: Iterable[Stratum],
    drug_classes: Mapping[str, str | None],
    declared: Declared,
) -> dict[TaskKey, TaskMembers]:
    """Put every stratum into every task that it belongs to.

    A task is one drug inside one category; or all drugs of a category where it has
    several, IC50 labels apart; or a list that the spec declares. External tasks are those
    whose category has cells of the validation collection.

    Parameters
    ----------
    strata
        Of the whole release.
    drug_classes
        Class of each treatment; None: it has none.
    declared
        Tasks of the spec, from `declared_labels`.

    Returns
    -------
    dict
        Tasks by key, sorted by `task_id`.
    """
    found: dict[TaskKey, TaskMembers] = {}
    for stratum in strata:
        for track, collection, labels in _tracks(stratum):
            parts = _categories(stratum, labels, drug_classes, declared)
            for (by, category, drug), chosen in parts.items():
                key = TaskKey(track, collection, stratum.organism, by, category, drug)
                found.setdefault(key, TaskMembers()).add(stratum, chosen)
    kept = {key: task for key, task in found.items() if _stands(key, task)}
    return dict(sorted(kept.items(), key=lambda item: item[0].task_id))


def _stands(key: TaskKey, task: TaskMembers) -> bool:
    """Whether a task says something that no other one says."""
    if key.drug_id is None and key.by != "declared" and len(task.drugs) == 1:
        return False
    return key.track != "external" or any(
        member.stratum.sample["collection"] == "validation" for member in task.members
    )


def _tracks(stratum: Stratum) -> Iterator[tuple[str, str | None, tuple[Label, ...]]]:
    collection = stratum.sample["collection"]
    yield "pooled", collection, stratum.labels
    yield "cross", collection, stratum.labels
    yield "external", None, stratum.labels
    untouched = tuple(label for label in stratum.labels if before_drug(label.basis, stratum.sample))
    if untouched:
        yield "pretreatment", collection, untouched


def before_drug(basis: str, sample: Mapping[str, Any]) -> bool:
    """Whether a label tells a response of cells that had not met the drug.

    These are patients' samples from before the treatment, and lineages sampled before it.
    A lost lineage may have no exposure that is known; a surviving one needs exposure 0.
    """
    if basis == "clinical_response":
        return bool(sample["arm"] == "pre_treatment")
    if basis == "lineage_tracing":
        exposure = sample["exposure_days_min"], sample["exposure_days_max"]
        lost = sample["arm"] == "lost_lineage" and exposure == (None, None)
        return exposure[1] == 0 or lost
    return False


def _categories(
    stratum: Stratum,
    labels: Iterable[Label],
    drug_classes: Mapping[str, str | None],
    declared: Declared,
) -> dict[tuple[str, str, str | None], list[Label]]:
    """Labels of a stratum by kind of category, category and drug (None: all of them)."""
    of_sample = [(by, stratum.sample[column]) for by, column in SAMPLE_CATEGORIES.items()]
    found: dict[tuple[str, str, str | None], list[Label]] = {}
    for label in labels:
        of_label = [("drug_class", drug_classes[label.drug_id]), ("basis", label.basis)]
        found.setdefault(("regimen", label.drug_id, label.drug_id), []).append(label)
        for by, category in of_sample + of_label:
            if category is None:
                continue
            found.setdefault((by, category, label.drug_id), []).append(label)
            if label.basis != IC50:
                found.setdefault((by, category, None), []).append(label)
        for name, parts in declared.items():
            if (stratum.sample["study_id"], label.drug_id, label.basis) in parts:
                drugs = {drug for _, drug, _ in parts}
                drug = drugs.pop() if len(drugs) == 1 else None
                found.setdefault(("declared", name, drug), []).append(label)
    return found


def declared_labels(tasks: Iterable[Mapping[str, Any]]) -> Declared:
    """Give the (study, drug, basis) of each task of a spec, as `release.json` holds it."""
    return {
        task["name"]: frozenset(
            (part["study"], part["drug"], part["basis"]) for part in task["labels"]
        )
        for task in tasks
    }
