"""Labels that follow from whole studies, and the evidence that they name."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from studies import CURATION, file_entry, measured, sample, treated, write_study

from cellresponse.curation import labels as labels_module
from cellresponse.curation.labels import Derivation, SampleLabel, derive_labels
from cellresponse.curation.study import load_study
from cellresponse.schema.errors import EvidenceError, Problems
from cellresponse.schema.rules import Missing, Verdict

Row = dict[str, str]


def derive(root: Path, rows: list[Row], **keys: Any) -> Derivation:
    return derive_labels(load_study(write_study(root, rows, **keys)))


def shown(derivation: Derivation) -> list[tuple[str, str, str, int | None, str]]:
    return [(x.sample_id, x.drug_id, x.response, x.stars, x.basis) for x in derivation.labels]


def only(derivation: Derivation) -> SampleLabel:
    (label,) = derivation.labels
    return label


# --- the curated studies ----------------------------------------------------------------


def test_labels_of_gse118767() -> None:
    derivation = derive_labels(load_study(CURATION / "GSE118767"))
    labels = derivation.labels
    assert len(labels) == 501
    assert Counter((x.response, x.stars, x.basis, x.rule_id) for x in labels) == {
        ("resistant", None, "cell_line_ic50", "ic50_ten_fold_gap"): 321,
        ("sensitive", None, "cell_line_ic50", "ic50_ten_fold_gap"): 180,
    }
    assert len({label.drug_id for label in labels}) == 35
    assert derivation.missing == []
    assert not any(label.malignant_only for label in labels)


def test_erlotinib_in_gse118767() -> None:
    study = load_study(CURATION / "GSE118767")
    line = dict(zip(study.samples["sample_id"], study.samples["cell_line"], strict=True))
    called = {
        (line[x.sample_id], x.response)
        for x in derive_labels(study).labels
        if x.drug_id == "erlotinib"
    }
    assert ("HCC827", "sensitive") in called
    assert "H1975" not in {cell_line for cell_line, _ in called}


def test_label_of_gse149214() -> None:
    label = only(derive_labels(load_study(CURATION / "GSE149214")))
    assert (label.sample_id, label.drug_id, label.response) == ("Day11c", "erlotinib", "resistant")
    assert (label.stars, label.basis) == (1, "treated_vs_untreated_control")
    assert label.rule_id == "treated_survivors+stars1_under_one_month"
    assert "exposure_days=11 [https://github.com/sanderlab/scPerturb]" in label.evidence_ref
    assert "outcome=survived [https://pubmed.ncbi.nlm.nih.gov/33712615/]" in label.evidence_ref


# --- one study, one design --------------------------------------------------------------


@pytest.mark.parametrize(
    ("days", "growing", "stars", "rule"),
    [
        ("29", False, 1, "stars1_under_one_month"),
        ("29.999", True, 1, "stars1_under_one_month"),
        ("30", False, 2, "stars2_months"),
        ("30-60", False, 2, "stars2_months"),
        ("30-400", True, 2, "stars2_months_with_growth"),
        ("20-400", True, 1, "stars1_under_one_month"),
        ("<30", True, 1, "stars1_under_one_month"),
        ("<400", True, 1, "stars1_under_one_month"),
        (">29", True, 1, "stars1_under_one_month"),
        (">30", False, 2, "stars2_months"),
        (">=30", False, 2, "stars2_months"),
        (">180", True, 2, "stars2_months_with_growth"),
        ("183", True, 2, "stars2_months_with_growth"),
        (">=183", True, 2, "stars2_months_with_growth"),
        (">183", True, 3, "stars3_growth_after_six_months"),
        (">183", False, 2, "stars2_six_months_without_growth"),
        ("184-400", True, 3, "stars3_growth_after_six_months"),
        ("183-400", True, 2, "stars2_months_with_growth"),
        ("", True, 1, "stars1_exposure_unknown"),
    ],
)
def test_stars_of_typed_exposures(
    tmp_path: Path, days: str, growing: bool, stars: int, rule: str
) -> None:
    growth = {"proliferation": "proliferating"} if growing else {}
    label = only(derive(tmp_path, [treated(exposure_days=days, **growth)]))
    assert (label.stars, label.rule_id) == (stars, f"treated_survivors+{rule}")


def test_treated_and_control(tmp_path: Path) -> None:
    rows = [treated(control_samples="C", control_outcome="died"), sample("C")]
    basis = "treated_vs_untreated_control"
    assert shown(derive(tmp_path, rows)) == [
        ("C", "erlotinib", "sensitive", None, basis),
        ("T1", "erlotinib", "resistant", 1, basis),
    ]


def test_time_course(tmp_path: Path) -> None:
    course = {"control_samples": "D0", "control_outcome": "arrested"}
    rows = [
        sample("D0", time_point="0"),
        treated("D3", time_point="1", exposure_days="3", **course),
        treated("D60", time_point="2", exposure_days="60", **course),
    ]
    assert shown(derive(tmp_path, rows)) == [
        ("D0", "erlotinib", "sensitive", None, "time_course"),
        ("D3", "erlotinib", "resistant", 1, "time_course"),
        ("D60", "erlotinib", "resistant", 2, "time_course"),
    ]


def test_what_decides_basis_and_stars_is_named(tmp_path: Path) -> None:
    rows = [
        treated("D3", time_point="1", exposure_days="3"),
        treated("L0", arm="surviving_lineage", exposure_days="0"),
    ]
    told = {label.sample_id: label.evidence_ref for label in derive(tmp_path, rows).labels}
    assert "; time_point=1 [PMID:1]" in told["D3"]
    assert "; exposure_days=0 [PMID:1]" in told["L0"]


def test_shared_controls_stay_one_set_of_samples(tmp_path: Path) -> None:
    common = {"control_samples": "C", "control_outcome": "died"}
    rows = [
        treated("T1", **common),
        treated("T2", **common),
        treated("T3", treatment="docetaxel", **common),
        sample("C"),
    ]
    labels = [label for label in derive(tmp_path, rows).labels if label.sample_id == "C"]
    assert [(label.drug_id, label.response) for label in labels] == [
        ("docetaxel", "sensitive"),
        ("erlotinib", "sensitive"),
    ]
    # The label that two comparisons give names both, and its own arm once.
    assert labels[1].evidence_ref.split(" | ") == [
        "GSE1/samples.csv:C: arm=untreated [PMID:1]",
        "GSE1/samples.csv:T1: arm=treated [PMID:1]; treatment=erlotinib [PMID:1]; "
        "control_outcome=died [PMID:1]; control_samples=C",
        "GSE1/samples.csv:T2: arm=treated [PMID:1]; treatment=erlotinib [PMID:1]; "
        "control_outcome=died [PMID:1]; control_samples=C",
    ]


def test_a_parental_line_that_is_control_of_two_designs(tmp_path: Path) -> None:
    common = {"control_samples": "P", "control_outcome": "died"}
    rows = [
        treated("T", **common),
        treated("R", arm="resistant_line", exposure_days=">183", **common),
        sample("P", arm="parental"),
    ]
    assert shown(derive(tmp_path, rows)) == [
        ("P", "erlotinib", "sensitive", None, "resistant_line_vs_parental"),
        ("P", "erlotinib", "sensitive", None, "treated_vs_untreated_control"),
        ("R", "erlotinib", "resistant", 2, "resistant_line_vs_parental"),
        ("T", "erlotinib", "resistant", 1, "treated_vs_untreated_control"),
    ]


def patient(sample_id: str, **columns: str) -> Row:
    return (
        sample(sample_id, source_type="patient_tumour", treatment="carfilzomib", cell_line="")
        | columns
    )


def test_patients(tmp_path: Path) -> None:
    rows = [
        patient("before_NR", arm="pre_treatment", outcome="non_responder", lesion="metastatic"),
        patient("before_R", arm="pre_treatment", outcome="responder"),
        patient("on_NR", arm="on_treatment", outcome="non_responder", exposure_days="14"),
        patient("post_NR", arm="post_treatment", outcome="non_responder", lesion="metastatic"),
        patient("relapse", arm="relapse", lesion="recurrent", source_type="bone_marrow"),
        patient("first", arm="primary", outcome="responder", source_type="pbmc"),
    ]
    derivation = derive(tmp_path, rows)
    assert shown(derivation) == [
        ("before_NR", "carfilzomib", "resistant", None, "clinical_response"),
        ("before_R", "carfilzomib", "sensitive", None, "clinical_response"),
        ("first", "carfilzomib", "sensitive", None, "relapse_vs_primary"),
        ("on_NR", "carfilzomib", "resistant", 1, "clinical_response"),
        ("post_NR", "carfilzomib", "resistant", 3, "clinical_response"),
        ("relapse", "carfilzomib", "resistant", 3, "relapse_vs_primary"),
    ]
    assert all(label.malignant_only for label in derivation.labels)


@pytest.mark.parametrize(
    ("source_type", "malignant_only"),
    [
        ("patient_tumour", True),
        ("pbmc", True),
        ("bone_marrow", True),
        ("cell_line", False),
        ("pdx", False),
        ("organoid", False),
        ("mouse", False),
        ("bacterium", False),
    ],
)
def test_only_malignant_cells_of_patients_are_labelled(
    tmp_path: Path, source_type: str, malignant_only: bool
) -> None:
    rows = [
        treated(source_type=source_type, control_samples="C", control_outcome="died"),
        sample("C", source_type=source_type),
    ]
    labels = derive(tmp_path, rows).labels
    assert [label.malignant_only for label in labels] == [malignant_only] * 2


def test_only_malignant_cells_are_labelled_where_tissue_holds_others(tmp_path: Path) -> None:
    rows = [
        row
        for source in ("patient_tumour", "pbmc", "bone_marrow", "pdx", "organoid", "mouse")
        for row in (
            treated(source, source_type=source, control_samples=f"c_{source}"),
            sample(f"c_{source}", source_type=source),
        )
    ]
    rows[0]["control_outcome"] = rows[6]["control_outcome"] = "died"
    assert {x.sample_id: x.malignant_only for x in derive(tmp_path, rows).labels} == {
        "patient_tumour": True,
        "c_patient_tumour": True,
        "pbmc": True,
        "bone_marrow": True,
        "pdx": False,
        "c_pdx": False,
        "organoid": False,
        "mouse": False,
    }


def test_lineages(tmp_path: Path) -> None:
    rows = [
        treated("late", arm="surviving_lineage", exposure_days="40"),
        treated("early", arm="surviving_lineage", exposure_days="0"),
        treated("unknown", arm="surviving_lineage", exposure_days=""),
        treated("some_days", arm="surviving_lineage", exposure_days="<30"),
        treated("lost", arm="lost_lineage", outcome="died", exposure_days=""),
    ]
    assert shown(derive(tmp_path, rows)) == [
        ("early", "erlotinib", "resistant", None, "lineage_tracing"),
        ("late", "erlotinib", "resistant", 2, "lineage_tracing"),
        ("lost", "erlotinib", "sensitive", None, "lineage_tracing"),
        ("some_days", "erlotinib", "resistant", 1, "lineage_tracing"),
        ("unknown", "erlotinib", "resistant", None, "lineage_tracing"),
    ]


def test_a_regimen_has_one_id_in_any_order(tmp_path: Path) -> None:
    rows = [
        treated("A", treatment="carfilzomib + Dexamethasone"),
        treated("B", treatment="dexamethasone+carfilzomib"),
    ]
    labels = derive(tmp_path, rows).labels
    assert {label.drug_id for label in labels} == {"carfilzomib+dexamethasone"}


def test_evidence_names_each_fact_with_its_own_source(tmp_path: Path) -> None:
    row = treated(proliferation="limited", exposure_days="40", lesion="primary") | {
        "fact_sources": "outcome=geo;*=paper"
    }
    label = only(derive(tmp_path, [row]))
    assert label.evidence_ref == (
        "GSE1/samples.csv:T1: arm=treated [PMID:1]; treatment=erlotinib [PMID:1]; "
        "outcome=survived [https://example.org/geo]; exposure_days=40 [PMID:1]; "
        "proliferation=limited [PMID:1]"
    )


def test_labels_do_not_depend_on_the_order_of_rows(tmp_path: Path) -> None:
    common = {"control_samples": "C1;C2", "control_outcome": "died"}
    rows = [
        treated("T1", **common),
        treated("T2", **common),
        sample("C1"),
        sample("C2"),
        sample("C3", cell_line="A549"),
    ]
    screen = [measured("PC9", -2.0), measured("A549", 4.0)]
    one = derive(tmp_path, rows, dose_response=screen)
    other = derive(tmp_path, rows[::-1], dose_response=screen[::-1], study_id="GSE2")
    assert len(one.labels) == 7
    as_gse1 = [repr(label).replace("GSE2", "GSE1") for label in other.labels]
    assert list(map(repr, one.labels)) == as_gse1


# --- measured IC50 ----------------------------------------------------------------------

PC9_AND_A549 = [sample("A", cell_line="PC9"), sample("B", cell_line="A549")]
SCREEN = [measured("PC9", -2.0), measured("A549", 4.0)]


def test_measured_lines(tmp_path: Path) -> None:
    labels = derive(tmp_path, PC9_AND_A549, dose_response=SCREEN).labels
    assert [(x.sample_id, x.response, x.stars, x.rule_id) for x in labels] == [
        ("A", "sensitive", None, "ic50_ten_fold_gap"),
        ("B", "resistant", None, "ic50_ten_fold_gap"),
    ]
    assert labels[1].evidence_ref == (
        "GSE1/dose_response.csv:A549: ln_ic50=4.0 ln(uM), first quartile 2.0 and median 3.0 "
        "of 900 lines [https://example.org/geo]"
    )


@pytest.mark.parametrize(
    ("word", "stars", "rule"),
    [
        ("established", 3, "ic50_ten_fold_gap+stars3_intrinsic_resistance"),
        ("reported", None, "ic50_ten_fold_gap"),
    ],
)
def test_stars_of_a_measured_line_need_a_cited_fact(
    tmp_path: Path, word: str, stars: int | None, rule: str
) -> None:
    cited = SCREEN[1] | {"intrinsic_resistance": word, "intrinsic_source": "paper"}
    labels = derive(tmp_path, PC9_AND_A549, dose_response=[SCREEN[0], cited]).labels
    assert [(x.sample_id, x.stars, x.rule_id) for x in labels] == [
        ("A", None, "ic50_ten_fold_gap"),
        ("B", stars, rule),
    ]
    assert labels[1].evidence_ref.endswith(f"; intrinsic_resistance={word} [PMID:1]")


def test_reported_resistance_leaves_a_sensitive_line_sensitive(tmp_path: Path) -> None:
    cited = SCREEN[0] | {"intrinsic_resistance": "reported", "intrinsic_source": "paper"}
    labels = derive(tmp_path, PC9_AND_A549, dose_response=[cited, SCREEN[1]]).labels
    assert [(x.response, x.stars) for x in labels] == [("sensitive", None), ("resistant", None)]


def test_sensitive_by_ic50_contradicts_established_resistance(tmp_path: Path) -> None:
    cited = SCREEN[0] | {"intrinsic_resistance": "established", "intrinsic_source": "paper"}
    with pytest.raises(EvidenceError) as error:
        derive(tmp_path, PC9_AND_A549, dose_response=[SCREEN[1], cited])
    assert (error.value.file, error.value.row) == ("GSE1/dose_response.csv", 3)
    assert "PC9 is sensitive to erlotinib by its IC50" in error.value.problem


@pytest.mark.parametrize(
    "change",
    [
        {"source_type": "mouse"},
        {"source_type": "patient_tumour"},
        {"arm": "treated", "treatment": "docetaxel", "outcome": "died"},
    ],
)
def test_ic50_labels_untreated_cells_in_culture_only(tmp_path: Path, change: Row) -> None:
    rows = [PC9_AND_A549[0], PC9_AND_A549[1] | change]
    labels = derive(tmp_path, rows, dose_response=SCREEN).labels
    assert [label.sample_id for label in labels] == ["A"]


def test_experiment_and_screen_may_disagree_as_two_bases(tmp_path: Path) -> None:
    rows = [
        *PC9_AND_A549,
        treated(cell_line="A549", control_samples="B", control_outcome="died"),
    ]
    labels = derive(tmp_path, rows, dose_response=SCREEN).labels
    assert [(x.response, x.basis) for x in labels if x.sample_id == "B"] == [
        ("resistant", "cell_line_ic50"),
        ("sensitive", "treated_vs_untreated_control"),
    ]


# --- no label, and contradictions -------------------------------------------------------


def test_a_ready_study_without_labels_is_refused(tmp_path: Path) -> None:
    rows = [treated(outcome="", control_samples="C"), sample("C")]
    with pytest.raises(EvidenceError) as error:
        derive(tmp_path, rows)
    assert error.value.file == "GSE1/samples.csv"
    assert error.value.hint == "Missing: control_outcome, outcome"
    with pytest.raises(EvidenceError, match=r"no label follows.*labels\.md"):
        derive(tmp_path, [treated(outcome="died")], study_id="GSE2")


def test_a_study_that_is_not_ready_says_what_is_missing(tmp_path: Path) -> None:
    rows = [treated(outcome="", control_samples="C"), sample("C")]
    derivation = derive(tmp_path, rows, status="metadata", files=[file_entry(sha256=None)])
    assert derivation == Derivation(
        [],
        [
            Missing("T1", "treated_survivors", ("outcome",)),
            Missing("C", "control_of_treated", ("control_outcome",)),
        ],
    )


def test_verdicts_that_contradict_each_other_are_all_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No rules of today do so: this holds for those of tomorrow.
    rows = [treated("A"), treated("B")]

    def contradicting(_: object) -> tuple[list[Verdict], list[Missing]]:
        verdicts = [
            Verdict(
                name, "erlotinib", response, None, "time_course", f"r_{response}", ("arm",), name
            )
            for name in "AB"
            for response in ("sensitive", "resistant")
        ]
        return verdicts, []

    monkeypatch.setattr(labels_module, "apply_rules", contradicting)
    with pytest.raises(Problems) as several:
        derive(tmp_path, rows)
    assert [each.value for each in several.value.problems] == ["A", "B"]
    assert "to erlotinib" in several.value.problems[0].problem
