"""The loaders that the benchmark compares, over the same cells, block and batch sizes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import anndata
import numpy as np
import scipy.sparse as sp
import zarr

import cellresponse
from cellresponse.releases.loading.opening import Reading, open_loader
from cellresponse.releases.loading.shuffle import shuffle
from cellresponse.releases.matrix_store import fast_codecs
from cellresponse.releases.tasks import tasks

SEED = 0


class Sizes(NamedTuple):
    """Cells a batch, cells a block, rows in memory."""

    batch: int
    block: int
    rows: int


def prepare(release: Path, folder: Path) -> None:
    """Write what the ways read, unless it is there: all hold the cells of the release."""
    opened = cellresponse.load(release)
    if not (folder / "shuffled").exists():
        shuffle(opened, folder / "shuffled")
    if not (folder / "annbatch.zarr").exists():
        _annbatch_store(release, folder / "annbatch.zarr")
    if not (folder / "cells.h5ad").exists():
        cells = anndata.concat(
            [anndata.read_zarr(path) for path in sorted((release / "matrices").iterdir())]
        )
        for column in cells.obs.columns.drop("sample_id"):
            del cells.obs[column]
        cells.write_h5ad(folder / "cells.h5ad")
        for name in ("data", "indices", "indptr"):
            np.save(folder / f"{name}.npy", getattr(cells.X, name))


def _annbatch_store(release: Path, path: Path) -> None:
    from annbatch import DatasetCollection

    def load(source: Any) -> Any:
        lazy = anndata.experimental.read_lazy(source)
        obs = lazy.obs.to_memory()[["sample_id"]]
        return anndata.AnnData(X=lazy.X, obs=obs, var=lazy.var.to_memory()[[]])

    with fast_codecs():
        DatasetCollection(str(path)).add_adatas(
            sorted((release / "matrices").iterdir()),
            load_adata=load,
            dataset_size="2GB",
            rng=np.random.default_rng(SEED),
        )


def ours(release: Path, _: Path, sizes: Sizes, shuffled: Path | None = None) -> Iterator[Any]:
    """The loader over the release itself: counts, four labels and the id of each cell."""
    opened = cellresponse.load(release)
    task = max(tasks(opened, track="pooled"), key=lambda one: one.n_sensitive + one.n_resistant)
    reading = Reading(
        batch_size=sizes.batch,
        seed=SEED,
        block_size=sizes.block,
        rows_in_memory=sizes.rows,
        shuffled=shuffled,
    )
    loader = open_loader(opened, task.cells(opened), reading)
    return (batch.X for batch in loader)


def ours_shuffled(release: Path, folder: Path, sizes: Sizes) -> Iterator[Any]:
    """The loader over the shuffled copy."""
    return ours(release, folder, sizes, folder / "shuffled")


def annbatch_own(_: Path, folder: Path, sizes: Sizes) -> Iterator[Any]:
    """Annbatch over its own pre-shuffled store, in its default chunks; one label as obs."""
    from annbatch import DatasetCollection

    with fast_codecs():
        loader = _annbatch(sizes)
        loader.use_collection(DatasetCollection(str(folder / "annbatch.zarr"), mode="r"))
    return _fast(loader)


def annbatch_release(release: Path, _: Path, sizes: Sizes) -> Iterator[Any]:
    """Annbatch over the matrices of the release; no labels."""
    loader = _annbatch(sizes)
    for path in sorted((release / "matrices").iterdir()):
        loader.add_dataset(anndata.io.sparse_dataset(zarr.open_group(path, mode="r")["X"]))
    return _fast(loader)


def _annbatch(sizes: Sizes) -> Any:
    from annbatch import Loader

    return Loader(
        batch_size=sizes.batch,
        chunk_size=sizes.block,
        preload_nchunks=sizes.rows // sizes.block,
        shuffle=True,
        rng=np.random.default_rng(SEED),
        preload_to_gpu=False,
    )


def _fast(loader: Any) -> Iterator[Any]:
    """Open the arrays with the Rust codecs, as annbatch advises."""
    batches = iter(loader)
    with fast_codecs():
        first = next(batches)
    yield first["X"]
    for batch in batches:
        yield batch["X"]


def scdataset(_: Path, folder: Path, sizes: Sizes) -> Iterator[Any]:
    """ScDataset over a backed h5ad, its batches kept sparse."""
    from scdataset import BlockShuffling, scDataset

    cells = anndata.read_h5ad(folder / "cells.h5ad", backed="r")
    return iter(
        scDataset(
            cells,
            BlockShuffling(block_size=sizes.block),
            batch_size=sizes.batch,
            fetch_factor=sizes.rows // sizes.batch,
            fetch_callback=lambda collection, rows: collection.X[rows],
            seed=SEED,
        )
    )


def annloader(_: Path, folder: Path, sizes: Sizes) -> Iterator[Any]:
    """Anndata's AnnLoader over a backed h5ad: single cells at random."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # anndata deprecates it
        from anndata.experimental import AnnLoader

        cells = anndata.read_h5ad(folder / "cells.h5ad", backed="r")
        loader = AnnLoader(cells, batch_size=sizes.batch, shuffle=True, convert=None)
    return (batch.X for batch in loader)


def h5ad(_: Path, folder: Path, sizes: Sizes) -> Iterator[Any]:
    """A backed h5ad, rows of each batch drawn at random and read in order."""
    cells = anndata.read_h5ad(folder / "cells.h5ad", backed="r")
    order = np.random.default_rng(SEED).permutation(cells.n_obs)
    for start in range(0, len(order), sizes.batch):
        yield cells.X[np.sort(order[start : start + sizes.batch])]


def memory_map(_: Path, folder: Path, sizes: Sizes) -> Iterator[Any]:
    """Uncompressed CSR through a memory map: blocks at random, shuffled in memory; the limit."""
    data, indices, indptr = (
        np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("data", "indices", "indptr")
    )
    stream = np.random.default_rng(SEED)
    genes = anndata.read_h5ad(folder / "cells.h5ad", backed="r").n_vars
    starts = stream.permutation(np.arange(0, len(indptr) - 1, sizes.block))
    for first in range(0, len(starts), sizes.rows // sizes.block):
        chosen = starts[first : first + sizes.rows // sizes.block]
        spans = [(start, min(start + sizes.block, len(indptr) - 1)) for start in chosen]
        values = [slice(indptr[start], indptr[stop]) for start, stop in spans]
        lengths = np.concatenate([np.diff(indptr[start : stop + 1]) for start, stop in spans])
        borders = np.concatenate(([0], np.cumsum(lengths))).astype(np.int32)
        load = sp.csr_matrix(
            (
                np.concatenate([data[span] for span in values]),
                np.concatenate([indices[span] for span in values]),
                borders,
            ),
            shape=(len(lengths), genes),
        )
        order = stream.permutation(len(lengths))
        for start in range(0, len(order), sizes.batch):
            yield load[order[start : start + sizes.batch]]


WAYS: dict[str, Callable[[Path, Path, Sizes], Iterator[Any]]] = {
    "ours, release": ours,
    "ours, shuffled copy": ours_shuffled,
    "annbatch, own store": annbatch_own,
    "annbatch, release": annbatch_release,
    "scDataset, h5ad": scdataset,
    "AnnLoader, h5ad": annloader,
    "h5ad backed": h5ad,
    "memory-mapped CSR": memory_map,
}
