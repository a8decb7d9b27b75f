"""Thresholds of quality control at their borders."""

from __future__ import annotations

import numpy as np

from cellresponse.builders.quality import CellQuality, removed_by
from cellresponse.schema.spec import QcThresholds


def quality(
    n_genes: list[int], n_mito: list[int], n_counts: list[int], has_mito: bool = True
) -> CellQuality:
    made = CellQuality.empty(len(n_genes))
    made.n_genes[:], made.n_mito[:], made.n_counts[:] = n_genes, n_mito, n_counts
    made.has_mito[:] = has_mito
    return made


def test_borders_stay() -> None:
    cells = quality([499, 500, 500, 499], [0, 10, 11, 99], [100, 100, 100, 100])
    removed = removed_by(cells, QcThresholds(min_genes=500, max_pct_mito=10))
    assert removed["too_few_genes"].tolist() == [True, False, False, True]
    # A cell that fails both counts under the first.
    assert removed["too_much_mitochondrial"].tolist() == [False, False, True, False]


def test_no_mitochondrial_threshold() -> None:
    removed = removed_by(quality([5], [5], [5]), QcThresholds(min_genes=1))
    assert not removed["too_much_mitochondrial"].any()


def test_a_file_without_mitochondrial_genes() -> None:
    cells = quality([5, 5], [0, 0], [5, 0], has_mito=False)
    assert np.isnan(cells.pct_mito()).all()
    removed = removed_by(cells, QcThresholds(min_genes=1, max_pct_mito=0))
    assert not removed["too_much_mitochondrial"].any()


def test_a_cell_without_counts_has_no_percent() -> None:
    assert quality([0, 2], [0, 1], [0, 4]).pct_mito().tolist() == [0.0, 25.0]


def test_parts_are_views() -> None:
    cells = quality([1, 2, 3], [0, 0, 0], [1, 2, 3])
    part = cells.part(slice(1, 3))
    part.n_genes[0] = 9
    part.has_mito[1] = False
    assert cells.n_genes.tolist() == [1, 9, 3]
    assert cells.has_mito.tolist() == [True, True, False]
