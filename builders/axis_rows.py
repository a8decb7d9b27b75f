"""Bring rows from a file's features onto the gene axis, and measure their quality."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from cellresponse.builders.genes import FeatureMap, GeneAxis
from cellresponse.builders.quality import CellQuality
from cellresponse.builders.raw_counts import MAX_COUNT, sum_repeats
from cellresponse.releases.row_sums import add_row_sums
from cellresponse.schema.errors import CountsError

__all__ = ["AxisMap", "measure"]

MITO_BITS = 20  # a cell of fewer counts than this many bits hold has its n_mito in a sum
# Spreads the number of genes over 64 bits (2^64 over the golden ratio).
GENES_FACTOR = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class AxisMap:
    """A file's way onto the axis, with what each step needs precomputed.

    Attributes
    ----------
    features
        Where each feature goes.
    genes
        Length of the axis.
    mitochondrial
        int64, shape (features,): 1 for a mitochondrial gene, else 0.
    weights
        uint32, two of shape (features,): a cell's sums are its counts, each times the
        weight of its gene; features outside the axis have 0. The last `MITO_BITS` bits of
        the second count mitochondrial genes, all others are as good as random.
    gene_ids
        Ids of the axis, for messages.
    file
        The file's name in the manifest, for messages.
    """

    features: FeatureMap
    genes: int
    mitochondrial: NDArray[np.int64]
    weights: tuple[NDArray[np.uint32], NDArray[np.uint32]]
    gene_ids: tuple[str, ...]
    file: str | None = None

    @classmethod
    def of(cls, features: FeatureMap, axis: GeneAxis) -> AxisMap:
        """Prepare a map."""
        mapped = features.columns >= 0
        mitochondrial = np.zeros(len(mapped), dtype=np.int64)
        mitochondrial[mapped] = axis.mitochondrial[features.columns[mapped]]
        random = np.zeros(len(mapped), dtype=np.uint64)
        random[mapped] = axis.fingerprint_weights[features.columns[mapped]]
        first = (random >> np.uint64(32)).astype(np.uint32)
        second = (random.astype(np.uint32) << np.uint32(MITO_BITS)) + mitochondrial.astype(
            np.uint32
        )
        return cls(features, len(axis), mitochondrial, (first, second), axis.ids)

    @cached_property
    def finds_genes(self) -> bool:
        """Whether any feature of the file is on the axis."""
        return bool((self.features.columns >= 0).any())

    @cached_property
    def is_identity(self) -> bool:
        """Whether the file's features are the axis, or its beginning."""
        columns = self.features.columns
        return bool(np.array_equal(columns, np.arange(len(columns))))

    @cached_property
    def keeps_order(self) -> bool:
        """Whether sorted features give sorted genes, none twice."""
        mapped = self.features.columns[self.features.columns >= 0]
        return bool(np.all(np.diff(mapped) > 0))

    def apply(self, counts: sp.csr_array) -> sp.csr_array:
        """Map rows onto the axis; counts of features that meet on one gene are summed.

        Parameters
        ----------
        counts
            int32, shape (cells, features), features rising within a row.

        Returns
        -------
        csr_array
            int32, shape (cells, genes), genes rising within a row.

        Raises
        ------
        CountsError
            A sum is larger than int32 holds.
        """
        if self.is_identity:
            return sp.csr_array(
                (counts.data, counts.indices, counts.indptr), shape=(counts.shape[0], self.genes)
            )
        columns = self.features.columns[counts.indices]
        kept = columns >= 0
        if kept.all():
            indptr, data = counts.indptr, counts.data
        else:
            before = np.concatenate(([0], np.cumsum(kept, dtype=np.int32)))
            indptr, columns, data = before[counts.indptr], columns[kept], counts.data[kept]
        mapped = sp.csr_array((data, columns, indptr), shape=(counts.shape[0], self.genes))
        if not self.keeps_order:
            mapped = sum_repeats(mapped.tocsc().tocsr(), self._large_sum)
        return mapped

    def _large_sum(self, _: int, column: int, total: int) -> CountsError:
        ids = self.features.columns == column
        return CountsError(
            f"the {int(ids.sum())} features that are gene {self.gene_ids[column]!r} add up, in one "
            "cell, to",
            file=self.file,
            value=total,
            allowed=f"sums from 0 to {MAX_COUNT}",
            hint="Check that the file holds raw counts",
        )


def measure(
    counts: sp.csr_array,
    mapped: sp.csr_array,
    axis_map: AxisMap,
    quality: CellQuality,
    start: int,
) -> None:
    """Measure the cells of rows that begin at rank `start`; fills `quality`.

    Every input feature but spike-ins counts, on the axis or not.

    Parameters
    ----------
    counts, mapped
        The rows over the file's features, and over the axis.
    axis_map
        The way from one to the other.
    quality
        Measures of all ranks.
    start
        Rank of the first row.
    """
    span = slice(start, start + counts.shape[0])
    features = axis_map.features
    n_counts = np.zeros(counts.shape[0], dtype=np.int64)
    add_row_sums(n_counts, counts.indptr, 0, counts.data)
    n_genes = np.diff(counts.indptr).astype(np.int64)
    if features.spike_ins.any():
        spike_ins = features.spike_ins.astype(np.int64)
        n_counts -= _products(counts, counts.data.astype(np.int64), spike_ins)
        n_genes -= _products(counts, np.ones(counts.nnz, dtype=np.int64), spike_ins)
    quality.n_counts[span] = n_counts
    quality.n_genes[span] = n_genes
    quality.has_mito[span] = features.has_mitochondrial
    # In 32 bits, where a sum costs half of one in 64; meant to wrap around.
    first, second = (
        _products(counts, counts.data.view(np.uint32), weights) for weights in axis_map.weights
    )
    if features.has_mitochondrial:
        if n_counts.max(initial=0) < 2**MITO_BITS:
            n_mito = (second % 2**MITO_BITS).astype(np.int64)
        else:
            n_mito = _products(counts, counts.data.astype(np.int64), axis_map.mitochondrial)
        quality.n_mito[span] = n_mito
    on_axis = np.diff(mapped.indptr).astype(np.uint64)
    quality.fingerprint[span] = (first.astype(np.uint64) << np.uint64(32) | second) + (
        on_axis * GENES_FACTOR
    )


def _products[Number: (np.int64, np.uint32)](
    counts: sp.csr_array, values: NDArray[Number], weights: NDArray[Number]
) -> NDArray[Number]:
    """Sum the values at the places of `counts` by row, each times its feature's weight.

    One vector of weights at a time: with several, scipy takes three times as long for each.
    """
    matrix = sp.csr_array((values, counts.indices, counts.indptr), shape=counts.shape)
    products: NDArray[Any] = matrix @ weights  # the stubs take uint32 for a signed type
    return products
