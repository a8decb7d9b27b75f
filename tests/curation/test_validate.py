"""What `validate` and `studies` say of study folders."""

from __future__ import annotations

from pathlib import Path

import pytest
from studies import file_entry, sample, treated, write_study

from cellresponse.curation.catalogue import catalogue_rows
from cellresponse.curation.validate import report_lines, validate
from cellresponse.schema.errors import EvidenceError


def test_drugs_are_those_of_the_evidence_each_agent_by_itself(tmp_path: Path) -> None:
    rows = [
        treated("A", treatment="vemurafenib + trametinib"),
        treated("B", treatment="erlotinib", outcome=""),
        sample("C"),
    ]
    write_study(tmp_path, rows)
    reports, problems = validate(tmp_path)
    assert problems == []
    (study,) = catalogue_rows(reports)
    assert study["drugs"] == ["erlotinib", "trametinib", "vemurafenib"]
    assert study["labelled_treatments"] == ["trametinib+vemurafenib"]
    assert (study["samples"], study["labelled_samples"]) == (3, 1)


def test_a_study_without_title_and_with_gaps_is_listed(tmp_path: Path) -> None:
    rows = [treated("A", arm="", outcome=""), treated("B", source_type="")]
    write_study(tmp_path, rows, title=None, status="metadata", files=[])
    reports, problems = validate(tmp_path)
    assert problems == []
    (study,) = catalogue_rows(reports)
    assert (study["title"], study["labelled_samples"], study["source_types"]) == (
        None,
        0,
        ["cell_line"],
    )
    (report,), _ = validate(tmp_path)
    assert report.missing() == [
        {"rule_id": "every_rule", "facts": ["arm"], "samples": 1},
        {"rule_id": "every_rule", "facts": ["source_type"], "samples": 1},
    ]
    assert "title not known" in report_lines([report], markdown=True)[0]
    assert (
        "1 without label by every_rule: arm not known" in report_lines([report], markdown=False)[1]
    )


def test_one_wrong_study_does_not_hide_the_others(tmp_path: Path) -> None:
    write_study(tmp_path, study_id="GSE1")
    write_study(tmp_path, [treated(outcome="survivd")], study_id="GSE2")
    reports, problems = validate(tmp_path)
    assert [report.study.study_id for report in reports] == ["GSE1"]
    assert [problem.file for problem in problems] == ["GSE2/samples.csv"]


def test_an_unknown_study_and_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(EvidenceError, match="holds no study folder"):
        validate(tmp_path)
    write_study(tmp_path)
    with pytest.raises(EvidenceError, match="there is no such study"):
        validate(tmp_path, ["GSE9"])


def test_a_sample_that_fits_no_rule_is_told(tmp_path: Path) -> None:
    rows = [treated("A"), treated("B", outcome="arrested"), sample("C")]
    write_study(tmp_path, rows)
    (report,), _ = validate(tmp_path)
    assert report.fits_no_rule() == ["B", "C"]
    text, page = (report_lines([report], markdown=kind) for kind in (False, True))
    assert text[-1].strip() == "2 without label: no rule takes what is known of them"
    assert "No rule takes what is known of: B, C." in page


def test_options_to_add_before_the_files_are_pinned(tmp_path: Path) -> None:
    files = [file_entry(options={}), file_entry("b.csv"), file_entry("c.csv", options={})]
    write_study(tmp_path, status="metadata", files=files)
    (report,), problems = validate(tmp_path)
    assert problems == []
    text, page = (report_lines([report], markdown=kind) for kind in (False, True))
    told = "2 of its files dense_text without the option orientation, which `study pin` needs"
    assert text[-1].strip() == f"{told}: features_by_cells, cells_by_features"
    assert "the option `orientation` of dense_text for: 2." in page[-2]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("{}", "the option is required. Allowed: features_by_cells, cells_by_features."),
        (
            "{orientation: genes_by_cells}",
            "the option does not fit 'genes_by_cells'. Allowed: features_by_cells, cells_by_",
        ),
    ],
)
def test_a_ready_study_whose_file_no_reader_could_open(
    tmp_path: Path, options: str, said: str
) -> None:
    folder = write_study(tmp_path)
    text = (folder / "study.yaml").read_text()
    (folder / "study.yaml").write_text(
        text.replace("options:\n    orientation: features_by_cells", f"options: {options}")
    )
    reports, (problem,) = validate(tmp_path)
    assert reports == []
    assert str(problem).startswith("GSE1/study.yaml, row ")
    assert f"column files.0.options.orientation: {said}" in str(problem)
