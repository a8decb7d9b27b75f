"""The fast parser agrees with the general one, or leaves the block to it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellresponse.builders.read.numbers import (
    FieldBlock,
    any_numbers,
    first_bad_field,
    whole_numbers,
)

PLAIN = st.sampled_from(["0", "0", "0", "00", "1", "7", "12", "999999999"])
OTHER = st.sampled_from(["-1", "+1", "1.0", "0.0", "1e3", '"3"', "4294967296", " 5", "nan"])
BAD = st.sampled_from(["", "NA", "x", "1_0", "0x1", "1,5", ":", "/"])


def block_of(rows, numeric, end="\n", last_end=True, delimiter="\t"):
    width = len(rows[0])
    text = end.join(delimiter.join(row) for row in rows) + (end if last_end else "")
    columns = [f"c{position}" for position in range(width)]
    return FieldBlock(text.encode(), 5, columns, numeric, delimiter, "f.tsv")


@st.composite
def tables(draw, fields):
    width = draw(st.integers(2, 5))
    name_at = draw(st.integers(0, width - 1))
    names = st.sampled_from(["G1", "0", "12", "", "a b", '"q"'])
    row = st.tuples(*(names if i == name_at else fields for i in range(width)))
    rows = draw(st.lists(row, min_size=1, max_size=6))
    numeric = [i for i in range(width) if i != name_at]
    return rows, numeric, draw(st.sampled_from(["\n", "\r\n"])), draw(st.booleans())


def dense(entries, width):
    matrix = np.zeros((entries.n_rows, width))
    matrix[entries.rows, entries.columns] = entries.values
    return matrix


@given(tables(PLAIN))
@settings(deadline=None)
def test_plain_tables_take_the_fast_way(table):
    rows, numeric, end, last_end = table
    entries = whole_numbers(block_of(rows, numeric, end, last_end))
    assert entries is not None
    assert entries.values.dtype == np.int32
    assert (entries.values != 0).all()
    assert (np.diff(entries.rows) >= 0).all()
    expected = [[float(row[i]) for i in numeric] for row in rows]
    np.testing.assert_array_equal(dense(entries, len(numeric)), expected)


@given(tables(PLAIN | OTHER))
@settings(deadline=None)
def test_other_notations_give_the_same_numbers(table):
    rows, numeric, end, last_end = table
    block = block_of(rows, numeric, end, last_end)
    expected = [[float(row[i].strip('"')) for i in numeric] for row in rows]
    general = any_numbers(block)
    assert general is not None
    np.testing.assert_array_equal(dense(general, len(numeric)), expected)
    fast = whole_numbers(block)
    if fast is not None:
        np.testing.assert_array_equal(dense(fast, len(numeric)), expected)


@given(tables(PLAIN | BAD))
@settings(deadline=None)
def test_bad_fields_are_never_numbers(table):
    rows, numeric, end, last_end = table
    bad = [
        (number, position)
        for number, row in enumerate(rows, start=5)
        for position in numeric
        if not row[position].isdigit()
    ]
    if not bad:
        return
    block = block_of(rows, numeric, end, last_end)
    assert whole_numbers(block) is None
    assert any_numbers(block) is None
    error = first_bad_field(block)
    assert (error.row, error.column) == (bad[0][0], f"c{bad[0][1]}")


@pytest.mark.parametrize(
    "text", [b"G\t1\t2\n\nH\t1\t2\n", b"G\t1\nH\t1\t2\t3\n", b"G\t1\t2\nH\t1\n"]
)
def test_ragged_and_blank_lines_are_left_alone(text):
    assert whole_numbers(FieldBlock(text, 2, ["g", "a", "b"], [1, 2], "\t", "f")) is None


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        (b"G,1.5\n\nH,2\n", 2),
        (b"G,1.5\r\r\n\r\r\nH,2\r\r\n", 2),
        (b"G,1.5\nH,2\r", 2),
        (b'"G\r",1.5\nH,2\n', 2),
        (b'"G\n",1.5\nH,2\n', None),
        (b"G,1.5\rH,2\n", None),
        (b'G,1.5\rH,2\n"I\n",3\n', None),
    ],
)
def test_a_row_is_a_line(text, rows):
    entries = any_numbers(FieldBlock(text, 2, ["g", "a"], [1], ",", "f"))
    assert (entries and entries.n_rows) == rows
