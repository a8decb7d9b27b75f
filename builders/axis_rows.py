"""Bring rows from a file's features onto the gene axis, and measure their quality."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from cellresponse.builders.genes import FeatureMap, GeneAxis
from cellresponse.builders.quality import CellQuality
from cellresponse.releases.row_sums import add_row_sums

__all__ = ["AxisMap", "measure"]


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
    fingerprint_weights
        uint64, shape (features,): a cell's fingerprint is the sum of its counts, each
        times the weight of its gene; features outside the axis have 0.
    """

    features: FeatureMap
    genes: int
    mitochondrial: NDArray[np.int64]
    fingerprint_weights: NDArray[np.uint64]

    @classmethod
    def of(cls, features: FeatureMap, axis: GeneAxis) -> AxisMap:
        """Prepare a map."""
        mapped = features.columns >= 0
        mitochondrial = np.zeros(len(mapped), dtype=np.int64)
        mitochondrial[mapped] = axis.mitochondrial[features.columns[mapped]]
        weights = np.zeros(len(mapped), dtype=np.uint64)
        weights[mapped] = axis.fingerprint_weights[features.columns[mapped]]
        return cls(features, len(axis), mitochondrial, weights)

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
            mapped = mapped.tocsc().tocsr()
            mapped.sum_duplicates()
        return mapped


def measure(counts: sp.csr_array, axis_map: AxisMap, quality: CellQuality, start: int) -> None:
    """Measure the cells of rows that begin at rank `start`; fills `quality`.

    Every input feature but spike-ins counts, on the axis or not.
    """
    span = slice(start, start + counts.shape[0])
    features = axis_map.features
    values = counts.data.astype(np.int64)
    n_counts = np.zeros(counts.shape[0], dtype=np.int64)
    add_row_sums(n_counts, counts.indptr, 0, values)
    n_genes = np.diff(counts.indptr).astype(np.int64)
    if features.spike_ins.any():
        spike_ins = features.spike_ins.astype(np.int64)
        n_counts -= _products(counts, values, spike_ins)
        n_genes -= _products(counts, np.ones_like(values), spike_ins)
    quality.n_counts[span] = n_counts
    quality.n_genes[span] = n_genes
    quality.has_mito[span] = features.has_mitochondrial
    if features.has_mitochondrial:
        quality.n_mito[span] = _products(counts, values, axis_map.mitochondrial)
    # Meant to wrap around at 64 bits.
    weights = axis_map.fingerprint_weights
    quality.fingerprint[span] = _products(counts, values.view(np.uint64), weights)


def _products[Number: (np.int64, np.uint64)](
    counts: sp.csr_array, values: NDArray[Number], weights: NDArray[Number]
) -> NDArray[Number]:
    """Sum the values at the places of `counts` by row, each times its feature's weight.

    One vector of weights at a time: with several, scipy takes three times as long for each.
    """
    matrix = sp.csr_array((values, counts.indices, counts.indptr), shape=counts.shape)
    products: NDArray[Number] = matrix @ weights
    return products
