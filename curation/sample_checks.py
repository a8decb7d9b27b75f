"""Check what single columns of `samples.csv` cannot show, row by row."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from cellresponse.curation.facts import FACTS, fact_sources, known_rows
from cellresponse.schema.rules import (
    AFTER_DRUG_ARMS,
    COMPARED_ARMS,
    CONTROL_ARMS,
    FAILED,
    OUTCOMES_OF_ARMS,
    PATIENT_ARMS,
    SampleFacts,
)

if TYPE_CHECKING:
    from cellresponse.curation.study import Study

__all__ = ["row_problems"]

CONTROL_HAS = "empty; the treated sample names its controls, and says what the drug did to them"

UNEXPOSED_ARMS = CONTROL_ARMS | {"pre_treatment"}
EXPOSED_ARMS = AFTER_DRUG_ARMS - {"surviving_lineage"}
LESION_ARMS = PATIENT_ARMS | {"primary", "relapse"}
CULTURED = frozenset({"cell_line", "bacterium"})

SMALLER_UNITS = {
    "nM": (1e3, "pM"),
    "uM": (1e6, "pM"),
    "mM": (1e9, "pM"),
    "ug/mL": (1e3, "ng/mL"),
    "mg/mL": (1e6, "ng/mL"),
}

NEEDED_TO_BUILD = ("file", "source_type", "arm")
"""Columns of `samples.csv` that may be empty only while the study is not ready."""

AFTER_DRUG_EVIDENCE = (
    "exposure_days",
    "outcome",
    "lesion",
    "proliferation",
    "intrinsic_resistance",
)

type Problem = tuple[str, str, str | list[str] | None]


def row_problems(
    study: Study, facts: dict[str, SampleFacts], row: dict[str, Any]
) -> Iterator[Problem]:
    """Say what contradicts itself in a row: the problem, its column, and what is allowed."""
    sample = facts[row["sample_id"]]
    if (row["dose"] is None) != (row["dose_unit"] is None):
        yield "dose and dose_unit belong together", "dose_unit", "both, or neither"
    if sample.arm in CONTROL_ARMS:
        for fact in ("treatment", "dose", "outcome", "proliferation", "intrinsic_resistance"):
            if row[fact] is not None:
                yield f"the control arm {sample.arm} receives no drug", fact, CONTROL_HAS
    if study.manifest.status == "ready":
        yield from _gaps(sample, row)
    yield from _exposure_problems(sample)
    yield from _outcome_problems(sample)
    yield from _control_problems(facts, sample)
    yield from _fate_problems(study, facts, row)
    yield from _identity_problems(study, sample, row)
    yield from _patient_problems(study, facts, row)
    yield from _source_problems(study, row)


def _gaps(sample: SampleFacts, row: dict[str, Any]) -> Iterator[Problem]:
    """Facts that a study may lack until it is ready; until then `validate` lists them."""
    for column in NEEDED_TO_BUILD:
        if row[column] is None:
            yield "a study that is ready needs it", column, "a value, or the status metadata"
    if sample.arm and sample.arm not in CONTROL_ARMS and not sample.treatment:
        yield f"the arm {sample.arm} needs a treatment", "treatment", "a drug, or a regimen a + b"
    if sample.arm in AFTER_DRUG_ARMS and not any(row[fact] for fact in AFTER_DRUG_EVIDENCE):
        yield (
            f"the arm {sample.arm} has no evidence of what became of its cells",
            "outcome",
            f"at least one of {', '.join(AFTER_DRUG_EVIDENCE)}, with its source",
        )


def _exposure_problems(sample: SampleFacts) -> Iterator[Problem]:
    low, high = sample.exposure_days_min, sample.exposure_days_max
    if low is not None and high is not None and low > high:
        yield "the range ends before it begins", "exposure_days", "a-b with a <= b"
    elif sample.arm in UNEXPOSED_ARMS and low is not None and high != 0:
        yield (
            f"the arm {sample.arm} has not met the drug",
            "exposure_days",
            "empty or 0: days under the drug, not days in culture",
        )
    elif sample.arm in EXPOSED_ARMS and high == 0:
        yield f"the arm {sample.arm} has met the drug", "exposure_days", "more than 0, or empty"


def _outcome_problems(sample: SampleFacts) -> Iterator[Problem]:
    allowed = OUTCOMES_OF_ARMS.get(str(sample.arm))
    if sample.outcome and allowed is not None and sample.outcome not in allowed:
        yield f"not what becomes of the arm {sample.arm}", "outcome", sorted(allowed)
    if sample.arm == "primary" and sample.lesion == "recurrent":
        yield "a primary lesion has not come back", "lesion", "the arm relapse, or another lesion"
    if sample.outcome == "proliferating" and sample.proliferation == "none":
        yield "the outcome says that the cells divided", "proliferation", "not none, or empty"
    if sample.outcome in FAILED and sample.proliferation == "proliferating":
        yield (
            f"the outcome is {sample.outcome}, and its cells proliferate under the drug",
            "proliferation",
            "the one of both that the source supports",
        )
    if sample.intrinsic_resistance == "established" and sample.outcome in {"responder", *FAILED}:
        yield (
            f"its resistance is established, and its outcome is {sample.outcome}",
            "intrinsic_resistance",
            "the one of both that the source supports",
        )


def _control_problems(facts: dict[str, SampleFacts], sample: SampleFacts) -> Iterator[Problem]:
    for control in sample.control_samples:
        if control not in facts:
            yield f"there is no sample {control!r}", "control_samples", sorted(facts)
        elif facts[control].arm not in CONTROL_ARMS:
            yield (
                f"{control!r} is no control: its arm is {facts[control].arm}",
                "control_samples",
                f"a sample of the arms {', '.join(sorted(CONTROL_ARMS))}",
            )
    if sample.control_outcome and not sample.control_samples:
        yield "control_outcome without control_samples", "control_outcome", "name the controls"
    if sample.control_samples and sample.arm not in COMPARED_ARMS:
        yield (
            f"no rule compares the arm {sample.arm} with controls",
            "control_samples",
            f"empty, or one of the arms {', '.join(sorted(COMPARED_ARMS))}",
        )


def _fate_problems(
    study: Study, facts: dict[str, SampleFacts], row: dict[str, Any]
) -> Iterator[Problem]:
    """The drug did one thing to a control, whichever treated sample says so."""
    sample = facts[row["sample_id"]]
    fate = _fate_of_controls(sample)
    if fate is None:
        return
    failed = fate in FAILED
    if sample.arm == "treated" and sample.outcome in FAILED and not failed:
        yield (
            f"the outcome of the treated cells is {sample.outcome}, and they are its counterparts",
            "control_outcome",
            sorted(FAILED),
        )
    for _, other in known_rows(study.samples):
        said = facts[other["sample_id"]]
        if other["sample_id"] == row["sample_id"]:
            return  # what follows is compared from its own row
        shared = set(sample.control_samples) & set(said.control_samples)
        before = _fate_of_controls(said)
        if before and shared and _course(sample, row) == _course(said, other):
            if failed != (before in FAILED):
                yield (
                    f"{other['sample_id']} says {before} of the same control {min(shared)!r} under "
                    "the same drug",
                    "control_outcome" if sample.control_outcome else "outcome",
                    "one thing that the drug does to a control in that time, at that dose",
                )


def _patient_problems(
    study: Study, facts: dict[str, SampleFacts], row: dict[str, Any]
) -> Iterator[Problem]:
    """Before a treatment, a patient is one who will respond to it, or one who will not."""
    sample = facts[row["sample_id"]]
    if row["patient_id"] is None or sample.arm != "pre_treatment":
        return
    for _, other in known_rows(study.samples):
        said = facts[other["sample_id"]]
        if other["sample_id"] == row["sample_id"]:
            return  # what follows is compared from its own row
        same = (said.arm, said.treatment) == (sample.arm, sample.treatment)
        if same and other["patient_id"] == row["patient_id"]:
            if {sample.outcome, said.outcome} == {"responder", "non_responder"}:
                yield (
                    f"{other['sample_id']} says {said.outcome} of the same patient before the same "
                    "treatment",
                    "outcome",
                    "one response of a patient to a treatment; courses of their own have regimens "
                    "or patient_ids of their own",
                )


def _fate_of_controls(sample: SampleFacts) -> str | None:
    """What the drug does to the controls, as the rule `control_of_treated` takes it."""
    if sample.control_outcome is None and sample.arm == "treated" and sample.outcome in FAILED:
        return sample.outcome
    return sample.control_outcome


def _course(sample: SampleFacts, row: dict[str, Any]) -> tuple[Any, ...]:
    """What the drug was given as. How long a line was selected says nothing of its parent."""
    if sample.arm == "resistant_line":
        return sample.arm, sample.treatment
    exposure = (sample.exposure_days_min, sample.exposure_days_max)
    if exposure == (None, None):
        exposure = (sample.time_point, None)
    return sample.arm, sample.treatment, *exposure, *_dose(row)


def _dose(row: dict[str, Any]) -> tuple[Any, ...]:
    """A dose whose unit has another scale beside it, in the smaller unit."""
    factor, unit = SMALLER_UNITS.get(row["dose_unit"], (1, row["dose_unit"]))
    return (None if row["dose"] is None else round(float(row["dose"]) * factor, 9)), unit


def _identity_problems(
    study: Study, sample: SampleFacts, row: dict[str, Any]
) -> Iterator[Problem]:
    """What a sample is, it is in its arm, and its controls are the same."""
    if sample.arm in LESION_ARMS and sample.source_type in CULTURED:
        yield (
            f"cells of the arm {sample.arm} were taken from a patient or an animal",
            "source_type",
            "what they were taken from; a cultured line has an arm of its own, such as treated",
        )
    if not sample.control_samples:
        return
    samples = study.samples.set_index("sample_id")
    for control in samples.index.intersection(list(sample.control_samples)):
        # A line and the one it was made from share a genome: a split by line must not part them.
        for column, what, hint in (
            ("cell_line", "line", ": a line made from another carries the name of that one"),
            ("patient_id", "patient", ""),
            ("source_type", "source type", ""),
        ):
            other = samples.at[control, column]
            if isinstance(other, str) and row[column] not in (None, other):
                yield f"its control {control!r} is of another {what}", column, f"{other}{hint}"


def _source_problems(study: Study, row: dict[str, Any]) -> Iterator[Problem]:
    named = fact_sources(row["fact_sources"])
    sources = study.manifest.sources
    if row["fact_sources"] and len(named) <= row["fact_sources"].count(";"):
        yield "a fact stands twice", "fact_sources", "one source a fact"
    for fact, source in named.items():
        if fact != "*" and fact not in FACTS:
            yield f"{fact!r} is not a fact", "fact_sources", ["*", *FACTS]
        elif source not in sources:
            yield (
                f"{source!r} is not among the sources of study.yaml",
                "fact_sources",
                sorted(sources) or "name it under `sources:` first",
            )
    bare = [fact for fact in FACTS if row[fact] is not None and not {fact, "*"} & named.keys()]
    if bare:
        yield (
            f"{bare[0]} does not say where it was read",
            "fact_sources",
            f"{bare[0]}=SOURCE, with SOURCE a key of `sources:` in study.yaml",
        )
