"""Quality control of cells: what is measured, and which thresholds remove a cell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cellresponse.schema.spec import QcThresholds

__all__ = ["CellQuality", "removed_by"]


@dataclass
class CellQuality:
    """Measures of the cells of a study, in release order.

    Attributes
    ----------
    n_counts, n_mito
        int64, shape (cells,): counts over all input features but spike-ins; of
        mitochondrial genes.
    n_genes
        int64, shape (cells,): detected input features but spike-ins.
    fingerprint
        uint64, shape (cells,): equal for equal counts on the axis, whatever the study. It
        is made of two weighted sums with 44 bits as good as random, the cell's mitochondrial
        counts and its number of genes on the axis. Cells that differ have one fingerprint
        with a chance of 6e-14 if they agree in the latter two, and else of 5e-20.
    has_mito
        bool, shape (cells,): whether the cell's file has mitochondrial genes at all.
    """

    n_counts: NDArray[np.int64]
    n_genes: NDArray[np.int64]
    n_mito: NDArray[np.int64]
    fingerprint: NDArray[np.uint64]
    has_mito: NDArray[np.bool_]

    @classmethod
    def empty(cls, cells: int) -> CellQuality:
        """Make room for a number of cells."""
        return cls(
            n_counts=np.zeros(cells, dtype=np.int64),
            n_genes=np.zeros(cells, dtype=np.int64),
            n_mito=np.zeros(cells, dtype=np.int64),
            fingerprint=np.zeros(cells, dtype=np.uint64),
            has_mito=np.zeros(cells, dtype=bool),
        )

    def part(self, span: slice) -> CellQuality:
        """Give the measures of some of the cells, as views."""
        return CellQuality(
            *(
                getattr(self, name)[span]
                for name in ("n_counts", "n_genes", "n_mito", "fingerprint", "has_mito")
            )
        )

    def pct_mito(self) -> NDArray[np.float64]:
        """Mitochondrial counts in percent; NaN where the file has no such gene.

        A cell without any count has 0 percent.
        """
        percent = np.divide(
            100.0 * self.n_mito,
            self.n_counts,
            out=np.zeros(len(self.n_counts)),
            where=self.n_counts > 0,
        )
        return np.where(self.has_mito, percent, np.nan)


def removed_by(quality: CellQuality, thresholds: QcThresholds) -> dict[str, NDArray[np.bool_]]:
    """Give, by reason, the cells that quality control removes.

    A cell that fails several thresholds counts under the first.

    Returns
    -------
    dict
        `too_few_genes` and `too_much_mitochondrial` to masks of shape (cells,).
    """
    few = quality.n_genes < thresholds.min_genes
    if thresholds.max_pct_mito is None:
        high = np.zeros_like(few)
    else:
        # NaN compares false: where nothing was measured, nothing is removed.
        high = ~few & (quality.pct_mito() > thresholds.max_pct_mito)
    return {"too_few_genes": few, "too_much_mitochondrial": high}
