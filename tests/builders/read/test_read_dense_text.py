"""Layouts of dense text, and the mistakes in it."""

import bz2
import gzip
import lzma

import numpy as np
import pytest

from cellresponse.builders.read import open_counts
from cellresponse.builders.read import text as text_module
from cellresponse.builders.read.text import leading_field, line_blocks
from cellresponse.schema.errors import EvidenceError, SourceFileError

GENES_BY_CELLS = {"orientation": "features_by_cells"}
CELLS_BY_GENES = {"orientation": "cells_by_features"}


@pytest.fixture
def read(tmp_path):
    def read(content, options=GENES_BY_CELLS, name="counts.csv"):
        path = tmp_path / "local"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        source = open_counts("dense_text", path, name=name, options=options)
        pieces = list(source.triplets() if hasattr(source, "triplets") else source.blocks())
        return source, pieces

    return read


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress])
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_compression_is_told_by_content(read, pack, ends):
    text = ends.join(["gene,a,b", "G1,0,2", "", "G2,3,0", ""])
    source, (piece,) = read(pack(text.encode()), name="counts.csv.gz")
    assert source.barcodes == ["a", "b"]
    assert source.features.ids == ["G1", "G2"]
    assert [column.tolist() for column in piece] == [[1, 0], [0, 1], [2, 3]]


def test_a_byte_order_mark_is_no_part_of_a_barcode(read):
    source, _ = read("\ufeffa,b\nG1,1,2\n")
    assert source.barcodes == ["a", "b"]
    source, _ = read("\ufeffgene,a\nG1,1\n", GENES_BY_CELLS | {"id_column": "gene"})
    assert source.features.ids == ["G1"]


def test_gzip_of_several_members(read):
    content = gzip.compress(b"gene,a\nG1,1\n") + gzip.compress(b"G2,2\n")
    source, (piece,) = read(content)
    assert source.features.ids == ["G1", "G2"]
    assert piece.values.tolist() == [1, 2]


@pytest.mark.parametrize(("word", "mark"), list(text_module.DELIMITERS.items()))
def test_delimiters(read, word, mark):
    text = f"gene{mark}a\nG1{mark}4\n"
    for given in (word, mark):
        _, (piece,) = read(text, GENES_BY_CELLS | {"delimiter": given}, name="counts")
        assert piece.values.tolist() == [4]


def test_delimiter_must_be_known(read):
    with pytest.raises(EvidenceError, match="Allowed: comma, tab, semicolon, space"):
        read("gene,a\nG1,4\n", name="counts.dat.gz")


def test_skipped_and_id_columns(read):
    text = "id\tresponse\tG1\tG2\n9\tyes\t1\t0\n8\tno\t0\t2\n"
    source, (block,) = read(text, CELLS_BY_GENES | {"skip_columns": ["response"]}, "c.tsv")
    assert source.barcodes == ["9", "8"]
    assert source.features.ids == ["G1", "G2"]
    assert block.data.tolist() == [1, 2]
    options = CELLS_BY_GENES | {"id_column": "response", "skip_columns": ["id"]}
    source, (block,) = read(text, options, "c.tsv")
    assert source.barcodes == ["yes", "no"]
    assert block.indices.tolist() == [0, 1]


def test_options_name_a_missing_column(read):
    with pytest.raises(EvidenceError, match=r"options\.skip_columns.*'x'. Allowed: id, G1"):
        read("id,G1\na,1\n", CELLS_BY_GENES | {"skip_columns": ["x"]})


