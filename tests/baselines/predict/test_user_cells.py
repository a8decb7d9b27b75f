"""A user's own file is read as a build reads one."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from anndata import AnnData
from scipy.sparse import csc_matrix, csr_matrix

from cellresponse.baselines.predict.user_cells import read_user_cells
from cellresponse.releases.release import Release
from cellresponse.schema.errors import CountsError


def written(path: Path, release: Release, repeated: tuple[int, int], layout: str) -> Path:
    """Write two cells; of the second, two values stand at one place."""
    genes = release.tables["genes"]["gene_id"].to_pylist()[:3]
    made = {"csr": csr_matrix, "csc": csc_matrix}[layout](np.array([[1, 0, 2], [0, 3, 4]], "i4"))
    cells = AnnData(made)
    cells.var_names, cells.obs_names = genes, ["a", "b"]
    cells.write_h5ad(path)
    with h5py.File(path, "r+") as file:
        # Of both layouts the last two values become those of the second cell and third gene.
        file["X/data"][-2:] = repeated
        file["X/indices"][-2:] = {"csr": 2, "csc": 1}[layout]
    return path


@pytest.mark.parametrize("layout", ["csr", "csc"])
def test_repeats_are_summed(demo_release: Release, tmp_path: Path, layout: str) -> None:
    read = read_user_cells(
        written(tmp_path / "mine.h5ad", demo_release, (5, 6), layout), demo_release, "human"
    )
    assert read.counts[1, 2] == 11
    assert read.counts.dtype == np.int32


@pytest.mark.parametrize("layout", ["csr", "csc"])
def test_repeats_that_sum_beyond_int32(demo_release: Release, tmp_path: Path, layout: str) -> None:
    path = written(tmp_path / "mine.h5ad", demo_release, (2**31 - 1, 2**31 - 1), layout)
    with pytest.raises(CountsError, match=r"barcode 'b' \(cell 2\).*add up to 4294967294"):
        read_user_cells(path, demo_release, "human")


def test_counts_off_the_axis_are_told(demo_release: Release, tmp_path: Path) -> None:
    gene = demo_release.tables["genes"]["gene_id"].to_pylist()[4]
    cells = AnnData(csr_matrix(np.array([[3, 1], [0, 2], [5, 0]], "i4")))
    cells.var_names, cells.obs_names = [gene, "nothing"], list("abc")
    cells.write_h5ad(tmp_path / "mine.h5ad")
    read = read_user_cells(tmp_path / "mine.h5ad", demo_release, "human")
    assert read.mapped.tolist() == [0.75, 0.0, 1.0]
    assert (read.genes_found, read.features) == (1, 2)
    assert read.counts[:, 4].toarray().ravel().tolist() == [3, 0, 5]
