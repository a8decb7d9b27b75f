"""Every reader gives back the matrix that was written, in any encoding of it."""

import gzip
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from cellresponse.builders.read import CellBlocks, CountSource, Triplets, hdf5, open_counts
from cellresponse.schema.errors import EvidenceError, Problems, SourceFileError

BARCODES = ["AAAC-1", "AAAG-1", "AACC-1", "AACG-1", "AAGG-1"]
GENES = ["ENSG1", "ENSG2", "TP53", "TP53"]  # feature ids may repeat


def dense(source: CountSource) -> np.ndarray:
    """Put a source's pieces together, cells by features, checking what they promise."""
    matrix = np.zeros((len(source.barcodes), len(source.features.ids)))
    if isinstance(source, CellBlocks):
        expected = 0
        for block in source.blocks():
            assert block.start == expected
            assert block.indptr.dtype == np.int64
            assert block.indices.dtype == np.int32
            assert block.indptr[0] == 0
            assert block.indptr[-1] == block.indices.size == block.data.size
            assert (block.data != 0).all()
            cells = block.start + np.repeat(np.arange(block.indptr.size - 1), np.diff(block.indptr))
            np.add.at(matrix, (cells, block.indices), block.data)
            expected += block.indptr.size - 1
        assert expected == len(source.barcodes)
        return matrix
    for piece in source.triplets():
        assert piece.cells.dtype == piece.features.dtype == np.int32
        assert (piece.values != 0).all()
        np.add.at(matrix, (piece.cells, piece.features), piece.values)
    return matrix


