"""The content hash: one for equal content in any pieces, another for any change."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellresponse.releases.content_hash import MatrixHash, canonical_json, combine, table_hash


def matrix_hash(lengths: list[int], indices: list[int], data: list[int], cuts: list[int]) -> str:
    """Feed each stream in pieces that end at `cuts`."""
    hashed = MatrixHash()
    streams = {"lengths": lengths, "indices": indices, "data": data}
    for part, values in streams.items():
        array = np.array(values, dtype=np.int64 if part == "lengths" else np.int32)
        for piece in np.split(array, sorted(min(cut, len(array)) for cut in cuts)):
            hashed.update(**{part: piece})
    return hashed.hexdigest((len(lengths), 100))


@given(
    st.lists(st.tuples(st.integers(0, 99), st.integers(1, 2**31 - 1)), max_size=30),
    st.lists(st.integers(0, 30), max_size=5),
)
def test_pieces_leave_no_trace(values: list[tuple[int, int]], cuts: list[int]) -> None:
    indices, data = [v[0] for v in values], [v[1] for v in values]
    lengths = [len(values), 0]
    assert matrix_hash(lengths, indices, data, cuts) == matrix_hash(lengths, indices, data, [])


def test_every_part_of_a_matrix_counts() -> None:
    cases = [
        ([2, 1], [0, 1, 0], [1, 2, 3]),
        ([1, 2], [0, 1, 0], [1, 2, 3]),
        ([2, 1, 0], [0, 1, 0], [1, 2, 3]),
        ([2, 1], [0, 2, 0], [1, 2, 3]),
        ([2, 1], [0, 1, 0], [1, 2, 4]),
        ([2, 1], [1, 2, 3], [0, 1, 0]),
    ]
    assert len({matrix_hash(*case, []) for case in cases}) == len(cases)


def test_shape_counts_and_types_do_not() -> None:
    hashes = set()
    for dtype in (np.int32, np.int64, ">i4"):
        hashed = MatrixHash()
        values = np.array([1, 2], dtype=dtype)
        hashed.update(lengths=np.array([2]), indices=values, data=values)
        hashes.add(hashed.hexdigest((1, 5)))
        assert hashed.hexdigest((1, 6)) not in hashes
    assert len(hashes) == 1


TABLE = {
    "text": pa.array(["a", None, "bc", ""]),
    "number": pa.array([1, None, 3, 0]),
    "real": pa.array([0.5, None, 1.0, 0.0]),
    "flag": pa.array([True, None, False, False]),
}


def test_a_table_in_any_chunks() -> None:
    table = pa.table(TABLE)
    chunked = pa.concat_tables([table.slice(0, 1), table.slice(1, 2), table.slice(3)])
    assert table_hash(chunked) == table_hash(table)
    larger = pa.concat_tables([table, table, table])
    assert table_hash(larger.slice(4, 4)) == table_hash(table)
    assert table_hash(larger) != table_hash(table)


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("text", ["a", "", "bc", ""]),
        ("text", ["ab", None, "c", ""]),
        ("text", ["a", None, "bc", None]),
        ("number", [1, 0, 3, 0]),
        ("number", [1, None, 4, 0]),
        ("real", [0.5, 0.0, 1.0, 0.0]),
        ("flag", [True, False, False, False]),
    ],
)
def test_any_value_of_a_table_counts(column: str, values: list[object]) -> None:
    changed = {**TABLE, column: pa.array(values, TABLE[column].type)}
    assert table_hash(pa.table(changed)) != table_hash(pa.table(TABLE))


def test_names_and_rows_of_a_table_count() -> None:
    table = pa.table(TABLE)
    hashes = {
        table_hash(table),
        table_hash(table.rename_columns(["text", "count", "real", "flag"])),
        table_hash(table.drop_columns(["flag"])),
        table_hash(table.take(pa.array([1, 0, 2, 3]))),
        table_hash(table.slice(0, 0)),
    }
    assert len(hashes) == 5


def test_equal_parts_combine_equally() -> None:
    assert combine({"a": 1, "b": [2, None]}) == combine({"b": [2, None], "a": 1})
    assert canonical_json({"b": 1.5, "a": "é"}) == '{"a":"é","b":1.5}'.encode()
    with pytest.raises(ValueError, match="JSON"):
        canonical_json({"a": float("nan")})
