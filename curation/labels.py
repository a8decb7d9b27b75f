"""Derive the labels of a study from its evidence."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from cellresponse.curation.facts import FACTS, fact_sources, known_rows
from cellresponse.curation.study import Study
from cellresponse.schema.errors import EvidenceError, raise_all
from cellresponse.schema.ic50_rule import IC50_RULE, MeasuredLine, ic50_verdicts
from cellresponse.schema.rules import (
    CONTROL_ARMS,
    MALIGNANT_ONLY,
    Missing,
    Verdict,
    apply_rules,
)

__all__ = ["Derivation", "SampleLabel", "derive_labels"]

BETWEEN = " | "
"""Stands between what is read of several samples, and in no fact."""


@dataclass(frozen=True)
class SampleLabel:
    """A label of every (or every malignant) cell of a sample.

    Attributes
    ----------
    stars
        1 to 3 for resistant cells that a star rule grades, else None.
    malignant_only
        Whether it holds for cells that the source calls malignant only.
    evidence_ref
        The facts that the rule read, each with its source; where several
        comparisons give the label, ` | ` stands between them.
    """

    sample_id: str
    drug_id: str
    response: str
    stars: int | None
    basis: str
    rule_id: str
    evidence_ref: str
    malignant_only: bool


@dataclass(frozen=True)
class Derivation:
    """What follows from a study's evidence, and what does not for lack of facts."""

    labels: list[SampleLabel]
    missing: list[Missing]


def derive_labels(study: Study) -> Derivation:
    """Apply the rules to a study.

    Raises
    ------
    EvidenceError
        Two rules contradict each other on one sample, or a study that is `ready`
        has no label at all.
    """
    verdicts, missing = apply_rules(study.facts())
    rows = {row["sample_id"]: row for _, row in known_rows(study.samples)}
    labels = [_from_verdict(study, rows, verdict) for verdict in verdicts]
    labels += _from_dose_response(study)
    labels = _merged(study, labels)
    if study.manifest.status == "ready" and not labels:
        lacking = sorted({fact for each in missing for fact in each.facts})
        raise EvidenceError(
            "the study is ready, but no label follows from its evidence",
            file=f"{study.study_id}/samples.csv",
            hint=f"Missing: {', '.join(lacking)}"
            if lacking
            else "See docs/labels.md for the rules",
        )
    return Derivation(labels, missing)


def _from_verdict(study: Study, rows: dict[str, dict[str, Any]], verdict: Verdict) -> SampleLabel:
    return SampleLabel(
        sample_id=verdict.sample_id,
        drug_id=verdict.treatment,
        response=verdict.response,
        stars=verdict.stars,
        basis=verdict.basis,
        rule_id=verdict.rule_id,
        evidence_ref=_evidence(study, rows, verdict),
        malignant_only=rows[verdict.sample_id]["source_type"] in MALIGNANT_ONLY,
    )


def _evidence(study: Study, rows: dict[str, dict[str, Any]], verdict: Verdict) -> str:
    """What the rule read: of a control its own arm, and what its treated sample says of it."""
    told = _reference(study, rows[verdict.facts_of], verdict.facts)
    if verdict.facts_of == verdict.sample_id:
        return told
    return _reference(study, rows[verdict.sample_id], ("arm",)) + BETWEEN + told


def _reference(study: Study, row: dict[str, Any], facts: tuple[str, ...]) -> str:
    """`<study>/samples.csv:<sample>: fact=value [source]; ...`."""
    named = fact_sources(row["fact_sources"])
    parts = []
    for fact in facts:
        if row.get(fact) is None:
            continue
        text = f"{fact}={row[fact]}"
        if fact in FACTS:
            source = named.get(fact, named.get("*", ""))
            text += f" [{study.manifest.sources[source].ref}]"
        parts.append(text)
    return f"{study.study_id}/samples.csv:{row['sample_id']}: {'; '.join(parts)}"


