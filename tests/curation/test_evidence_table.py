"""Evidence tables are read strictly: each mistake with row, column, value and what is allowed."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from studies import csv_text, measured, sample, treated

from cellresponse.curation import evidence_table
from cellresponse.curation.evidence_table import read_evidence
from cellresponse.schema.errors import CellResponseError, EvidenceError, Problems
from cellresponse.schema.evidence import CellAssignments, DoseResponse, SampleEvidence
from cellresponse.schema.tables import arrow_schema

HEADER = "sample_id,file,source_type,collection,arm"
ROW = "S1,f,cell_line,primary,untreated"


def read(folder: Path, content: str | bytes, model: Any = SampleEvidence) -> pd.DataFrame:
    path = folder / "samples.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_evidence(path, model, name="GSE1/samples.csv")


def refused(folder: Path, content: str | bytes, model: Any = SampleEvidence) -> EvidenceError:
    with pytest.raises(EvidenceError) as error:
        read(folder, content, model)
    assert error.value.file == "GSE1/samples.csv"
    return error.value


def all_refused(folder: Path, content: str, model: Any = SampleEvidence) -> list[CellResponseError]:
    with pytest.raises(Problems) as several:
        read(folder, content, model)
    assert {each.file for each in several.value.problems} == {"GSE1/samples.csv"}
    return several.value.problems


# --- what is read -----------------------------------------------------------------------


def test_columns_are_those_of_the_model_and_typed(tmp_path: Path) -> None:
    frame = read(tmp_path, csv_text([treated(dose="0.5", dose_unit="µM", time_point="1")]))
    schema = arrow_schema(SampleEvidence)
    assert list(frame.columns) == schema.names
    assert [dtype.pyarrow_dtype for dtype in frame.dtypes] == schema.types
    row = frame.loc[2]
    assert (row["dose"], row["dose_unit"], row["time_point"]) == (0.5, "uM", 1)
    assert row["exposure_days"] == "11"
    assert frame["lesion"].isna().all()


def test_words_and_drugs_are_resolved(tmp_path: Path) -> None:
    rows = [
        treated("a", treatment="Dexamethasone + Carfilzomib", cell_line="pc-9"),
        treated("b", treatment="carfilzomib+dexamethasone", cell_line="PC9"),
        sample("c", arm="DMSO", source_type="Patient tumor", cancer_type="AML"),
    ]
    frame = read(tmp_path, csv_text(rows))
    assert frame["treatment"].tolist()[:2] == ["carfilzomib+dexamethasone"] * 2
    assert frame["cell_line"].tolist()[:2] == ["PC9", "PC9"]
    assert frame.loc[4, ["arm", "source_type", "cancer_type"]].tolist() == [
        "vehicle",
        "patient_tumour",
        "acute_myeloid_leukaemia",
    ]


@pytest.mark.parametrize(
    "content",
    [
        f"{HEADER}\n{ROW}\n",
        f"{HEADER}\n{ROW}",
        f"\ufeff{HEADER}\r\n{ROW}\r\n",
        f" {HEADER.replace(',', ' , ')}\n{ROW.replace(',', ', ')}\n",
        f'{HEADER}\n"S1","f","cell_line","primary","untreated"\n',
        f"{HEADER}\n\n{ROW}\n,,,,\n",
        f"arm,collection,source_type,file,sample_id\n{','.join(ROW.split(',')[::-1])}\n",
        f"{HEADER},dose,lesion\n{ROW},,\n",
    ],
)
def test_layouts_of_one_table(tmp_path: Path, content: str) -> None:
    frame = read(tmp_path, content)
    assert frame.iloc[0].dropna().to_dict() == dict(
        zip(HEADER.split(","), ROW.split(","), strict=True)
    )


def test_gzip_and_plain_say_the_same(tmp_path: Path) -> None:
    text = "file,barcode,sample_id,malignant\nf,AC,S1,malignant\nf,AG,S1,\n"
    (tmp_path / "cells.csv.gz").write_bytes(gzip.compress(text.encode()))
    packed = read_evidence(tmp_path / "cells.csv.gz", CellAssignments, name="cells.csv.gz")
    assert packed.equals(read(tmp_path, text, CellAssignments))
    assert packed["malignant"].isna().tolist() == [False, True]


def test_an_empty_table_has_no_rows(tmp_path: Path) -> None:
    assert len(read(tmp_path, f"{HEADER}\n")) == 0


def test_rows_are_counted_as_an_editor_counts(tmp_path: Path) -> None:
    # Row 2 goes on in line 3; line 4 is blank.
    content = f'{HEADER},note\n{ROW},"one\ntwo"\n\n{ROW.replace("S1", "S2")},x\n'
    frame = read(tmp_path, content)
    assert frame.index.tolist() == [2, 5]
    assert frame.loc[2, "note"] == "one\ntwo"
    assert refused(tmp_path, content.replace("S2", "S 2")).row == 5
    assert refused(tmp_path, content.replace("S1", "S 1")).row == 2
    assert refused(tmp_path, content.replace(",x", "")).row == 5


# --- what is refused --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "value", "problem", "allowed"),
    [
        ("dose", "-1", "too small", "more than 0"),
        ("dose", "0", "too small", "more than 0"),
        *(
            ("dose", value, "not a number", "a number such as 0.5")
            for value in ("1 uM", "nan", "inf", "1_000", "1e999", "0x1", "\u0661", "--1", ".")
        ),
        ("time_point", "-1", "too small", "at least 0"),
        *(
            ("time_point", value, "not a whole number", "digits")
            for value in ("1.0", "day 1", "1_0", "9" * 19, "\u0661")
        ),
        *(
            (
                "exposure_days",
                value,
                "has the wrong form",
                "a number of days from 0, a range `30-60`",
            )
            for value in ("-5", "-", "30-", "eleven", "11 days", "> 180", "9" * 400, "\u0661")
        ),
        ("gsm", "GSE149214", "has the wrong form", "GSM and digits"),
        ("gsm", "gsm12", "has the wrong form", "GSM and digits"),
        ("sample_id", "a b", "has the wrong form", "a name that begins with"),
        ("sample_id", "_a", "has the wrong form", "a name that begins with"),
        ("sample_id", "a:b", "has the wrong form", "a name that begins with"),
        ("sample_id", "", "the field is empty", ""),
        ("collection", "", "the field is empty", ""),
        ("fact_sources", "outcome: smith", "has the wrong form", "`fact=source;fact=source`"),
        ("dose_unit", "uMM", "unknown dose unit", "uM"),
        ("treatment", "erlotinibb", "unknown drug", "erlotinib"),
        ("treatment", "carfilzomib and dexamethasone", "not written like", 'with " + " between'),
        ("treatment", "erlotinib + erlotinib", "occurs twice", ""),
        ("cell_line", "PC99", "unknown cell line", "PC9"),
        ("cancer_type", "lung adenocarcinome", "unknown cancer type", "lung_adenocarcinoma"),
        ("assay", "Dropseq2", "unknown assay", "drop"),
        ("source_type", "tumour", "unknown source type", "patient_tumour"),
        ("lesion", "primry", "unknown lesion", "primary"),
        ("outcome", "surviving", "unknown outcome", "survived"),
        ("control_outcome", "killed", "unknown control outcome", "died"),
        ("proliferation", "yes", "unknown proliferation", "limited"),
        ("intrinsic_resistance", "yes", "unknown intrinsic resistance", "established"),
        ("collection", "test", "unknown collection", "validation"),
    ],
)
def test_bad_value(tmp_path: Path, column: str, value: str, problem: str, allowed: str) -> None:
    error = refused(tmp_path, csv_text([treated("ok"), treated(**{column: value})]))
    assert problem in error.problem
    assert (error.row, error.column) == (3, column)
    assert error.value == (float(value) if problem == "too small" else value or None)
    said = error.allowed if isinstance(error.allowed, str) else ", ".join(error.allowed or ())
    assert allowed.lower() in said.lower()
    assert "^" not in said
    assert "\\d" not in said


@pytest.mark.parametrize("value", ["30-60", ">180", ">=183.5", "<30", "<=30", "0", "11.5"])
def test_exposure_forms(tmp_path: Path, value: str) -> None:
    assert read(tmp_path, csv_text([treated(exposure_days=value)])).loc[2, "exposure_days"] == value


@pytest.mark.parametrize(
    ("column", "allowed", "hint"),
    [
        ("treatmnt", ["treatment"], None),
        ("exposure", ["exposure_days"], None),
        ("sampleid", ["sample_id"], None),
        ("Arm", None, None),
        ("qqqq", None, None),
        ("", None, None),
        *(
            (typed, None, "A label is computed from evidence, never typed")
            for typed in (
                "response",
                "Response",
                "drug_response",
                "stars",
                "label",
                "basis",
                "rule_id",
                "condition",
                "sensitive",
                "resistant",
                "sensitivity",
            )
        ),
    ],
)
def test_unknown_column(
    tmp_path: Path, column: str, allowed: list[str] | None, hint: str | None
) -> None:
    error = refused(tmp_path, f"{HEADER},{column}\n{ROW},x\n")
    assert (error.problem, error.row, error.value) == ("unknown column", 1, column)
    if hint:
        assert error.allowed is None
        assert str(error.hint).startswith(hint)
    else:
        assert set(allowed or []) <= set(error.allowed or [])
        assert set(error.allowed or []) <= set(arrow_schema(SampleEvidence).names)


def test_bad_headers(tmp_path: Path) -> None:
    assert refused(tmp_path, f"{HEADER},arm\n{ROW},x\n").problem == "the column stands twice"
    missing = all_refused(tmp_path, "file,arm\n")
    assert [(each.problem, each.column) for each in missing] == [
        ("the column is missing", "sample_id"),
        ("the column is missing", "collection"),
    ]
    for empty in ("", "\ufeff", f"\n{HEADER}\n", ",,\n"):
        assert refused(tmp_path, empty).problem == "there is no header line"


def test_a_byte_order_mark_is_one_at_the_start_only(tmp_path: Path) -> None:
    assert list(read(tmp_path, f"\ufeff{HEADER}\n{ROW}\n")["sample_id"]) == ["S1"]
    assert refused(tmp_path, f"{HEADER}\n\ufeff{ROW}\n").row == 2


def test_rows_of_blanks_are_no_rows(tmp_path: Path) -> None:
    assert list(read(tmp_path, f"{HEADER}\n \n{ROW}\n , ,,,\n").index) == [3]


def test_ragged_rows(tmp_path: Path) -> None:
    problems = all_refused(tmp_path, f"{HEADER}\n{ROW},more\n{ROW}\nS2,f\n")
    assert [(each.row, each.problem) for each in problems] == [
        (2, "the row has 6 fields, the header 5"),
        (4, "the row has 2 fields, the header 5"),
    ]


def test_ragged_rows_do_not_fill_the_memory(tmp_path: Path) -> None:
    assert len(all_refused(tmp_path, f"{HEADER}\n" + "x\n" * 5000)) == evidence_table.MAX_PROBLEMS


def test_names_that_stand_twice(tmp_path: Path) -> None:
    error = refused(tmp_path, csv_text([sample("A"), sample("B"), sample("A"), sample("A")]))
    assert str(error) == (
        "GSE1/samples.csv, row 4, column sample_id: "
        "the sample_id of row 2 once more; 2 such rows 'A'. Allowed: one row for each sample_id."
    )


def test_keys_that_stand_twice(tmp_path: Path) -> None:
    # Two spellings of one line and of one drug.
    rows = [
        measured("PC9", 1.0),
        measured("A549", 1.0),
        measured("PC-9", 2.0, treatment="Erlotinib"),
    ]
    error = refused(tmp_path, csv_text(rows), DoseResponse)
    assert (error.row, error.value) == (4, "PC9, erlotinib")
    assert error.problem == "the cell_line and treatment of row 2 once more"
    cells = "file,barcode,sample_id\nf,AC,S1\ng,AC,S1\nf,AC,S2\n"
    error = refused(tmp_path, cells, CellAssignments)
    assert (error.row, error.value) == (4, "f, AC")


def test_every_mistake_is_reported_at_once(tmp_path: Path) -> None:
    rows = [treated("a", arm="x", dose="y"), treated("b", lesion="z")]
    problems = all_refused(tmp_path, csv_text(rows))
    assert {(each.row, each.column) for each in problems} == {
        (2, "arm"),
        (2, "dose"),
        (3, "lesion"),
    }
    rows = [treated("a b", gsm="x"), treated("b", exposure_days="-1"), treated("b")]
    problems = all_refused(tmp_path, csv_text(rows))
    assert {(each.row, each.column) for each in problems} == {
        (2, "sample_id"),
        (2, "gsm"),
        (3, "exposure_days"),
        (4, "sample_id"),
    }


def test_a_repeated_mistake_is_reported_where_it_stands_first(tmp_path: Path) -> None:
    error = refused(tmp_path, csv_text([sample("A"), sample("B", arm="x"), sample("C", arm="x")]))
    assert error.row == 3


@pytest.mark.parametrize(
    ("content", "row", "problem"),
    [
        (f'{HEADER}\n"S1,f\n', 2, "is not CSV"),
        (f'{HEADER}\n"S1"x,f,cell_line,primary,untreated\n', 2, "is not CSV"),
        (f"{HEADER}\r{ROW}\r", 1, "line ends of another kind"),
        (f"{HEADER}\n{ROW}\nS2\x00,f,cell_line,primary,untreated\n", 3, "cannot be printed"),
        (f"{HEADER}\n{ROW}\nS2,f\x1b[2J,cell_line,primary,untreated\n", 3, "cannot be printed"),
        (f"{HEADER}\n{ROW}{'x' * 200_000}\n", 2, "the line is too long"),
        (f"{HEADER}\n{ROW}{',' * 1_200_000}\n", 2, "the line is too long"),
        (f"{HEADER}\n{ROW}\nS2,f\xe9,".encode("latin-1"), 3, "is not UTF-8 text"),
        (f"{HEADER}\n".encode("utf-16"), 1, "is not UTF-8 text"),
        (gzip.compress(b"x"), 1, "is not UTF-8 text"),
    ],
    ids=lambda value: None if isinstance(value, str | int) else "bytes",
)
def test_not_a_table(tmp_path: Path, content: str | bytes, row: int, problem: str) -> None:
    error = refused(tmp_path, content)
    assert problem in error.problem
    assert error.row == row


def cut(data: bytes) -> bytes:
    return data[:-12]


def broken(data: bytes) -> bytes:
    return data[:30] + bytes(byte ^ 0xFF for byte in data[30:60]) + data[60:]


@pytest.mark.parametrize(
    "damage", [cut, broken, lambda _: b"file,barcode,sample_id\n", lambda d: d + b"xx"]
)
def test_damaged_gzip(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    rows = "".join(f"f,{n:x},S{n * n % 7}\n" for n in range(400))
    path = tmp_path / "cells.csv.gz"
    path.write_bytes(damage(gzip.compress(f"file,barcode,sample_id\n{rows}".encode())))
    with pytest.raises(EvidenceError, match=r"GSE1/cells\.csv\.gz: is not a whole gzip file"):
        read_evidence(path, CellAssignments, name="GSE1/cells.csv.gz")


def test_small_gzip_file_of_a_huge_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evidence_table, "MAX_BYTES", 1_000_000)
    path = tmp_path / "cells.csv.gz"
    path.write_bytes(gzip.compress(b"file,barcode,sample_id\n" + b"f,A,S1\n" * 1_000_000))
    assert path.stat().st_size < 100_000
    with pytest.raises(EvidenceError, match="too large for an evidence table"):
        read_evidence(path, CellAssignments, name="cells.csv.gz")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.csv", tmp_path, tmp_path / "absent.csv.gz"):
        with pytest.raises(EvidenceError, match=r"x\.csv: cannot be read"):
            read_evidence(path, SampleEvidence, name="x.csv")


TABLE_TEXT = st.lists(
    st.sampled_from(
        [*HEADER.split(","), *ROW.split(","), *',,,\n\n\r"\t -1', "\ufeff", "\x00", "é"]
    ),
    max_size=30,
).map("".join)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=80) | TABLE_TEXT, st.sampled_from([SampleEvidence, CellAssignments]))
def test_any_bytes_give_a_table_or_an_error(
    tmp_path_factory: pytest.TempPathFactory, content: str | bytes, model: Any
) -> None:
    data = content if isinstance(content, bytes) else content.encode()
    for prefix in (b"", f"{HEADER}\n".encode()):
        try:
            frame = read(tmp_path_factory.getbasetemp(), prefix + data, model)
        except CellResponseError as error:
            problems = error.problems if isinstance(error, Problems) else [error]
            assert {each.file for each in problems} == {"GSE1/samples.csv"}
            str(error).encode()
        else:
            assert list(frame.columns) == arrow_schema(model).names