def frame(matrix: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(matrix, index=BARCODES, columns=GENES)


def write_anndata(path: Path, **given) -> None:
    obs = pd.DataFrame(index=pd.Index(BARCODES, dtype=object))
    var = pd.DataFrame({"gene_ids": ["E1", "E2", "E3", "E3"]}, index=["a", "b", "c", "d"])
    anndata.AnnData(obs=obs, var=var, **given).write_h5ad(path)


def write_tenx_h5(path: Path, matrix: np.ndarray, types=None, barcodes=None) -> None:
    compressed = scipy.sparse.csr_matrix(matrix)
    with h5py.File(path, "w") as file:
        group = file.create_group("matrix")
        for key in ("data", "indices", "indptr"):
            group[key] = getattr(compressed, key)
        group["shape"] = matrix.shape[::-1]
        group["barcodes"] = np.array(barcodes or BARCODES, dtype="S")
        features = group.create_group("features")
        features["id"] = np.array(GENES, dtype="S")
        features["name"] = np.array(["a", "b", "c", "d"], dtype="S")
        features["feature_type"] = np.array(types or ["Gene Expression"] * 4, dtype="S")


def write_tenx_v2(path: Path, matrix: np.ndarray, genomes=("hg19",)) -> None:
    compressed = scipy.sparse.csr_matrix(matrix)
    with h5py.File(path, "w") as file:
        for genome in genomes:
            group = file.create_group(genome)
            for key in ("data", "indices", "indptr"):
                group[key] = getattr(compressed, key)
            group["barcodes"] = np.array(BARCODES, dtype="S")
            group["genes"] = np.array(GENES, dtype="S")
            group["gene_names"] = np.array(["a", "b", "c", "d"], dtype="S")


def write_mtx(folder: Path, matrix: np.ndarray, features: list[str]) -> dict[str, Path]:
    rows, columns = np.nonzero(matrix.T)
    entries = [f"{r + 1} {c + 1} {matrix[c, r]:g}\n" for r, c in zip(rows, columns, strict=True)]
    text = "%%MatrixMarket matrix coordinate integer general\n%metadata\n"
    text += f"{matrix.shape[1]} {matrix.shape[0]} {len(entries)}\n" + "".join(entries)
    parts = {
        "matrix.mtx.gz": text,
        "barcodes.tsv.gz": "".join(f"{barcode}\n" for barcode in BARCODES),
        "features.tsv.gz": "".join(f"{line}\n" for line in features),
    }
    for name, content in parts.items():
        (folder / name).write_bytes(gzip.compress(content.encode()))
    return {name: folder / name for name in parts}


MTX = {"barcodes": "barcodes.tsv.gz", "features": "features.tsv.gz"}


@pytest.fixture
def matrix() -> np.ndarray:
    matrix = np.random.default_rng(7).poisson(0.7, (5, 4)).astype(np.int64)
    matrix[2] = 0  # an empty cell
    matrix[:, 1] = 0  # a gene without counts
    return matrix


@pytest.mark.parametrize("header", ["named", "r"])
@pytest.mark.parametrize("orientation", ["features_by_cells", "cells_by_features"])
@pytest.mark.parametrize("form", ["integers", "decimals", "quoted"])
def test_dense_text(tmp_path, matrix, orientation, header, form):
    table = frame(matrix) if orientation == "cells_by_features" else frame(matrix).T
    if form == "decimals":
        table = table.astype(float)
    quoting = 1 if form == "quoted" else 0
    text = table.to_csv(quoting=quoting)
    if header == "r":
        text = text.split(",", 1)[1]
    path = tmp_path / "counts.csv"
    path.write_text(text)
    source = open_counts(
        "dense_text", path, name="counts.csv", options={"orientation": orientation}
    )
    assert source.barcodes == BARCODES
    assert source.features.ids == GENES
    assert isinstance(source, CellBlocks if orientation == "cells_by_features" else Triplets)
    np.testing.assert_array_equal(dense(source), matrix)
    np.testing.assert_array_equal(dense(source), matrix)  # a source can be read again


@pytest.mark.parametrize("layer", ["X", "raw/X", "layers/counts"])
@pytest.mark.parametrize("encoding", ["csr", "csc", "dense"])
@pytest.mark.parametrize("nullable", [False, True])
def test_h5ad(tmp_path, matrix, layer, encoding, nullable, monkeypatch):
    monkeypatch.setattr(anndata.settings, "allow_write_nullable_strings", nullable)
    stored = matrix.astype(np.float32)
    if encoding != "dense":
        stored = getattr(scipy.sparse, f"{encoding}_matrix")(stored)
    path = tmp_path / "cells.h5ad"
    if layer == "X":
        write_anndata(path, X=stored)
    elif layer == "layers/counts":
        write_anndata(path, X=-matrix, layers={"counts": stored})
    else:
        var = pd.DataFrame(index=["a", "b", "c", "d"])
        obs = pd.DataFrame(index=BARCODES)
        data = anndata.AnnData(X=stored, obs=obs, var=var)
        data.raw = data
        data.X = scipy.sparse.csr_matrix(-matrix)
        data.write_h5ad(path)
    source = open_counts("h5ad", path, name="cells.h5ad", options={"layer": layer})
    assert isinstance(source, Triplets if encoding == "csc" else CellBlocks)
    assert source.barcodes == BARCODES
    assert source.features.ids == ["a", "b", "c", "d"]
    np.testing.assert_array_equal(dense(source), matrix)


@pytest.mark.parametrize("categorical", [False, True])
def test_h5ad_id_column(tmp_path, matrix, categorical):
    path = tmp_path / "cells.h5ad"
    var = pd.DataFrame({"gene_ids": ["E1", "E2", "E3", "E3"]}, index=["a", "b", "c", "d"])
    if categorical:
        var = var.astype("category")
    anndata.AnnData(matrix, obs=pd.DataFrame(index=BARCODES), var=var).write_h5ad(path)
    source = open_counts("h5ad", path, name="cells.h5ad", options={"id_column": "gene_ids"})
    assert source.features.ids == ["E1", "E2", "E3", "E3"]
    assert source.features.names == ["a", "b", "c", "d"]


def test_10x_h5(tmp_path, matrix):
    write_tenx_h5(tmp_path / "m.h5", matrix)
    source = open_counts("10x_h5", tmp_path / "m.h5", name="m.h5")
    assert (source.barcodes, source.features.ids) == (BARCODES, GENES)
    assert source.features.names == ["a", "b", "c", "d"]
    assert source.dropped_features == {}
    np.testing.assert_array_equal(dense(source), matrix)


def test_10x_h5_keeps_gene_expression(tmp_path, matrix):
    types = ["Gene Expression", "Antibody Capture", "Gene Expression", "CRISPR Guide Capture"]
    write_tenx_h5(tmp_path / "m.h5", matrix, types)
    source = open_counts("10x_h5", tmp_path / "m.h5", name="m.h5")
    assert source.features.ids == [GENES[0], GENES[2]]
    assert source.dropped_features == {"Antibody Capture": 1, "CRISPR Guide Capture": 1}
    np.testing.assert_array_equal(dense(source), matrix[:, [0, 2]])


def test_10x_h5_version_2(tmp_path, matrix):
    write_tenx_v2(tmp_path / "m.h5", matrix)
    source = open_counts("10x_h5", tmp_path / "m.h5", name="m.h5")
    np.testing.assert_array_equal(dense(source), matrix)
    write_tenx_v2(tmp_path / "two.h5", matrix, ["hg19", "mm10"])
    source = open_counts("10x_h5", tmp_path / "two.h5", name="m.h5", options={"genome": "mm10"})
    np.testing.assert_array_equal(dense(source), matrix)
    for options in ({}, {"genome": "mm9"}):
        with pytest.raises(EvidenceError, match=r"m\.h5.*genome.*Allowed: hg19, mm10"):
            open_counts("10x_h5", tmp_path / "two.h5", name="m.h5", options=options)


@pytest.mark.parametrize("columns", [1, 2, 3])
def test_10x_mtx(tmp_path, matrix, columns):
    lines = ["\t".join([gene, gene.lower(), "Gene Expression"][:columns]) for gene in GENES]
    companions = write_mtx(tmp_path, matrix, lines)
    source = open_counts(
        "10x_mtx",
        tmp_path / "matrix.mtx.gz",
        name="matrix.mtx.gz",
        options=MTX,
        companions=companions,
    )
    assert (source.barcodes, source.features.ids) == (BARCODES, GENES)
    assert source.features.names == (None if columns == 1 else [g.lower() for g in GENES])
    np.testing.assert_array_equal(dense(source), matrix)


def test_10x_mtx_keeps_gene_expression(tmp_path, matrix):
    types = ["Antibody Capture", "Gene Expression", "Gene Expression", "Gene Expression"]
    lines = [f"{gene}\t{gene}\t{kind}" for gene, kind in zip(GENES, types, strict=True)]
    companions = write_mtx(tmp_path, matrix, lines)
    path = companions["matrix.mtx.gz"]
    source = open_counts("10x_mtx", path, name="m", options=MTX, companions=companions)
    assert source.dropped_features == {"Antibody Capture": 1}
    np.testing.assert_array_equal(dense(source), matrix[:, 1:])
    options = MTX | {"feature_types": ["Peaks"]}
    with pytest.raises(EvidenceError, match="Allowed: Antibody Capture, Gene Expression"):
        open_counts("10x_mtx", path, name="m", options=options, companions=companions)


@given(
    matrix=arrays.arrays(
        np.int32,
        st.tuples(st.integers(1, 12), st.integers(1, 9)),
        elements=st.integers(0, 3) | st.integers(0, 2**31 - 1),
    ),
    size=st.integers(1, 12),
)
@settings(deadline=None, max_examples=60)
def test_pieces_of_any_size_hold_the_matrix(matrix, size):
    """Blocks and triplets cover a compressed matrix whatever the size of a piece."""
    with h5py.File("memory", "w", driver="core", backing_store=False) as file:
        for key, compressed in (
            ("csr", scipy.sparse.csr_matrix(matrix)),
            ("csc", scipy.sparse.csc_matrix(matrix)),
        ):
            for part in ("data", "indices", "indptr"):
                file[f"{key}/{part}"] = getattr(compressed, part)
        by_row = hdf5.compressed_matrix(file["csr"], *matrix.shape, name="m")
        by_column = hdf5.compressed_matrix(file["csc"], *matrix.shape[::-1], name="m")
        read = np.zeros(matrix.shape, dtype=np.int64)
        for block in hdf5.row_blocks(by_row, size):
            assert block.data.size <= max(size, matrix.shape[1])
            rows = block.start + np.repeat(np.arange(block.indptr.size - 1), np.diff(block.indptr))
            np.add.at(read, (rows, block.indices), block.data)
        np.testing.assert_array_equal(read, matrix)
        read[:] = 0
        for piece in hdf5.column_triplets(by_column, size):
            assert piece.values.size <= size
            np.add.at(read, (piece.cells, piece.features), piece.values)
        np.testing.assert_array_equal(read, matrix)


@given(
    matrix=arrays.arrays(
        np.float64,
        st.tuples(st.integers(1, 6), st.integers(1, 6)),
        elements=st.integers(-5, 5) | st.integers(0, 2**31) | st.floats(-1e6, 1e6),
    ),
    by_cells=st.booleans(),
)
@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_dense_text_gives_back_any_numbers(tmp_path, matrix, by_cells):
    table = pd.DataFrame(
        matrix,
        index=[f"cell,{i}" for i in range(matrix.shape[0])],  # quoted: holds the delimiter
        columns=[f'gene "{i}"' for i in range(matrix.shape[1])],
    )
    path = tmp_path / "counts.csv"
    (table if by_cells else table.T).to_csv(path)
    orientation = "cells_by_features" if by_cells else "features_by_cells"
    source = open_counts("dense_text", path, name="c.csv", options={"orientation": orientation})
    assert source.barcodes == table.index.tolist()
    assert source.features.ids == table.columns.tolist()
    np.testing.assert_array_equal(dense(source), matrix)


def test_explicit_zeros_are_dropped(tmp_path, matrix):
    stored = scipy.sparse.csr_matrix(matrix.astype(np.float32))
    stored.data[::2] = 0
    for encoding in ("csr", "csc"):
        path = tmp_path / f"{encoding}.h5ad"
        write_anndata(path, X=stored.asformat(encoding))
        source = open_counts("h5ad", path, name="m.h5ad")
        np.testing.assert_array_equal(dense(source), stored.toarray())


@pytest.mark.parametrize("reader", ["10x_h5", "h5ad"])
def test_truncated_hdf5(tmp_path, matrix, reader):
    whole = tmp_path / "whole"
    if reader == "h5ad":
        write_anndata(whole, X=scipy.sparse.csr_matrix(matrix))
    else:
        write_tenx_h5(whole, matrix)
    content = whole.read_bytes()
    cut = tmp_path / "cut.h5"
    for size in range(0, len(content) - 1, 997):
        cut.write_bytes(content[:size])
        with pytest.raises(SourceFileError, match=r"cut\.h5"):
            dense(open_counts(reader, cut, name="cut.h5"))


@pytest.mark.parametrize("reader", ["10x_h5", "h5ad"])
def test_not_hdf5(tmp_path, reader):
    path = tmp_path / "text.h5"
    path.write_text("gene,cell\nA,1\n")
    with pytest.raises(SourceFileError, match=r"text\.h5: the file is no HDF5 file"):
        open_counts(reader, path, name="text.h5")
    with pytest.raises(SourceFileError, match=r"gone\.h5: the file is missing"):
        open_counts(reader, tmp_path / "gone.h5", name="gone.h5")


def test_each_hdf5_reader_refuses_the_other_format(tmp_path, matrix):
    write_tenx_h5(tmp_path / "tenx.h5", matrix)
    write_anndata(tmp_path / "cells.h5ad", X=matrix)
    with pytest.raises(SourceFileError, match=r"the file has no group /obs.*right reader"):
        open_counts("h5ad", tmp_path / "tenx.h5", name="tenx.h5")
    with pytest.raises(SourceFileError, match="holds no Cell Ranger matrix"):
        open_counts("10x_h5", tmp_path / "cells.h5ad", name="cells.h5ad")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("indices", [9, 9], "points outside of the matrix"),
        ("indices", [0, 4], "points outside of the matrix"),
        ("indices", [-1, 0], "points outside of the matrix"),
        ("indptr", [0, 2, 1, 2, 2, 2], "do not fit each other"),
        ("indptr", [1, 2, 2, 2, 2, 2], "do not fit each other"),
        ("indptr", [0, 1, 3], "holds 2 rows or columns where the file names 5"),
        ("indptr", [0, 1, 2, 3, 4, 5], "do not fit each other"),
    ],
)
def test_inconsistent_matrix(tmp_path, key, value, message):
    path = tmp_path / "m.h5"
    matrix = np.zeros((5, 4), dtype=np.int64)
    matrix[0, :2] = 1
    write_tenx_h5(path, matrix)
    with h5py.File(path, "r+") as file:
        del file[f"matrix/{key}"]
        file[f"matrix/{key}"] = np.array(value)
    with pytest.raises(SourceFileError, match=message):
        dense(open_counts("10x_h5", path, name="m.h5"))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("data", [b"1", b"2"], "data holds values of type string, not numbers"),
        ("data", ["1", "2"], "data holds values of type string, not numbers"),
        ("data", [1 + 2j, 1], "data holds values of type complex128, not numbers"),
        ("indices", [0.0, 1.0], "indices holds values of type float64, not whole numbers"),
        ("indices", [False, True], "indices holds values of type bool, not whole numbers"),
        ("indptr", [0, 2.5, 2, 2, 2, 2], "indptr holds values of type float64, not whole numbers"),
        ("indptr", [b"0"] * 6, "indptr holds values of type string, not whole numbers"),
        ("indptr", 5, r"indptr is no column: its shape is \(\)"),
        ("indptr", [[0, 2, 2, 2, 2, 2]], r"indptr is no column: its shape is \(1, 6\)"),
        ("data", 5, "do not fit each other"),
        ("barcodes", [1 + 2j] * 5, "barcodes holds values of type complex128, not numbers"),
    ],
)
@pytest.mark.parametrize("reader", ["10x_h5", "h5ad"])
def test_parts_that_are_no_numbers(tmp_path, reader, key, value, message):
    path = tmp_path / "m.h5"
    matrix = np.zeros((5, 4), dtype=np.int64)
    matrix[0, :2] = 1
    if reader == "h5ad":
        write_anndata(path, X=scipy.sparse.csr_matrix(matrix))
    else:
        write_tenx_h5(path, matrix)
    place = {"10x_h5": f"matrix/{key}", "h5ad": f"X/{key}"}[reader]
    with h5py.File(path, "r+") as file:
        if reader == "h5ad" and key == "barcodes":
            place = f"obs/{file['obs'].attrs['_index']}"
            message = message.replace("barcodes", "_index")
        del file[place]
        file[place] = value
    with pytest.raises(SourceFileError, match=rf"^m\.h5: .*{message}"):
        open_counts(reader, path, name="m.h5")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.full((5, 4), b"1"), "/X holds values of type string, not numbers"),
        (np.full((5, 4), 1 + 1j), "/X holds values of type complex128, not numbers"),
        (7, r"X has shape \(\), but the file names 5 cells and 4 features"),
        (h5py.Empty("f4"), "the shape of X is not two whole numbers 'None'"),
    ],
)
def test_dense_matrix_that_is_none(tmp_path, matrix, value, message):
    path = tmp_path / "c.h5ad"
    write_anndata(path, X=matrix)
    with h5py.File(path, "r+") as file:
        del file["X"]
        file["X"] = value
    with pytest.raises(SourceFileError, match=rf"^c\.h5ad: {message}"):
        open_counts("h5ad", path, name="c.h5ad")


