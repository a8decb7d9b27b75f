"""The ways from the same source files to matrices that the benchmark compares."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import zarr
import zarrs  # noqa: F401 - loaded before the clock starts
from inputs import Inputs
from numpy.typing import NDArray

from cellresponse.builders.build import BuildOptions, build
from cellresponse.builders.sharded_array import COMPRESSOR, ShardedArray
from cellresponse.releases.canonical import file_sha256
from cellresponse.releases.content_hash import MatrixHash
from cellresponse.releases.matrix_store import BLOCK, CHUNK, SHARD, fast_codecs
from cellresponse.schema.spec import ReleaseSpec


def ours(inputs: Inputs, out: Path, workers: int) -> None:
    """Build a release as the command line does: checksums, QC, hash, verify, all of it."""
    spec = ReleaseSpec.model_validate(
        {
            "release": "bench",
            "schema_version": 1,
            "title": "Benchmark",
            "organisms": {
                "human": {
                    "genes": inputs.reference().model_dump(mode="json"),
                    "qc": {"min_genes": 200, "max_pct_mito": 20},
                }
            },
            "studies": {study: {"revision": 1} for study in inputs.studies()},
        }
    )
    options = BuildOptions(
        out=out,
        curation=inputs.folder / "curation",
        cache=inputs.folder / "cache",
        mirror=inputs.folder / "mirror",
        gtf=inputs.gtf(),
        workers=workers,
    )
    build(spec, options)


def anndata_sharded(inputs: Inputs, out: Path, _: int) -> None:
    """As `anndata_plain`, but written with the shards, codec and Rust pipeline that we use."""
    for study, joined in _joined(inputs):
        with fast_codecs():
            group = zarr.open_group(out / f"{study}.zarr", mode="w", zarr_format=3)
            anndata.experimental.write_dispatched(group, "/", joined, _write_sharded)


def anndata_plain(inputs: Inputs, out: Path, _: int) -> None:
    """Read, bring onto the axis where it differs, concat, `write_zarr`: no QC, hash or verify."""
    for study, joined in _joined(inputs):
        joined.write_zarr(out / f"{study}.zarr")


def _joined(inputs: Inputs) -> Iterator[tuple[str, Any]]:
    axis = list(inputs.axis().ids)
    for study in inputs.studies():
        parts = []
        for path in inputs.files(study):
            read = _read_text(path) if path.suffix == ".csv" else anndata.read_h5ad(path)
            parts.append(read if list(read.var_names) == axis else _onto(read, axis))
        joined = anndata.concat(parts, index_unique="-", keys=range(len(parts)))
        del parts, read
        yield study, joined


def _onto(read: Any, axis: list[str]) -> Any:
    """All genes of the axis, in its order; those that the file lacks hold nothing."""
    places = read.var_names.get_indexer(axis)
    matrix = read.X.tocsc()[:, places[places >= 0]].tocsr()
    columns = np.flatnonzero(places >= 0).astype(matrix.indices.dtype)
    shape = (read.n_obs, len(axis))
    whole = type(matrix)((matrix.data, columns[matrix.indices], matrix.indptr), shape=shape)
    return anndata.AnnData(whole, obs=read.obs, var={"gene_id": axis})


def _read_text(path: Path) -> Any:
    from scipy.sparse import csr_matrix

    read = anndata.io.read_csv(path).T
    read.X = csr_matrix(read.X)
    return read


def _write_sharded(
    write: Any, group: Any, key: str, element: Any, *, dataset_kwargs: Any, iospec: Any
) -> None:
    if iospec.encoding_type in ("csr_matrix", "csc_matrix"):
        dataset_kwargs = {"chunks": (CHUNK,), "shards": (SHARD,), "compressors": COMPRESSOR}
    write(group, key, element, dataset_kwargs=dataset_kwargs)


def anndata_on_disk(inputs: Inputs, out: Path, _: int) -> None:
    """`concat_on_disk` with its own settings; it takes no others, and does not reindex.

    It appends HDF5 data sets as they are, which the Rust codecs refuse, so zarr's own
    codecs run.
    """
    for study in inputs.studies():
        anndata.experimental.concat_on_disk(inputs.files(study), out / f"{study}.zarr")


def limit_zarr(inputs: Inputs, out: Path, _: int) -> None:
    """Read the arrays, write them with zarr's Rust codecs, read them once more."""
    _both(inputs, out, _write_with_zarr)


