"""Strata against a count of one cell after the other."""

from __future__ import annotations

from collections import Counter
from typing import Any

import duckdb
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from cellresponse.releases.strata import BUCKETS, Label, buckets, strata_of_study
from cellresponse.schema.ids import cell_ids
from cellresponse.schema.tables import Cells, Labels, Samples, arrow_schema

DRUGS, BASES, RESPONSES = ("a", "b"), ("time_course", "lineage_tracing"), ("sensitive", "resistant")


def table(model: Any, rows: list[dict[str, Any]]) -> pa.Table:
    schema = arrow_schema(model)
    full = [{name: row.get(name) for name in schema.names} for row in rows]
    return pa.Table.from_pylist(full, schema=schema)


@st.composite
def studies(draw: st.DrawFn) -> tuple[pa.Table, pa.Table, pa.Table]:
    """Samples, cells and labels of a study, with labels of samples and of single cells."""
    names = [f"S:{place}" for place in range(draw(st.integers(1, 3)))]
    ids = cell_ids("S", "f", [str(place) for place in range(draw(st.integers(0, 30)))])
    cells = [
        {
            "cell_id": cell,
            "sample_id": draw(st.sampled_from(names)),
            "cell_line": draw(st.sampled_from([None, "L1", "L2"])),
        }
        for cell in ids
    ]
    kinds = st.tuples(st.sampled_from(DRUGS), st.sampled_from(BASES))
    labels = []
    for target in [
        *[(name, None) for name in names],
        *[(c["sample_id"], c["cell_id"]) for c in cells],
    ]:
        for drug, basis in draw(st.sets(kinds, max_size=3)):
            labels.append(
                {
                    "sample_id": target[0],
                    "cell_id": target[1],
                    "drug_id": drug,
                    "basis": basis,
                    "response": draw(st.sampled_from(RESPONSES)),
                }
            )
    samples = [{"study_id": "S", "sample_id": name, "batch": name[-1]} for name in names]
    return table(Samples, samples), table(Cells, cells), table(Labels, labels)


@given(studies())
def test_strata_are_a_count_of_cells(study: tuple[pa.Table, pa.Table, pa.Table]) -> None:
    samples, cells, labels = study
    expected: Counter[tuple[Any, ...]] = Counter()
    for cell in cells.to_pylist():
        said = frozenset(
            Label(label["drug_id"], label["basis"], label["response"])
            for label in labels.to_pylist()
            if label["sample_id"] == cell["sample_id"]
            and label["cell_id"] in (None, cell["cell_id"])
        )
        bucket = int(cell["cell_id"][:8], 16) % BUCKETS
        if said:
            expected[cell["sample_id"], cell["cell_line"], said, bucket] += 1
    found: Counter[tuple[Any, ...]] = Counter()
    for stratum in strata_of_study("human", "batch", samples, cells, labels):
        name = stratum.sample["sample_id"]
        assert (stratum.organism, stratum.unit) == ("human", f"S:{stratum.sample['batch']}")
        for bucket, count in enumerate(stratum.cells):
            if count:
                found[name, stratum.cell_line, frozenset(stratum.labels), bucket] += count
    assert found == expected


def test_buckets_by_duckdb() -> None:
    """The rule that the documentation gives for SQL."""
    ids = cell_ids("GSE1", "f", [str(place) for place in range(500)])
    rows = pa.table({"cell_id": ids})
    found = duckdb.sql("select ('0x' || substr(cell_id, 1, 8))::bigint % 10 from rows").fetchall()
    assert [bucket for (bucket,) in found] == buckets(rows["cell_id"]).tolist()
    assert len(rows) == 500


def test_buckets_of_slices() -> None:
    ids = pa.array(cell_ids("GSE1", "f", [str(place) for place in range(50)]))
    whole = buckets(ids).tolist()
    assert buckets(ids[7:20]).tolist() == whole[7:20]
    assert buckets(pa.chunked_array([ids[:3], ids[10:12]])).tolist() == whole[:3] + whole[10:12]
    assert buckets(ids[:0]).tolist() == []
    assert set(whole) <= set(range(BUCKETS))