@pytest.mark.parametrize("shape", ["ab", [b"5", b"4"], 5, [5 + 0j, 4], h5py.Empty("i4")])
def test_shape_that_is_no_numbers(tmp_path, matrix, shape):
    path = tmp_path / "c.h5ad"
    write_anndata(path, X=scipy.sparse.csr_matrix(matrix))
    with h5py.File(path, "r+") as file:
        file["X"].attrs["shape"] = shape
    with pytest.raises(SourceFileError, match=r"^c\.h5ad: the shape of X is not two whole"):
        open_counts("h5ad", path, name="c.h5ad")


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        ([0.0, 1.0, 2.0, 2.0], "var/g/codes holds values of type float64, not whole numbers"),
        (1, r"var/g/codes is no column: its shape is \(\)"),
        ([0, 1, 2, 3], "var/g has a code without a category"),
        ([0, 1, -1, 2], "entry 3 of /var/g is missing"),
    ],
)
def test_categories_of_wrong_codes(tmp_path, matrix, codes, message):
    path = tmp_path / "c.h5ad"
    write_anndata(path, X=matrix)
    with h5py.File(path, "r+") as file:
        file["var/g/categories"] = np.array([b"E1", b"E2", b"E3"])
        file["var/g/codes"] = codes
    with pytest.raises(SourceFileError, match=message):
        open_counts("h5ad", path, name="c.h5ad", options={"id_column": "g"})


