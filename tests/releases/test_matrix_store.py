"""A study's matrix in pieces of any size."""

from __future__ import annotations

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import anndata
import numpy as np
import pytest
import zarr

from cellresponse.releases.layout import matrix_path
from cellresponse.releases.matrix_store import BLOCK, CHUNK, SHARD, fast_codecs, open_matrix
from cellresponse.releases.release import Release
from cellresponse.schema.errors import ReleaseError


def test_blocks_are_whole_chunks_of_whole_shards() -> None:
    assert SHARD % BLOCK == BLOCK % CHUNK == 0


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_blocks_hold_every_value_once(mini_release: Release, size: int) -> None:
    path = mini_release.folder / matrix_path("MINI1")
    store = open_matrix(path, name="MINI1")
    wanted = anndata.read_zarr(path).X
    offsets, indices, data = zip(*store.value_blocks(size), strict=True)
    assert list(offsets) == list(range(0, wanted.nnz, size))
    np.testing.assert_array_equal(np.concatenate(indices), wanted.indices)
    np.testing.assert_array_equal(np.concatenate(data), wanted.data)
    np.testing.assert_array_equal(store.indptr, wanted.indptr)


def test_rows(mini_release: Release) -> None:
    path = mini_release.folder / matrix_path("MINI2")
    store = open_matrix(path, name="MINI2")
    wanted = anndata.read_zarr(path).X
    for start, stop in ((0, store.shape[0]), (3, 9), (5, 5)):
        rows, part = store.rows(start, stop), wanted[start:stop]
        np.testing.assert_array_equal(rows.lengths, np.diff(part.indptr))
        np.testing.assert_array_equal(rows.indices, part.indices)
        np.testing.assert_array_equal(rows.data, part.data)


@pytest.mark.parametrize("lost", ["X/zarr.json", "X/data/zarr.json", "zarr.json"])
def test_not_a_matrix(mini_release: Release, tmp_path: Path, lost: str) -> None:
    path = tmp_path / "m.zarr"
    shutil.copytree(mini_release.folder / matrix_path("MINI1"), path)
    (path / lost).unlink()
    with pytest.raises(ReleaseError, match="is not a matrix"):
        open_matrix(path, name="m.zarr")


def test_fast_codecs_of_several_threads_leave_no_setting() -> None:
    """The first thread to enter leaves before the second: the setting must not stay behind."""
    plain = zarr.config.get("codec_pipeline.path")
    with fast_codecs():
        fast = zarr.config.get("codec_pipeline.path")
    entered, may_leave = threading.Event(), threading.Event()

    def second() -> str:
        with fast_codecs():
            entered.set()
            may_leave.wait()
            return str(zarr.config.get("codec_pipeline.path"))

    with ThreadPoolExecutor(1) as pool:
        with fast_codecs():
            running = pool.submit(second)
            entered.wait()
        may_leave.set()
        assert running.result() == fast != plain
    assert zarr.config.get("codec_pipeline.path") == plain
