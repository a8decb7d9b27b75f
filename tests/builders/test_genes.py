"""Features find their gene, or are counted under the reason why they do not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellresponse.builders.genes import GeneAxis, gene_axis, map_features
from cellresponse.builders.read import Features
from cellresponse.schema.errors import SourceFileError

ROWS = [
    ("ENSG00000000003", "TSPAN6", "X"),
    ("ENSG00000000005", "HLA-A", "6"),
    ("ENSG00000000007", "MATR3", "5"),
    ("ENSG00000000008", "MATR3", "5"),
    ("ENSG00000000009", "CD99", "X"),
    ("ENSG00000000010", "CD99", "Y"),
    ("ENSG00000000011", "MT-CO1", "MT"),
    ("ENSG00000000012", "", "1"),
    ("ENSG00000000013", "7SK", "6"),
]


@pytest.fixture
def axis() -> GeneAxis:
    return gene_axis("human", ROWS, "MT", name="genes")


@pytest.mark.parametrize(
    ("feature", "gene", "reason"),
    [
        ("ENSG00000000003", "ENSG00000000003", "by_id"),
        ("ENSG00000000003.14", "ENSG00000000003", "by_id_without_version"),
        ("ENSG00000000003_PAR_Y", "ENSG00000000003", "by_id_without_version"),
        ("ENSG00000999999", None, "retired_id"),
        ("TSPAN6", "ENSG00000000003", "by_name"),
        ("MATR3", None, "several_ids_for_name"),
        ("CD99", "ENSG00000000009", "by_name_pseudoautosomal"),
        ("HLA.A", "ENSG00000000005", "by_name_changed_by_r"),
        ("X7SK", "ENSG00000000013", "by_name_changed_by_r"),
        ("ERCC-00002", None, "spike_in"),
        ("ERCC.00002", None, "spike_in"),
        ("ERCC_00002", None, "spike_in"),
        ("ERCC-00002.1", None, "spike_in"),
        ("ERCC6", None, "unknown_name"),
        ("tspan6", None, "unknown_name"),
        ("", None, "unknown_name"),
    ],
)
def test_how_a_feature_is_found(
    axis: GeneAxis, feature: str, gene: str | None, reason: str
) -> None:
    found = map_features(Features([feature]), axis)
    assert found.reasons == {reason: 1}
    assert found.columns.tolist() == [-1 if gene is None else axis.position[gene]]
    assert found.spike_ins.tolist() == [reason == "spike_in"]


def test_alias_is_found_only_where_it_is_certain(axis: GeneAxis) -> None:
    known = replace(
        axis, aliases={"T245": ("ENSG00000000003",), "AB": ("ENSG00000000003", "ENSG00000000005")}
    )
    found = map_features(Features(["T245", "AB"]), known)
    assert found.reasons == {"by_alias": 1, "several_ids_for_name": 1}


def test_an_alias_comes_before_a_name_that_r_changed(axis: GeneAxis) -> None:
    known = replace(axis, aliases={"HLA.A": ("ENSG00000000003",)})
    assert map_features(Features(["HLA.A"]), known).reasons == {"by_alias": 1}


def test_ids_of_other_species_have_versions() -> None:
    mouse = gene_axis("mouse", [("ENSMUSG00000000001", "Gnai3", "3")], "MT", name="genes")
    found = map_features(Features(["ENSMUSG00000000001.5", "ENSMUSG00000000009"]), mouse)
    assert found.reasons == {"by_id_without_version": 1, "retired_id": 1}


@pytest.mark.parametrize("contigs", ["XYY", "XXY", "XYM", "XX"])
def test_only_one_pair_on_x_and_y_is_pseudoautosomal(contigs: str) -> None:
    rows = [(f"ENSG{n:011d}", "CD99", contig) for n, contig in enumerate(contigs)]
    axis = gene_axis("human", rows, "MT", name="genes")
    found = map_features(Features(["CD99"]), axis)
    assert found.reasons == {"several_ids_for_name": 1}


@pytest.mark.parametrize(
    ("name", "changed"), [("7SK", "X7SK"), ("_A-1", "X_A.1"), (".5S-A", "X.5S.A"), (".A-1", ".A.1")]
)
def test_names_as_make_names_of_r_changes_them(name: str, changed: str) -> None:
    axis = gene_axis("human", [("ENSG00000000001", name, "1")], "MT", name="genes")
    assert map_features(Features([changed]), axis).reasons == {"by_name_changed_by_r": 1}


def test_inputs_that_meet_on_one_gene_are_counted(axis: GeneAxis) -> None:
    found = map_features(Features(["TSPAN6", "ENSG00000000003", "ENSG00000000003.1"]), axis)
    assert len(set(found.columns.tolist())) == 1
    assert found.reasons["summed_onto_another_feature"] == 2


@pytest.mark.parametrize(
    ("feature", "has"), [("MT-CO1", True), ("MT.CO1", True), ("TSPAN6", False)]
)
def test_mitochondrial_by_the_contig_of_the_reference(
    axis: GeneAxis, feature: str, has: bool
) -> None:
    assert map_features(Features([feature]), axis).has_mitochondrial is has


@given(st.permutations(ROWS))
def test_axis_does_not_depend_on_the_order_of_rows(rows: list[tuple[str, str, str]]) -> None:
    shuffled = gene_axis("human", rows, "MT", name="genes")
    assert shuffled.ids == tuple(sorted(row[0] for row in ROWS))
    assert shuffled.checksum == gene_axis("human", ROWS, "MT", name="genes").checksum
    assert shuffled.names[shuffled.position["ENSG00000000012"]] == "ENSG00000000012"


@pytest.mark.parametrize(
    "row",
    [
        ("ENSG00000000003", "TSPAN7", "X"),
        ("ENSG00000000003", "TSPAN6", "Y"),
        ("ENSG00000000004", "TSPAN6", "X"),
    ],
)
def test_checksum_is_over_what_the_rows_say(row: tuple[str, str, str]) -> None:
    changed = [row, *ROWS[1:]]
    first, second = (gene_axis("human", rows, "MT", name="genes") for rows in (ROWS, changed))
    assert first.checksum != second.checksum


def test_fingerprint_weights_differ(axis: GeneAxis) -> None:
    assert len(np.unique(axis.fingerprint_weights)) == len(axis)


@pytest.mark.parametrize("rows", [[], [ROWS[0], ROWS[0]]])
def test_axis_that_is_none(rows: list[tuple[str, str, str]]) -> None:
    with pytest.raises(SourceFileError):
        gene_axis("human", rows, None, name="genes")
