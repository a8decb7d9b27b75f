"""What every count reader gives: names up front, values in bounded pieces.

A source is cell-major (`CellBlocks`: pieces of whole cells, in file order) or
anything else (`Triplets`: single values in any order, which a build spills to
disk and sorts). Values are passed on as the file has them, integers or floats,
without explicit zeros; whether they are raw counts is for
`cellresponse.builders.raw_counts` to say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cellresponse.schema.errors import SourceFileError

__all__ = [
    "PIECE_VALUES",
    "CellBlocks",
    "CountSource",
    "CsrBlock",
    "Features",
    "Triplet",
    "Triplets",
    "require_distinct_barcodes",
]

# Values in one piece: 8 MB of float32 and as much of indices, which still fits a processor's
# cache while it is checked, and large enough that the cost of a piece itself disappears.
PIECE_VALUES = 2 * 1024 * 1024


@dataclass(frozen=True)
class Features:
    """The features (genes, mostly) of one file, in file order.

    Attributes
    ----------
    ids
        One id a feature, as in the file: Ensembl ids or symbols. May repeat.
    names
        A second name a feature, or None where the file has one name only.
    """

    ids: list[str]
    names: list[str] | None = None


@dataclass(frozen=True)
class CsrBlock:
    """Consecutive whole cells in compressed rows.

    Attributes
    ----------
    start
        Index, in the source's barcodes, of the first cell.
    indptr
        int64, shape (cells + 1,), starting at 0.
    indices
        int32, shape (values,): the feature of each value, in file order within
        a cell: not necessarily sorted, and a repeat is to be summed.
    data
        Integers or floats as in the file, shape (values,), none of them zero.
    """

    start: int
    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]
    data: NDArray[Any]

    def where(self, keep: NDArray[np.bool_]) -> CsrBlock:
        """Keep the values that a mask of shape (values,) marks."""
        kept_before = np.concatenate(([0], np.cumsum(keep, dtype=np.int64)))
        return CsrBlock(self.start, kept_before[self.indptr], self.indices[keep], self.data[keep])

    def without_zeros(self) -> CsrBlock:
        """Drop explicit zeros; the block itself where it has none."""
        if not self.data.size or self.data.min() > 0:  # a quarter of the time of a mask
            return self
        keep = self.data != 0
        return self if keep.all() else self.where(keep)


class Triplet(NamedTuple):
    """Values with their places: a piece of a source that is not cell-major.

    Attributes
    ----------
    cells, features
        int32, shape (values,): indices into the source's barcodes and features.
        A repeated place is to be summed.
    values
        Integers or floats as in the file, shape (values,), none of them zero.
    """

    cells: NDArray[np.int32]
    features: NDArray[np.int32]
    values: NDArray[Any]


@dataclass(frozen=True)
class CellBlocks:
    """A file that holds one whole cell after the other.

    Attributes
    ----------
    name
        The file's name in the manifest, for messages.
    barcodes
        Every barcode of the file, distinct, in file order.
    features
        Every feature that the blocks refer to.
    blocks
        Reads the file from the start and yields `CsrBlock` pieces in order,
        which together hold every cell once. Can be called again.
    dropped_features
        How many features of the file were left out, by their type.
    """

    name: str
    barcodes: list[str]
    features: Features
    blocks: Callable[[], Iterator[CsrBlock]]
    dropped_features: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Triplets:
    """A file whose values come in any other order than cell by cell.

    Attributes
    ----------
    name, barcodes, features, dropped_features
        As in `CellBlocks`.
    triplets
        Reads the file from the start and yields `Triplet` pieces. Can be called
        again.
    """

    name: str
    barcodes: list[str]
    features: Features
    triplets: Callable[[], Iterator[Triplet]]
    dropped_features: dict[str, int] = field(default_factory=dict)


CountSource = CellBlocks | Triplets


def require_distinct_barcodes(barcodes: Sequence[str], *, name: str) -> None:
    """Refuse a file that names a cell twice, or not at all.

    Raises
    ------
    SourceFileError
        With the barcode and both its positions, counted from 1.
    """
    distinct = set(barcodes)
    if len(distinct) == len(barcodes) and "" not in distinct:
        return
    first_seen: dict[str, int] = {}
    for position, barcode in enumerate(barcodes, start=1):
        if not barcode:
            raise SourceFileError(f"cell {position} has an empty barcode", file=name)
        before = first_seen.setdefault(barcode, position)
        if before != position:
            raise SourceFileError(
                f"cells {before} and {position} have the same barcode",
                file=name,
                value=barcode,
                hint="A barcode may stand once in a file; split the file, or name another column",
            )
