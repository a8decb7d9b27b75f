"""A written matrix is what anndata reads, and its hash is that of its rows."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from cellresponse.builders import matrix_writer
from cellresponse.builders.genes import gene_axis
from cellresponse.builders.matrix_writer import MatrixWriter
from cellresponse.builders.sharded_array import ShardedArray
from cellresponse.releases.content_hash import MatrixHash
from cellresponse.releases.matrix_store import open_matrix

AXIS = gene_axis(
    "human", [(f"ENSG{n:011d}", f"N{n}", "MT" if n == 3 else "1") for n in range(7)], "MT", name="t"
)


def rows(cells: int, seed: int) -> sp.csr_array:
    rng = np.random.default_rng(seed)
    shape = (cells, len(AXIS))
    return sp.csr_array((rng.integers(0, 9, shape) * rng.integers(0, 2, shape)).astype(np.int32))


def written(path: Path, pieces: list[sp.csr_array]) -> tuple[str, int]:
    cells = sum(piece.shape[0] for piece in pieces)
    obs = pd.DataFrame({"n": np.arange(cells)}, index=[f"cell{n}" for n in range(cells)])
    with MatrixWriter(path, AXIS) as writer:
        for piece in pieces:
            writer.append(piece)
        return writer.finish(obs), writer.total


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(0, 12), max_size=5), st.integers(0, 2**32 - 1))
def test_any_pieces(lengths: list[int], seed: int) -> None:
    whole = rows(sum(lengths), seed)
    pieces = [whole[a:b] for a, b in pairwise([0, *np.cumsum(lengths).tolist()])]
    hashed = MatrixHash()
    hashed.update(lengths=np.diff(whole.indptr), indices=whole.indices, data=whole.data)
    with TemporaryDirectory() as scratch:
        path = Path(scratch) / "m.zarr"
        assert written(path, pieces) == (hashed.hexdigest(whole.shape), whole.sum())
        store = open_matrix(path, name="m")
        assert store.shape == whole.shape
        np.testing.assert_array_equal(store.indptr, whole.indptr)
        np.testing.assert_array_equal(store.indices[:], whole.indices)
        np.testing.assert_array_equal(store.data[:], whole.data)


def test_anndata_reads_it(tmp_path: Path) -> None:
    whole = rows(20, 1)
    written(tmp_path / "m.zarr", [whole[:7], whole[7:]])
    read = anndata.read_zarr(tmp_path / "m.zarr")
    np.testing.assert_array_equal(read.X.toarray(), whole.toarray())
    assert read.X.indptr.dtype == read.X.indices.dtype == read.X.data.dtype == np.int32
    assert list(read.var_names) == list(AXIS.ids)
    assert list(read.var["gene_name"]) == list(AXIS.names)
    assert list(read.var["contig"]) == list(AXIS.contigs)
    assert list(read.obs["n"]) == list(range(20))


def test_a_failed_write_is_told(tmp_path: Path) -> None:
    with MatrixWriter(tmp_path / "m.zarr", AXIS) as writer:
        writer.append(rows(3, 1))
        writer._run()
        writer._indices._shard = None
        (tmp_path / "m.zarr/X/indices/c").rmdir()
        with pytest.raises(FileNotFoundError):
            writer.finish(pd.DataFrame(index=["a", "b", "c"]))


def test_a_write_that_fails_in_its_thread_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ShardedArray, "append", full)
    with MatrixWriter(tmp_path / "m.zarr", AXIS) as writer:
        writer.append(rows(3, 1))
        with pytest.raises(OSError, match="No space left"):
            writer.finish(pd.DataFrame(index=["a", "b", "c"]))


@pytest.mark.parametrize(("values", "dtype"), [(10**6, np.int32), (3, np.int64)])
def test_indptr_is_wide_only_where_it_has_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, values: int, dtype: type
) -> None:
    monkeypatch.setattr(matrix_writer, "INT32_VALUES", values)
    whole = rows(20, 1)
    written(tmp_path / "m.zarr", [whole])
    indptr = zarr.open_group(tmp_path / "m.zarr", mode="r")["X/indptr"][:]
    assert indptr.dtype == dtype
    np.testing.assert_array_equal(indptr, whole.indptr)


def test_an_existing_store_is_left_alone(tmp_path: Path) -> None:
    written(tmp_path / "m.zarr", [rows(2, 1)])
    with pytest.raises(FileExistsError):
        MatrixWriter(tmp_path / "m.zarr", AXIS)