def test_small_blocks_hold_the_same(read, monkeypatch):
    rng = np.random.default_rng(3)
    matrix = rng.poisson(1.0, (40, 6))
    matrix[25, 3] = 70_000
    rows = [f"G{i}," + ",".join(map(str, row)) for i, row in enumerate(matrix.tolist())]
    text = "\n".join(["g," + ",".join("abcdef"), *rows])
    monkeypatch.setattr(line_blocks, "__defaults__", (50,))
    _, pieces = read(text)
    assert len(pieces) > 5
    found = np.zeros((6, 40), dtype=np.int64)
    for piece in pieces:
        found[piece.cells, piece.features] = piece.values
    np.testing.assert_array_equal(found.T, matrix)
    with pytest.raises(SourceFileError, match=r"row 22, column d: the field is not a number 'x'"):
        read(text.replace("\nG20,", "\nG20,1,1,1,x,1,1\nG_,", 1))


def test_lines_longer_than_a_block(tmp_path):
    path = tmp_path / "long"
    path.write_bytes(b"a" * 100 + b"\n" + b"b\nc")
    with path.open("rb") as stream:
        assert list(line_blocks(stream, 7)) == [b"a" * 100 + b"\nb\n", b"c"]


@pytest.mark.parametrize(
    ("line", "position", "field"),
    [
        (b"a,1,2\n", 0, b"a"),
        (b'"a,b",1\n', 0, b"a,b"),
        (b'"a ""x""",1', 0, b'a ""x""'),
        (b"a\r\n", 0, b"a"),
        (b"a\r\r\n", 0, b"a"),
        (b"a\rb,1\n", 0, None),
        (b'"a\n', 0, None),
        (b'"a"b,1\n', 0, None),
        (b",1\n", 0, b""),
        (b'1,"x,y",z,3\n', 2, b"z"),
        (b'1,"x,y",z,3\n', 1, b"x,y"),
        (b"1,2\n", 2, None),
    ],
)
def test_leading_field(line, position, field):
    found = leading_field(",", position).match(line)
    assert (found and (found[1] if found[1] is not None else found[2])) == field


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("\n\n", "the file is empty"),
        ("gene,a,b\n", "a header and no rows"),
        ("gene,a,b\nG1,1,2\nG2,1\n", r"row 3: the row has 2 fields where 3 are expected"),
        ("gene,a,b\nG1,1,2\nG2,1,2,3\n", r"row 3: the row has 4 fields where 3 are expected"),
        ("gene,a,b\n11,1,2\n12,1,2,3\n13,4\n", r"row 3: the row has 4 fields where 3 are expected"),
        ("gene,a,b\nG1,1,2,3,4\n", "row 2: the header has 3 names and the first row 5 fields"),
        ("gene,a,b\nG1,1,NA\n", r"row 2, column b: missing value 'NA'"),
        ("gene,a,b\nG1,1,2\n\nG2,,3\n", r"row 4, column a: missing value ''"),
        ("gene,a,b\nG1,1,2\nG2,high,3\n", r"row 3, column a: the field is not a number 'high'"),
        ("gene,a,b\nG1,1,1_000\n", "row 2, column b: the field is not a number '1_000'"),
        ("gene,a,a\nG1,1,2\n", r"cells 1 and 2 have the same barcode 'a'"),
        ("gene,a,\nG1,1,2\n", "cell 2 has an empty barcode"),
        ("gene\nG1\n", "no column of values is left"),
        (b"gene,a\nG\xff,1\n", "row 2: the line is not UTF-8"),
        (b"\x89HDF\r\n\x1a\n\x00\x00,\xff\n", "row 1: the line cannot|row 1: the line is not"),
    ],
)
def test_mistakes(read, text, message):
    with pytest.raises(SourceFileError, match=rf"counts\.csv.*({message})"):
        read(text)


STRAY = [
    ('G1,"x",{a}\nG2,"y\ny",2\n', 3, "unexpected end of data"),
    ('G1,x,{a}\n"G2\n",y,2\n', 3, "unexpected end of data"),
    ("G1,x,{a}\nG2,y,2\rG3,z,3\n", 3, "new-line character seen in unquoted field"),
    ("G1,x,{a}\nG2,y,2\rG3,z,3", 3, "new-line character seen in unquoted field"),
    ("G1,x,{a}\nG2\r,y,2\n", 3, "new-line character seen in unquoted field"),
    # one line more and one line less: as many rows as lines
    ('G1,x,{a}\nG2,y,2\rG3,z,3\nG4,"w\nw",4\n', 3, "new-line character seen"),
    ("G1,x,{a}\n\nG2,y,2\rG3,z,3\n", 4, "new-line character seen"),
    # each line of the row has as many fields as the header
    ('G1,x,{a}\nG2,"y,2\nG3,z",3\n', 3, "unexpected end of data"),
]


