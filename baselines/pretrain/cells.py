"""Cells of a release to train on: which, their counts, the genes worth a token."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from cellresponse.baselines.embed.cells import blocks_of, counts_of_rows, genes_of, organism_of
from cellresponse.baselines.models.interface import Counts, Genes
from cellresponse.releases.release import Release
from cellresponse.releases.selection import read_rows
from cellresponse.schema.errors import ModelError

__all__ = ["TrainingCells", "medians", "training_cells"]

ORGANISM = "human"
SEEN = 10  # cells that a gene must occur in to get a token


@dataclass(frozen=True)
class TrainingCells:
    """Cells and genes of a release.

    Attributes
    ----------
    cell_ids
        In the order of `counts`.
    counts
        Raw counts on `genes`.
    genes
        The release's whole axis.
    seen
        (genes,) bool: the gene occurs in enough of the cells to get a token.
    """

    cell_ids: tuple[str, ...]
    counts: Counts
    genes: Genes
    seen: NDArray[np.bool_]

    @property
    def known(self) -> Genes:
        """Genes that get a token."""
        return Genes(self.genes.ids[self.seen], self.genes.symbols[self.seen], ORGANISM)


def training_cells(release: Release, most: int) -> TrainingCells:
    """Read cells of a release; the same release gives the same cells.

    Parameters
    ----------
    release
        Opened.
    most
        Number of cells at most: those with the smallest ids, which are hashes and so no
        choice. Labels are not looked at.

    Raises
    ------
    ModelError
        The release has fewer than 20 human cells.
    """
    cells = release.tables["cells"].select(["cell_id", "study_id"])
    studies = pc.unique(cells["study_id"]).to_pylist()
    human = [study for study in studies if organism_of(release, study) == ORGANISM]
    own = cells.filter(
        pc.is_in(cells["study_id"], value_set=pc.cast(human, cells["study_id"].type))
    )
    wanted = sorted(own["cell_id"].to_pylist())[:most]
    if len(wanted) < 2 * SEEN:
        raise ModelError(
            "has too few human cells to train on",
            file=release.folder,
            value=len(wanted),
            allowed=f"{2 * SEEN} or more",
        )
    genes = genes_of(release, ORGANISM)
    blocks = blocks_of(release, wanted)
    parts = [
        counts_of_rows(read_rows(release, block.study, block.rows), block.cell_ids)
        for block in blocks
    ]
    counts = _joined(parts)
    seen = np.bincount(counts.genes, minlength=len(genes.ids)) >= SEEN
    ids = tuple(cell for block in blocks for cell in block.cell_ids)
    return TrainingCells(ids, counts, genes, seen)


def _joined(parts: list[Counts]) -> Counts:
    lengths = np.concatenate([np.diff(part.offsets) for part in parts])
    return Counts(
        np.concatenate([part.values for part in parts]),
        np.concatenate([part.genes for part in parts]),
        np.append(0, np.cumsum(lengths)).astype(np.int64),
        np.concatenate([part.seeds for part in parts]),
    )


def medians(cells: TrainingCells) -> dict[str, float]:
    """Give the median of each gene's non-zero counts per 10,000, by Ensembl id."""
    counts = cells.counts
    row = np.repeat(np.arange(len(counts)), np.diff(counts.offsets))
    total = np.bincount(row, counts.values, minlength=len(counts))
    scaled = counts.values / total[row] * 10_000
    order = np.lexsort((scaled, counts.genes))
    scaled, genes = scaled[order], counts.genes[order]
    found, first, many = np.unique(genes, return_index=True, return_counts=True)
    # Of an even number of values, the mean of the two in the middle.
    middle = (scaled[first + (many - 1) // 2] + scaled[first + many // 2]) / 2
    return {
        str(cells.genes.ids[gene]): float(value)
        for gene, value in zip(found, middle, strict=True)
        if cells.seen[gene]
    }
