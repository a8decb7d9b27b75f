"""UCE: sentences of drawn genes, exact padding, tables of genes."""

from __future__ import annotations

import json
import pickle
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import (
    assert_batch_is_irrelevant,
    assert_layout_of_record,
    assert_tokens_are_each_cells_own,
    cells,
    save,
    tiny,
)

from cellresponse.baselines.models.interface import Batch, Counts, Genes
from cellresponse.baselines.models.uce import (
    CHROMOSOMES,
    CLOSE,
    CLS,
    LOCATIONS,
    OFFSETS,
    PROTEINS,
    TINY,
    UCE,
    UCE33L,
    Vocabulary,
    arrange,
    sample,
)
from cellresponse.schema.errors import ModelError

WEIGHTS = "4layer_model.torch"


@pytest.fixture
def model(tmp_path: Path) -> UCE:
    found = tiny("uce", tmp_path)
    assert isinstance(found, UCE)
    return found


@pytest.fixture
def batch(model: UCE) -> Batch:
    return model.tokenise(*cells())


@pytest.mark.parametrize(("name", "layers"), [("uce", 4), ("uce-33l", 33)])
def test_layouts_of_record(shared: Path, tmp_path: Path, name: str, layers: int) -> None:
    record = shared / f"facts/models/UCE_{layers}layer_state_dict.json"
    assert_layout_of_record(name, record, tmp_path, genes=10)


@st.composite
def drawn_genes(draw: st.DrawFn) -> tuple[Vocabulary, np.ndarray, np.ndarray, np.ndarray]:
    """A vocabulary of 12 genes on 3 chromosomes, and draws of two cells with their orders."""
    genes = 12
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    vocabulary = Vocabulary(
        {f"G{gene}": gene for gene in range(genes)},
        rng.permutation(np.arange(100, 100 + genes)),
        rng.integers(0, 3, genes),
        rng.permutation(genes) * 10,
    )
    drawn = draw(st.lists(st.lists(st.integers(0, genes - 1), max_size=8), min_size=1, max_size=3))
    chosen = np.array([gene for cell in drawn for gene in cell], np.int64)
    row = np.repeat(np.arange(len(drawn)), [len(cell) for cell in drawn])
    ranks = np.array([rng.permutation(3) for _ in drawn])
    return vocabulary, chosen, ranks[row, vocabulary.chromosome[chosen]], row


@given(drawn_genes())
def test_a_sentence_is_read_back(
    made: tuple[Vocabulary, np.ndarray, np.ndarray, np.ndarray],
) -> None:
    vocabulary, chosen, rank, row = made
    many = 4
    tokens, offsets = arrange(vocabulary, chosen, rank, row, many)
    assert offsets[0] == 0
    assert offsets[-1] == len(tokens)
    gene_of = {token: gene for gene, token in enumerate(vocabulary.token.tolist())}
    for cell in range(many):
        sentence = tokens[offsets[cell] : offsets[cell + 1]].tolist()
        assert sentence.pop(0) == CLS
        found: list[int] = []
        ranks: list[int] = []
        while sentence:
            chromosome = sentence.pop(0) - CHROMOSOMES
            group = []
            while (token := sentence.pop(0)) != CLOSE:
                group.append(gene_of[token])
            assert group
            assert {vocabulary.chromosome[gene] for gene in group} == {chromosome}
            starts = [vocabulary.start[gene] for gene in group]
            assert starts == sorted(starts)
            ranks.append(
                int(rank[(row == cell) & (vocabulary.chromosome[chosen] == chromosome)][0])
            )
            found += group
        assert ranks == sorted(set(ranks))
        assert sorted(found) == sorted(chosen[row == cell].tolist())


