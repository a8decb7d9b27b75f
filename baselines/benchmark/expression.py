"""Expression features whose every choice is made on the training side."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import anndata
import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

__all__ = ["ExpressionFeatures", "log_normalise"]

GENES = 2000
COMPONENTS = 50
SMALLEST_SCALE = 1e-3
CLIP = 10.0  # standard deviations; one outlying cell must not own a component


def log_normalise(counts: sp.csr_matrix) -> sp.csr_matrix:
    """Scale each cell to 10,000 counts and take ln(1 + x); cells do not see each other."""
    totals = np.asarray(counts.sum(axis=1), np.float64).ravel()
    scaled = counts.astype(np.float32)
    scaled.data *= np.repeat(1e4 / np.maximum(totals, 1), np.diff(counts.indptr)).astype(np.float32)
    np.log1p(scaled.data, out=scaled.data)
    return scaled


class ExpressionFeatures:
    """Principal components of highly variable genes, fitted on training cells.

    Parameters
    ----------
    arrays
        As `fit` makes them: `genes` (g,) int64, columns chosen; `mean` and `scale` (g,)
        float32 of log-normalised values; `centre` (g,) and `components` (c, g) float32.
    """

    def __init__(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self.arrays = dict(arrays)

    @classmethod
    def fit(cls, train: sp.csr_matrix, seed: int) -> ExpressionFeatures:
        """Choose at most 2,000 genes and fit at most 50 components.

        Parameters
        ----------
        train
            (cells, genes) log-normalised CSR.
        seed
            Of the randomised decomposition.
        """
        from sklearn.decomposition import PCA

        genes = highly_variable(train)
        chosen = train[:, genes].toarray()
        mean = chosen.mean(axis=0).astype(np.float32)
        scale = np.maximum(chosen.std(axis=0), SMALLEST_SCALE).astype(np.float32)
        scaled = _scaled(chosen, mean, scale)
        components = min(COMPONENTS, *scaled.shape)
        pca = PCA(components, svd_solver="randomized", random_state=seed).fit(scaled)
        return cls(
            {
                "genes": genes,
                "mean": mean,
                "scale": scale,
                "centre": pca.mean_.astype(np.float32),
                "components": pca.components_.astype(np.float32),
            }
        )

    def __call__(self, cells: sp.csr_matrix) -> NDArray[np.float32]:
        """Give (cells, components) of log-normalised cells."""
        part = self.arrays
        values = cells[:, part["genes"]].toarray()
        scaled = _scaled(values, part["mean"], part["scale"]) - part["centre"]
        return np.asarray(scaled @ part["components"].T, np.float32)


def _scaled(
    values: NDArray[np.float32], mean: NDArray[np.float32], scale: NDArray[np.float32]
) -> NDArray[np.float32]:
    return np.clip((values - mean) / scale, -CLIP, CLIP)


def highly_variable(log_counts: sp.csr_matrix) -> NDArray[np.int64]:
    """Choose up to 2,000 genes by dispersion, among those seen in 1 % of the cells."""
    import scanpy as sc

    seen = np.flatnonzero(log_counts.getnnz(axis=0) >= max(3, 0.01 * log_counts.shape[0]))
    if len(seen) <= GENES:
        return seen
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scanpy warns of its own use of pandas
        table = sc.pp.highly_variable_genes(
            anndata.AnnData(log_counts[:, seen]), n_top_genes=GENES, inplace=False
        )
    return seen[np.flatnonzero(table["highly_variable"].to_numpy())]
