"""Tell raw counts from everything else, and refuse the rest by name.

A count is a whole number from 0 to the largest int32. The test of a piece is a
minimum, a maximum and, for floats, one comparison; only a matrix that fails is
looked at again, to say what it holds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from cellresponse.builders.normalisation import Sample, recognise
from cellresponse.builders.read.source import CellBlocks, CountSource, CsrBlock, Triplet
from cellresponse.schema.errors import CountsError

__all__ = [
    "MAX_COUNT",
    "RawCountTest",
    "as_counts",
    "large_sum",
    "require_sums",
    "sum_repeats",
]

MAX_COUNT = int(np.iinfo(np.int32).max)
SAMPLE_CELLS = 500
IN_CACHE = 64 * 1024


def as_counts(values: NDArray[Any]) -> NDArray[np.int32] | None:
    """Give values as counts, or None where one of them is no count.

    Parameters
    ----------
    values
        Integers or floats, any shape.

    Returns
    -------
    int32 array of the same shape, the input itself where it is int32 already;
    None where a value is negative, not finite, not whole or above int32.

    Examples
    --------
    >>> as_counts(np.array([0.0, 3.0]))
    array([0, 3], dtype=int32)
    >>> as_counts(np.array([0.5])) is None
    True
    """
    if values.size == 0:
        return values.astype(np.int32)
    # NaN makes both comparisons false, so it needs no pass of its own. As Python's numbers: beside
    # a float32, numpy rounds the largest int32 up.
    if not (values.min().item() >= 0 and values.max().item() <= MAX_COUNT):
        return None
    if values.dtype.kind != "f":
        return values.astype(np.int32, copy=False)
    counts = np.empty(values.shape, dtype=np.int32)
    given, whole = values.reshape(-1), counts.reshape(-1)
    # Piece by piece, which stays in the processor's cache, and in the floats' own precision:
    # int32 beside float32 would be compared in float64.
    back = np.empty(min(values.size, IN_CACHE), dtype=values.dtype)
    for start in range(0, values.size, IN_CACHE):
        piece = slice(start, min(start + IN_CACHE, values.size))
        again = back[: piece.stop - start]
        whole[piece] = given[piece]
        again[:] = whole[piece]
        if not np.array_equal(again, given[piece]):
            return None
    return counts


def sum_repeats(
    counts: sp.csr_array, refusal: Callable[[int, int, int], CountsError]
) -> sp.csr_array:
    """Sum the values of repeated places; rows without any are given back as they are.

    Parameters
    ----------
    counts
        int32, columns sorted within rows; may be changed.
    refusal
        Makes the error for the row, the column and the sum of a place.

    Raises
    ------
    CountsError
        A sum is larger than int32 holds.
    """
    if counts.has_canonical_format:
        return counts
    if counts.data.sum(dtype=np.int64) > MAX_COUNT:
        places = (counts.indices.copy(), counts.indptr.copy())
        wide = sp.csr_array((counts.data.astype(np.int64), *places), shape=counts.shape)
        wide.sum_duplicates()
        require_sums(wide, refusal)
    counts.sum_duplicates()
    return counts


def require_sums(sums: sp.csr_array, refusal: Callable[[int, int, int], CountsError]) -> None:
    """Refuse sums, int64, of which one is larger than int32 holds."""
    large = np.flatnonzero(sums.data > MAX_COUNT)
    if large.size:
        row = int(np.searchsorted(sums.indptr, large[0], side="right")) - 1
        raise refusal(row, int(sums.indices[large[0]]), int(sums.data[large[0]]))


def large_sum(source: CountSource, cell: int, feature: int, total: int) -> CountsError:
    """Make the error for a cell and feature whose values add up to more than int32 holds."""
    barcode, gene = source.barcodes[cell], source.features.ids[feature]
    return CountsError(
        f"the values of barcode {barcode!r} (cell {cell + 1}), feature {gene!r} (feature "
        f"{feature + 1}) add up to",
        file=source.name,
        value=total,
        allowed=f"sums from 0 to {MAX_COUNT}",
        hint="The file names a cell and feature more than once: check that this is meant",
    )


@dataclass(frozen=True)
class RawCountTest:
    """Passes the pieces of a source that are raw counts, and refuses others.

    Attributes
    ----------
    source
        The source whose pieces are tested; it is read again for the evidence
        when a piece that is not cell-major fails.
    """

    source: CountSource

    def update(self, piece: CsrBlock | Triplet) -> NDArray[np.int32]:
        """Give the values of a piece as counts.

        Parameters
        ----------
        piece
            A piece of the source.

        Returns
        -------
        int32, shape (values,).

        Raises
        ------
        CountsError
            The values are of type bool, or one is no count. The message has the first
            one with its barcode and feature, what the matrix was recognised as, and by
            what evidence.
        """
        values = piece.data if isinstance(piece, CsrBlock) else piece.values
        if values.dtype.kind == "b":
            raise CountsError(
                "the matrix holds true and false: whether a feature was detected, not how often",
                file=self.source.name,
                hint="Give the file of raw counts, or name another layer if this one has it",
            )
        counts = as_counts(values)
        if counts is None:
            raise self._refusal(piece, values)
        return counts

    def _refusal(self, piece: CsrBlock | Triplet, values: NDArray[Any]) -> CountsError:
        first = int(np.flatnonzero(~_is_count(values))[0])
        if isinstance(piece, CsrBlock):
            row = int(np.searchsorted(piece.indptr, first, side="right")) - 1
            cell, feature = piece.start + row, int(piece.indices[first])
            sample = _sample_of_block(piece, row)
        else:
            cell, feature = int(piece.cells[first]), int(piece.features[first])
            sample = self._sample_of_triplets(cell)
        what, evidence = recognise(sample)
        barcode, gene = self.source.barcodes[cell], self.source.features.ids[feature]
        return CountsError(
            f"the matrix does not hold raw counts but {what} ({evidence}); the first value that "
            f"is no count: barcode {barcode!r} (cell {cell + 1}), feature {gene!r} "
            f"(feature {feature + 1}) has",
            file=self.source.name,
            value=values[first].item(),
            allowed=f"whole numbers from 0 to {MAX_COUNT}",
            hint="Give the file of raw counts, or name another layer if this one has it",
        )

    def _sample_of_triplets(self, offender: int) -> Sample:
        if isinstance(self.source, CellBlocks):
            raise TypeError("a cell-major source has no triplets")
        n_cells = len(self.source.barcodes)
        spread = np.linspace(0, n_cells - 1, min(n_cells, SAMPLE_CELLS)).astype(np.int64)
        chosen = np.unique(np.append(spread, offender))
        position = np.full(n_cells, -1, dtype=np.int64)
        position[chosen] = np.arange(chosen.size)
        cells, features, values = [], [], []
        for piece in self.source.triplets():
            keep = position[piece.cells] >= 0
            cells.append(position[piece.cells[keep]])
            features.append(piece.features[keep])
            values.append(piece.values[keep].astype(np.float64))
        return Sample(
            np.concatenate(cells), np.concatenate(features), np.concatenate(values), chosen.size
        )


def _is_count(values: NDArray[Any]) -> NDArray[np.bool_]:
    if values.dtype.kind == "f":
        values = values.astype(np.result_type(values, np.float64), copy=False)
    fits: NDArray[np.bool_] = (values >= 0) & (values <= MAX_COUNT) & (np.rint(values) == values)
    return fits


def _sample_of_block(block: CsrBlock, row: int) -> Sample:
    """Take the cells around row `row`."""
    rows = block.indptr.size - 1
    start = max(min(row - SAMPLE_CELLS // 2, rows - SAMPLE_CELLS), 0)
    stop = min(start + SAMPLE_CELLS, rows)
    span = slice(int(block.indptr[start]), int(block.indptr[stop]))
    cells = np.repeat(np.arange(stop - start), np.diff(block.indptr[start : stop + 1]))
    return Sample(cells, block.indices[span], block.data[span].astype(np.float64), stop - start)
