"""Cells of any file order come out by sample and barcode, with the counts they had."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cellresponse.builders import spill
from cellresponse.builders.match import Matched
from cellresponse.builders.ordered_rows import Segment, ordered_rows, rank_cells
from cellresponse.builders.read import (
    CellBlocks,
    CountSource,
    CsrBlock,
    Features,
    Triplet,
    Triplets,
)
from cellresponse.schema.errors import CountsError

GENES = 5
FEATURES = Features([f"g{n}" for n in range(GENES)])


@dataclass(frozen=True)
class File:
    """A source, its matched samples, and the same counts as a dense array."""

    source: CountSource
    matched: Matched
    dense: NDArray[np.int64]


def blocks(
    dense: NDArray[np.int64], borders: list[int], rng: np.random.Generator
) -> Iterator[CsrBlock]:
    """Cut into blocks; genes in any order within a cell, some counts as two that sum."""
    for start, stop in zip([0, *borders], [*borders, len(dense)], strict=True):
        lengths, indices, data = [], [], []
        for row in dense[start:stop]:
            genes = rng.permutation(np.flatnonzero(row))
            split = [g for g in genes if row[g] > 1 and rng.random() < 0.3]
            indices += [*genes, *split]
            data += [row[g] - (g in split) for g in genes] + [1] * len(split)
            lengths.append(len(genes) + len(split))
        indptr = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
        yield CsrBlock(start, indptr, np.array(indices, np.int32), np.array(data, np.float32))


def triplets(dense: NDArray[np.int64], rng: np.random.Generator) -> Iterator[Triplet]:
    cells, genes = np.nonzero(dense)
    order = rng.permutation(len(cells))
    for part in np.array_split(order, 3):
        places = cells[part].astype(np.int32), genes[part].astype(np.int32)
        yield Triplet(*places, dense[cells[part], genes[part]])


@st.composite
def files(draw: st.DrawFn) -> File:
    number = draw(st.integers(0, 9))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    dense = rng.integers(0, 4, (number, GENES)) * rng.integers(0, 2, (number, GENES))
    barcodes = [f"c{n:02d}" for n in range(number)]
    if draw(st.booleans()):
        rng.shuffle(barcodes)
    name = f"file{draw(st.integers(0, 10**6))}"
    samples = sorted(f"s{n}-{name}" for n in range(draw(st.integers(1, 3))))
    codes = rng.integers(-1, len(samples), number).astype(np.int32)
    if draw(st.booleans()):
        codes = np.sort(codes)
    source: CountSource
    if draw(st.booleans()):
        borders = sorted(draw(st.sets(st.integers(0, number), max_size=3)))
        seed = int(rng.integers(2**32))
        source = CellBlocks(
            name, barcodes, FEATURES, lambda: blocks(dense, borders, np.random.default_rng(seed))
        )
    else:
        source = Triplets(name, barcodes, FEATURES, lambda: triplets(dense, rng))
    return File(source, Matched(samples, codes), dense)


def expected(given_files: list[File]) -> tuple[list[tuple[str, str]], NDArray[np.int64]]:
    """Sample and barcode of every cell that stays, in order, and their counts."""
    found = [
        (file.matched.samples[code], barcode, row)
        for file in given_files
        for barcode, code, row in zip(
            file.source.barcodes, file.matched.codes, file.dense, strict=True
        )
        if code >= 0
    ]
    found.sort(key=lambda cell: cell[:2])
    counts = np.array([row for *_, row in found]).reshape(-1, GENES)
    return [(sample, barcode) for sample, barcode, _ in found], counts


@settings(deadline=None, max_examples=150)
@given(st.lists(files(), min_size=1, max_size=3, unique_by=lambda file: file.source.name))
def test_equals_dense(given_files: list[File]) -> None:
    names, counts = expected(given_files)
    ranked, segments, cells = rank_cells(
        [file.source for file in given_files], [file.matched for file in given_files]
    )
    assert (
        list(zip(*(cells[c].to_pylist() for c in ("sample_id", "barcode")), strict=True)) == names
    )
    got = np.full(counts.shape, -1, dtype=np.int64)
    with TemporaryDirectory() as scratch, pytest.MonkeyPatch.context() as patch:
        patch.setattr(spill, "BUCKET", 4)
        for file, start, rows in ordered_rows(ranked, segments, Path(scratch)):
            assert rows.dtype == np.int32
            assert rows.has_canonical_format
            assert (rows.data > 0).all()
            span = slice(start, start + rows.shape[0])
            assert (cells["file"].to_numpy()[span] == file).all()
            assert (got[span] == -1).all()
            got[span] = rows.toarray()
        assert not any(Path(scratch).iterdir())
    np.testing.assert_array_equal(got, counts)


def one_file(codes: list[int], samples: list[str], barcodes: list[str]) -> File:
    dense = np.arange(len(codes) * GENES).reshape(-1, GENES)
    rng = np.random.default_rng(0)
    source = CellBlocks(samples[0], barcodes, FEATURES, lambda: blocks(dense, [], rng))
    return File(source, Matched(samples, np.array(codes, np.int32)), dense)


def test_sorted_cells_are_not_spilled(tmp_path: Path) -> None:
    file = one_file([0, -1, 0, 1], ["a", "b"], ["x", "q", "y", "a"])
    ranked, segments, _ = rank_cells([file.source], [file.matched])
    assert ranked[0].in_order
    assert ranked[0].ranks.tolist() == [0, -1, 1, 2]
    assert segments == [Segment(0, 0, 3)]
    for _ in ordered_rows(ranked, segments, tmp_path):
        assert not any(tmp_path.iterdir())


def test_files_whose_samples_alternate() -> None:
    first = one_file([0, 1], ["a", "c"], ["x", "y"])
    second = one_file([0, 1], ["b", "d"], ["x", "y"])
    _, segments, cells = rank_cells([first.source, second.source], [first.matched, second.matched])
    assert [segment.file for segment in segments] == [0, 1, 0, 1]
    assert cells["position"].to_pylist() == [0, 0, 1, 1]


def test_no_cell_stays(tmp_path: Path) -> None:
    file = one_file([-1, -1], ["a"], ["x", "y"])
    ranked, segments, cells = rank_cells([file.source], [file.matched])
    assert segments == []
    assert len(cells) == 0
    assert list(ordered_rows(ranked, segments, tmp_path)) == []


@pytest.mark.parametrize("codes", [[-1, 0, 0], [-1, 1, 0]], ids=["streamed", "spilled"])
@pytest.mark.parametrize("order", [[3, 1, 3], [1, 3, 3]], ids=["unsorted", "sorted"])
def test_repeats_that_sum_beyond_int32(tmp_path: Path, order: list[int], codes: list[int]) -> None:
    def read(last: int) -> list[NDArray[np.int64]]:
        values = np.array([1, *(2**30 - 1 if gene == 3 else 5 for gene in order), 1, last])
        indices = np.array([0, *order, 2, 3], np.int32)
        indptr = np.array([0, 1, 6, 6])
        block = CsrBlock(0, indptr, indices, values.astype(np.float64))
        source = CellBlocks("f", ["q", "x", "y"], FEATURES, lambda: iter([block]))
        matched = Matched(["a", "b"], np.array(codes, np.int32))
        ranked, segments, _ = rank_cells([source], [matched])
        return [rows.toarray() for *_, rows in ordered_rows(ranked, segments, tmp_path)]

    expected = [[0, 5, 1, 2**31 - 1, 0], [0] * 5]
    assert sorted(np.concatenate(read(1)).tolist(), reverse=True) == expected
    with pytest.raises(CountsError) as caught:
        read(2)
    assert str(caught.value).startswith(
        "f: the values of barcode 'x' (cell 2), feature 'g3' (feature 4) add up to 2147483648. "
        "Allowed: sums from 0 to 2147483647."
    )
    assert not any(tmp_path.iterdir())


def test_a_sum_beyond_int32_in_a_later_block(tmp_path: Path) -> None:
    first = CsrBlock(0, np.array([0, 1, 1]), np.zeros(1, np.int32), np.ones(1))
    second = CsrBlock(2, np.array([0, 2]), np.array([3, 3], np.int32), np.full(2, 2.0**30))
    source = CellBlocks("f", ["x", "y", "z"], FEATURES, lambda: iter([first, second]))
    ranked, segments, _ = rank_cells([source], [Matched(["a"], np.zeros(3, np.int32))])
    with pytest.raises(CountsError, match=r"barcode 'z' \(cell 3\), feature 'g3'"):
        list(ordered_rows(ranked, segments, tmp_path))


@pytest.mark.parametrize("codes", [[0, 0], [1, 0]], ids=["streamed", "spilled"])
def test_what_is_no_count_leaves_nothing(tmp_path: Path, codes: list[int]) -> None:
    bad = CsrBlock(0, np.array([0, 1, 2]), np.zeros(2, np.int32), np.array([1.0, 0.5]))
    source = CellBlocks("bad", ["x", "y"], FEATURES, lambda: iter([bad]))
    ranked, segments, _ = rank_cells([source], [Matched(["a", "b"], np.array(codes, np.int32))])
    with pytest.raises(CountsError, match="barcode 'y'"):
        list(ordered_rows(ranked, segments, tmp_path))
    assert not any(tmp_path.iterdir())