@pytest.mark.parametrize("orientation", ["features_by_cells", "cells_by_features"])
@pytest.mark.parametrize("number", ["1", "1.0"])
@pytest.mark.parametrize(("rows", "row", "problem"), STRAY)
def test_a_line_break_that_ends_no_line(read, rows, row, problem, number, orientation):
    options = {"orientation": orientation, "skip_columns": ["about"]}
    with pytest.raises(SourceFileError, match=rf"row {row}: the line cannot be split \({problem}"):
        read("gene,about,a\n" + rows.format(a=number) + "H,x,5\n", options)


@pytest.mark.parametrize("number", ["1", "1.0"])
@pytest.mark.parametrize(
    "text",
    [
        "gene,a\r\nG1,{a}\r\n\r\nG2,0\r\nG3,3\r\n",
        "gene,a\r\r\nG1,{a}\r\r\n\r\r\nG2,0\r\r\nG3,3\r\r\n",
        "gene,a\n\nG1,{a}\n\n\nG2,0\nG3,3\n\n",
        "gene,a\nG1,{a}\r\nG2,0\nG3,3\r",
        'gene,a\nG1,{a}\n"G2",0\nG3,"3"',
    ],
)
def test_line_ends_of_any_kind(read, text, number):
    source, pieces = read(text.format(a=number))
    assert source.features.ids == ["G1", "G2", "G3"]
    found = [(int(p.features[i]), float(p.values[i])) for p in pieces for i in range(p.values.size)]
    assert found == [(0, 1), (2, 3)]


def test_a_carriage_return_inside_quotes(read):
    source, (piece,) = read('gene,a\nG1,1.5\n"G\r2",2\nG3,3\n')
    assert source.features.ids == ["G1", "G\r2", "G3"]
    assert piece.features.tolist() == [0, 1, 2]
    assert piece.values.tolist() == [1.5, 2, 3]


def test_repeated_barcode_in_rows(read):
    with pytest.raises(SourceFileError, match="cells 1 and 3 have the same barcode 'a'"):
        read("id,G1\na,1\nb,1\na,2\n", CELLS_BY_GENES)


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_truncated_at_any_byte(read, pack):
    rng = np.random.default_rng(5)
    lines = [f"G{i},{a},{b}" for i, (a, b) in enumerate(rng.integers(0, 99, (200, 2)))]
    content = pack("\n".join(["g,a,b", *lines, ""]).encode())
    for size in range(6, len(content), 29):
        with pytest.raises(SourceFileError, match=r"counts\.csv: the"):
            read(content[:size])


def test_damaged_gzip(read):
    content = bytearray(gzip.compress(b"g,a\n" + b"G,1\n" * 500))
    content[-6] ^= 255  # the checksum
    with pytest.raises(SourceFileError, match="cannot be read"):
        read(bytes(content))


def test_missing_file(tmp_path):
    with pytest.raises(SourceFileError, match=r"counts\.csv: the file is missing"):
        open_counts("dense_text", tmp_path / "no", name="counts.csv", options=GENES_BY_CELLS)


def test_real_file_with_r_header(shared):
    name = "sc_celseq2.count.csv.gz"
    path = shared / "mirror" / "GSE118767" / name
    source = open_counts("dense_text", path, name=name, options=GENES_BY_CELLS)
    assert source.barcodes[:3] == ["A1", "A10", "A11"]
    assert source.features.ids[0] == "ENSG00000281131"
    assert sum(int(piece.values.sum()) for piece in source.triplets()) > 1e6
