"""UMAP of the embeddings of a run."""

from __future__ import annotations

import warnings
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cellresponse.baselines.benchmark.threads import one_thread

__all__ = ["embedding_maps", "umap"]

MOST_CELLS = 5000
COLUMNS = ["model", "cell_id", "x", "y", "cancer_type", "response", "study_id"]


def embedding_maps(folder: Path, cells: pd.DataFrame) -> pd.DataFrame:
    """Lay out the cells of each model in two dimensions.

    Files of one model, with the same weights and the same kind of input, as published or
    not, are one layout: a run of other tasks adds a file.

    Parameters
    ----------
    folder
        `embeddings/` of a results folder.
    cells
        cell_id, cancer_type, response and study_id of cells.

    Returns
    -------
    pandas.DataFrame
        model (where they differ, with what tells its layouts apart), cell_id, x, y,
        cancer_type, response, study_id; at most 5,000 cells a layout, those with the
        smallest ids, each once. Empty where there are no embeddings.
    """
    parts = []
    for name, paths in _layouts(folder).items():
        ids, values = _cells_of(paths)
        if len(ids) < 4:
            continue
        laid = umap(values)
        frame = pd.DataFrame({"model": name, "cell_id": ids, "x": laid[:, 0], "y": laid[:, 1]})
        parts.append(frame.merge(cells, on="cell_id", how="left"))
    if not parts:
        return pd.DataFrame(columns=COLUMNS)
    return pd.concat(parts, ignore_index=True)[COLUMNS]


def _layouts(folder: Path) -> dict[str, list[Path]]:
    """Give the files of each layout by its name."""
    from cellresponse.baselines.embed.result import facts_of

    found: dict[tuple[str, str, bool], list[Path]] = defaultdict(list)
    for path in sorted(folder.glob("*.parquet")):
        facts = facts_of(path)
        key = facts["model"], facts["weights_hash"], facts["options"]["as_published"]
        found[key].append(path)
    weights = Counter(model for model, _ in {key[:2] for key in found})
    return {
        _name(model, digest if weights[model] > 1 else None, as_published=published): paths
        for (model, digest, published), paths in found.items()
    }


def _name(model: str, digest: str | None, *, as_published: bool) -> str:
    told = ["as published"] if as_published else []
    told += [f"weights {digest[:8]}"] if digest else []
    return f"{model} ({', '.join(told)})" if told else model


def _cells_of(paths: list[Path]) -> tuple[list[str], NDArray[np.float32]]:
    """Read the cells with the smallest ids, (cells,) and (cells, d)."""
    first = [pq.read_table(path).sort_by("cell_id").slice(0, MOST_CELLS) for path in paths]
    table = pa.concat_tables(table.replace_schema_metadata() for table in first)
    ids, places = np.unique(table["cell_id"].to_numpy(), return_index=True)
    kept = table.take(places[:MOST_CELLS])
    values = np.array(kept["embedding"].combine_chunks().flatten()).reshape(len(kept), -1)
    return ids[:MOST_CELLS].tolist(), values


def umap(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Lay points out in a plane by UMAP, (points, 2); the same points, the same places.

    It sets the number of threads of the whole process; what it was is put back.
    """
    with warnings.catch_warnings(), one_thread():
        warnings.simplefilter("ignore")  # umap warns of the single thread that a seed needs
        from umap import UMAP

        neighbours = min(15, len(values) - 1)
        return np.asarray(UMAP(random_state=0, n_neighbors=neighbours).fit_transform(values))
