"""Chosen rows of the matrices, and which cells a label is of."""

from __future__ import annotations

from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from task_release import task_release

from cellresponse.releases.layout import matrix_path
from cellresponse.releases.release import Release
from cellresponse.releases.selection import cell_labels, read_rows
from cellresponse.schema.errors import ReleaseError


@pytest.mark.parametrize("rows", [[0], [7], [2, 3, 4], [0, 2, 3, 9], [1, 5, 14]])
def test_rows_with_gaps_between_them(mini_release: Release, rows: list[int]) -> None:
    wanted = anndata.read_zarr(mini_release.folder / matrix_path("MINI2")).X[rows]
    found = read_rows(mini_release, "MINI2", np.array(rows))
    assert found.shape == wanted.shape
    assert (found != wanted).nnz == 0


def test_labels_of_samples_and_of_single_cells() -> None:
    cells = pa.table({"cell_id": ["a", "b", "c"], "sample_id": ["S", "S", "T"]})
    text = pd.ArrowDtype(pa.string())
    labels = pd.DataFrame(
        {
            "sample_id": pd.Series(["S", "S", "T"], dtype=text),
            "cell_id": pd.Series([None, "b", "c"], dtype=text),
            "basis": pd.Series(["whole", "own", "own"], dtype=text),
        }
    )
    found = cell_labels(cells, labels)
    assert sorted(zip(found["cell_id"], found["basis"], strict=True)) == [
        ("a", "whole"),
        ("b", "own"),
        ("b", "whole"),
        ("c", "own"),
    ]


def test_cells_of_two_organisms_share_no_genes(tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match="the cells are of several organisms") as caught:
        task_release(tmp_path).cells()
    assert caught.value.value == "human, mouse"
