"""When a task cannot be split and why, how many folds it has, and which cells belong to it."""

from __future__ import annotations

import math
from typing import Any

import pytest

from cellresponse.releases.split_rules import (
    FEWEST_CELLS,
    SPLITS_OF_TRACK,
    Counts,
    Groups,
    folds_of,
    groups_of,
    problem_of_split,
    problem_of_task,
)
from cellresponse.releases.strata import BUCKETS, Label, Stratum
from cellresponse.releases.task_members import TaskKey, TaskMembers, before_drug, gather
from cellresponse.schema.vocabulary import words

BASIS = "time_course"
KEY = TaskKey("pooled", "primary", "human", "basis", BASIS, "a")
EXTERNAL = TaskKey("external", None, "human", "basis", BASIS, "a")


def stratum(response: str, cells: int = 10, drug: str = "a", **facts: Any) -> Stratum:
    """Cells of one sample, all in the first bucket."""
    sample = {
        "study_id": "S",
        "sample_id": "S:1",
        "patient_id": None,
        "collection": "primary",
        "arm": "untreated",
        "tissue": "lung",
        "cancer_type": None,
        "source_type": "cell_line",
        "assay": None,
    } | facts
    label = Label(drug, BASIS, response)
    by_bucket = (cells, *(0,) * (BUCKETS - 1))
    return Stratum("human", str(sample["study_id"]), sample, None, (label,), by_bucket)


def task(*strata: Stratum) -> TaskMembers:
    found = TaskMembers()
    for each in strata:
        found.add(each, each.labels)
    return found


def sides(**facts: Any) -> list[Stratum]:
    return [stratum(response, **facts) for response in ("sensitive", "resistant")]


# --- the whole task ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sensitive", "problem"),
    [
        (FEWEST_CELLS, None),
        (9, "9 sensitive cells, where 10 are needed"),
        (0, "no sensitive cells, where 10 are needed"),
    ],
)
def test_a_task_needs_ten_cells_of_each_response(sensitive: int, problem: str | None) -> None:
    found = task(stratum("sensitive", sensitive), stratum("resistant"))
    assert problem_of_task(KEY, found, []) == problem


@pytest.mark.parametrize(
    ("studies", "problem"),
    [
        (["A", "B", "C"], "B and C share 3 cells of equal counts"),
        (["A", "B"], None),
    ],
)
def test_studies_that_share_cells(studies: list[str], problem: str | None) -> None:
    """A set of equal cells may have studies that the task has no cell of."""
    found = task(*sides(study_id="B"), *sides(study_id="C"))
    assert problem_of_task(KEY, found, [{"studies": studies, "cells": 3}]) == problem


# --- one split --------------------------------------------------------------------------


def test_tracks_and_splits_are_those_of_the_vocabulary() -> None:
    assert set(SPLITS_OF_TRACK) == set(words("track").words)
    assert SPLITS_OF_TRACK["pooled"] == SPLITS_OF_TRACK["pretreatment"]
    assert set(SPLITS_OF_TRACK["pooled"]) == set(words("split").words)


def test_buckets_without_cells_are_no_groups() -> None:
    assert groups_of("cell", KEY, task(*sides())) == {"0": Counts(10, 10)}


@pytest.mark.parametrize(
    ("sensitive", "resistant", "folds"), [(12, 12, 10), (10, 11, 10), (7, 12, 7), (12, 2, 2)]
)
def test_number_of_folds(sensitive: int, resistant: int, folds: int) -> None:
    """As many as groups of the rarer response, and ten at most; lines are left out one by one."""
    groups: Groups = {f"s{place}": Counts(5, 0) for place in range(sensitive)}
    groups |= {f"r{place}": Counts(0, 5) for place in range(resistant)}
    assert folds_of("sample", KEY, groups) == folds_of("patient", KEY, groups) == folds
    assert folds_of("line", KEY, groups) == folds_of("study", KEY, groups) == len(groups)


BOTH, SENSITIVE, RESISTANT = Counts(5, 5), Counts(5, 0), Counts(0, 5)


