"""Read planned loads from AnnData stores through annbatch."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from pathlib import Path

import annbatch
import anndata
import numpy as np
import scipy.sparse as sp
import zarr
from annbatch.abc import Sampler
from annbatch.types import LoadRequest
from numpy.typing import NDArray

from cellresponse.releases.loading.plan import Load
from cellresponse.releases.matrix_store import fast_codecs

__all__ = ["read_loads"]


def read_loads(
    stores: Iterable[Path], loads: Iterator[Load]
) -> Generator[tuple[sp.csr_matrix, NDArray[np.int64], list[int]]]:
    """Read load after load, each in the order of its batches.

    Parameters
    ----------
    stores
        AnnData stores with CSR counts.
    loads
        What to read of them, their rows counted through.

    Yields
    ------
    counts, rows, sizes
        Raw counts (cells, genes), the rows that they came from, and the cells of each batch.
    """
    planned = _Planned(loads)
    reader = annbatch.Loader(batch_sampler=planned, return_index=True, preload_to_gpu=False)
    with fast_codecs():
        reader.add_datasets(
            [anndata.io.sparse_dataset(zarr.open_group(path, mode="r")["X"]) for path in stores]
        )
        read = iter(reader)
        found = next(read, None)  # opens the arrays
    while found is not None:
        yield found["X"], found["index"], planned.sizes
        found = next(read, None)


class _Planned(Sampler):  # type: ignore[misc] # annbatch publishes no types
    """Hands a plan to annbatch, a whole load as one batch: to cut it then costs no copy."""

    batch_size = None  # every load says how it is cut
    shuffle = False

    def __init__(self, loads: Iterator[Load]) -> None:
        self._loads = loads
        self.sizes: list[int] = []

    def n_batches(self, n_obs: int) -> int:
        raise NotImplementedError("the plan knows")

    def validate(self, n_obs: int) -> None:
        """Nothing to check: the plan was made for these stores."""

    def _sample(self, n_obs: int) -> Iterator[LoadRequest]:  # noqa: ARG002 - annbatch's signature
        for load in self._loads:
            self.sizes = load.sizes
            yield {"requests": load.slices, "splits": [load.order]}