def test_genes_are_drawn_by_their_weight() -> None:
    weights = np.log1p([1.0, 3.0, 0.0, 40.0])
    drawn = np.concatenate([sample(weights, 1024, 5, seed)[0] for seed in range(100)])
    assert len(drawn) == 100 * 1024
    share = np.bincount(drawn, minlength=4) / len(drawn)
    # Standard error below 0.0016.
    np.testing.assert_allclose(share, weights / weights.sum(), atol=0.007)
    assert share[2] == 0
    first, order = sample(weights, 9, 5, 7)
    again, same = sample(weights, 9, 5, 7)
    assert np.array_equal(first, again)
    assert sorted(order) == sorted(same) == list(range(5))
    assert len(sample(weights[:0], 9, 5, 7)[0]) == 0


def test_tokens_and_embeddings_are_each_cells_own(model: UCE, batch: Batch) -> None:
    assert batch.lengths.max() <= TINY.pad_length
    assert_tokens_are_each_cells_own(model)
    assert_batch_is_irrelevant(model, batch)
    torch.testing.assert_close(model.embed(batch).norm(dim=1), torch.ones(3))


def test_tokens_do_not_depend_on_the_order_of_columns(model: UCE, batch: Batch) -> None:
    counts, genes = cells()
    columns = np.random.default_rng(0).permutation(len(genes.ids))
    place = np.argsort(columns).astype(np.int32)
    row = np.repeat(np.arange(len(counts)), np.diff(counts.offsets))
    order = np.lexsort((place[counts.genes], row))
    moved = Counts(counts.values[order], place[counts.genes[order]], counts.offsets, counts.seeds)
    found = model.tokenise(moved, Genes(genes.ids[columns], genes.symbols[columns]))
    np.testing.assert_array_equal(found.fields["token"], batch.fields["token"])


def test_a_cell_without_known_genes_is_kept(model: UCE) -> None:
    genes = Genes(
        np.array(["a", "b"]), np.array(["gene3", "unknown"])
    )  # found as GENE3, on chromosome 4
    counts = Counts(
        np.array([5, 2]), np.array([0, 1], np.int32), np.array([0, 1, 2]), np.zeros(2, np.uint64)
    )
    batch = model.tokenise(counts, genes)
    assert batch.lengths.tolist() == [1 + TINY.sample_size + 2, 1]
    assert set(batch.fields["token"].tolist()) == {CLS, CLOSE, 4 + 3, CHROMOSOMES + 16}
    assert model.embed(batch).isfinite().all()


def test_the_last_layer_for_cls_alone_is_the_whole_layer(model: UCE, batch: Batch) -> None:
    with torch.inference_mode():
        tokens, mask = model.inputs(batch)
        whole = model.network.encode(tokens, mask)
        first = model.network.encode(tokens, mask, 1)
    assert first.shape == (3, 1, TINY.d_model)
    torch.testing.assert_close(first, whole[:, :1])


def test_as_published_padding_leaks_in(model: UCE, batch: Batch) -> None:
    exact = model.embed(batch)
    model.as_published = True
    tokens, mask = model.inputs(batch)
    assert tokens.shape == (3, TINY.pad_length)
    assert mask is not None
    assert mask.sum(1).tolist() == (TINY.pad_length - batch.lengths).tolist()
    published = model.embed(batch)
    assert (published - exact).abs().max() > 1e-4
    # Padding to the same width, it does not depend on batch mates.
    torch.testing.assert_close(model.embed(batch.take([2])), published[2:])


def test_weights_are_kept_and_loaded(tmp_path: Path, model: UCE, batch: Batch) -> None:
    (tmp_path / "config.json").write_text(json.dumps(asdict(TINY)))
    save(model, tmp_path / WEIGHTS)
    loaded = UCE.load(tmp_path, as_published=False)
    assert torch.equal(loaded.embed(batch), model.embed(batch))
    state = {
        key.replace("layers.1.", "layers.2."): value
        for key, value in model.network.state_dict().items()
    }
    torch.save(state, tmp_path / WEIGHTS)
    with pytest.raises(ModelError, match=r"does not fit the model: 12 missing .*; 12 too many"):
        UCE.load(tmp_path, as_published=False)


