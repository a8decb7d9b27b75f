"""Genes of a matrix on the axis of a vocabulary."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import cells, tiny

from cellresponse.baselines.models.geneformer import Geneformer
from cellresponse.baselines.models.interface import Counts, Genes
from cellresponse.baselines.models.parts.genes import LowCoverageWarning, align, to_human
from cellresponse.baselines.models.tgpt import TGPT
from cellresponse.schema.errors import ModelError

SYMBOLS = replace(TGPT.card, name="a model")
NAMES = ["A", "B", "C", "D", "E", ""]


def make_genes(symbols: list[str], organism: str = "human") -> Genes:
    ids = [f"ENSG{number:011d}" for number in range(len(symbols))]
    return Genes(np.array(ids), np.array(symbols, str), organism)


def make_counts(rows: list[list[int]]) -> Counts:
    dense = np.array(rows)
    row, column = np.nonzero(dense)
    offsets = np.append(0, np.cumsum(np.bincount(row, minlength=len(dense))))
    return Counts(
        dense[row, column],
        column.astype(np.int32),
        offsets.astype(np.int64),
        np.arange(len(dense), dtype=np.uint64),
    )


@given(
    symbols=st.lists(st.sampled_from(NAMES), min_size=1, max_size=9),
    unknown=st.booleans(),
    data=st.data(),
)
def test_counts_of_equal_names_are_summed(
    symbols: list[str], unknown: bool, data: st.DataObject
) -> None:
    vocabulary = {"A": 7, "C": 3, "E": 5}
    if not vocabulary.keys() & set(symbols):
        symbols = [*symbols, "A"]
    row = st.lists(st.integers(0, 3), min_size=len(symbols), max_size=len(symbols))
    rows = data.draw(st.lists(row, min_size=1, max_size=4))
    alignment = align(make_genes(symbols), vocabulary, SYMBOLS, unknown=unknown)
    aligned = alignment.apply(make_counts(rows))
    order = [name for name in dict.fromkeys(symbols) if name and (unknown or name in vocabulary)]
    assert alignment.tokens.tolist() == [vocabulary.get(name, -1) for name in order]
    for number, values in enumerate(rows):
        sums = dict.fromkeys(order, 0)
        for name, value in zip(symbols, values, strict=True):
            if name in sums:
                sums[name] += value
        places, counts = aligned.cell(number)
        assert {order[place]: int(n) for place, n in zip(places, counts, strict=True)} == {
            name: n for name, n in sums.items() if n
        }
        assert (np.diff(places) > 0).all()


def test_versions_of_ensembl_ids_are_not_looked_at() -> None:
    genes = Genes(np.array(["ENSG00000000003.15", "ENSG00000000005"]), np.array(["", ""]))
    alignment = align(genes, {"ENSG00000000003": 4, "ENSG00000000005": 2}, Geneformer.card)
    assert alignment.tokens[alignment.axis].tolist() == [4, 2]


def test_coverage_counts_genes_and_counts() -> None:
    alignment = align(make_genes(["A", "X", "", "A"]), {"A": 0, "B": 1}, SYMBOLS)
    coverage = alignment.coverage(make_counts([[3, 1, 0, 0], [1, 0, 0, 1], [0, 0, 0, 0]]))
    assert (coverage.genes_found, coverage.genes, coverage.vocabulary) == (2, 4, 2)
    assert coverage.counts.tolist() == [0.75, 1.0, 0.0]


def test_low_coverage_warns_and_says_how_low() -> None:
    alignment = align(make_genes(["A", "X"]), {"A": 0}, SYMBOLS)
    with pytest.warns(LowCoverageWarning, match="knows 10% of the counts of a median cell"):
        alignment.coverage(make_counts([[1, 9]]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        alignment.coverage(make_counts([[5, 5]]))


def test_no_known_gene_is_an_error_that_shows_both_sides() -> None:
    with pytest.raises(ModelError, match=r"none of the 2 genes .* 'X, Y'.* such as A, B"):
        align(make_genes(["X", "Y"]), {"A": 0, "B": 1}, SYMBOLS)


def test_other_organisms_are_refused_with_what_to_do() -> None:
    with pytest.raises(ModelError, match=r"'mouse'. Allowed: human. .*orthologs"):
        align(make_genes(["A"], "mouse"), {"A": 0}, SYMBOLS)


def write_table(path: Path, *rows: str) -> Path:
    path.write_text("\n".join(["gene_id,human_gene_id,human_gene_name", *rows]))
    return path


def test_only_one_to_one_orthologs_are_taken(tmp_path: Path) -> None:
    table = write_table(
        tmp_path / "orthologs.csv",
        "ENSMUSG00000000001,ENSG00000000001,ONE",
        "ENSMUSG00000000002,ENSG00000000002,TWO",
        "ENSMUSG00000000002,ENSG00000000003,THREE",
        "ENSMUSG00000000004,ENSG00000000004,FOUR",
        "ENSMUSG00000000005,ENSG00000000004,FOUR",
        "ENSMUSG00000000006,,",
    )
    ids = np.array([f"ENSMUSG{number:011d}" for number in range(1, 8)])
    ids[0] += ".2"
    found = to_human(Genes(ids, np.array([""] * 7), "mouse"), table)
    assert found.organism == "human"
    assert found.ids.tolist() == ["ENSG00000000001", *[""] * 6]
    assert found.symbols.tolist() == ["ONE", *[""] * 6]


def test_a_table_of_something_else_is_refused(tmp_path: Path) -> None:
    genes = Genes(np.array(["ENSMUSG00000000009"]), np.array([""]), "mouse")
    with pytest.raises(ModelError, match="cannot be read"):
        to_human(genes, tmp_path / "missing.csv")
    other = tmp_path / "other.csv"
    other.write_text("mouse,human\n1,2\n")
    with pytest.raises(ModelError, match=r"row 1: is no table of orthologs. .*human_gene_name"):
        to_human(genes, other)
    table = write_table(tmp_path / "t.csv", "ENSMUSG00000000001,ENSG00000000001,ONE")
    with pytest.raises(ModelError, match="has no ortholog of any of the genes"):
        to_human(genes, table)


@pytest.mark.parametrize(
    "name", ["cellm", "cellplm", "geneformer", "scbert", "scfoundation", "scgpt", "tgpt", "uce"]
)
def test_cells_without_any_value_have_embeddings(tmp_path: Path, name: str) -> None:
    model = tiny(name, tmp_path)
    none = Counts(
        np.zeros(0, np.int64), np.zeros(0, np.int32), np.zeros(3, np.int64), np.zeros(2, np.uint64)
    )
    with pytest.warns(LowCoverageWarning, match="knows 0% of the counts"):
        batch = model.tokenise(none, cells()[1])
    assert batch.coverage is not None
    assert batch.coverage.counts.tolist() == [0.0, 0.0]
    assert model.embed(batch).isfinite().all()
