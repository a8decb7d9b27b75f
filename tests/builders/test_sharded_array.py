"""What is appended in any pieces is read by zarr's own codecs and by the Rust ones."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from cellresponse.builders import sharded_array
from cellresponse.builders.sharded_array import ShardedArray
from cellresponse.releases.matrix_store import fast_codecs

CHUNK, SHARD = 8, 32


def written(folder: Path, pieces: list[np.ndarray]) -> None:
    group = zarr.open_group(folder, mode="w", zarr_format=3)
    array = ShardedArray(group, "values")
    for piece in pieces:
        array.append(piece)
    array.close()


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 40), max_size=6), st.integers(0, 2**32 - 1))
def test_any_pieces(lengths: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    pieces = [rng.integers(-(2**31), 2**31, length).astype(np.int32) for length in lengths]
    values = np.concatenate([np.empty(0, np.int32), *pieces])
    with TemporaryDirectory() as scratch, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sharded_array, "CHUNK", CHUNK)
        patch.setattr(sharded_array, "SHARD", SHARD)
        patch.setattr(sharded_array, "CHUNKS", SHARD // CHUNK)
        written(Path(scratch), pieces)
        files = sorted(path.name for path in Path(scratch, "values", "c").iterdir())
        assert files == [str(n) for n in range(-(-len(values) // SHARD))]
        plain = zarr.open_array(Path(scratch, "values"), mode="r")
        with fast_codecs():
            fast = zarr.open_array(Path(scratch, "values"), mode="r")
        for array in (plain, fast):
            assert array.shards == (SHARD,)
            np.testing.assert_array_equal(array[:], values)
            np.testing.assert_array_equal(array[3:-2], values[3:-2])


def test_bytes_do_not_depend_on_the_pieces(tmp_path: Path) -> None:
    values = np.arange(200_000, dtype=np.int32) % 977
    for name, count in (("one", 1), ("many", 13)):
        written(tmp_path / name, np.array_split(values, count))
    one, many = (
        {
            path.relative_to(tmp_path / name): path.read_bytes()
            for path in (tmp_path / name).rglob("c/*")
        }
        for name in ("one", "many")
    )
    assert one == many


def test_the_index_of_the_last_shard_names_its_own_chunks_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("CHUNK", CHUNK), ("SHARD", SHARD), ("CHUNKS", SHARD // CHUNK)):
        monkeypatch.setattr(sharded_array, name, value)
    written(tmp_path, [np.arange(SHARD + 1, dtype=np.int32)])
    data = (tmp_path / "values" / "c" / "1").read_bytes()
    index = np.frombuffer(data[-4 - 16 * SHARD // CHUNK : -4], "<u8").reshape(-1, 2)
    assert (index[1:] == sharded_array.NO_CHUNK).all()
    assert index[0, 0] == 0


def test_a_view_with_gaps(tmp_path: Path) -> None:
    values = np.arange(300_000, dtype=np.int32)
    written(tmp_path, [values[::2]])
    np.testing.assert_array_equal(zarr.open_array(tmp_path / "values", mode="r")[:], values[::2])
