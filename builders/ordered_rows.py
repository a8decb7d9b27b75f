"""Read the files of a study as rows in release order: by sample, then barcode.

A rank is a cell's place in that order, before quality control. A cell-major file
whose cells already stand in order is streamed; any other file is spilled first.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp
from numpy.typing import NDArray

from cellresponse.builders.match import Matched
from cellresponse.builders.raw_counts import RawCountTest, large_sum, sum_repeats
from cellresponse.builders.read import CellBlocks, CountSource, CsrBlock, Triplet
from cellresponse.builders.spill import Spill
from cellresponse.schema.errors import CountsError

__all__ = ["RankedFile", "Segment", "ordered_rows", "rank_cells"]


@dataclass(frozen=True)
class RankedFile:
    """A source whose cells have their place in the release's order.

    Attributes
    ----------
    source
        Open source.
    ranks
        int64, shape (barcodes,): place of each cell among the study's, -1 where the
        cell is left out.
    """

    source: CountSource
    ranks: NDArray[np.int64]

    @property
    def in_order(self) -> bool:
        """Whether the cells that stay stand in release order."""
        kept = self.ranks[self.ranks >= 0]
        return bool(np.all(np.diff(kept) > 0))


@dataclass(frozen=True)
class Segment:
    """Consecutive ranks that lie in one file."""

    file: int
    start: int
    stop: int


def rank_cells(
    sources: list[CountSource], matched: list[Matched]
) -> tuple[list[RankedFile], list[Segment], pa.Table]:
    """Order the cells of a study by sample, then barcode.

    Returns
    -------
    files, segments, cells
        The files with ranks; which file holds which ranks; and a table with one row a
        rank: `sample_id`, `barcode`, `file` (index) and `position` in the file.
    """
    parts = []
    for index, (source, match) in enumerate(zip(sources, matched, strict=True)):
        position = np.flatnonzero(match.codes >= 0)
        sample_ids = pa.array(match.samples, pa.string())
        parts.append(
            pa.table(
                {
                    "sample_id": sample_ids.take(pa.array(match.codes[position])),
                    "barcode": pa.array(source.barcodes, pa.string()).take(pa.array(position)),
                    "file": pa.array(np.full(len(position), index, dtype=np.int32)),
                    "position": pa.array(position),
                }
            )
        )
    cells = pa.concat_tables(parts)
    cells = cells.take(
        pc.sort_indices(cells, [("sample_id", "ascending"), ("barcode", "ascending")])
    ).combine_chunks()
    owner = cells["file"].to_numpy()
    position = cells["position"].to_numpy()
    files = []
    for index, source in enumerate(sources):
        ranks = np.full(len(source.barcodes), -1, dtype=np.int64)
        own = np.flatnonzero(owner == index)
        ranks[position[own]] = own
        files.append(RankedFile(source, ranks))
    return files, _segments(owner), cells


def _segments(owner: NDArray[np.int32]) -> list[Segment]:
    if len(owner) == 0:
        return []
    borders = np.flatnonzero(np.diff(owner)) + 1
    starts = [0, *borders.tolist()]
    stops = [*borders.tolist(), len(owner)]
    return [Segment(int(owner[a]), a, b) for a, b in zip(starts, stops, strict=True)]


def ordered_rows(
    files: list[RankedFile], segments: list[Segment], scratch: Path
) -> Generator[tuple[int, int, sp.csr_array]]:
    """Yield (file, first rank, counts over the file's features) in rank order.

    Parameters
    ----------
    files, segments
        From `rank_cells`.
    scratch
        Folder for spills.

    Yields
    ------
    file, start, counts
        `counts` is int32, shape (cells, features): features rise within a row, without
        repeats and zeros. Together the pieces hold every rank once.

    Raises
    ------
    CountsError
        At the first value that is no raw count, or where the values of one cell and
        feature add up to more than a count can be.
    """
    with ExitStack() as spills:
        spilled: dict[int, Spill] = {}
        for segment in segments:
            file = files[segment.file]
            if isinstance(file.source, CellBlocks) and file.in_order and _once(segments, segment):
                for start, counts in _streamed(file):
                    yield segment.file, start, counts
                continue
            if segment.file not in spilled:
                folder, features = scratch / str(segment.file), file.source.features.ids
                spill = Spill(folder, len(features), partial(_large_sum, file))
                spilled[segment.file] = spills.enter_context(spill)
                _spill(file, spill)
            for start, counts in spilled[segment.file].rows(segment.start, segment.stop):
                yield segment.file, start, _canonical(counts, file, start)


def _once(segments: list[Segment], segment: Segment) -> bool:
    return sum(other.file == segment.file for other in segments) == 1


def _streamed(file: RankedFile) -> Iterator[tuple[int, sp.csr_array]]:
    if not isinstance(file.source, CellBlocks):
        raise TypeError("only a cell-major source can be streamed")
    test = RawCountTest(file.source)
    for block in file.source.blocks():
        counts = _matrix(block, test.update(block), len(file.source.features.ids))
        ranks = file.ranks[block.start : block.start + counts.shape[0]]
        kept = ranks >= 0
        if not kept.all():
            counts, ranks = counts[kept], ranks[kept]
        if len(ranks):
            start = int(ranks[0])
            yield start, _canonical(counts, file, start)


def _matrix(block: CsrBlock, counts: NDArray[np.int32], n_features: int) -> sp.csr_array:
    shape = (len(block.indptr) - 1, n_features)
    # int64 indptr beside int32 indices makes scipy copy the indices at every step.
    return sp.csr_array((counts, block.indices, block.indptr.astype(np.int32)), shape=shape)


def _spill(file: RankedFile, spill: Spill) -> None:
    test = RawCountTest(file.source)
    for piece in _pieces(file.source):
        values = test.update(piece)
        if isinstance(piece, CsrBlock):
            lengths = np.diff(piece.indptr)
            places = file.ranks[piece.start : piece.start + len(lengths)]
            ranks, features = np.repeat(places, lengths), piece.indices
        else:
            ranks, features = file.ranks[piece.cells], piece.features
        kept = ranks >= 0
        spill.add(ranks[kept], features[kept], values[kept])


def _pieces(source: CountSource) -> Iterator[CsrBlock | Triplet]:
    return source.blocks() if isinstance(source, CellBlocks) else source.triplets()


def _canonical(counts: sp.csr_array, file: RankedFile, start: int) -> sp.csr_array:
    """Sort features within rows and sum repeats."""
    if not counts.has_canonical_format:
        if not counts.has_sorted_indices:
            # Transposing twice sorts in linear time; scipy's own sort is ten times slower.
            counts = counts.tocsc().tocsr()
        counts = sum_repeats(counts, lambda row, *place: _large_sum(file, start + row, *place))
    return counts


def _large_sum(file: RankedFile, rank: int, feature: int, total: int) -> CountsError:
    return large_sum(file.source, int(np.flatnonzero(file.ranks == rank)[0]), feature, total)
