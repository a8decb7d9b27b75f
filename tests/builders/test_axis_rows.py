"""Rows on the gene axis, and their measures, against dense arithmetic."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cellresponse.builders.axis_rows import MITO_BITS, AxisMap, measure
from cellresponse.builders.genes import FeatureMap, GeneAxis, gene_axis
from cellresponse.builders.quality import CellQuality
from cellresponse.builders.read import CellBlocks, CountSource, Features
from cellresponse.builders.study_sources import axis_maps
from cellresponse.schema.errors import CountsError

GENES = 6
AXIS = gene_axis(
    "human",
    [(f"ENSG{n:011d}", f"N{n}", "MT" if n in (2, 5) else "1") for n in range(GENES)],
    "MT",
    name="test",
)


def axis_map(columns: list[int], spike_ins: list[int] | None = None) -> AxisMap:
    places = np.array(columns, dtype=np.int32)
    mask = np.zeros(len(places), dtype=bool)
    mask[spike_ins or []] = True
    mapped = places[places >= 0]
    return AxisMap.of(FeatureMap(places, mask, bool(AXIS.mitochondrial[mapped].any()), {}), AXIS)


def sparse(dense: NDArray[np.int64]) -> sp.csr_array:
    return sp.csr_array(dense.astype(np.int32))


def measured(dense: Any, mapping: AxisMap) -> CellQuality:
    counts = sparse(np.atleast_2d(dense))
    quality = CellQuality.empty(counts.shape[0])
    measure(counts, mapping.apply(counts), mapping, quality, 0)
    return quality


def on_axis(dense: NDArray[np.int64], columns: NDArray[np.int32]) -> NDArray[np.int64]:
    result = np.zeros((len(dense), GENES), dtype=np.int64)
    for feature, column in enumerate(columns):
        if column >= 0:
            result[:, column] += dense[:, feature]
    return result


@st.composite
def cases(draw: st.DrawFn) -> tuple[AxisMap, NDArray[np.int64]]:
    features = draw(st.integers(0, 8))
    columns = draw(st.lists(st.integers(-1, GENES - 1), min_size=features, max_size=features))
    outside = [place for place, column in enumerate(columns) if column < 0]
    spikes = draw(st.lists(st.sampled_from(outside), unique=True)) if outside else []
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = (draw(st.integers(0, 5)), features)
    return axis_map(columns, spikes), rng.integers(0, 4, shape) * rng.integers(0, 2, shape)


@settings(deadline=None)
@given(cases())
def test_equals_dense(case: tuple[AxisMap, NDArray[np.int64]]) -> None:
    mapping, dense = case
    features = mapping.features
    counts = sparse(dense)
    mapped = mapping.apply(counts)
    wanted = on_axis(dense, features.columns)
    np.testing.assert_array_equal(mapped.toarray(), wanted)
    assert mapped.dtype == np.int32
    assert mapped.has_canonical_format

    quality = CellQuality.empty(len(dense) + 2)
    measure(counts, mapped, mapping, quality, 1)
    span = slice(1, 1 + len(dense))
    counted = dense[:, ~features.spike_ins]
    np.testing.assert_array_equal(quality.n_counts[span], counted.sum(axis=1))
    np.testing.assert_array_equal(quality.n_genes[span], (counted > 0).sum(axis=1))
    np.testing.assert_array_equal(quality.n_mito[span], wanted[:, AXIS.mitochondrial].sum(axis=1))
    alone = [measured(row, axis_map(list(range(GENES)))).fingerprint[0] for row in wanted]
    np.testing.assert_array_equal(quality.fingerprint[span], np.array(alone, dtype=np.uint64))
    assert (quality.has_mito[span] == features.has_mitochondrial).all()
    assert quality.n_counts[0] == quality.n_counts[-1] == 0


@pytest.mark.parametrize(
    ("columns", "identity", "ordered"),
    [
        (list(range(GENES)), True, True),
        ([0, 1, 2], True, True),
        ([1, 2, 3], False, True),
        ([0, -1, 2], False, True),
        ([1, 0], False, False),
        ([0, 0], False, False),
    ],
)
def test_short_ways(columns: list[int], identity: bool, ordered: bool) -> None:
    mapping = axis_map(columns)
    assert (mapping.is_identity, mapping.keeps_order) == (identity, ordered)


@pytest.mark.parametrize("count", [2**MITO_BITS // 3, 2**MITO_BITS, np.iinfo(np.int32).max])
def test_large_counts_do_not_overflow(count: int) -> None:
    quality = measured([count, count, count], axis_map([2, 5, 0]))
    assert quality.n_counts[0] == 3 * count
    assert quality.n_mito[0] == 2 * count


@pytest.mark.parametrize("count", [2**MITO_BITS - 1, 2**MITO_BITS, 2**MITO_BITS + 1])
def test_a_cell_of_mitochondrial_counts_only(count: int) -> None:
    assert measured([count, 0], axis_map([2, 0])).n_mito.tolist() == [count]


@pytest.mark.parametrize("columns", [[1, 1, -1], [4, 0, 4]])
def test_features_that_sum_beyond_int32(columns: list[int]) -> None:
    mapping = replace(axis_map(columns), file="f.csv")
    gene = max(columns)
    at = [place for place, column in enumerate(columns) if column == gene]
    dense = np.full((2, 3), 7)
    dense[1, at] = [2**30, 2**30 - 1]
    assert mapping.apply(sparse(dense)).toarray()[1, gene] == 2**31 - 1
    dense[1, at] = 2**30
    counts = sparse(dense)
    with pytest.raises(CountsError) as caught:
        mapping.apply(counts)
    assert str(caught.value) == (
        f"f.csv: the 2 features that are gene 'ENSG{gene:011d}' add up, in one cell, to "
        "2147483648. Allowed: sums from 0 to 2147483647. Check that the file holds raw counts."
    )
    np.testing.assert_array_equal(counts.toarray(), dense)


def test_a_large_cell_beside_it_changes_no_cell() -> None:
    row = [3, 0, 7, 1]
    mapping = axis_map([0, 2, 4, 5])
    together = measured([row, [0, 2**30, 0, 2**30]], mapping)
    alone = measured(row, mapping)
    assert together.n_mito.tolist() == [1, 2**31]
    assert together.fingerprint[0] == alone.fingerprint[0]


def test_equal_counts_of_different_files_have_one_fingerprint() -> None:
    first = measured([3, 0, 7], axis_map([0, 1, 4]))
    second = measured([7, 9, 1, 2], axis_map([4, -1, 0, 0]))
    assert first.fingerprint[0] == second.fingerprint[0] != 0


def test_different_counts_have_different_fingerprints() -> None:
    cells = np.array(list(np.ndindex(*(4,) * GENES)))
    fingerprints = measured(cells, axis_map(list(range(GENES)))).fingerprint
    assert len(np.unique(fingerprints)) == len(cells)
    assert fingerprints[0] == 0  # no counts


def test_axis_without_mitochondrial_genes() -> None:
    axis = GeneAxis("bacteria", ("a", "b"), ("a", "b"), ("1", "1"), None)
    features = FeatureMap(np.array([0, 1], np.int32), np.zeros(2, bool), False, {})
    quality = measured([1, 2], AxisMap.of(features, axis))
    assert quality.n_counts[0] == 3
    assert np.isnan(quality.pct_mito()[0])


def test_every_file_has_the_map_of_its_own_features() -> None:
    lists = (["N0", "N1"], ["N1", "N5"], ["N0", "N1"])
    sources: list[CountSource] = [
        CellBlocks(f"f{n}", [], Features(ids), lambda: iter(())) for n, ids in enumerate(lists)
    ]
    maps = axis_maps(sources, AXIS)
    assert [found.features.columns.tolist() for found in maps] == [[0, 1], [1, 5], [0, 1]]
    assert [found.features.has_mitochondrial for found in maps] == [False, True, False]
    assert [found.file for found in maps] == ["f0", "f1", "f2"]
    assert maps[0].weights is maps[2].weights