def write_column_of_0_7(path: Path, matrix: np.ndarray, codes: list[int]) -> None:
    write_anndata(path, X=matrix)
    with h5py.File(path, "r+") as file:
        file["var/__categories/g"] = np.array([b"E1", b"E2", b"E3"])
        file["var/g"] = np.array(codes, dtype=np.int8)
        file["var/g"].attrs["categories"] = file["var/__categories/g"].ref


def test_categories_of_anndata_0_7(tmp_path, matrix):
    path = tmp_path / "c.h5ad"
    write_column_of_0_7(path, matrix, [0, 1, 2, 2])
    source = open_counts("h5ad", path, name="c.h5ad", options={"id_column": "g"})
    assert source.features.ids == ["E1", "E2", "E3", "E3"]
    assert source.features.names == ["a", "b", "c", "d"]
    np.testing.assert_array_equal(dense(source), matrix)


def test_mistakes_in_categories_of_anndata_0_7(tmp_path, matrix):
    path = tmp_path / "c.h5ad"
    write_column_of_0_7(path, matrix, [0, -1, 2, 2])
    with pytest.raises(SourceFileError, match=r"c\.h5ad: entry 2 of /var/g is missing"):
        open_counts("h5ad", path, name="c.h5ad", options={"id_column": "g"})
    for broken in ("nothing", "a group", "text"):
        with h5py.File(path, "r+") as file:
            found = {"nothing": h5py.Reference(), "a group": file["var"].ref, "text": "E1"}
            file["var/g"].attrs["categories"] = found[broken]
        with pytest.raises(SourceFileError, match="/var/g holds codes, and refers to no categor"):
            open_counts("h5ad", path, name="c.h5ad", options={"id_column": "g"})


