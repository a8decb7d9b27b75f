"""Which cells the results are of, read from the predictions."""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from cellresponse.baselines.benchmark.addendum import PREDICTIONS, Identity

__all__ = ["with_cells_hash", "with_tested_cells"]

IDENTITY = [field.name for field in fields(Identity)]


def with_tested_cells(results: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Add what tells whether two tasks are one experiment, and whose cells were tested.

    Parameters
    ----------
    results
        Of the folder.
    folder
        Results folder.

    Returns
    -------
    pandas.DataFrame
        With `cells_hash`, over cell, fold and response of each prediction, and `studies`,
        separated by `;`.
    """
    read = [_read(path) for path in sorted((folder / PREDICTIONS).glob("*.parquet"))]
    found = pd.DataFrame(read, columns=[*IDENTITY, "cells_hash", "studies"])
    found = found.drop_duplicates(IDENTITY).astype(results.dtypes[IDENTITY].to_dict())
    return results.merge(found, on=IDENTITY, how="left")


def with_cells_hash(results: pd.DataFrame) -> pd.DataFrame:
    """Add the columns of `with_tested_cells` where they lack: each task is its own experiment."""
    if "cells_hash" in results:
        return results
    return results.assign(cells_hash=results["task"], studies="")


def _read(path: Path) -> dict[str, object]:
    table = pq.read_table(path, columns=["cell_id", "fold", "response", "sample_id"])
    rows = zip(*(table[name].to_pylist() for name in ("cell_id", "fold", "response")), strict=True)
    text = "\n".join(sorted("\t".join(row) for row in rows))
    samples = table["sample_id"].unique().to_pylist()
    identity: dict[str, object] = json.loads(table.schema.metadata[b"identity"])
    return {
        **identity,
        "cells_hash": hashlib.sha256(text.encode()).hexdigest(),
        "studies": ";".join(sorted({sample.partition(":")[0] for sample in samples})),
    }
