"""Mistakes in Matrix Market files and their lists."""

import pytest

from cellresponse.builders.read import open_counts
from cellresponse.schema.errors import EvidenceError, SourceFileError

BANNER = "%%MatrixMarket matrix coordinate integer general\n"
OPTIONS = {"barcodes": "b.tsv", "features": "f.tsv"}


@pytest.fixture
def read(tmp_path):
    def read(matrix, barcodes="c1\nc2\nc3\n", features="g1\tA\ng2\tB\n", options=OPTIONS):
        paths = {}
        for name, text in (("m.mtx", matrix), ("b.tsv", barcodes), ("f.tsv", features)):
            paths[name] = tmp_path / name
            paths[name].write_text(text)
        source = open_counts(
            "10x_mtx", paths["m.mtx"], name="m.mtx", options=options, companions=paths
        )
        return [
            (int(cell), int(feature), value.item())
            for piece in source.triplets()
            for cell, feature, value in zip(*piece, strict=True)
        ]

    return read


def test_whole_file(read):
    assert read(BANNER + "2 3 2\n1 1 5\n2 3 7\n") == [(0, 0, 5), (2, 1, 7)]


@pytest.mark.parametrize(
    "entries", ["1\t1  5\n2 3\t7 \n", "1 1 5\r\n\r\n2 3 7\r\n", "1 1 5\n2 3 7"]
)
def test_any_white_space(read, entries):
    assert read(BANNER + "%note\n2 3 2\n" + entries) == [(0, 0, 5), (2, 1, 7)]


def test_real_values_and_zeros(read):
    banner = BANNER.replace("integer", "real")
    assert read(banner + "2 3 3\n1 1 5.5\n1 2 0\n2 3 1e3\n") == [(0, 0, 5.5), (2, 1, 1000)]


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        ("", r"m\.mtx, row 1: the first line announces no matrix"),
        ("g,c1\nA,1\n", "the first line announces no matrix"),
        (BANNER.replace("coordinate", "array") + "2 3\n", "announces no matrix"),
        (BANNER.replace("integer", "pattern") + "2 3 0\n", "announces no matrix"),
        (BANNER.replace("general", "symmetric") + "2 3 0\n", "announces no matrix"),
        (BANNER, "ends before the sizes"),
        (BANNER + "2 3\n", "row 2: the sizes of the matrix cannot be read '2 3'"),
        (BANNER + "2 4 0\n", r"2 rows and 4 columns, but f\.tsv lists 2 features and b\.tsv 3"),
        (BANNER + "3 2 0\n", "The matrix is cells by features"),
        (BANNER + "2 3 2\n1 1 5\n", "1 entries where its header announces 2"),
        (BANNER + "2 3 1\n1 1 5\n1 2 5\n", "2 entries where its header announces 1"),
        (
            BANNER + "2 3 2\n1 1 5\n3 1 5\n",
            "row 4: the entry's row lies outside.*3. Allowed: 1 to 2",
        ),
        (BANNER + "2 3 2\n\n1 1 5\n1 0 5\n", "row 5: the entry's column lies outside"),
        (BANNER + "2 3 1\n1 99999999999 5\n", "row 3: the entry's column lies outside"),
        (BANNER + "2 3 2\n1 1 5\n1 x 5\n", "row 4: the line is no entry of a matrix '1 x 5'"),
        (BANNER + "2 3 2\n1 1 5\n1 1\n", "row 4: the line is no entry of a matrix '1 1'"),
        (BANNER + "2 3 2\n1 1 5\n1 1 NA\n", "row 4: the line is no entry of a matrix"),
        *(
            (BANNER + f"2 3 2\n1 1 5\n{entry}\n", f"row 4: the line is no entry .* '{entry}'")
            for entry in ("1 1 1_000", "1 2_0 1", "1 1 0x10", "1 1 0X1", "0x1 1 1")
        ),
    ],
)
def test_mistakes(read, matrix, message):
    with pytest.raises(SourceFileError, match=message):
        read(matrix)


@pytest.mark.parametrize(
    ("features", "row", "fields", "expected"),
    [
        ("g1\tA\tGene Expression\n\ng2\tB\ng3\tC\tAntibody Capture\n", 3, 2, 3),
        ("g1\ng2\tB\tGene Expression\ng3\tC\tGene Expression\n", 1, 1, 3),
        ("g1\tA\ng2\tB\tGene Expression\ng3\tC\n", 2, 3, 2),
    ],
)
def test_features_with_a_short_line(read, features, row, fields, expected):
    matrix = BANNER + "3 3 1\n1 1 5\n"
    with pytest.raises(SourceFileError) as caught:
        read(matrix, features=features)
    assert str(caught.value).startswith(
        f"f.tsv, row {row}: the line has {fields} fields where {expected} are expected."
    )


def test_what_follows_the_feature_type_may_be_missing(read):
    features = "g1\tA\tPeaks\tchr1\t1\t2\ng2\tB\tGene Expression\n"
    assert read(BANNER + "2 3 2\n1 1 5\n2 3 7\n", features=features) == [(2, 0, 7)]


def test_mistakes_in_lists(read):
    good = BANNER + "2 3 1\n1 1 5\n"
    with pytest.raises(SourceFileError, match=r"b\.tsv: cells 1 and 3 have the same barcode 'c1'"):
        read(good, barcodes="c1\nc2\nc1\n")
    with pytest.raises(SourceFileError, match=r"f\.tsv: the list is empty"):
        read(good, features="")
    with pytest.raises(EvidenceError, match=r"options\.barcodes.*'x\.tsv'. Allowed: b\.tsv"):
        read(good, options=OPTIONS | {"barcodes": "x.tsv"})
