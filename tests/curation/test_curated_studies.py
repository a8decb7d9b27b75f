"""The folders of `curation/`: they hold together, and what they add up to."""

from __future__ import annotations

import csv
import runpy
from collections.abc import Iterator
from typing import Any

import pytest
from studies import CURATION

from cellresponse.curation.catalogue import catalogue_rows
from cellresponse.curation.facts import FACTS, known_rows
from cellresponse.curation.validate import StudyReport, validate
from cellresponse.schema.vocabulary import drugs, words

ROOT = CURATION.parent


@pytest.fixture(scope="module")
def reports() -> list[StudyReport]:
    found, problems = validate(CURATION)
    assert problems == []
    return found


@pytest.fixture(scope="module")
def kept(reports: list[StudyReport]) -> list[dict[str, Any]]:
    return [study for study in catalogue_rows(reports) if study["status"] != "excluded"]


def _rows(reports: list[StudyReport]) -> Iterator[tuple[str, dict[str, Any]]]:
    for report in reports:
        for _, row in known_rows(report.study.samples):
            yield report.study.study_id, row


def test_the_breadth_of_the_field(kept: list[dict[str, Any]]) -> None:
    def words_of(key: str) -> set[str]:
        return {word for study in kept for word in study[key]}

    # GSE118767 alone adds the drugs of a screen; they do not count here.
    studies = [study for study in kept if study["study_id"] != "GSE118767"]
    agents = {drug_id for study in studies for drug_id in study["drugs"]}
    assert len(kept) >= 100
    assert sum(drugs()[drug_id].extra["kind"] == "single" for drug_id in agents) >= 65
    assert len(words_of("cancer_types")) >= 20
    assert words_of("source_types") == set(words("source_type").words)
    assert words_of("bases") == set(words("basis").words)
    assert {"human", "mouse", "klebsiella_pneumoniae"} <= {s["organism"] for s in kept}


def test_every_excluded_study_gives_its_reason_and_both_readings(
    reports: list[StudyReport],
) -> None:
    excluded = [r.study.manifest for r in reports if r.study.manifest.status == "excluded"]
    assert len(excluded) >= 25
    for manifest in excluded:
        assert manifest.reason
        assert manifest.disagreements, manifest.study_id


def test_shared_controls_are_one_set_of_samples(reports: list[StudyReport]) -> None:
    rows = list(_rows(reports))
    for study_id, control, comparisons in (
        ("GSE131984", "Pre", 5),
        ("GSE164897", "untreated", 3),
    ):
        mine = [row for study, row in rows if study == study_id]
        assert sum(row["control_samples"] == control for row in mine) == comparisons
        assert sum(row["sample_id"] == control for row in mine) == 1


def test_a_label_names_a_source_for_each_fact(reports: list[StudyReport]) -> None:
    for report in reports:
        for label in report.derivation.labels:
            if label.basis == "cell_line_ic50":
                continue
            for fact in FACTS:
                if f"{fact}=" in label.evidence_ref:
                    value = label.evidence_ref.split(f"{fact}=", 1)[1]
                    assert " [" in value, label.evidence_ref


def test_what_has_no_outcome_by_the_second_reading(reports: list[StudyReport]) -> None:
    """Holidays, quarantined lines and late progressors carry no label."""
    labelled = {
        (report.study.study_id, label.sample_id)
        for report in reports
        for label in report.derivation.labels
    }
    for pair in (
        ("GSE117872", "HN120MCRDH"),
        ("GSE117872", "HN137PCR"),
        ("GSE134841", "D19_DMSO"),
        ("GSE262288", "LP"),
        ("GSE115251", "Kelly_intermediate"),
        ("GSE247690", "R3_V"),
        ("GSE168668", "LNCaP-ENZ48"),
    ):
        assert pair not in labelled


def test_candidates_say_why(kept: list[dict[str, Any]]) -> None:
    with (CURATION / "candidates.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == ["accession", "unit", "why_not_yet"]
    assert all(row["unit"] and row["why_not_yet"] for row in rows)
    assert len({row["unit"] for row in rows}) == len(rows)


def test_the_page_on_curation_is_current() -> None:
    written = runpy.run_path(str(ROOT / "docs" / "write_tables.py"))
    for name in written["PAGES"]:
        page = (ROOT / "docs" / name).read_text(encoding="utf-8")
        assert written["filled"](page) == page, "run `make docs`"
