"""tGPT: layout, tokens, embeddings."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tiny_models import (
    assert_batch_is_irrelevant,
    assert_layout_of_record,
    assert_tokens_are_each_cells_own,
    cells,
    save,
    tiny,
)

from cellresponse.baselines.models.interface import Counts, Genes
from cellresponse.baselines.models.tgpt import LENGTH, TGPT, make_network
from cellresponse.schema.errors import ModelError


def test_layout_of_record(shared: Path, tmp_path: Path) -> None:
    record = shared / "facts/models/tGPT_state_dict.json"
    assert_layout_of_record("tgpt", record, tmp_path, genes=21150 - 4)


def make(symbols: list[str]) -> TGPT:
    words = ["<pad>", "</b>", "</s>", "<unk>", *symbols]
    with torch.device("meta"):
        network = make_network({"vocab_size": len(words), "n_embd": 8, "n_layer": 1, "n_head": 2})
    numbers = {word: number for number, word in enumerate(words)}
    return TGPT(network, numbers, as_published=False)


def test_genes_are_ranked_and_unknown_ones_keep_their_place() -> None:
    # HLA-B: written with `_`; X: unknown; no symbol: left out; two columns of A: summed.
    model = make(["A", "HLA_B", "C"])
    genes = Genes(
        np.array(["1", "2", "3", "4", "5", "6"]), np.array(["A", "HLA-B", "X", "", "A", "C"])
    )
    counts = Counts(
        np.array([2, 4, 5, 1, 3, 4]),
        np.arange(6, dtype=np.int32),
        np.array([0, 6]),
        np.zeros(1, np.uint64),
    )
    batch = model.tokenise(counts, genes)
    # A 5 and X 5 tie, as do HLA-B 4 and C 4: in the order of the columns.
    assert batch.fields["tokens"].tolist() == [1, 4, 3, 5, 6, 2]
    assert batch.coverage is not None
    assert batch.coverage.counts[0] == pytest.approx(13 / 19)


def test_a_cell_has_at_most_64_tokens(tmp_path: Path) -> None:
    model = tiny("tgpt", tmp_path)
    batch = model.tokenise(*cells())
    assert batch.lengths.max() == LENGTH
    ends = batch.offsets[1:] - 1
    assert (batch.fields["tokens"][batch.offsets[:-1]] == 1).all()
    assert (batch.fields["tokens"][ends] == 2).all()
    assert_tokens_are_each_cells_own(model)


def test_an_embedding_does_not_depend_on_its_batch(tmp_path: Path) -> None:
    model = tiny("tgpt", tmp_path)
    assert_batch_is_irrelevant(model, model.tokenise(*cells()))


def test_as_published_padding_is_averaged(tmp_path: Path) -> None:
    model = tiny("tgpt", tmp_path)
    batch = model.tokenise(*cells()).take([2])
    assert batch.lengths[0] < LENGTH
    with torch.inference_mode():
        tokens = np.zeros((1, LENGTH), np.int64)
        tokens[0, : batch.lengths[0]] = batch.fields["tokens"]
        output = model.network.transformer(torch.from_numpy(tokens))  # type: ignore[operator]
    model.as_published = True
    torch.testing.assert_close(model.embed(batch), output.last_hidden_state.mean(1))


def test_every_form_of_the_weights_loads(tmp_path: Path) -> None:
    model = tiny("tgpt", tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(model.network.config.to_dict()))  # type: ignore[union-attr,operator]
    batch = model.tokenise(*cells())
    expected = model.embed(batch)
    state = dict(model.network.state_dict())
    save(model, tmp_path / "pytorch_model.bin")
    torch.testing.assert_close(TGPT.load(tmp_path, as_published=False).embed(batch), expected)
    # The old pickle also carries the causal masks, and safetensors has no tied copy.
    masks = {
        "transformer.h.0.attn.bias": torch.ones(1),
        "transformer.h.0.attn.masked_bias": torch.ones(1),
    }
    torch.save({**state, **masks}, tmp_path / "pytorch_model.bin")
    torch.testing.assert_close(TGPT.load(tmp_path, as_published=False).embed(batch), expected)
    del state["lm_head.weight"]
    save_file(state, tmp_path / "model.safetensors")
    torch.testing.assert_close(TGPT.load(tmp_path, as_published=False).embed(batch), expected)


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "{",
        '{"model": {"vocab": {"A": 1}}}',
        '{"model": {"vocab": {"<pad>": 1, "</b>": 0, "</s>": 2, "<unk>": 3}}}',
    ],
)
def test_another_tokenizer_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "tokenizer.json").write_text(text)
    with pytest.raises(ModelError, match=r"tokenizer.json: (is no WordLevel|numbers its special)"):
        TGPT.create(tmp_path, size="tiny", as_published=False, seed=0)


def test_symbols_are_spelled_as_the_tokenizer_reads_them() -> None:
    model = make(["HLA_B", "AC007_1"])
    symbols = np.array(["AC007.1", "HLA-B"])
    counts = Counts(
        np.array([5, 2]), np.arange(2, dtype=np.int32), np.array([0, 2]), np.zeros(1, np.uint64)
    )
    assert model.tokenise(counts, Genes(symbols, symbols)).fields["tokens"].tolist() == [1, 5, 4, 2]
