"""Raw counts pass; what is not is refused, and called by its name."""

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from cellresponse.builders.raw_counts import IN_CACHE, MAX_COUNT, RawCountTest, as_counts
from cellresponse.builders.read import (
    CellBlocks,
    CsrBlock,
    Features,
    Triplet,
    Triplets,
    open_counts,
)
from cellresponse.schema.errors import CountsError


def as_source(matrix, cell_major=True, rows=64):
    """A matrix of cells by features as a source in memory."""
    barcodes = [f"cell{i}" for i in range(matrix.shape[0])]
    features = Features([f"gene{i}" for i in range(matrix.shape[1])])
    if cell_major:

        def blocks():
            for start in range(0, matrix.shape[0], rows):
                part = scipy.sparse.csr_array(matrix[start : start + rows])
                yield CsrBlock(start, part.indptr.astype(np.int64), part.indices, part.data)

        return CellBlocks("m.h5ad", barcodes, features, blocks)

    def triplets():
        for feature in range(matrix.shape[1]):
            cells = np.flatnonzero(matrix[:, feature]).astype(np.int32)
            yield Triplet(cells, np.full_like(cells, feature), matrix[cells, feature])

    return Triplets("m.csv", barcodes, features, triplets)


def feed(source):
    test = RawCountTest(source)
    pieces = source.blocks() if isinstance(source, CellBlocks) else source.triplets()
    return [test.update(piece) for piece in pieces]


def refusal(matrix, cell_major=True):
    with pytest.raises(CountsError) as caught:
        feed(as_source(matrix, cell_major))
    return str(caught.value)


def simulated(seed, cells=80, genes=300, depth=600):
    """Counts of cells whose depth varies, as in real data."""
    rng = np.random.default_rng(seed)
    expression = rng.dirichlet(np.full(genes, 0.3))
    depths = rng.lognormal(np.log(depth), 0.4, cells)
    return rng.poisson(expression * depths[:, None]).astype(np.float64)


DTYPES = [np.uint8, np.int16, np.uint32, np.int64, np.uint64, np.float32, np.float64]


@pytest.mark.parametrize("dtype", DTYPES)
@given(data=st.data())
@settings(deadline=None, max_examples=30)
def test_any_counts_pass(dtype, data):
    top = min(np.iinfo(dtype).max if np.dtype(dtype).kind in "iu" else 2**24, MAX_COUNT)
    matrix = data.draw(
        arrays.arrays(
            dtype, st.tuples(st.integers(1, 8), st.integers(1, 8)), elements=st.integers(0, top)
        )
    )
    for cell_major in (True, False):
        counts = feed(as_source(matrix, cell_major, rows=3))
        assert all(piece.dtype == np.int32 for piece in counts)
        assert sum(int(piece.sum(dtype=np.int64)) for piece in counts) == int(
            matrix.sum(dtype=np.float64 if matrix.dtype.kind == "f" else np.int64)
        )


def test_int32_is_not_copied():
    values = np.array([1, 2], dtype=np.int32)
    assert as_counts(values) is values
    assert as_counts(np.array([], dtype=np.float32)).dtype == np.int32


def test_floats_that_are_read_in_several_pieces():
    values = np.arange(2 * IN_CACHE + 5, dtype=np.float32) % 251
    assert np.array_equal(as_counts(values), values.astype(np.int32))
    for place in (IN_CACHE, -1):
        wrong = values.copy()
        wrong[place] = 0.5
        assert as_counts(wrong) is None


@pytest.mark.parametrize("cell_major", [True, False])
def test_true_and_false_are_no_counts(cell_major):
    assert "holds true and false" in refusal(np.array([[True, False], [True, True]]), cell_major)


def test_few_cells_have_no_constant_total():
    assert "but values that are not whole numbers (" in refusal(np.array([[1.3, 2.1], [0.2, 3.2]]))


@pytest.mark.parametrize("bad", [-1.0, 0.5, np.nan, np.inf, -np.inf, 2.0**31, 1e300])
def test_one_bad_value_is_enough(bad):
    assert as_counts(np.array([1.0, 2.0, bad])) is None


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.longdouble])
@pytest.mark.parametrize("bad", [2.0**31, np.inf, np.nan, -1])
def test_bad_values_of_any_precision(bad, dtype):
    matrix = np.array([[1, 0], [bad, 2]])
    with np.errstate(over="ignore"):
        matrix = matrix.astype(dtype)  # in float16, 2^31 is infinite
    assert as_counts(matrix) is None
    for cell_major in (True, False)[dtype is np.float16 :]:  # scipy has no float16
        assert "barcode 'cell1' (cell 2), feature 'gene0'" in refusal(matrix, cell_major)