@pytest.mark.parametrize(
    ("split", "groups", "problem"),
    [
        *((split, {"A": BOTH}, f"all cells are of one {split}") for split in words("split").words),
        *(
            (split, {"A": SENSITIVE, "B": BOTH}, f"all resistant cells are of one {split}")
            for split in ("line", "patient", "sample")
        ),
        *(
            (split, {"A": RESISTANT, "B": BOTH, "C": SENSITIVE}, None)
            for split in ("line", "study")
        ),
        ("cell", {"0": SENSITIVE, "1": BOTH}, "without it no resistant cells are left to train on"),
        ("cell", {"0": BOTH, "1": BOTH}, None),
        ("study", {"A": SENSITIVE, "B": BOTH}, "no resistant cells can be left out to test on"),
        (
            "study",
            {"A": SENSITIVE, "B": RESISTANT},
            "whichever is left out, one response has no cells left to train on",
        ),
    ],
)
def test_why_not(split: str, groups: Groups, problem: str | None) -> None:
    assert problem_of_split(split, KEY, TaskMembers(), groups) == problem


VALIDATION = {"sample_id": "S:2", "collection": "validation"}


@pytest.mark.parametrize(
    ("primary", "validation", "problem"),
    [
        (sides(), sides(**VALIDATION), None),
        (sides(patient_id="P"), sides(**VALIDATION), None),
        (sides(patient_id="P"), sides(**VALIDATION, patient_id="Q"), None),
        (sides(patient_id="P"), sides(**VALIDATION, patient_id="P", study_id="T"), None),
        (
            sides(patient_id="P"),
            sides(**VALIDATION, patient_id="P"),
            "the patient S:P is in both collections",
        ),
        (sides()[:1], sides(**VALIDATION), "no resistant cells in the primary collection"),
        (sides(), sides(**VALIDATION)[:1], "no resistant cells in the validation collection"),
        (sides(), [], "no sensitive cells in the validation collection"),
    ],
)
def test_why_nothing_can_be_held_out(
    primary: list[Stratum], validation: list[Stratum], problem: str | None
) -> None:
    found = task(*primary, *validation)
    groups = groups_of("sample", EXTERNAL, found)
    assert problem_of_split("sample", EXTERNAL, found, groups) == problem


# --- members ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("basis", "arm", "longest", "before"),
    [
        ("clinical_response", "pre_treatment", None, True),
        ("clinical_response", "on_treatment", None, False),
        ("clinical_response", "post_treatment", 0.0, False),
        ("lineage_tracing", "surviving_lineage", 0.0, True),
        ("lineage_tracing", "surviving_lineage", 30.0, False),
        ("lineage_tracing", "surviving_lineage", None, False),
        ("lineage_tracing", "lost_lineage", None, True),
        ("lineage_tracing", "lost_lineage", 0.0, True),
        ("lineage_tracing", "lost_lineage", 5.0, False),
        ("lineage_tracing", "lost_lineage", math.inf, False),
        ("time_course", "untreated", 0.0, False),
        ("cell_line_ic50", "untreated", None, False),
    ],
)
def test_which_labels_are_of_cells_before_the_drug(
    basis: str, arm: str, longest: float | None, before: bool
) -> None:
    shortest = longest and 1.0
    if longest == math.inf:  # at least a day
        longest = None
    sample = {"arm": arm, "exposure_days_min": shortest, "exposure_days_max": longest}
    assert before_drug(basis, sample) is before


def test_a_declared_task_stands_where_one_of_its_drugs_has_no_cells() -> None:
    parts = frozenset(("S", drug, BASIS) for drug in "ab")
    found = gather(sides(), {"a": None}, {"both": parts})
    assert "pooled/primary/human/declared=both/all" in {key.task_id for key in found}
    assert {key.by for key in found if key.drug_id is None} == {"declared"}


def test_a_sample_is_in_a_task_of_every_kind_of_category() -> None:
    known = {"cancer_type": "melanoma", "assay": "10x"}
    declared = {"mine": frozenset({("S", "a", BASIS)})}
    found = gather(sides(**known), {"a": "targeted"}, declared)
    assert {(key.by, key.category) for key in found} == {
        ("assay", "10x"),
        ("basis", BASIS),
        ("cancer", "melanoma"),
        ("declared", "mine"),
        ("drug_class", "targeted"),
        ("regimen", "a"),
        ("source", "cell_line"),
        ("tissue", "lung"),
    }
    assert {key.by for key in found} == set(words("category").words)


def test_external_tasks_have_cells_to_test_on() -> None:
    primary, both = (
        {key.track for key in gather(strata, {"a": None}, {})}
        for strata in (sides(), [*sides(), *sides(**VALIDATION)])
    )
    assert both - primary == {"external"}
