from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from tiny_models import (
    assert_batch_is_irrelevant,
    assert_half_precision_is_near,
    assert_layout_of_record,
    assert_tokens_are_each_cells_own,
    cells,
    tiny,
)

from cellresponse.baselines.models.interface import Counts, Genes
from cellresponse.baselines.models.scgpt import TINY, ScGPT
from cellresponse.schema.errors import ModelError


@pytest.fixture
def model(tmp_path) -> ScGPT:
    return tiny("scgpt", tmp_path)


@pytest.mark.parametrize("layout", ["ckpt_layout", "torch"])
def test_layouts_of_record(shared, tmp_path, layout):
    record = shared / f"facts/models/scGPT_human_{layout}_state_dict.json"
    assert_layout_of_record("scgpt", record, tmp_path, genes=60694)


def test_cls_first_then_bins(model):
    symbols = np.array(["GENE9", "unknown", "GENE4", "GENE7", "GENE1"])
    counts = Counts(
        np.array([1, 5, 4, 3, 2, 8]),
        np.array([0, 1, 2, 3, 4, 2], np.int32),
        np.array([0, 5, 6, 6]),
        np.zeros(3, np.uint64),
    )
    batch = model.tokenise(counts, Genes(symbols, symbols))
    assert batch.offsets.tolist() == [0, 5, 7, 8]
    assert batch.fields["gene"].tolist() == [271, 9, 4, 7, 1, 271, 4, 271]
    values = batch.fields["value"]
    assert values[[0, 5, 7]].tolist() == [-2, -2, -2]
    assert values[1:5].tolist() == [1, 50, 33, 17]  # edges at 1, 1 + 3/49, ..., 4


def test_tokens_and_embeddings_are_each_cells_own(model):
    assert_tokens_are_each_cells_own(model)
    assert_batch_is_irrelevant(model, model.tokenise(*cells()))


def test_half_precision_is_near(model):
    assert_half_precision_is_near(model, model.tokenise(*cells()))


def test_long_cells_are_sampled_by_their_seed(model):
    model.args["max_seq_len"] = 41
    counts, genes = cells()
    batch = model.tokenise(counts, genes)
    assert batch.lengths.tolist() == [41, 41, 19]
    assert_tokens_are_each_cells_own(model)
    other = Counts(counts.values, counts.genes, counts.offsets, counts.seeds + np.uint64(10))
    again = model.tokenise(other, genes)
    first, second = (set(b.fields["gene"][:41]) for b in (batch, again))
    assert first != second
    model.args["max_seq_len"] = 1200
    whole = model.tokenise(counts, genes)
    known = dict(zip(*whole.take([0]).fields.values(), strict=True))
    # Bins come before the sample: it keeps the values.
    sampled = zip(batch.fields["gene"][:41], batch.fields["value"][:41], strict=True)
    assert all(known[gene] == value for gene, value in sampled)


def test_tokens_do_not_depend_on_the_order_of_columns(model):
    counts, genes = cells()
    columns = np.random.default_rng(0).permutation(len(genes.ids))
    place = np.argsort(columns)
    row = np.repeat(np.arange(3), np.diff(counts.offsets))
    order = np.lexsort((place[counts.genes], row))
    moved = Counts(
        counts.values[order],
        place[counts.genes][order].astype(np.int32),
        counts.offsets,
        counts.seeds,
    )
    found = model.tokenise(moved, Genes(genes.ids[columns], genes.symbols[columns]))
    expected = model.tokenise(counts, genes)
    np.testing.assert_array_equal(found.offsets, expected.offsets)
    for row in range(3):
        first, second = (
            dict(zip(b.take([row]).fields["gene"], b.take([row]).fields["value"], strict=True))
            for b in (found, expected)
        )
        assert first == second


def test_length_one_unless_as_published(tmp_path):
    model = tiny("scgpt", tmp_path)
    batch = model.tokenise(*cells())
    scaled = model.embed(batch)
    torch.testing.assert_close(scaled.norm(dim=1), torch.ones(3))
    model.as_published = True
    states = model.embed(batch)
    torch.testing.assert_close(states / states.norm(dim=1, keepdim=True), scaled)
    assert (states.norm(dim=1) - 1).abs().min() > 0.1


@pytest.mark.parametrize("layout", ["torch", "flash-attn", "nested"])
def test_loads_every_layout(tmp_path, model, layout):
    old, new = {
        "torch": ("", ""),
        "flash-attn": (".in_proj_", ".Wqkv."),
        "nested": (".self_attn.", ".self_attn._impl."),
    }[layout]
    state = {
        key.replace(old, new) if old else key: value
        for key, value in model.network.state_dict().items()
    }
    state |= {
        "flag_encoder.weight": torch.zeros(2, 32),
        "cls_decoder.out_layer.bias": torch.ones(1),
    }
    torch.save(state, tmp_path / "best_model.pt")
    (tmp_path / "args.json").write_text(json.dumps({**TINY, "n_layers_cls": 3}))
    loaded = ScGPT.load(tmp_path, as_published=False)
    batch = model.tokenise(*cells())
    torch.testing.assert_close(loaded.embed(batch), model.embed(batch), rtol=0, atol=0)


def test_only_known_heads_are_left_out(tmp_path, model):
    state = {**model.network.state_dict(), "dsbn.weight": torch.zeros(1)}
    torch.save(state, tmp_path / "best_model.pt")
    (tmp_path / "args.json").write_text(json.dumps(TINY))
    with pytest.raises(ModelError, match=r"1 too many \(dsbn.weight\)"):
        ScGPT.load(tmp_path, as_published=False)


def test_special_tokens_are_appended_to_the_census_list(tmp_path):
    (tmp_path / "default_census_vocab.json").write_text(json.dumps({"B": 1, "A": 0}))
    model = ScGPT.create(tmp_path, size="tiny", as_published=False, seed=0)
    assert (model.pad, model.cls) == (2, 3)
    assert model.network.encoder.embedding.num_embeddings == 5


@pytest.mark.parametrize("content", ["[]", "{}", '{"A": "first"}', "no json"])
def test_a_vocabulary_that_is_none_is_refused(tmp_path, content):
    (tmp_path / "vocab.json").write_text(content)
    with pytest.raises(ModelError, match="does not map gene names"):
        ScGPT.create(tmp_path, size="tiny", as_published=False, seed=0)


def test_the_decoder_gives_a_value_a_position(model):
    hidden, _ = model.hidden(model.tokenise(*cells()))
    assert model.network.decoder(hidden).shape == hidden.shape[:2]
