"""Write a study's matrix as AnnData (Zarr v3, sharded), row block by row block.

Memory stays at one shard of each of the two large arrays. What is written is what
`anndata.read_zarr` reads; the layout follows anndata's on-disk specification for
csr_matrix 0.1.0 (https://anndata.readthedocs.io/en/stable/fileformat-prose.html).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec

from cellresponse.builders.genes import GeneAxis
from cellresponse.releases.content_hash import MatrixHash
from cellresponse.releases.matrix_store import CHUNK, SHARD, fast_codecs

__all__ = ["MatrixWriter"]

INT32_VALUES = 2**31 - 1


class _ShardedArray:
    """A one-dimensional array that grows by whole shards."""

    def __init__(self, group: zarr.Group, name: str) -> None:
        self._array = group.create_array(
            name,
            shape=(0,),
            dtype="int32",
            chunks=(CHUNK,),
            shards=(SHARD,),
            compressors=BloscCodec(cname="lz4", clevel=3, shuffle="shuffle"),
            fill_value=0,
        )
        self._buffer = np.empty(SHARD, dtype=np.int32)
        self._filled = 0
        self._written = 0

    def append(self, values: NDArray[np.int32]) -> None:
        while len(values):
            room = SHARD - self._filled
            part, values = values[:room], values[room:]
            self._buffer[self._filled : self._filled + len(part)] = part
            self._filled += len(part)
            if self._filled == SHARD:
                self.flush()

    def flush(self) -> None:
        stop = self._written + self._filled
        self._array.resize((stop,))
        if self._filled:
            self._array[self._written : stop] = self._buffer[: self._filled]
        self._written, self._filled = stop, 0


class MatrixWriter:
    """Write rows in their final order, then the tables beside them.

    Parameters
    ----------
    path
        Store to make; it must not exist.
    axis
        Columns of the matrix.
    """

    def __init__(self, path: Path, axis: GeneAxis) -> None:
        self._axis = axis
        self._hash = MatrixHash()
        self._lengths: list[NDArray[np.int64]] = []
        with fast_codecs():
            self._root = zarr.open_group(path, mode="w-", zarr_format=3)
            self._root.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
            self._counts = self._root.create_group("X")
            self._indices = _ShardedArray(self._counts, "indices")
            self._data = _ShardedArray(self._counts, "data")

    def append(self, counts: Any) -> None:
        """Append rows: csr_array, int32, shape (cells, genes), genes rising within a row."""
        lengths = np.diff(counts.indptr).astype(np.int64)
        self._lengths.append(lengths)
        self._hash.update(lengths=lengths, indices=counts.indices, data=counts.data)
        self._indices.append(counts.indices)
        self._data.append(counts.data)

    def finish(self, obs: pd.DataFrame) -> str:
        """Write what is left, `obs` and `var`; give the content hash of the matrix.

        Parameters
        ----------
        obs
            One row a cell in row order, indexed by cell_id.
        """
        self._indices.flush()
        self._data.flush()
        lengths = np.concatenate([np.zeros(1, np.int64), *self._lengths])
        indptr = np.cumsum(lengths)
        # int64 beside int32 indices makes every slice in memory slower: only where needed.
        wide = indptr[-1] > INT32_VALUES
        self._counts.create_array(
            "indptr",
            data=indptr if wide else indptr.astype(np.int32),
            chunks=(CHUNK,),
            shards=(max(CHUNK, -(-len(indptr) // CHUNK) * CHUNK),),
            compressors=BloscCodec(cname="lz4", clevel=3, shuffle="shuffle"),
        )
        shape = (len(indptr) - 1, len(self._axis))
        self._counts.attrs.update(
            {"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": list(shape)}
        )
        self._write_tables(obs)
        return self._hash.hexdigest(shape)

    def _write_tables(self, obs: pd.DataFrame) -> None:
        var = pd.DataFrame(
            {"gene_name": self._axis.names, "contig": pd.Categorical(self._axis.contigs)},
            index=pd.Index(self._axis.ids, name="gene_id"),
        )
        # Plain string arrays: readers before anndata 0.11 know no nullable ones.
        with anndata.settings.override(allow_write_nullable_strings=False):
            anndata.io.write_elem(self._root, "obs", obs)
            anndata.io.write_elem(self._root, "var", var)
            for slot in ("layers", "obsm", "obsp", "uns", "varm", "varp"):
                anndata.io.write_elem(self._root, slot, {})