def limit_ours(inputs: Inputs, out: Path, _: int) -> None:
    """Read the arrays, write them with the encoder that we use, read them once more."""
    _both(inputs, out, _write_with_ours)


def limit_hashed(inputs: Inputs, out: Path, _: int) -> None:
    """As `limit_ours`, and every hash of a verified release, in the form that we use.

    Of the inputs; of the content, as written and as read back; of the files, to name them and
    to verify them.
    """

    def hash_all(files: Iterable[Path]) -> None:
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(file_sha256, files))

    hash_all(path for study in inputs.studies() for path in inputs.files(study))
    _both(inputs, out, _write_with_ours, hashed=True)
    for _ in range(2):
        hash_all(path for path in out.rglob("*") if path.is_file())


def _both(
    inputs: Inputs,
    out: Path,
    write: Callable[[Iterable[NDArray[np.int32]], zarr.Group, str], None],
    *,
    hashed: bool = False,
) -> None:
    """Copy indices and data side by side, in a thread each."""

    def hash_of(pieces: Iterable[NDArray[np.int32]], name: str) -> Iterator[NDArray[np.int32]]:
        state = MatrixHash()
        for piece in pieces:
            if hashed:
                state.update(**{name: piece})
            yield piece

    def copy(name: str) -> None:
        write(hash_of(_pieces(inputs.files(study), name), name), group, name)
        with fast_codecs():
            array = zarr.open_array(out / f"{study}.zarr" / name, mode="r")
        blocks = (array[at : at + BLOCK] for at in range(0, array.shape[0], BLOCK))
        for _ in hash_of(blocks, name):
            pass

    for study in inputs.studies():
        with fast_codecs(), ThreadPoolExecutor(2) as pool:
            group = zarr.open_group(out / f"{study}.zarr", mode="w", zarr_format=3)
            list(pool.map(copy, ("indices", "data")))


def _write_with_ours(pieces: Iterable[NDArray[np.int32]], group: zarr.Group, name: str) -> None:
    array = ShardedArray(group, name)
    for piece in pieces:
        array.append(piece)
    array.close()


def _write_with_zarr(pieces: Iterable[NDArray[np.int32]], group: zarr.Group, name: str) -> None:
    array = group.create_array(
        name, shape=(0,), dtype="int32", chunks=(CHUNK,), shards=(SHARD,), compressors=COMPRESSOR
    )
    buffer = np.empty(SHARD, np.int32)
    written = filled = 0

    def flush() -> None:
        array.resize((written + filled,))
        array[written:] = buffer[:filled]

    for piece in pieces:
        room = min(len(piece), SHARD - filled)
        buffer[filled : filled + room] = piece[:room]
        filled += room
        if filled == SHARD:
            flush()
            written, filled = written + SHARD, len(piece) - room
            buffer[:filled] = piece[room:]
    flush()


def _pieces(files: list[Path], name: str) -> Iterator[NDArray[np.int32]]:
    for path in files:
        with h5py.File(path) as file:
            values = file["X"][name]
            for start in range(0, values.shape[0], BLOCK):
                yield values[start : start + BLOCK].astype(np.int32, copy=False)


WAYS = {
    "ours, 1 worker": (ours, 1),
    "ours, 2 workers": (ours, 2),
    "anndata, write_zarr": (anndata_plain, 1),
    "anndata, our settings": (anndata_sharded, 1),
    "anndata, concat_on_disk": (anndata_on_disk, 1),
    "limit, zarr's codecs": (limit_zarr, 1),
    "limit, our encoder": (limit_ours, 1),
    "limit, and hashes": (limit_hashed, 1),
}


TEXT_WAYS = [way for way in WAYS if not way.startswith(("anndata, concat", "limit"))]
"""Ways that read text; the others take HDF5 only."""


def folder_bytes(folder: Path) -> tuple[int, int]:
    """Give bytes and files below a folder."""
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    return sum(sizes), len(sizes)


def remove(folder: Path) -> None:
    """Remove a folder, there or not."""
    shutil.rmtree(folder, ignore_errors=True)
