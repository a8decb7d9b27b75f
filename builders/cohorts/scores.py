"""How well the batches of a cohort mix, and what of its biology is kept.

Source: Luecken et al. 2022 (doi 10.1038/s41592-021-01336-8), through scib-metrics.
"""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
from numpy.typing import NDArray

__all__ = ["score"]

NEIGHBOURS = 90
CONSERVED = ("cell_line", "response")


def score(coordinates: NDArray[np.float32], obs: pd.DataFrame) -> dict[str, float | None]:
    """Score an embedding; every score lies between 0 and 1, and more is better.

    Parameters
    ----------
    coordinates
        float32, shape (cells, dimensions).
    obs
        Columns integration_batch, cell_line, response; one row a cell.

    Returns
    -------
    dict
        `ilisi_batch`: mixing of batches among the 90 nearest cells; `kbet_batch`: share of
        cells whose neighbours have the batches of the whole. `clisi_<column>` and
        `silhouette_<column>`: how far cells of one line, or of one response, stay together.
        None: the column has one value, or cells without any.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the packages, about each other's versions
        import scib_metrics
        from scib_metrics.nearest_neighbors import NeighborsResults
        from sklearn.neighbors import NearestNeighbors

        size = min(NEIGHBOURS, len(obs) - 1)
        nearest = NearestNeighbors(n_neighbors=size).fit(coordinates)
        distances, indices = nearest.kneighbors(coordinates)
        graph = NeighborsResults(indices=indices, distances=distances)
        batches = obs["integration_batch"].to_numpy().astype(str)
        found: dict[str, float | None] = {
            "ilisi_batch": _number(scib_metrics.ilisi_knn(graph, batches)),
            "kbet_batch": _number(scib_metrics.kbet(graph, batches)[0]),
        }
        for column in CONSERVED:
            values = obs[column]
            several = values.notna().all() and len(values.unique()) > 1
            words = values.to_numpy().astype(str)
            found[f"clisi_{column}"] = (
                _number(scib_metrics.clisi_knn(graph, words)) if several else None
            )
            found[f"silhouette_{column}"] = (
                _number(scib_metrics.silhouette_label(coordinates, words)) if several else None
            )
    return found


def _number(value: object) -> float:
    """Four places: more is not the same from one machine to another."""
    return round(float(np.asarray(value)), 4)
