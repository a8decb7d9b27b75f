"""Bring rows from a file's features onto the gene axis, and measure their quality."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from cellresponse.builders.genes import FeatureMap, GeneAxis
from cellresponse.builders.quality import CellQuality

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
    weights
        uint64, shape (features, 3): for one product a row that gives n_counts, n_mito
        and the fingerprint.
    """

    features: FeatureMap
    genes: int
    weights: NDArray[np.uint64]

    @classmethod
    def of(cls, features: FeatureMap, axis: GeneAxis) -> AxisMap:
        """Prepare a map."""
        mapped = features.columns >= 0
        weights = np.zeros((len(mapped), 3), dtype=np.uint64)
        weights[~features.spike_ins, 0] = 1
        weights[mapped, 1] = axis.mitochondrial[features.columns[mapped]]
        weights[mapped, 2] = axis.fingerprint_weights[features.columns[mapped]]
        return cls(features, len(axis), weights)

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
    # One pass over the values; the fingerprint is meant to wrap around at 64 bits.
    products = (
        sp.csr_array(
            (counts.data.astype(np.uint64), counts.indices, counts.indptr), shape=counts.shape
        )
        @ axis_map.weights
    )
    quality.n_counts[span] = products[:, 0].astype(np.int64)
    quality.n_mito[span] = products[:, 1].astype(np.int64)
    quality.fingerprint[span] = products[:, 2]
    quality.n_genes[span] = np.diff(counts.indptr) - _detected(counts, axis_map.features.spike_ins)
    quality.has_mito[span] = axis_map.features.has_mitochondrial


def _detected(counts: sp.csr_array, mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Number of the masked features that each row has."""
    if not mask.any():
        return np.zeros(counts.shape[0], dtype=np.int64)
    before = np.concatenate(([0], np.cumsum(mask[counts.indices], dtype=np.int64)))
    return np.diff(before[counts.indptr])