@pytest.mark.parametrize("table", ["obs", "var"])
def test_tables_of_anndata_before_0_7(tmp_path, matrix, table):
    path = tmp_path / "c.h5ad"
    write_anndata(path, X=matrix)
    with h5py.File(path, "r+") as file:
        names = BARCODES if table == "obs" else GENES
        del file[table]
        file[table] = np.array([(name,) for name in names], dtype=[("index", "S6")])
    with pytest.raises(SourceFileError) as caught:
        open_counts("h5ad", path, name="c.h5ad")
    assert str(caught.value) == (
        f"c.h5ad: the file was written by an anndata before 0.7: /{table} has a form that is not "
        "read. Read the file with anndata and write it again."
    )


def test_sparse_matrix_of_anndata_before_0_7(tmp_path, matrix):
    path = tmp_path / "c.h5ad"
    write_anndata(path, X=scipy.sparse.csr_matrix(matrix))
    with h5py.File(path, "r+") as file:
        attributes = file["X"].attrs
        del attributes["encoding-type"], attributes["shape"]
        attributes["h5sparse_format"], attributes["h5sparse_shape"] = "csr", matrix.shape
    with pytest.raises(SourceFileError, match=r"c\.h5ad: .* before 0\.7: /X has a form"):
        open_counts("h5ad", path, name="c.h5ad")


