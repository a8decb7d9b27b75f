"""The list of studies, its filters, its totals and its page."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest
from studies import treated, write_study

from cellresponse.curation.catalogue import StudyFilter, catalogue_rows, study_lines, totals
from cellresponse.curation.catalogue_page import bar_chart, catalogue_files
from cellresponse.curation.validate import validate
from cellresponse.schema.errors import EvidenceError


@pytest.fixture
def rows(tmp_path: Path) -> list[dict[str, object]]:
    stated = {"count": "1200", "of": "cells of the matrix", "source": "paper"}
    write_study(
        tmp_path,
        [treated(cancer_type="lung_adenocarcinoma")],
        study_id="GSE1",
        year=2020,
        cells_stated=stated,
    )
    write_study(
        tmp_path,
        [treated(treatment="vemurafenib + trametinib", cancer_type="melanoma", outcome="")],
        study_id="GSE2",
        status="metadata",
    )
    reports, problems = validate(tmp_path)
    assert problems == []
    return catalogue_rows(reports)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, ["GSE1", "GSE2"]),
        ({"cancer": "lung cancer"}, ["GSE1"]),  # the broader type
        ({"drug": "Trametinib"}, ["GSE2"]),  # part of a regimen
        ({"drug": "trametinib + vemurafenib"}, ["GSE2"]),
        ({"status": "metadata"}, ["GSE2"]),
        ({"species": "Homo sapiens", "source": "cell line"}, ["GSE1", "GSE2"]),
        ({"species": "mouse"}, []),
        ({"stars": 1}, ["GSE1"]),
        ({"stars": 3}, []),
        ({"since": 2019}, ["GSE1"]),  # a year that is not known is no match
        ({"until": 2020}, ["GSE1"]),
        ({"since": 2019, "until": 2019}, []),
        ({"basis": "treated_vs_untreated_control"}, ["GSE1"]),
        ({"drug_class": "targeted therapy"}, ["GSE1", "GSE2"]),
    ],
)
def test_filters(
    rows: list[dict[str, object]], wanted: dict[str, object], expected: list[str]
) -> None:
    found = StudyFilter(**wanted).apply(rows)  # type: ignore[arg-type]
    assert [row["study_id"] for row in found] == expected


@pytest.mark.parametrize("wrong", [{"drug": "erlotinip"}, {"status": "redy"}, {"stars": 4}])
def test_filter_that_no_vocabulary_knows(
    rows: list[dict[str, object]], wrong: dict[str, object]
) -> None:
    with pytest.raises(EvidenceError, match="Allowed"):
        StudyFilter(**wrong).apply(rows)  # type: ignore[arg-type]


def test_totals(rows: list[dict[str, object]]) -> None:
    counted = totals(rows)
    assert counted["by_status"] == {"metadata": 1, "ready": 1}
    assert counted["samples"] == 2
    assert counted["labelled_samples"] == 1
    assert set(counted["drugs"].values()) == {1}
    assert "2 studies (1 metadata, 1 ready)" in study_lines(rows)[-1]


def test_page_and_figures(rows: list[dict[str, object]]) -> None:
    files = catalogue_files(rows)
    page = files["catalogue.md"]
    assert "[GSE1](../curation/GSE1/study.yaml)" in page
    for name, text in files.items():
        if name.endswith(".svg"):
            assert f"]({name})" in page
            ElementTree.fromstring(text)  # noqa: S314 - written by this project


@pytest.mark.parametrize(
    ("name", "bars"),
    [
        ("samples_by_drugs", {"erlotinib": 1, "trametinib": 1, "vemurafenib": 1}),
        ("samples_by_cancer_types", {"lung_adenocarcinoma": 1, "melanoma": 1}),
        ("samples_by_years", {"2020": 1, "not known": 1}),
        ("cells_by_drugs", {"erlotinib": 1200}),
        ("cells_by_source_types", {"cell_line": 1200}),
        ("missing", {"outcome": 1}),
    ],
)
def test_what_a_figure_counts(
    rows: list[dict[str, object]], name: str, bars: dict[str, int]
) -> None:
    drawn = ElementTree.fromstring(catalogue_files(rows)[f"figures/{name}.svg"])  # noqa: S314
    title, *texts = [str(node.text) for node in drawn.iter() if node.tag.endswith("text")]
    shown = dict(zip(texts[::2], texts[1::2], strict=True))
    assert {word: int(count.replace(",", "")) for word, count in shown.items()} == bars
    assert title.endswith("(1 of 2 studies)") == name.startswith("cells")


def test_bars_are_in_proportion() -> None:
    drawn = ElementTree.fromstring(bar_chart("A & B", {"x": 10, "y": 5}))  # noqa: S314
    bars = [node for node in drawn.iter() if node.get("fill") == "#33658a"]
    widths = [float(bar.get("width", "0")) for bar in bars]
    assert widths[0] == 2 * widths[1]
    many = bar_chart("many", {f"word{i}": 100 - i for i in range(40)})
    assert "and 15 more" in many
