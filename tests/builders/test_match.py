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


@pytest.mark.parametrize("word", ["", "NA", "NaN", "nan"])
def test_a_cell_without_a_line_is_of_its_sample(tmp_path: Path, word: str) -> None:
    assert matched(tmp_path, word).facts["cell_line"] == [None]


def matched_by_table(
    folder: Path, text: str, barcodes: list[str], line: str = "PC9", **more: object
) -> Matched:
    """Match barcodes of a file whose one sample has this line."""
    files = [
        file_entry(barcodes=RULE | more),
        file_entry("cells.csv", reader="companion", options={}),
    ]
    rows = [sample(barcode_key="U", cell_line=line)]
    study = load_study(write_study(folder, rows, files=files))
    table = folder / "cells.csv"
    table.write_text(f"barcode,arm,line,call\n{text}")
    rule = study.manifest.matrices()["counts.csv.gz"].barcodes
    return match_barcodes(study, "counts.csv.gz", barcodes, rule, {"cells.csv": table})


def test_facts_stay_beside_their_barcodes(tmp_path: Path) -> None:
    """What is left out has its place; a cell that is left out may be of any line."""
    text = "C,U,A549,DBL\nB,U,PC9,SNG\nE,V,A549,SNG\nD,U,NA,SNG\n"
    keep = {"call": ["SNG"]}
    found = matched_by_table(tmp_path, text, list("ABCDE"), keep=keep)
    assert found.codes.tolist() == [-1, 0, -1, 0, -1]
    assert found.facts["cell_line"] == [None, "PC9", "A549", None, "A549"]
    assert found.facts["doublet"] == [None, "singlet", "doublet", "singlet", "singlet"]
    assert found.left_out == {
        "not in cells.csv": 1,
        "call is DBL": 1,
        "no sample has the key V": 1,
    }


def test_a_cell_is_kept_by_all_columns(tmp_path: Path) -> None:
    text = "A,U,PC9,SNG\nB,U,PC9,DBL\nC,U,A549,SNG\n"
    keep = {"call": ["SNG"], "line": ["PC9"]}
    found = matched_by_table(tmp_path, text, list("ABC"), keep=keep)
    assert found.codes.tolist() == [0, -1, -1]
    assert found.left_out == {"call is DBL": 1, "line is A549": 1}


def test_a_sample_that_names_no_line_has_cells_of_any(tmp_path: Path) -> None:
    found = matched_by_table(tmp_path, "A,U,PC9,SNG\nB,U,A549,SNG\n", ["A", "B"], line="")
    assert found.facts["cell_line"] == ["PC9", "A549"]


def test_a_sample_without_barcodes_is_refused(tmp_path: Path) -> None:
    """Also where every key that was found has its sample."""
    with pytest.raises(
        EvidenceError, match=r"no barcode of counts\.csv\.gz has the key of sample S1"
    ):
        matched_by_table(tmp_path, "B,U,PC9,SNG\n", ["A"])


def test_cells_of_another_file_with_the_same_barcodes(tmp_path: Path) -> None:
    rule = {"rule": "cells"}
    files = [file_entry(name, barcodes=rule) for name in ("a.csv.gz", "b.csv.gz")]
    rows = [sample("S1", file="a.csv.gz"), sample("S2", file="b.csv.gz")]
    cells = [
        {"sample_id": "S2", "file": "b.csv.gz", "barcode": "X", "cell_type": "T cell"},
        {"sample_id": "S1", "file": "a.csv.gz", "barcode": "X", "cell_type": "B cell"},
        {"sample_id": "S2", "file": "b.csv.gz", "barcode": "Y", "cell_type": "T cell"},
    ]
    study = load_study(write_study(tmp_path, rows, cells=cells, files=files))
    by_cells = study.manifest.matrices()["a.csv.gz"].barcodes
    found = match_barcodes(study, "a.csv.gz", ["W", "X"], by_cells, {})
    assert (found.samples, found.codes.tolist()) == (["S1"], [-1, 0])
    assert found.facts["cell_type"] == [None, "B cell"]
    assert found.left_out == {"not in cells.csv.gz": 1}