def test_the_largest_count_and_the_next_number():
    below = np.nextafter(np.float32(2**31), np.float32(0))
    assert as_counts(np.array([below])).tolist() == [2**31 - 128]
    assert as_counts(np.array([2.0**31 - 1])).tolist() == [MAX_COUNT]
    assert as_counts(np.array([2**31], dtype=np.uint64)) is None


@pytest.mark.parametrize("value", [-1, 2**31, 2**62])
def test_integers_out_of_range(value):
    assert as_counts(np.array([1, value])) is None


def scaled(counts, total):
    return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1) * total


def factors(counts):
    """One factor a cell: totals stay uneven, as after dropping genes."""
    return np.random.default_rng(11).uniform(0.21, 4.93, (counts.shape[0], 1))


TRANSFORMED = {
    "log-transformed counts (natural log of 1 + x)": np.log1p,
    "log-transformed counts (log2 of 1 + x)": lambda x: np.log2(1 + x),
    "log-transformed counts (log10 of 1 + x)": lambda x: np.log10(1 + x),
    "square-root transformed counts": np.sqrt,
    "values normalised to a constant total (CPM or TPM)": lambda x: scaled(x, 1e6),
    "values normalised to a constant total (values add up to 10,000": lambda x: scaled(x, 1e4),
    "values normalised to a constant total (values add up to 1 ": lambda x: scaled(x, 1),
    "log-normalised values (natural log of 1 + x), scaled to a constant total (natural log of "
    "1 + x undone, values add up to 10,000": lambda x: np.log1p(scaled(x, 1e4)),
    "log-normalised values (log2 of 1 + x), scaled to a constant total (CPM": lambda x: np.log2(
        1 + scaled(x, 1e6)
    ),
    "values normalised by a factor for each cell": lambda x: x * factors(x),
    "log-normalised values (natural log of 1 + x), scaled by a factor for each cell": (
        lambda x: np.log1p(x * factors(x))
    ),
    "z-scored values": lambda x: (x - x.mean(0)) / np.maximum(x.std(0), 1e-9),
    "centred values": lambda x: x - x.mean(0),
    "values that are not whole numbers": lambda x: x * 0.9 + 0.0371 * np.sqrt(x),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("cell_major", [True, False])
@pytest.mark.parametrize("what", TRANSFORMED)
@given(seed=st.integers(0, 2**32 - 1), genes=st.integers(150, 400))
@settings(deadline=None, max_examples=6)
def test_transformed_counts_are_named(what, cell_major, dtype, seed, genes):
    counts = simulated(seed, genes=genes)
    assert f"raw counts but {what}" in refusal(TRANSFORMED[what](counts).astype(dtype), cell_major)


def test_text_of_few_decimals_is_still_recognised():
    matrix = np.round(np.log1p(scaled(simulated(1), 1e4)), 3)
    assert "log-normalised values (natural log of 1 + x), scaled to a constant" in refusal(matrix)


@pytest.mark.parametrize(
    ("value", "what"),
    [
        (-3, "negative values"),
        (np.nan, "missing or infinite values"),
        (np.inf, "missing or infinite values"),
        (2.0**31, "whole numbers too large to be counts"),
        (1.5, "values that are not whole numbers"),
    ],
)
@pytest.mark.parametrize("cell_major", [True, False])
def test_first_offender_is_named(value, what, cell_major):
    matrix = simulated(2)
    matrix[70, 11] = value
    message = refusal(matrix, cell_major)
    assert f"raw counts but {what}" in message
    assert f"barcode 'cell70' (cell 71), feature 'gene11' (feature 12) has {value}" in message
    assert message.startswith("m.h5ad: " if cell_major else "m.csv: ")
    assert "Allowed: whole numbers from 0 to 2147483647. Give the file of raw counts" in message


def test_whole_negative_numbers():
    assert "raw counts but negative values" in refusal(np.array([[1, -2], [3, 4]]))


@pytest.mark.parametrize("orientation", ["cells_by_features", "features_by_cells"])
def test_z_scores_found_in_the_wild(shared, orientation):
    name = "Target_expr_resp_z.PLX4720_tp4k.tsv"
    path = shared / "mirror" / "not_counts" / name
    skip = {"skip_columns": ["response"]} if orientation == "cells_by_features" else {}
    source = open_counts(
        "dense_text", path, name=name, options={"orientation": orientation, **skip}
    )
    with pytest.raises(
        CountsError, match="z-scored values" if skip else "raw counts but"
    ) as caught:
        feed(source)
    assert str(caught.value).startswith(f"{name}: ")
    assert "A375_sc_br_cell_21" in str(caught.value)
