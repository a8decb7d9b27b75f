"""A study folder: its files are checked one by one, then against each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from studies import (
    CURATION,
    REAL_STUDIES,
    file_entry,
    measured,
    sample,
    treated,
    write_study,
)

from cellresponse.curation.facts import FACTS, exposure_range, fact_sources
from cellresponse.curation.study import load_study, study_folders
from cellresponse.schema.errors import CellResponseError, EvidenceError, Problems
from cellresponse.schema.evidence import SampleEvidence
from cellresponse.schema.vocabulary import words

CELLS_DID = {"survived", "proliferating", "died", "arrested", "arrested_or_died"}
PATIENTS_DID = {"responder", "non_responder", "relapsed"}
PATTERN = {"rule": "pattern", "pattern": "(?P<key>.)"}
BY_CELLS = file_entry(barcodes={"rule": "cells"})


def problems(folder: Path) -> list[CellResponseError]:
    with pytest.raises((EvidenceError, Problems)) as error:
        load_study(folder)
    return error.value.problems if isinstance(error.value, Problems) else [error.value]


def problem(folder: Path) -> CellResponseError:
    (only,) = problems(folder)
    return only


def test_a_right_study(tmp_path: Path) -> None:
    study = load_study(
        write_study(
            tmp_path,
            [treated(control_samples="C1; C2", control_outcome="died"), sample("C1"), sample("C2")],
            dose_response=[measured("PC9", 1.0)],
        )
    )
    assert study.study_id == "GSE1"
    assert study.cells is None
    assert study.dose_response is not None
    facts = study.facts()
    assert list(facts) == ["T1", "C1", "C2"]
    assert facts["T1"].control_samples == ("C1", "C2")
    assert (facts["T1"].exposure_days_min, facts["T1"].exposure_days_max) == (11.0, 11.0)
    assert (facts["C1"].treatment, facts["C1"].exposure_days_min) == (None, None)


@pytest.mark.parametrize("name", REAL_STUDIES)
def test_real_studies_load(name: str) -> None:
    study = load_study(CURATION / name)
    assert study.manifest.status == "ready"
    assert len(study.samples) == {"GSE118767": 21, "GSE149214": 1}[name]


def test_study_folders_are_those_with_a_manifest(tmp_path: Path) -> None:
    write_study(tmp_path, study_id="GSE2")
    write_study(tmp_path, study_id="GSE1")
    (tmp_path / "other").mkdir()
    assert [folder.name for folder in study_folders(tmp_path)] == ["GSE1", "GSE2"]


def test_facts_are_columns_of_the_table() -> None:
    assert set(FACTS) <= set(SampleEvidence.to_schema().columns)


@pytest.mark.parametrize(
    ("text", "days"),
    [
        (None, (None, None)),
        ("11", (11.0, 11.0)),
        ("0", (0.0, 0.0)),
        ("30-60", (30.0, 60.0)),
        (">180", (180.0, None)),
        (">=180", (180.0, None)),
        ("<30", (0.0, 30.0)),
        ("<=30.5", (0.0, 30.5)),
    ],
)
def test_exposure_range(text: str | None, days: tuple[float | None, float | None]) -> None:
    assert exposure_range(text) == days


def test_fact_sources() -> None:
    assert fact_sources(None) == fact_sources("") == {}
    assert fact_sources("outcome=a;*=b") == {"outcome": "a", "*": "b"}


# --- the folder -------------------------------------------------------------------------


def test_folder_without_a_manifest(tmp_path: Path) -> None:
    (tmp_path / "GSE1").mkdir()
    assert str(problem(tmp_path / "GSE1")).startswith("GSE1: there is no study.yaml.")


def test_folder_without_samples(tmp_path: Path) -> None:
    folder = write_study(tmp_path)
    (folder / "samples.csv").unlink()
    assert str(problem(folder)) == "GSE1/samples.csv: cannot be read: No such file or directory."


def test_folder_of_another_name(tmp_path: Path) -> None:
    folder = write_study(tmp_path).rename(tmp_path / "GSE2")
    found = problem(folder)
    assert (found.file, found.column, found.value, found.allowed) == (
        "GSE2/study.yaml",
        "study_id",
        "GSE1",
        "GSE2",
    )


def test_files_that_no_step_reads(tmp_path: Path) -> None:
    folder = write_study(tmp_path)
    (folder / "README.md").write_text("welcome")
    load_study(folder)
    for stranger in ("cells.csv", "labels.csv"):
        (folder / stranger).write_text("x")
    assert [each.file for each in problems(folder)] == ["GSE1/cells.csv", "GSE1/labels.csv"]
    assert "cells.csv.gz" in str(problems(folder)[0].allowed)


def test_mistakes_name_study_and_file(tmp_path: Path) -> None:
    folder = write_study(tmp_path, [treated(arm="x")])
    assert problem(folder).file == "GSE1/samples.csv"
    (folder / "study.yaml").write_text("a: b")
    assert {each.file for each in problems(folder)} == {"GSE1/study.yaml"}


# --- rows of samples.csv ----------------------------------------------------------------


def source_of(arm: str) -> str:
    cultured = ("treated", "resistant_line", "surviving_lineage", "lost_lineage")
    return "cell_line" if arm in cultured else "patient_tumour"


def patient(**columns: str) -> dict[str, str]:
    return (
        sample(
            arm="pre_treatment",
            treatment="erlotinib",
            source_type="patient_tumour",
            outcome="responder",
        )
        | columns
    )


@pytest.mark.parametrize(
    ("row", "column", "message"),
    [
        (treated(dose="1"), "dose_unit", "dose and dose_unit belong together"),
        (treated(dose_unit="uM"), "dose_unit", "dose and dose_unit belong together"),
        (treated(exposure_days="60-30"), "exposure_days", "ends before it begins"),
        *(
            (
                treated(
                    arm=arm,
                    outcome="",
                    lesion="metastatic",
                    exposure_days="0",
                    source_type=source_of(arm),
                ),
                "exposure_days",
                f"the arm {arm} has met the drug",
            )
            for arm in ("treated", "resistant_line", "relapse", "on_treatment", "post_treatment")
        ),
        (treated(treatment=""), "treatment", "the arm treated needs a treatment"),
        (patient(treatment=""), "treatment", "the arm pre_treatment needs a treatment"),
        (patient(arm="primary", treatment=""), "treatment", "the arm primary needs a treatment"),
        (
            treated(arm="lost_lineage", outcome="died", treatment=""),
            "treatment",
            "the arm lost_lineage needs a treatment",
        ),
        (patient(exposure_days="3"), "exposure_days", "pre_treatment has not met the drug"),
        *(
            (sample(arm=arm, **{fact: value}), fact, f"{arm} receives no drug")
            for arm in ("untreated", "vehicle", "parental")
            for fact, value in (
                ("treatment", "erlotinib"),
                ("outcome", "died"),
                ("proliferation", "limited"),
                ("intrinsic_resistance", "established"),
            )
        ),
        *(
            (
                treated(arm=arm, outcome=outcome, source_type="pdx"),
                "outcome",
                f"not what becomes of the arm {arm}",
            )
            for arm, outcome in (
                ("treated", "responder"),
                ("resistant_line", "non_responder"),
                ("surviving_lineage", "died"),
                ("lost_lineage", "survived"),
                ("on_treatment", "survived"),
                ("relapse", "responder"),
            )
        ),
        (patient(outcome="died"), "outcome", "not what becomes of the arm pre_treatment"),
        (
            patient(arm="primary", lesion="recurrent"),
            "lesion",
            "a primary lesion has not come back",
        ),
        *(
            (patient(arm=arm, source_type=source, outcome="relapsed"), "source_type", "taken from")
            for arm in ("pre_treatment", "on_treatment", "post_treatment", "primary", "relapse")
            for source in ("cell_line", "bacterium")
        ),
        (
            treated(outcome="proliferating", proliferation="none"),
            "proliferation",
            "the outcome says that the cells divided",
        ),
        *(
            (
                treated(outcome=outcome, intrinsic_resistance="established"),
                "intrinsic_resistance",
                f"its resistance is established, and its outcome is {outcome}",
            )
            for outcome in ("died", "arrested", "arrested_or_died")
        ),
        (
            patient(intrinsic_resistance="established"),
            "intrinsic_resistance",
            "its resistance is established, and its outcome is responder",
        ),
        (sample(dose="1", dose_unit="uM"), "dose", "receives no drug"),
        (sample(exposure_days="11"), "exposure_days", "untreated has not met the drug"),
        (sample(exposure_days=">=0"), "exposure_days", "untreated has not met the drug"),
        *(
            (
                treated(arm=arm, outcome="", exposure_days="", source_type="pdx"),
                "outcome",
                f"the arm {arm} has no evidence of what became of its cells",
            )
            for arm in (
                "treated",
                "resistant_line",
                "surviving_lineage",
                "relapse",
                "on_treatment",
                "post_treatment",
            )
        ),
        (treated(control_outcome="died"), "control_outcome", "without control_samples"),
        (treated(control_samples="X"), "control_samples", "there is no sample 'X'"),
        (
            treated(control_samples="T1"),
            "control_samples",
            "'T1' is no control: its arm is treated",
        ),
        (treated(fact_sources=""), "fact_sources", "source_type does not say where it was read"),
        (treated(fact_sources="source_type=paper;arm=paper"), "fact_sources", "treatment does not"),
        (
            treated(fact_sources="source_type=geo;arm=paper;treatment=paper;exposure_days=paper"),
            "fact_sources",
            "outcome does not say where",
        ),
        (treated(fact_sources="*=rumour"), "fact_sources", "'rumour' is not among the sources"),
        (treated(fact_sources="*=paper;note=geo"), "fact_sources", "'note' is not a fact"),
        (treated(fact_sources="*=paper;outcome=geo;outcome=paper"), "fact_sources", "stands twice"),
        (treated(fact_sources="*=paper;*=geo"), "fact_sources", "stands twice"),
        (treated(file="other.csv"), "file", "not a count matrix of study.yaml"),
    ],
)
def test_bad_row(tmp_path: Path, row: dict[str, str], column: str, message: str) -> None:
    found = problems(write_study(tmp_path, [row]))
    told = [each for each in found if message in each.problem]
    assert [(each.file, each.row, each.column) for each in told] == [
        ("GSE1/samples.csv", 2, column)
    ]
    assert told[0].allowed
    assert len(found) == 1 or column == "file"  # then its file has no sample, too


@pytest.mark.parametrize("column", ["file", "source_type", "arm"])
def test_what_only_a_study_that_is_not_ready_may_lack(tmp_path: Path, column: str) -> None:
    rows = [treated(**{column: ""})]
    found = problems(write_study(tmp_path, rows))
    of_row = [each for each in found if each.column == column and each.row]
    assert [(each.row, each.problem) for each in of_row] == [(2, "a study that is ready needs it")]
    study = load_study(write_study(tmp_path, rows, study_id="GSE2", status="metadata", files=[]))
    assert study.samples[column].isna().all()


def test_a_line_made_from_another_carries_its_name(tmp_path: Path) -> None:
    rows = [treated(cell_line="A549", control_samples="C"), sample("C")]
    found = problem(write_study(tmp_path, rows))
    assert (found.row, found.column, found.problem) == (
        2,
        "cell_line",
        "its control 'C' is of another line",
    )
    assert str(found.allowed).startswith("PC9: ")


@pytest.mark.parametrize(
    ("column", "own", "other", "message"),
    [
        ("patient_id", "P1", "P2", "its control 'C' is of another patient"),
        ("source_type", "organoid", "pdx", "its control 'C' is of another source type"),
    ],
)
def test_a_sample_and_its_control_are_of_one_kind(
    tmp_path: Path, column: str, own: str, other: str, message: str
) -> None:
    rows = [treated(**{column: own}, control_samples="C"), sample("C", **{column: other})]
    found = problem(write_study(tmp_path, rows))
    assert (found.row, found.column, found.problem, found.allowed) == (2, column, message, other)
    rows[1][column] = own
    assert len(load_study(write_study(tmp_path, rows, study_id="GSE2")).samples) == 2


def test_a_control_of_no_known_patient_passes(tmp_path: Path) -> None:
    rows = [treated(patient_id="P1", control_samples="C"), sample("C")]
    assert len(load_study(write_study(tmp_path, rows)).samples) == 2


def test_treated_cells_and_their_control_have_one_fate(tmp_path: Path) -> None:
    row = treated(outcome="died", control_samples="C", control_outcome="proliferating")
    found = problem(write_study(tmp_path, [row, sample("C")]))
    assert (found.row, found.column, found.value) == (2, "control_outcome", "proliferating")
    assert (
        found.problem == "the outcome of the treated cells is died, and they are its counterparts"
    )
    assert found.allowed == ["arrested", "arrested_or_died", "died"]


@pytest.mark.parametrize(
    ("arm", "outcomes"),
    [
        ("treated", CELLS_DID),
        ("resistant_line", CELLS_DID),
        ("surviving_lineage", {"survived", "proliferating"}),
        ("lost_lineage", {"died", "arrested", "arrested_or_died"}),
        ("pre_treatment", PATIENTS_DID),
        ("on_treatment", PATIENTS_DID),
        ("post_treatment", PATIENTS_DID),
        ("primary", PATIENTS_DID),
        ("relapse", {"non_responder", "relapsed"}),
    ],
)
def test_what_can_become_of_an_arm(tmp_path: Path, arm: str, outcomes: set[str]) -> None:
    assert set(words("outcome").words) == CELLS_DID | PATIENTS_DID
    for outcome in words("outcome").words:
        row = treated(arm=arm, outcome=outcome, exposure_days="", source_type=source_of(arm))
        folder = write_study(tmp_path, [row], study_id=outcome)
        if outcome in outcomes:
            assert len(load_study(folder).samples) == 1
        else:
            assert problem(folder).problem == f"not what becomes of the arm {arm}"


@pytest.mark.parametrize("bare", FACTS)
def test_every_fact_names_its_source(tmp_path: Path, bare: str) -> None:
    row = treated(
        dose="1",
        dose_unit="uM",
        time_point="1",
        lesion="metastatic",
        control_samples="C",
        control_outcome="died",
        proliferation="limited",
        intrinsic_resistance="reported",
        response_criterion="RECIST",
    )
    sources = ";".join(f"{fact}=paper" for fact in FACTS if fact != bare)
    found = problem(write_study(tmp_path, [row | {"fact_sources": sources}, sample("C")]))
    assert found.problem == f"{bare} does not say where it was read"


def test_a_sample_that_names_no_line_may_have_controls_of_one(tmp_path: Path) -> None:
    rows = [treated(cell_line="", control_samples="C"), sample("C")]
    assert len(load_study(write_study(tmp_path, rows)).samples) == 2


OTHER_FATE = treated("T2", control_samples="C", control_outcome="proliferating")


def test_samples_that_differ_in_the_fate_of_their_control(tmp_path: Path) -> None:
    rows = [treated(control_samples="C", control_outcome="died"), OTHER_FATE, sample("C")]
    found = problem(write_study(tmp_path, rows))
    assert (found.row, found.column, found.value) == (3, "control_outcome", "proliferating")
    assert found.problem == "T1 says died of the same control 'C' under the same drug"


@pytest.mark.parametrize("turned", [False, True])
def test_a_fate_that_only_the_treated_cells_tell(tmp_path: Path, turned: bool) -> None:
    rows = [treated(outcome="died", control_samples="C"), OTHER_FATE]
    found = problem(write_study(tmp_path, [*(rows[::-1] if turned else rows), sample("C")]))
    assert (found.row, found.column) == (3, "outcome" if turned else "control_outcome")
    said = "T2 says proliferating" if turned else "T1 says died"
    assert found.problem == f"{said} of the same control 'C' under the same drug"


@pytest.mark.parametrize(
    "columns",
    [
        {"control_outcome": "arrested"},
        {"treatment": "osimertinib"},
        {"dose": "2"},
        {"dose_unit": "nM"},
        {"exposure_days": "3"},
        {"exposure_days": "11-20"},
        {"exposure_days": "", "time_point": "1"},
        {"arm": "resistant_line"},
        {"control_samples": "D"},
        {"control_outcome": ""},
    ],
)
def test_controls_whose_fate_may_differ(tmp_path: Path, columns: dict[str, str]) -> None:
    dose = {"dose": "1", "dose_unit": "uM"}
    rows = [
        treated(control_samples="C", control_outcome="died", **dose),
        OTHER_FATE | dose | columns,
        sample("C"),
        sample("D"),
    ]
    assert len(load_study(write_study(tmp_path, rows)).samples) == 4


def test_samples_that_share_one_of_their_controls(tmp_path: Path) -> None:
    one = treated(control_samples="D;C", control_outcome="died")
    found = problem(write_study(tmp_path, [one, OTHER_FATE, sample("C"), sample("D")]))
    assert found.problem == "T1 says died of the same control 'C' under the same drug"


def test_what_became_of_a_resistant_line_tells_nothing_of_its_controls(tmp_path: Path) -> None:
    line = {"arm": "resistant_line", "control_samples": "C"}
    rows = [
        treated("R1", outcome="died", **line),
        treated("R2", control_outcome="proliferating", **line),
        treated("R3", outcome="died", control_outcome="proliferating", **line),
        sample("C"),
    ]
    assert len(load_study(write_study(tmp_path, rows)).samples) == 4


@pytest.mark.parametrize(
    "columns",
    [
        {"time_point": "1"},
        {"dose": "1000", "dose_unit": "nM"},
        {"dose": "0.001", "dose_unit": "mM"},
        {"dose": "1000000", "dose_unit": "pM"},
    ],
)
def test_one_course_written_in_two_ways(tmp_path: Path, columns: dict[str, str]) -> None:
    dose = {"dose": "1", "dose_unit": "uM"}
    rows = [treated(control_samples="C", control_outcome="died", **dose), OTHER_FATE | dose]
    found = problem(write_study(tmp_path, [rows[0], rows[1] | columns, sample("C")]))
    assert found.problem == "T1 says died of the same control 'C' under the same drug"


def test_how_long_a_line_was_selected_says_nothing_of_its_parent(tmp_path: Path) -> None:
    line = {"arm": "resistant_line", "control_samples": "C"}
    rows = [
        treated("R1", **line, control_outcome="died"),
        treated("R2", **line, control_outcome="proliferating", exposure_days="90", dose="1")
        | {"dose_unit": "uM"},
        sample("C"),
    ]
    found = problem(write_study(tmp_path, rows))
    assert found.problem == "R1 says died of the same control 'C' under the same drug"


@pytest.mark.parametrize("outcome", ["died", "arrested", "arrested_or_died"])
def test_cells_that_failed_and_grow(tmp_path: Path, outcome: str) -> None:
    row = treated(outcome=outcome, proliferation="proliferating")
    found = problem(write_study(tmp_path, [row]))
    assert (found.row, found.column) == (2, "proliferation")
    assert found.problem == f"the outcome is {outcome}, and its cells proliferate under the drug"


@pytest.mark.parametrize(
    ("columns", "contradicts"),
    [
        ({}, True),
        ({"patient_id": "P2"}, False),
        ({"patient_id": ""}, False),
        ({"treatment": "osimertinib"}, False),
        ({"arm": "post_treatment"}, False),
        ({"outcome": "relapsed"}, False),
    ],
)
def test_one_patient_of_two_responses(
    tmp_path: Path, columns: dict[str, str], contradicts: bool
) -> None:
    rows = [
        patient(sample_id="A", patient_id="P1"),
        patient(sample_id="B", patient_id="P1", outcome="non_responder") | columns,
    ]
    folder = write_study(tmp_path, rows)
    if contradicts:
        found = problem(folder)
        assert (found.row, found.column, found.value) == (3, "outcome", "non_responder")
        assert found.problem == "A says responder of the same patient before the same treatment"
    else:
        assert len(load_study(folder).samples) == 2


def test_cells_of_a_sample_in_no_file(tmp_path: Path) -> None:
    cells = [{"file": "counts.csv.gz", "barcode": "A", "sample_id": "S2"}]
    rows = [treated(), sample("S2", file="")]
    folder = write_study(tmp_path, rows, cells=cells, status="metadata", files=[])
    found = problem(folder)
    assert (found.file, found.row, found.column) == ("GSE1/cells.csv.gz", 2, "file")
    assert found.problem == "samples.csv does not say in which file S2 lies"


def test_a_control_of_no_known_arm_is_no_control(tmp_path: Path) -> None:
    rows = [treated(control_samples="C", control_outcome="died"), sample("C", arm="")]
    found = problem(write_study(tmp_path, rows, status="metadata"))
    assert found.problem == "'C' is no control: its arm is None"


def test_an_excluded_study_needs_no_samples(tmp_path: Path) -> None:
    folder = write_study(tmp_path, status="excluded", files=[], reason="no counts")
    (folder / "samples.csv").unlink()
    study = load_study(folder)
    assert len(study.samples) == 0
    assert study.facts() == {}


@pytest.mark.parametrize(
    "arm", ["on_treatment", "relapse", "surviving_lineage", "lost_lineage", "pre_treatment"]
)
def test_controls_that_no_rule_reads(tmp_path: Path, arm: str) -> None:
    row = treated(arm=arm, outcome="", lesion="recurrent", control_samples="C", exposure_days="")
    rows = [row | {"source_type": "pdx"}, sample("C", source_type="pdx")]
    found = problem(write_study(tmp_path, rows))
    assert (found.column, found.row) == ("control_samples", 2)
    assert found.problem == f"no rule compares the arm {arm} with controls"


def test_controls_have_no_controls(tmp_path: Path) -> None:
    found = problem(write_study(tmp_path, [sample("A", control_samples="B"), sample("B")]))
    assert (found.column, found.value) == ("control_samples", "B")


@pytest.mark.parametrize(
    "row",
    [
        treated(exposure_days="", outcome="", proliferation="none"),
        treated(arm="surviving_lineage", exposure_days="0"),
        sample(exposure_days="0"),
        patient(exposure_days="0"),
        treated(fact_sources="*=paper;outcome=geo"),
        treated(dose="0.5", dose_unit="uM"),
        treated(exposure_days="", outcome="", intrinsic_resistance="established"),
        treated(outcome="died", intrinsic_resistance="reported"),
        treated(outcome="proliferating", proliferation="limited"),
        patient(arm="primary", lesion="metastatic"),
    ],
)
def test_what_is_allowed(tmp_path: Path, row: dict[str, str]) -> None:
    assert len(load_study(write_study(tmp_path, [row])).samples) == 1


def test_every_mistake_is_reported_at_once(tmp_path: Path) -> None:
    rows = [treated("A", dose="1", exposure_days="9-1"), treated("B", fact_sources="*=x")]
    found = problems(write_study(tmp_path, rows, dose_response=[measured("A549", 1.0)]))
    assert [(each.row, each.column) for each in found] == [
        (2, "dose_unit"),
        (2, "exposure_days"),
        (3, "fact_sources"),
        (2, "cell_line"),
    ]


# --- samples and files ------------------------------------------------------------------


def test_file_without_samples(tmp_path: Path) -> None:
    found = problem(write_study(tmp_path, files=[file_entry(), file_entry("more.csv")]))
    assert (found.problem, found.value) == ("no sample lies in this file", "more.csv")


def test_companions_hold_no_samples(tmp_path: Path) -> None:
    files = [file_entry(), file_entry("genes.tsv", reader="companion")]
    load_study(write_study(tmp_path, files=files))
    found = problems(
        write_study(tmp_path, [treated(file="genes.tsv")], files=files, study_id="GSE2")
    )
    assert found[0].allowed == ["counts.csv.gz"]


def test_two_samples_of_one_whole_file(tmp_path: Path) -> None:
    found = problem(write_study(tmp_path, [treated("A"), treated("B")], files=[file_entry()]))
    assert (found.row, found.column) == (3, "file")
    assert "2 samples share a file whose barcode rule is whole_file" in found.problem


@pytest.mark.parametrize(("keys", "row"), [(("", "b"), 2), (("a", "a"), 3)])
@pytest.mark.parametrize("rule", ["pattern", "table"])
def test_keys_of_barcodes(tmp_path: Path, rule: str, keys: tuple[str, str], row: int) -> None:
    rules: dict[str, Any] = {
        "pattern": PATTERN,
        "table": {"rule": "table", "table": "cells.csv", "key_column": "x"},
    }
    files = [file_entry(barcodes=rules[rule]), file_entry("cells.csv", reader="cell_table")]
    rows = [treated(name, barcode_key=key) for name, key in zip("AB", keys, strict=True)]
    found = problem(write_study(tmp_path, rows, files=files))
    assert (found.row, found.column) == (row, "barcode_key")


def test_one_key_in_two_files(tmp_path: Path) -> None:
    files = [file_entry("a.csv", barcodes=PATTERN), file_entry("b.csv", barcodes=PATTERN)]
    rows = [treated(name, file=f"{name}.csv", barcode_key="k") for name in "ab"]
    assert len(load_study(write_study(tmp_path, rows, files=files)).samples) == 2


def test_files_of_a_study_that_is_not_ready_are_not_checked(tmp_path: Path) -> None:
    study = load_study(write_study(tmp_path, files=[], status="metadata"))
    assert study.manifest.matrices() == {}


# --- cells.csv.gz -----------------------------------------------------------------------


def cell(
    barcode: str, sample_id: str = "T1", file: str = "counts.csv.gz", **facts: str
) -> dict[str, str]:
    return {"file": file, "barcode": barcode, "sample_id": sample_id} | facts


def test_cells_of_samples(tmp_path: Path) -> None:
    folder = write_study(tmp_path, cells=[cell("AC"), cell("AG")], files=[BY_CELLS])
    cells = load_study(folder).cells
    assert cells is not None
    assert cells["barcode"].tolist() == ["AC", "AG"]


@pytest.mark.parametrize(
    ("cells", "files", "place", "message"),
    [
        (
            [cell("AC"), cell("AG", "T2")],
            [BY_CELLS],
            ("GSE1/cells.csv.gz", 3, "sample_id"),
            "no such sample in samples.csv",
        ),
        (
            [cell("AC"), cell("AG", file="b.csv")],
            [BY_CELLS],
            ("GSE1/cells.csv.gz", 3, "file"),
            "samples.csv says that T1 lies in counts.csv.gz",
        ),
        (
            [cell("AC")],
            [file_entry()],
            ("GSE1/cells.csv.gz", 2, "file"),
            "no step reads the rows of this file: its barcode rule is whole_file",
        ),
        (
            [cell("AC", cell_line="PC9"), cell("AG", cell_line="A549")],
            [BY_CELLS],
            ("GSE1/cells.csv.gz", 3, "cell_line"),
            "samples.csv says that T1 is of the line PC9",
        ),
        (None, [BY_CELLS], ("GSE1/samples.csv", 2, "sample_id"), "gives the sample no cell"),
        ([], [BY_CELLS], ("GSE1/cells.csv.gz", 1, None), "there is no header line"),
    ],
)
def test_cells_against_samples(
    tmp_path: Path,
    cells: list[dict[str, str]] | None,
    files: list[dict[str, Any]],
    place: tuple[str, int, str | None],
    message: str,
) -> None:
    found = problem(write_study(tmp_path, cells=cells, files=files))
    assert (found.file, found.row, found.column) == place
    assert message in found.problem


def test_a_sample_that_names_no_line_may_hold_several(tmp_path: Path) -> None:
    cells = [cell("AC", cell_line="PC9"), cell("AG", cell_line="A549"), cell("AT", cell_line="")]
    folder = write_study(tmp_path, [treated(cell_line="")], cells=cells, files=[BY_CELLS])
    assert load_study(folder).samples["cell_line"].isna().all()


def test_each_sample_of_the_cells_rule_has_cells(tmp_path: Path) -> None:
    rows = [treated("T1"), treated("T2")]
    found = problem(write_study(tmp_path, rows, cells=[cell("AC")], files=[BY_CELLS]))
    assert (found.row, found.value) == (3, "T2")


# --- dose_response.csv ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "column", "message"),
    [
        ({"cell_line": "A549"}, "cell_line", "no sample of the study is of this line"),
        (
            {"q25_ln_ic50": "4", "median_ln_ic50": "3"},
            "q25_ln_ic50",
            "quartile is above the median",
        ),
        ({"source": "rumour"}, "source", "not among the sources"),
        (
            {"intrinsic_resistance": "established", "intrinsic_source": "rumour"},
            "intrinsic_source",
            "not among the sources",
        ),
        (
            {"intrinsic_resistance": "established", "intrinsic_source": "geo"},
            "intrinsic_source",
            "the screen itself does not establish resistance",
        ),
        ({"intrinsic_resistance": "established"}, "intrinsic_source", "belong together"),
        ({"intrinsic_source": "paper"}, "intrinsic_source", "belong together"),
    ],
)
def test_bad_measurement(
    tmp_path: Path, changes: dict[str, str], column: str | None, message: str
) -> None:
    folder = write_study(tmp_path, [sample()], dose_response=[measured("PC9", 1.0) | changes])
    found = problem(folder)
    assert (found.file, found.row, found.column) == ("GSE1/dose_response.csv", 2, column)
    assert message in found.problem


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("q25_ln_ic50", "1.5"),
        ("median_ln_ic50", "3.5"),
        ("n_lines_tested", "9"),
        ("source", "paper"),
    ],
)
def test_lines_of_a_drug_are_of_one_screen(tmp_path: Path, column: str, value: str) -> None:
    rows = [sample("A", cell_line="PC9"), sample("B", cell_line="A549")]
    screen = [measured("PC9", 1.0), measured("A549", 2.0, **{column: value})]
    found = problem(write_study(tmp_path, rows, dose_response=screen))
    assert (found.row, found.column) == (3, column)
    assert "in row 2" in found.problem
    other_drug = [screen[0], screen[1] | {"treatment": "docetaxel"}]
    load_study(write_study(tmp_path, rows, dose_response=other_drug, study_id="GSE2"))


def test_the_screen_under_another_key_does_not_establish_resistance(tmp_path: Path) -> None:
    sources = {
        key: {"ref": "https://example.org/geo", "kind": "database"} for key in ("geo", "again")
    }
    sources["paper"] = {"ref": "PMID:1", "kind": "paper"}
    cited = {"intrinsic_resistance": "established", "intrinsic_source": "again"}
    rows = [measured("PC9", 1.0) | cited]
    found = problem(write_study(tmp_path, [sample()], dose_response=rows, sources=sources))
    assert (found.column, found.value) == ("intrinsic_source", "again")
    assert "the screen itself does not establish resistance" in found.problem


@pytest.mark.parametrize(
    "changes",
    [
        {"q25_ln_ic50": "3", "median_ln_ic50": "3"},
        {"intrinsic_resistance": "reported", "intrinsic_source": "geo"},
    ],
)
def test_allowed_measurement(tmp_path: Path, changes: dict[str, str]) -> None:
    folder = write_study(tmp_path, [sample()], dose_response=[measured("PC9", 1.0) | changes])
    assert load_study(folder).dose_response is not None


def test_a_measured_line_is_that_of_a_sample(tmp_path: Path) -> None:
    """A line that only single cells name would get no label by its IC50."""
    folder = write_study(
        tmp_path,
        [sample(cell_line="")],
        cells=[cell("AC", "S1", cell_line="PC9")],
        files=[BY_CELLS],
        dose_response=[measured("PC9", 1.0)],
    )
    assert problem(folder).problem == "no sample of the study is of this line"
