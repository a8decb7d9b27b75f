"""Facts of single cells from a table of the source."""

from __future__ import annotations

from pathlib import Path

import pytest
from studies import file_entry, sample, write_study

from cellresponse.builders.match import Matched, match_barcodes
from cellresponse.curation.study import load_study
from cellresponse.schema.errors import EvidenceError

RULE = {
    "rule": "table",
    "table": "cells.csv",
    "key_column": "arm",
    "columns": {"cell_line": "line", "doublet": "call"},
}


def matched(folder: Path, line: str, call: str = "SNG", **more: object) -> Matched:
    """Match the one barcode of a study whose table has this line and call."""
    files = [
        file_entry(barcodes=RULE | more),
        file_entry("cells.csv", reader="companion", options={}),
    ]
    study = load_study(write_study(folder, [sample(barcode_key="U")], files=files))
    table = folder / "cells.csv"
    table.write_text(f"barcode,arm,line,call\nAAAC,U,{line},{call}\n")
    rule = study.manifest.matrices()["counts.csv.gz"].barcodes
    return match_barcodes(study, "counts.csv.gz", ["AAAC"], rule, {"cells.csv": table})


def test_words_of_the_table_are_translated(tmp_path: Path) -> None:
    values = {"line": {"line one": "PC9"}}
    assert matched(tmp_path, "line one", values=values).facts["cell_line"] == ["PC9"]


def test_an_unknown_cell_line_says_how_to_translate_it(tmp_path: Path) -> None:
    with pytest.raises(EvidenceError, match="unknown cell line 'PC99'") as caught:
        matched(tmp_path, "PC99")
    error = caught.value
    assert (error.file, error.column) == ("GSE1/cells.csv, cell AAAC", "line")
    assert "PC9" in (error.allowed or ())
    assert "barcodes.values of counts.csv.gz in GSE1/study.yaml" in str(error)
    assert "line: {PC99: WORD}" in str(error)
    assert "All words are in schema/vocabularies/cell_lines.csv" in str(error)


def test_a_wrong_translation_is_named_as_one(tmp_path: Path) -> None:
    with pytest.raises(EvidenceError, match="unknown cell line 'PC98'") as caught:
        matched(tmp_path, "PC99", values={"line": {"PC99": "PC98"}})
    assert "line: {PC99: WORD}" in str(caught.value)


def test_an_unknown_word_of_a_closed_list(tmp_path: Path) -> None:
    with pytest.raises(EvidenceError, match="unknown doublet 'two cells'") as caught:
        matched(tmp_path, "PC9", "two cells")
    assert "call: {two cells: WORD}" in str(caught.value)


def test_a_cell_of_another_line_than_its_sample(tmp_path: Path) -> None:
    with pytest.raises(EvidenceError, match="cell AAAC is of the line A549") as caught:
        matched(tmp_path, "A549")
    error = caught.value
    assert (error.file, error.row, error.column, error.value) == (
        "GSE1/samples.csv",
        2,
        "cell_line",
        "PC9",
    )


def test_a_cell_without_a_line_is_of_its_sample(tmp_path: Path) -> None:
    assert matched(tmp_path, "NA").facts["cell_line"] == [None]