def test_raw_counts_have_features_of_their_own(tmp_path, matrix):
    """`var` of a subset beside `raw`: same number of features, others."""
    path = tmp_path / "c.h5ad"
    obs, var = pd.DataFrame(index=BARCODES), pd.DataFrame(index=["a", "b", "c", "d"])
    data = anndata.AnnData(X=matrix, obs=obs, var=var)
    data.raw = data
    data.var_names = ["b", "a", "d", "c"]
    data.write_h5ad(path)
    for layer, names in (("raw/X", "abcd"), ("X", "badc")):
        source = open_counts("h5ad", path, name="c.h5ad", options={"layer": layer})
        assert source.features.ids == list(names)


def test_a_missing_entry_of_a_nullable_column(tmp_path, matrix, monkeypatch):
    monkeypatch.setattr(anndata.settings, "allow_write_nullable_strings", True)
    path = tmp_path / "c.h5ad"
    write_anndata(path, X=matrix)
    with h5py.File(path, "r+") as file:
        anndata.io.write_elem(file["var"], "g", pd.array(["a", "b", None, "d"], "string"))
        assert "mask" in file["var/g"]
    with pytest.raises(SourceFileError, match=r"^c\.h5ad: entry 3 of /var/g is missing"):
        open_counts("h5ad", path, name="c.h5ad", options={"id_column": "g"})


