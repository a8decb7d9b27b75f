"""The cells of a task, as models and comparators see them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import scipy.sparse as sp
from numpy.typing import NDArray

if TYPE_CHECKING:
    from cellresponse.releases.release import Release

__all__ = ["TaskCells", "counts_of", "physical_ids"]


@dataclass(frozen=True)
class TaskCells:
    """Cells of one side of a fold, or of a whole task.

    Attributes
    ----------
    obs
        One row a cell: `cell_id`, `study_id`, `sample_id`, `batch`, `cell_line`,
        `n_counts`; missing values are None.
    sensitive
        (cells,) bool: the label.
    counts
        (cells, genes) CSR raw counts; None where no model of the run reads them.
    features
        (cells, d) float32 by model: embeddings.
    """

    obs: pd.DataFrame
    sensitive: NDArray[np.bool_]
    counts: sp.csr_matrix | None = None
    features: dict[str, NDArray[np.float32]] = field(default_factory=dict)

    def __len__(self) -> int:
        """Give the number of cells."""
        return len(self.sensitive)

    def all_counts(self) -> sp.csr_matrix:
        """Give the counts of cells that were made with them."""
        if self.counts is None:
            raise ValueError("these cells were made without counts")
        return self.counts

    def take(self, rows: NDArray[np.integer]) -> TaskCells:
        """Give some of the cells."""
        return replace(
            self,
            obs=self.obs.iloc[rows].reset_index(drop=True),
            sensitive=self.sensitive[rows],
            counts=None if self.counts is None else self.counts[rows],
            features={name: values[rows] for name, values in self.features.items()},
        )


def physical_ids(cells: pd.DataFrame) -> list[str]:
    """Give the ids of the physical cells; a copied row has its drug behind the id."""
    return [cell.partition("#")[0] for cell in cells["cell_id"]]


def counts_of(release: Release, cells: pd.DataFrame) -> sp.csr_matrix:
    """Read (cells, genes) raw counts of cells that stand study by study."""
    from cellresponse.releases.selection import read_rows

    parts = []
    for study, group in cells.groupby("study_id", sort=False):
        rows, inverse = np.unique(group["row"].to_numpy(np.int64), return_inverse=True)
        parts.append(read_rows(release, str(study), rows)[inverse])
    return sp.vstack(parts, format="csr")