def _from_dose_response(study: Study) -> Iterator[SampleLabel]:
    if study.dose_response is None:
        return
    # The screen measured the line in culture, before any drug.
    cultured = study.samples["source_type"] == "cell_line"
    controls = study.samples[cultured & study.samples["arm"].isin(CONTROL_ARMS)]
    measured: dict[str, dict[str, tuple[int, dict[str, Any]]]] = {}
    for number, row in known_rows(study.dose_response):
        measured.setdefault(row["treatment"], {})[row["cell_line"]] = number, row
    for treatment, rows in measured.items():
        lines = (_measured_line(row) for _, row in rows.values())
        for line, response in ic50_verdicts(lines).items():
            number, row = rows[line]
            _refuse_sensitive_by_ic50(study, number, row, response)
            stars, star_rule = _intrinsic_stars(row, response)
            for sample in controls.loc[controls["cell_line"] == line, "sample_id"]:
                yield SampleLabel(
                    sample_id=sample,
                    drug_id=treatment,
                    response=response,
                    stars=stars,
                    basis="cell_line_ic50",
                    rule_id=IC50_RULE + star_rule,
                    evidence_ref=_measurement(study, row),
                    malignant_only=False,
                )


def _refuse_sensitive_by_ic50(
    study: Study, number: int, row: dict[str, Any], response: str
) -> None:
    if response == "sensitive" and row["intrinsic_resistance"] == "established":
        raise EvidenceError(
            f"{row['cell_line']} is sensitive to {row['treatment']} by its IC50, and its "
            "intrinsic resistance is established",
            file=f"{study.study_id}/dose_response.csv",
            row=number,
            column="intrinsic_resistance",
            value=row["intrinsic_resistance"],
            hint="Two facts contradict each other: keep the one that the source supports",
        )


def _measured_line(row: dict[str, Any]) -> MeasuredLine:
    return MeasuredLine(row["cell_line"], row["ln_ic50"], row["q25_ln_ic50"], row["median_ln_ic50"])


def _intrinsic_stars(row: dict[str, Any], response: str) -> tuple[int | None, str]:
    """An IC50 alone is not well-established resistance: stars need a cited fact."""
    if response == "resistant" and row["intrinsic_resistance"] == "established":
        return 3, "+stars3_intrinsic_resistance"
    return None, ""


def _measurement(study: Study, row: dict[str, Any]) -> str:
    source = study.manifest.sources[row["source"]]
    text = (
        f"{study.study_id}/dose_response.csv:{row['cell_line']}: ln_ic50={row['ln_ic50']} ln(uM), "
        f"first quartile {row['q25_ln_ic50']} and median {row['median_ln_ic50']} "
        f"of {row['n_lines_tested']} lines [{source.ref}]"
    )
    if row["intrinsic_source"] is not None:
        intrinsic = study.manifest.sources[row["intrinsic_source"]]
        text += f"; intrinsic_resistance={row['intrinsic_resistance']} [{intrinsic.ref}]"
    return text


def _merged(study: Study, labels: list[SampleLabel]) -> list[SampleLabel]:
    """One label a (sample, treatment, basis); several comparisons may give the same one."""
    merged: dict[tuple[str, str, str], SampleLabel] = {}
    problems = []
    ordered = sorted(labels, key=lambda x: (x.sample_id, x.drug_id, x.basis, x.evidence_ref))
    for label in ordered:
        key = (label.sample_id, label.drug_id, label.basis)
        before = merged.get(key)
        if before is None:
            merged[key] = label
        elif before.response == label.response:
            parts = before.evidence_ref.split(BETWEEN) + label.evidence_ref.split(BETWEEN)
            merged[key] = replace(before, evidence_ref=BETWEEN.join(dict.fromkeys(parts)))
        else:
            problems.append(_contradiction(study, before, label))
    raise_all(problems)
    return list(merged.values())


def _contradiction(study: Study, one: SampleLabel, other: SampleLabel) -> EvidenceError:
    return EvidenceError(
        f"is {one.response} by {one.rule_id} and {other.response} by {other.rule_id} "
        f"to {one.drug_id}",
        file=f"{study.study_id}/samples.csv",
        value=one.sample_id,
        hint="Two facts contradict each other: keep the one that the source supports",
    )