@pytest.mark.parametrize("key", ["name", "feature_type"])
def test_feature_lists_of_several_lengths(tmp_path, matrix, key):
    path = tmp_path / "m.h5"
    write_tenx_h5(path, matrix)
    with h5py.File(path, "r+") as file:
        del file[f"matrix/features/{key}"]
        file[f"matrix/features/{key}"] = np.array(["Gene Expression"] * 3, dtype="S")
    with pytest.raises(SourceFileError, match="columns of the feature list differ in length"):
        open_counts("10x_h5", path, name="m.h5")


def test_repeated_barcode(tmp_path, matrix):
    barcodes = [*BARCODES[:4], BARCODES[1]]
    write_tenx_h5(tmp_path / "m.h5", matrix, barcodes=barcodes)
    with pytest.raises(SourceFileError, match=r"m\.h5: cells 2 and 5 have the same.*'AAAG-1'"):
        open_counts("10x_h5", tmp_path / "m.h5", name="m.h5")


def test_unknown_layer_and_column(tmp_path, matrix):
    path = tmp_path / "c.h5ad"
    write_anndata(path, X=matrix, layers={"counts": matrix})
    with pytest.raises(EvidenceError, match=r"'layers/raw'\. Allowed: X, layers/counts"):
        open_counts("h5ad", path, name="c.h5ad", options={"layer": "layers/raw"})
    with pytest.raises(EvidenceError, match="Allowed: X, layers/counts"):
        open_counts("h5ad", path, name="c.h5ad", options={"layer": "raw/X"})
    with pytest.raises(EvidenceError, match=r"options\.id_column.*'ids'. Allowed: .*gene_ids"):
        open_counts("h5ad", path, name="c.h5ad", options={"id_column": "ids"})


def test_unknown_reader_and_options(tmp_path):
    path = tmp_path / "c.csv"
    path.write_text("g,a\nx,1\n")
    with pytest.raises(EvidenceError, match=r"unknown reader 'rds'\. Allowed: dense_text, 10x_mtx"):
        open_counts("rds", path, name="c.csv")
    with pytest.raises(Problems) as caught:
        open_counts("dense_text", path, name="c.csv", options={"orientatoin": "x"})
    assert "options.orientation: the option is required" in str(caught.value)
    assert "Did you mean orientation?" in str(caught.value)
    with pytest.raises(EvidenceError, match=r"options\.orientation: the option does not fit"):
        open_counts("dense_text", path, name="c.csv", options={"orientation": "sideways"})
