"""UMAP of the embeddings of a run."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cellresponse.baselines.benchmark.threads import one_thread

__all__ = ["embedding_maps", "umap"]

MOST_CELLS = 5000
COLUMNS = ["model", "cell_id", "x", "y", "cancer_type", "response", "study_id"]


def embedding_maps(folder: Path, cells: pd.DataFrame) -> pd.DataFrame:
    """Lay out the cells of each embedding file in two dimensions.

    Parameters
    ----------
    folder
        `embeddings/` of a results folder.
    cells
        cell_id, cancer_type, response and study_id of cells.

    Returns
    -------
    pandas.DataFrame
        model, cell_id, x, y, cancer_type, response, study_id; at most 5,000 cells a
        model, those with the smallest ids. Empty where there are no embeddings.
    """
    from cellresponse.baselines.embed.result import facts_of

    parts = []
    for path in sorted(folder.glob("*.parquet")):
        table = pq.read_table(path).sort_by("cell_id").slice(0, MOST_CELLS)
        values = np.array(table["embedding"].combine_chunks().flatten()).reshape(len(table), -1)
        if len(values) < 4:
            continue
        laid = umap(values)
        frame = pd.DataFrame(
            {
                "model": str(facts_of(path)["model"]),
                "cell_id": table["cell_id"].to_pylist(),
                "x": laid[:, 0],
                "y": laid[:, 1],
            }
        )
        parts.append(frame.merge(cells, on="cell_id", how="left"))
    if not parts:
        return pd.DataFrame(columns=COLUMNS)
    return pd.concat(parts, ignore_index=True)[COLUMNS]


def umap(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Lay points out in a plane by UMAP, (points, 2); the same points, the same places.

    It sets the number of threads of the whole process; what it was is put back.
    """
    with warnings.catch_warnings(), one_thread():
        warnings.simplefilter("ignore")  # umap warns of the single thread that a seed needs
        from umap import UMAP

        neighbours = min(15, len(values) - 1)
        return np.asarray(UMAP(random_state=0, n_neighbors=neighbours).fit_transform(values))
