"""The ways from the same source files to matrices that the benchmark compares."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import zarr
from inputs import Inputs
from numpy.typing import NDArray
from zarr.codecs import BloscCodec

from cellresponse.builders.build import BuildOptions, build
from cellresponse.releases.matrix_store import CHUNK, SHARD, fast_codecs
from cellresponse.schema.spec import ReleaseSpec

LZ4 = BloscCodec(cname="lz4", clevel=3, shuffle="shuffle")


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


def anndata_in_memory(inputs: Inputs, out: Path, _: int) -> None:
    """Read, bring onto the axis where it differs, concat, write with the settings that we use."""
    out.mkdir()
    axis = list(inputs.axis().ids)
    for study in inputs.studies():
        parts = []
        for path in inputs.files(study):
            read = _read_text(path) if path.suffix == ".csv" else anndata.read_h5ad(path)
            parts.append(read if list(read.var_names) == axis else _onto(read, axis))
        joined = anndata.concat(parts)
        del parts, read
        with fast_codecs():
            group = zarr.open_group(out / f"{study}.zarr", mode="w", zarr_format=3)
            anndata.experimental.write_dispatched(group, "/", joined, _write_sharded)


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
        dataset_kwargs = {"chunks": (CHUNK,), "shards": (SHARD,), "compressors": LZ4}
    write(group, key, element, dataset_kwargs=dataset_kwargs)


def anndata_on_disk(inputs: Inputs, out: Path, _: int) -> None:
    """`concat_on_disk` with its own settings; it takes no others, and does not reindex.

    It appends HDF5 data sets as they are, which the Rust codecs refuse, so zarr's own
    codecs run.
    """
    out.mkdir()
    for study in inputs.studies():
        anndata.experimental.concat_on_disk(inputs.files(study), out / f"{study}.zarr")


def limit(inputs: Inputs, out: Path, _: int) -> None:
    """Read the arrays, write them with the codecs that we use, read them once more."""
    out.mkdir()
    for study in inputs.studies():
        with fast_codecs(), ThreadPoolExecutor(2) as pool:
            group = zarr.open_group(out / f"{study}.zarr", mode="w", zarr_format=3)
            list(pool.map(lambda name: _copy(inputs.files(study), group, name), ("indices", "data")))


def _copy(files: list[Path], group: zarr.Group, name: str) -> None:
    pieces = list(_shards(files, name))
    length = sum(stop - start for _, start, stop, _ in pieces)
    array = group.create_array(
        name, shape=(length,), dtype="int32", chunks=(CHUNK,), shards=(SHARD,), compressors=LZ4
    )
    buffer = np.empty(min(SHARD, length), np.int32)
    written = filled = 0
    for path, start, stop, _ in pieces:
        with h5py.File(path) as file:
            buffer[filled : filled + stop - start] = file["X"][name][start:stop]
        filled += stop - start
        if filled == SHARD or written + filled == length:
            array[written : written + filled] = buffer[:filled]
            written, filled = written + filled, 0
    del buffer
    for start in range(0, length, SHARD):
        _ = array[start : start + SHARD]


def _shards(files: list[Path], name: str) -> Iterator[tuple[Path, int, int, int]]:
    """Yield the stretches of the files, none across the border of a shard."""
    offset = 0
    for path in files:
        with h5py.File(path) as file:
            length = file["X"][name].shape[0]
        start = 0
        while start < length:
            stop = min(length, start + SHARD - offset % SHARD)
            yield path, start, stop, offset
            offset += stop - start
            start = stop


WAYS = {
    "ours, 1 worker": (ours, 1),
    "ours, 2 workers": (ours, 2),
    "anndata in memory": (anndata_in_memory, 1),
    "anndata concat_on_disk": (anndata_on_disk, 1),
    "limit": (limit, 1),
}


def folder_bytes(folder: Path) -> tuple[int, int]:
    """Give bytes and files below a folder."""
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    return sum(sizes), len(sizes)


def remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
