"""Write a study's matrix as AnnData (Zarr v3, sharded), row block by row block.

Memory stays at a few pieces of rows. Each of the two large arrays has a thread that hashes
and writes it, while the next rows are made. What is written is what
`anndata.read_zarr` reads; the layout follows anndata's on-disk specification for
csr_matrix 0.1.0 (https://anndata.readthedocs.io/en/stable/fileformat-prose.html).
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache, partial
from pathlib import Path
from typing import Any, Self

import anndata
import numpy as np
import pandas as pd
import zarr
from numpy.typing import NDArray

from cellresponse.builders.genes import GeneAxis
from cellresponse.builders.sharded_array import COMPRESSOR, ShardedArray
from cellresponse.releases.content_hash import MatrixHash
from cellresponse.releases.matrix_store import CHUNK
from cellresponse.releases.row_sums import add_row_sums

__all__ = ["MatrixWriter"]

INT32_VALUES = 2**31 - 1


class MatrixWriter:
    """Write rows in their final order, then the tables beside them.

    Parameters
    ----------
    path
        Store to make; it must not exist.
    axis
        Columns of the matrix.

    Attributes
    ----------
    total
        Sum of all counts so far.
    """

    def __init__(self, path: Path, axis: GeneAxis) -> None:
        self.total = 0
        self._axis = axis
        self._hash = MatrixHash()
        self._lengths: list[NDArray[np.int64]] = []
        self._path = path
        self._root = zarr.open_group(path, mode="w-", zarr_format=3)
        self._root.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        self._counts = self._root.create_group("X")
        self._indices = ShardedArray(self._counts, "indices")
        self._data = ShardedArray(self._counts, "data")
        # One thread an array keeps each in order; the codecs and the hash release the lock.
        self._threads = [ThreadPoolExecutor(1) for _ in range(2)]
        self._running: list[Future[None]] = []

    def append(self, counts: Any) -> None:
        """Append rows: csr_array, int32, shape (cells, genes), genes rising within a row."""
        lengths = np.diff(counts.indptr).astype(np.int64)
        self._lengths.append(lengths)
        self._hash.update(lengths=lengths)
        sums = np.zeros(len(lengths), dtype=np.int64)
        add_row_sums(sums, counts.indptr, 0, counts.data)
        self.total += int(sums.sum())
        self._run(
            partial(self._write, self._indices, "indices", counts.indices),
            partial(self._write, self._data, "data", counts.data),
        )

    def _write(self, array: ShardedArray, name: str, values: NDArray[np.int32]) -> None:
        self._hash.update(**{name: values})
        array.append(values)

    def _run(self, *steps: Callable[[], None]) -> None:
        """Wait for the steps before, which bounds the memory, and start one step a thread."""
        for running in self._running:
            running.result()
        self._running = [
            thread.submit(step) for thread, step in zip(self._threads, steps, strict=False)
        ]

    def finish(self, obs: pd.DataFrame) -> str:
        """Write what is left, `obs` and `var`; give the content hash of the matrix.

        Parameters
        ----------
        obs
            One row a cell in row order, indexed by cell_id.
        """
        self._run()
        self._indices.close()
        self._data.close()
        lengths = np.concatenate([np.zeros(1, np.int64), *self._lengths])
        indptr = np.cumsum(lengths)
        # int64 beside int32 indices makes every slice in memory slower: only where needed.
        wide = indptr[-1] > INT32_VALUES
        self._counts.create_array(
            "indptr",
            data=indptr if wide else indptr.astype(np.int32),
            chunks=(CHUNK,),
            shards=(max(CHUNK, -(-len(indptr) // CHUNK) * CHUNK),),
            compressors=COMPRESSOR,
        )
        shape = (len(indptr) - 1, len(self._axis))
        self._counts.attrs.update(
            {"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": list(shape)}
        )
        self._write_tables(obs)
        return self._hash.hexdigest(shape)

    def __enter__(self) -> Self:
        """Use as a context that ends the threads."""
        return self

    def __exit__(self, *_: object) -> None:
        """Wait for what is being written."""
        for thread in self._threads:
            thread.shutdown()

    def _write_tables(self, obs: pd.DataFrame) -> None:
        axis = self._axis
        genes = _gene_files(axis.ids, axis.names, axis.contigs)
        for name, content in {**_encoded({"obs": obs}), **genes}.items():
            place = self._path / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)


@cache
def _gene_files(
    ids: tuple[str, ...], names: tuple[str, ...], contigs: tuple[str, ...]
) -> dict[str, bytes]:
    """Encode what is the same in every study of an organism: `var`, and the empty slots."""
    var = pd.DataFrame(
        {"gene_name": names, "contig": pd.Categorical(contigs)},
        index=pd.Index(ids, name="gene_id"),
    )
    slots = ("layers", "obsm", "obsp", "uns", "varm", "varp")
    return _encoded({"var": var, **{slot: {} for slot in slots}})


def _encoded(elements: dict[str, Any]) -> dict[str, bytes]:
    """Encode elements as the files of a store, in memory.

    On disk zarr spends more on the dozens of small files of a table than on their content.
    """
    files: dict[str, Any] = {}
    root = zarr.create_group(zarr.storage.MemoryStore(files), zarr_format=3)
    # Plain string arrays: readers before anndata 0.11 know no nullable ones.
    with anndata.settings.override(allow_write_nullable_strings=False):
        for name, element in elements.items():
            anndata.io.write_elem(root, name, element)
    return {name: content.to_bytes() for name, content in files.items() if "/" in name}
