"""A source's own table of its cells."""

import gzip

import pytest

from cellresponse.builders.read import read_cell_table
from cellresponse.schema.errors import EvidenceError, SourceFileError


@pytest.fixture
def read(tmp_path):
    def read(text, **options):
        path = tmp_path / "cells"
        path.write_bytes(gzip.compress(text.encode()))
        return read_cell_table(path, name="cells.csv.gz", **options)

    return read


def test_every_field_stays_a_string(read):
    table = read("barcode,line,n,call\nA,007,1.50,NA\nB,,2,TRUE\n")
    assert table.index.tolist() == ["A", "B"]
    assert table.index.name == "barcode"
    assert table.to_dict("list") == {
        "barcode": ["A", "B"],
        "line": ["007", ""],
        "n": ["1.50", "2"],
        "call": ["NA", "TRUE"],
    }


def test_r_header_and_named_column(read):
    table = read('"line","n"\n"A","x,y",1\n"B","z",2\n')
    assert table.index.tolist() == ["A", "B"]
    assert table["line"].tolist() == ["x,y", "z"]
    table = read("n\tid\n1\tA\n2\tB\n", delimiter="tab", barcode_column="id")
    assert table.index.tolist() == ["A", "B"]
    assert list(table.columns) == ["n", "id"]


def test_mistakes(read):
    with pytest.raises(SourceFileError, match=r"cells\.csv\.gz: cells 1 and 2 .* 'A'"):
        read("id,n\nA,1\nA,2\n")
    with pytest.raises(SourceFileError, match="row 3: the row has 1 fields where 2"):
        read("id,n\nA,1\nB\n")
    with pytest.raises(SourceFileError, match="two columns have the same name 'n'"):
        read("id,n,n\nA,1,2\n")
    with pytest.raises(EvidenceError, match=r"no such column 'cell'\. Allowed: id, n"):
        read("id,n\nA,1\n", barcode_column="cell")
    with pytest.raises(EvidenceError, match="unknown delimiter '#'"):
        read("id,n\nA,1\n", delimiter="#")


def test_real_metadata(shared):
    name = "sc_celseq2.metadata.csv.gz"
    table = read_cell_table(shared / "mirror" / "GSE118767" / name, name=name)
    assert {"SNG", "DBL"} >= set(table["demuxlet_cls"])
    assert table.loc["A1", "cell_line_demuxlet"] == "H1975"
