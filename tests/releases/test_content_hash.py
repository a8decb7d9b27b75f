"""The content hash: one for equal content in any pieces, another for any change."""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellresponse.releases import content_hash
from cellresponse.releases.canonical import canonical_json
from cellresponse.releases.content_hash import MatrixHash, combine, table_hash


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


EDGES = [0, 1, 255, 256, 65_535, 65_536, 131_071, 131_072, 2**31 - 1]


def by_definition(numbers: list[int], stretch: int) -> str:
    """The hash of a stream as the documentation has it, number by number."""
    digests = b""
    for start in range(0, len(numbers), stretch):
        part = numbers[start : start + stretch]
        bits = max(part).bit_length()
        form = b"1" if bits <= 8 else b"2" if bits <= 16 else b"b" if bits == 17 else b"4"
        width = {b"1": 1, b"2": 2, b"b": 2, b"4": 4}[form]
        text = b"".join((n % 256**width).to_bytes(width, "little") for n in part)
        if form == b"b":
            tops = "".join(str(n >> 16) for n in part)
            tops += "0" * (-len(tops) % 8)
            text += bytes(int(tops[place : place + 8], 2) for place in range(0, len(tops), 8))
        digests += hashlib.sha256(form + text).digest()
    return hashlib.sha256(digests).hexdigest()


@given(
    st.lists(st.integers(0, 20) | st.sampled_from(EDGES), max_size=60),
    st.lists(st.integers(0, 60), max_size=5),
)
def test_streams_are_hashed_as_defined(numbers: list[int], cuts: list[int]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(content_hash, "STRETCH", 8)
        hashed = MatrixHash()
        array = np.array(numbers, dtype=np.int32)
        for piece in np.split(array, sorted(min(cut, len(array)) for cut in cuts)):
            hashed.update(data=piece)
        empty = by_definition([], 8)
        parts = {"lengths": empty, "indices": empty, "data": by_definition(numbers, 8)}
        assert hashed.hexdigest((0, 5)) == combine({**parts, "shape": [0, 5]})


def test_stretches_of_the_real_length() -> None:
    numbers = np.random.default_rng(3).integers(0, 70_000, 200_000).astype(np.int32)
    hashed = MatrixHash()
    for piece in np.array_split(numbers, 7):
        hashed.update(indices=piece)
    empty = by_definition([], 1)
    parts = {"lengths": empty, "data": empty}
    parts["indices"] = by_definition(numbers.tolist(), 65_536)
    assert hashed.hexdigest((0, 5)) == combine({**parts, "shape": [0, 5]})


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