def test_another_depth_is_refused(tmp_path: Path) -> None:
    shape = {**asdict(TINY), "nlayers": 3}
    (tmp_path / "config.json").write_text(json.dumps(asdict(TINY)))
    deep = tiny("uce", tmp_path)
    save(deep, tmp_path / WEIGHTS)
    (tmp_path / "config.json").write_text(json.dumps(shape))
    with pytest.raises(ModelError, match="12 missing"):
        UCE.load(tmp_path, as_published=False)
    assert UCE33L.published.nlayers == 33
    assert UCE.published.nlayers == 4


@pytest.mark.parametrize("name", [OFFSETS, LOCATIONS, PROTEINS["human"]])
def test_a_missing_table_is_named(tmp_path: Path, name: str) -> None:
    tiny("uce", tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(ModelError, match=rf"lacks {name}, which uce needs.*figshare"):
        UCE.create(tmp_path, size="tiny", as_published=False, seed=0)


class Malicious:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def test_tables_that_are_no_tables_are_refused(tmp_path: Path) -> None:
    tiny("uce", tmp_path)

    def refused(message: str) -> None:
        with pytest.raises(ModelError, match=message):
            UCE.create(tmp_path, size="tiny", as_published=False, seed=0)

    kept = (tmp_path / LOCATIONS).read_text()
    (tmp_path / LOCATIONS).write_text("species,gene_symbol,chromosome\nhuman,A,1\n")
    refused("is no table of gene locations")
    (tmp_path / LOCATIONS).write_text("species,gene_symbol,chromosome,start\nhuman,A,1,far\n")
    refused("is no table of gene locations")
    (tmp_path / LOCATIONS).write_text(kept)
    (tmp_path / OFFSETS).write_bytes(pickle.dumps({"frog": 4}))
    refused("lacks an organism 'human'")
    (tmp_path / OFFSETS).write_bytes(pickle.dumps({"human": Malicious(tmp_path / "ran")}))
    refused("would execute code")
    (tmp_path / OFFSETS).write_bytes(pickle.dumps({"human": 4}))
    torch.save({"A": Malicious(tmp_path / "ran")}, tmp_path / PROTEINS["human"])
    refused("would execute code")
    assert not (tmp_path / "ran").exists()


def test_codes_of_chromosomes_span_all_organisms(tmp_path: Path) -> None:
    tiny("uce", tmp_path)
    rows = ["species,gene_symbol,chromosome,start"]
    rows += ["frog,A,1,5", "human,B,X,30", "human,A,2,20", "human,A,X,99", "human,C,,7"]
    rows += ["mouse,A,2,8"]
    (tmp_path / LOCATIONS).write_text("\n".join(rows))
    (tmp_path / OFFSETS).write_bytes(pickle.dumps({"human": 1000, "mouse": 2000}))
    vectors = torch.zeros(1)
    torch.save({"c": vectors, "b": vectors, "a": vectors}, tmp_path / PROTEINS["human"])
    torch.save({"A": vectors}, tmp_path / PROTEINS["mouse"])
    model = UCE.create(tmp_path, size="tiny", as_published=False, seed=0)
    counts = Counts(
        np.array([5]), np.array([0], np.int32), np.array([0, 1]), np.zeros(1, np.uint64)
    )
    tokens = {}
    for organism in ("human", "mouse"):
        genes = Genes(np.array(["x"]), np.array(["a"]), organism)
        tokens[organism] = set(model.tokenise(counts, genes).fields["token"].tolist())
    # frog_1, human_2, human_X, mouse_2; of a symbol's rows the first counts.
    assert tokens["human"] == {CLS, CLOSE, 1002, CHROMOSOMES + 1}
    assert tokens["mouse"] == {CLS, CLOSE, 2000, CHROMOSOMES + 3}


def test_other_organisms_are_refused_with_the_reason(model: UCE) -> None:
    counts, genes = cells()
    with pytest.raises(ModelError, match=r"protein embeddings of mouse were not beside.*Mus_mus"):
        model.tokenise(counts, Genes(genes.ids, genes.symbols, "mouse"))
    with pytest.raises(ModelError, match=r"uce .*'frog'. Allowed: human, mouse"):
        model.tokenise(counts, Genes(genes.ids, genes.symbols, "frog"))
