"""Cells of a release, in blocks, as models take them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cellresponse.baselines.models.interface import Counts, Genes
from cellresponse.schema.errors import ModelError

if TYPE_CHECKING:
    import scipy.sparse as sp

    from cellresponse.releases.release import Release

__all__ = ["BLOCK", "Block", "blocks_of", "counts_of_rows", "genes_of", "organism_of", "seeds_of"]

# Cells that are read, tokenised and sorted by length together, and the step of a resume.
BLOCK = 1024


@dataclass(frozen=True)
class Block:
    """Cells of one study that are embedded together.

    Attributes
    ----------
    number
        Place in the result, from 0.
    study
        Its study.
    rows
        (cells,) int64, rising: rows of the study's matrix.
    cell_ids
        Their ids.
    """

    number: int
    study: str
    rows: NDArray[np.int64]
    cell_ids: tuple[str, ...]


def blocks_of(release: Release, cell_ids: Iterable[str] | None = None) -> list[Block]:
    """Divide cells into blocks; the same cells give the same blocks everywhere.

    Parameters
    ----------
    release
        Opened.
    cell_ids
        Those wanted. None: all of the release.

    Raises
    ------
    ModelError
        The release lacks a wanted cell, or has none.
    """
    cells = release.tables["cells"].select(["cell_id", "study_id", "row"])
    if cell_ids is not None:
        wanted = pa.array(sorted(set(cell_ids)), pa.string())
        cells = cells.filter(pc.is_in(cells["cell_id"], value_set=wanted))
        if len(cells) != len(wanted):
            missing = set(wanted.to_pylist()) - set(cells["cell_id"].to_pylist())
            raise ModelError(
                f"the release {release.name} lacks {len(missing)} of the cells",
                value=min(missing),
            )
    if len(cells) == 0:
        raise ModelError(f"there are no cells to embed in the release {release.name}")
    blocks: list[Block] = []
    for study in sorted(pc.unique(cells["study_id"]).to_pylist()):
        own = cells.filter(pc.equal(cells["study_id"], study)).sort_by("row")
        for start in range(0, len(own), BLOCK):
            part = own.slice(start, BLOCK)
            ids = tuple(part["cell_id"].to_pylist())
            blocks.append(Block(len(blocks), study, part["row"].to_numpy(), ids))
    return blocks


def organism_of(release: Release, study: str) -> str:
    """Give the organism of a study."""
    studies = release.tables["studies"]
    return str(studies.filter(pc.equal(studies["study_id"], study))["organism"][0].as_py())


def genes_of(release: Release, organism: str) -> Genes:
    """Give the gene axis of an organism, as the columns of its matrices."""
    table = release.tables["genes"]
    genes = table.filter(pc.equal(table["organism"], organism))
    names = pc.fill_null(genes["gene_name"], "")
    return Genes(
        np.array(genes["gene_id"].to_pylist(), str), np.array(names.to_pylist(), str), organism
    )


def counts_of_rows(rows: sp.csr_matrix, cell_ids: Iterable[str]) -> Counts:
    """Take the rows of a matrix as counts of cells with these ids."""
    return Counts(
        rows.data,
        rows.indices.astype(np.int32, copy=False),
        rows.indptr.astype(np.int64),
        seeds_of(cell_ids),
    )


def seeds_of(cell_ids: Iterable[str]) -> NDArray[np.uint64]:
    """Give each cell a seed of its own, (cells,) uint64: eight bytes of a hash of its id."""
    digests = (hashlib.blake2b(cell.encode(), digest_size=8).digest() for cell in cell_ids)
    return np.frombuffer(b"".join(digests), "<u8").astype(np.uint64)
