"""A user's own cells: raw counts, moved onto the gene axis of a release."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import scipy.sparse as sp
from numpy.typing import NDArray

from cellresponse.builders.axis_rows import AxisMap
from cellresponse.builders.genes import GeneAxis, map_features
from cellresponse.builders.raw_counts import RawCountTest, large_sum, require_sums, sum_repeats
from cellresponse.builders.read import CellBlocks, CountSource, open_counts
from cellresponse.releases.release import Release
from cellresponse.schema.errors import SourceFileError

__all__ = ["UserCells", "read_user_cells"]


@dataclass(frozen=True)
class UserCells:
    """Cells as a model takes them.

    Attributes
    ----------
    barcodes
        As in the file.
    counts
        (cells, genes) int32 CSR on the release's axis.
    mapped
        (cells,) share of each cell's counts that lie on the axis, 0 to 1; NaN for a cell
        without counts.
    genes_found
        Features of the file that are on the axis.
    features
        Features of the file.
    """

    barcodes: list[str]
    counts: sp.csr_matrix
    mapped: NDArray[np.float64]
    genes_found: int
    features: int


def read_user_cells(path: Path, release: Release, organism: str) -> UserCells:
    """Read an h5ad file of raw counts; symbols, Ensembl ids and versioned ids are found.

    Parameters
    ----------
    path
        The file; `X` holds raw counts, the index of `var` names or ids.
    release
        Gives the gene axis.
    organism
        Whose axis.

    Raises
    ------
    SourceFileError
        The file is missing or damaged, or no feature is a gene of the organism.
    CountsError
        `X` does not hold raw counts: with what it was recognised as.
    """
    if not path.is_file():
        raise SourceFileError("there is no such file", file=path)
    source = open_counts("h5ad", path, name=path.name)
    axis = _axis(release, organism)
    features = map_features(source.features, axis)
    found = int((features.columns >= 0).sum())
    if found == 0:
        raise SourceFileError(
            f"no feature is a gene of {organism}",
            file=path,
            value=", ".join(source.features.ids[:3]),
            allowed="gene symbols or Ensembl ids as the index of var",
        )
    raw = _raw(source)
    on_axis = AxisMap.of(features, axis).apply(raw)
    totals = np.asarray(raw.sum(axis=1), np.float64).ravel()
    with np.errstate(invalid="ignore"):
        mapped = np.asarray(on_axis.sum(axis=1), np.float64).ravel() / totals
    return UserCells(
        list(source.barcodes), sp.csr_matrix(on_axis), mapped, found, len(source.features.ids)
    )


def _axis(release: Release, organism: str) -> GeneAxis:
    genes = release.tables["genes"]
    genes = genes.filter(pc.equal(genes["organism"], organism)).sort_by("position")
    ids, names, contigs = (
        tuple(genes[column].to_pylist()) for column in ("gene_id", "gene_name", "contig")
    )
    spec = release.root["spec"]["organisms"][organism]["genes"]
    return GeneAxis(organism, ids, names, contigs, spec["mitochondrial_contig"])


def _raw(source: CountSource) -> sp.csr_array:
    """Read the file into (cells, features), refusing what is no count."""
    test = RawCountTest(source)
    shape = (len(source.barcodes), len(source.features.ids))
    if isinstance(source, CellBlocks):
        blocks = [
            sp.csr_array(
                (test.update(block), block.indices, block.indptr),
                shape=(len(block.indptr) - 1, shape[1]),
            )
            for block in source.blocks()
        ]
        found = sp.csr_array(sp.vstack(blocks, format="csr"))
        found.sort_indices()
        return sum_repeats(found, partial(large_sum, source))
    pieces = [(test.update(piece), piece.cells, piece.features) for piece in source.triplets()]
    values, cells, columns = (np.concatenate(part) for part in zip(*pieces, strict=True))
    wide = sp.coo_array((values.astype(np.int64), (cells, columns)), shape=shape).tocsr()
    require_sums(wide, partial(large_sum, source))
    wide.sort_indices()
    return sp.csr_array(wide.astype(np.int32))
