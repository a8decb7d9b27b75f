"""Read a study's count matrix (AnnData, Zarr v3, sharded CSR) in bounded pieces."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.abc.store import Store

from cellresponse.schema.errors import ReleaseError

__all__ = ["CHUNK", "SHARD", "MatrixStore", "Rows", "fast_codecs", "open_matrix"]

# Measured (docs/decisions/storage.md): 64 Ki elements a chunk read fast at random, 32 Mi a shard
# keep a hundred million cells near six thousand files.
CHUNK = 64 * 1024
SHARD = 32 * 1024 * 1024
# Whole chunks, so that none is decoded twice, and small enough that the allocator keeps the
# memory: fresh pages for every shard cost as much as decoding it.
BLOCK = 32 * CHUNK


@contextmanager
def fast_codecs() -> Iterator[None]:
    """Use the Rust codec pipeline for arrays opened inside, and for them only.

    zarr picks the pipeline when an array is opened. Setting it for the whole process
    would change how a user's own stores are read. Threads may be inside at once. In a
    process that was forked from one that used the Rust codecs, their threads are missing:
    zarr's own codecs are used there.
    """
    _PIPELINE.enter()
    try:
        yield
    finally:
        _PIPELINE.leave()


class _Pipeline:
    """The setting, which is the process's: made by the first thread, undone by the last."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._inside = 0
        self._setting = ExitStack()
        self._used = self._threads_lost = False

    def enter(self) -> None:
        import zarrs  # noqa: F401 - registers the pipeline

        with self._lock:
            if self._inside == 0 and not self._threads_lost:
                setting = {"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"}
                self._setting.enter_context(zarr.config.set(setting))
                self._used = True
            self._inside += 1

    def leave(self) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._setting.close()

    def forked(self) -> None:
        """Begin anew in a forked process: no other thread is inside, or holds the lock."""
        self._setting.close()
        threads_lost = self._used or self._threads_lost
        self.__init__()  # type: ignore[misc]
        self._threads_lost = threads_lost


_PIPELINE = _Pipeline()
os.register_at_fork(after_in_child=_PIPELINE.forked)


@dataclass(frozen=True)
class Rows:
    """Consecutive cells in compressed rows.

    Attributes
    ----------
    lengths
        int64, shape (cells,): values of each cell.
    indices
        int32, shape (values,): positions on the gene axis, rising within a cell.
    data
        int32, shape (values,): counts, all above zero.
    """

    lengths: NDArray[np.int64]
    indices: NDArray[np.int32]
    data: NDArray[np.int32]


@dataclass(frozen=True)
class MatrixStore:
    """An open matrix.

    Attributes
    ----------
    name
        For messages.
    shape
        Cells, genes.
    indptr
        int64, shape (cells + 1,), held in memory.
    indices, data
        Zarr arrays of shape (values,).
    """

    name: str
    shape: tuple[int, int]
    indptr: NDArray[np.int64]
    indices: zarr.Array[Any]
    data: zarr.Array[Any]

    def rows(self, start: int, stop: int) -> Rows:
        """Read the cells start to stop."""
        low, high = int(self.indptr[start]), int(self.indptr[stop])
        return Rows(
            np.diff(self.indptr[start : stop + 1]),
            np.asarray(self.indices[low:high]),
            np.asarray(self.data[low:high]),
        )

    def value_blocks(self, size: int = BLOCK) -> Generator[tuple[int, Any, Any]]:
        """Yield (offset, indices, data) of at most `size` values."""
        total = int(self.indptr[-1])
        for low in range(0, total, size):
            high = min(low + size, total)
            yield low, np.asarray(self.indices[low:high]), np.asarray(self.data[low:high])


def open_matrix(place: Path | Store, *, name: str) -> MatrixStore:
    """Open `matrices/<study>.zarr`.

    Parameters
    ----------
    place
        Its folder, or a Zarr store of it elsewhere.
    name
        For messages.

    Raises
    ------
    ReleaseError
        The folder is not such a store.
    """
    try:
        # The Rust pipeline reads folders only.
        with fast_codecs() if isinstance(place, Path) else nullcontext():
            group = zarr.open_group(place, mode="r", zarr_format=3)
            counts: Any = group["X"]
            cells, genes = (int(n) for n in counts.attrs["shape"])
            indptr = np.asarray(counts["indptr"][:]).astype(np.int64)
            return MatrixStore(name, (cells, genes), indptr, counts["indices"], counts["data"])
    except (OSError, KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise ReleaseError(f"is not a matrix of a release: {error}", file=name) from None
