"""Weights: read safely, loaded strictly."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tiny_models import tiny
from torch import Tensor, nn

from cellresponse.baselines.models.parts.checkpoint import (
    beside,
    configured,
    key_names,
    load_strictly,
    read_config,
    read_state,
    require_tokens,
    weight_path,
)
from cellresponse.baselines.models.registry import get_model
from cellresponse.baselines.models.tgpt import TGPT
from cellresponse.schema.errors import ModelError

STATE = {"weight": torch.arange(6.0).view(2, 3), "bias": torch.zeros(2)}
CARD = TGPT.card


class Malicious:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def equal(found: dict[str, Tensor]) -> bool:
    return found.keys() == STATE.keys() and all(map(torch.equal, found.values(), STATE.values()))


def test_both_kinds_of_file(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "a.safetensors")
    assert read_state(tmp_path / "a.safetensors").keys() == STATE.keys()
    torch.save(STATE, tmp_path / "a.pt")
    assert equal(read_state(tmp_path / "a.pt"))
    torch.save(STATE, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert equal(read_state(tmp_path / "old.pt"))


def test_nested_and_prefixed_keys(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    prefixed = {f"module.{key}": value for key, value in STATE.items()}
    torch.save({"model_state_dict": prefixed, "epoch": 3}, path)
    assert equal(read_state(path, "model_state_dict"))
    assert key_names(path) == {f"model_state_dict.module.{key}" for key in STATE}
    with pytest.raises(ModelError, match="holds more than tensors 'epoch, model_state_dict'"):
        read_state(path)
    torch.save(STATE, path)
    assert equal(read_state(path, "model_state_dict"))


@pytest.mark.parametrize("name", ["a.pt", "a.safetensors"])
def test_cut_off(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if path.suffix == ".pt":
        torch.save(STATE, path)
    else:
        save_file(STATE, path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ModelError, match="is cut off or no"):
        read_state(path)
    path.write_bytes(b"")
    with pytest.raises(ModelError, match="is cut off or no"):
        read_state(path)
    with pytest.raises(ModelError, match="cannot be read"):
        read_state(tmp_path / f"missing{path.suffix}")


@pytest.mark.parametrize("new", [True, False])
def test_nothing_is_executed(tmp_path: Path, new: bool) -> None:
    mark, path = tmp_path / "executed", tmp_path / "bad.pt"
    torch.save({**STATE, "more": Malicious(mark)}, path, _use_new_zipfile_serialization=new)
    with pytest.raises(ModelError, match=r"would execute code when read, and was not read '\S+'"):
        read_state(path)
    assert not mark.exists()
    torch.load(path, weights_only=False)
    assert mark.exists()


def test_strict_loading_says_all_in_one_line() -> None:
    network = nn.Linear(3, 2)
    load_strictly(network, STATE, "a.pt")
    assert torch.equal(network.weight, STATE["weight"])
    renamed = {"wait": STATE["weight"], "bias": torch.zeros(4)}
    with pytest.raises(ModelError) as caught:
        load_strictly(network, renamed, "a.pt")
    assert str(caught.value) == (
        "a.pt: does not fit the model: 1 missing (weight); 1 too many (wait); "
        "1 of another shape (bias [4] for [2])."
    )


def test_files_are_found_by_their_published_names(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"holds no weights of tgpt. Allowed: model.safetensors, "):
        weight_path(tmp_path, CARD)
    (tmp_path / "pytorch_model.bin").touch()
    assert weight_path(tmp_path, CARD) == tmp_path / "pytorch_model.bin"
    (tmp_path / "model.safetensors").touch()
    assert weight_path(tmp_path, CARD) == tmp_path / "model.safetensors"
    assert weight_path(tmp_path / "pytorch_model.bin", CARD).name == "pytorch_model.bin"
    with pytest.raises(ModelError, match=r"lacks tokenizer.json, which tgpt needs.*https://"):
        beside(tmp_path / "pytorch_model.bin", "tokenizer.json", CARD)
    (tmp_path / "tgpt_tokenizer.json").touch()
    assert beside(tmp_path, "tokenizer.json", CARD).name == "tgpt_tokenizer.json"
    with pytest.raises(ModelError, match="does not exist"):
        weight_path(tmp_path / "nowhere", replace(CARD, files=()))


def test_configuration(tmp_path: Path) -> None:
    weights = tmp_path / "model.safetensors"
    assert read_config(weights, {"a": 1}) == {"a": 1}
    (tmp_path / "config.json").write_text('{"a": 2, "c": 3}')
    assert read_config(weights, {"a": 1, "b": 5}) == {"a": 2, "b": 5}
    for text in ("[]", "{"):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(ModelError, match="is no configuration"):
            read_config(weights, {"a": 1})


@pytest.mark.parametrize(
    ("published", "found"),
    [(1, 2.5), (1, "2"), (1, True), (1, None), (0.1, "0.1"), ("relu", 1), ([1], 1)],
)
def test_a_value_of_another_type_is_named(tmp_path: Path, published: object, found: object) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"a": found}))
    message = r"config.json, column a: is no value of a configuration .*Allowed: a \w+ such as"
    with pytest.raises(ModelError, match=message):
        read_config(tmp_path / "model.safetensors", {"a": published})


def test_a_whole_number_is_a_float_too_and_nothing_is_known_of_null(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"a": 0, "b": 5}')
    found = read_config(tmp_path / "model.safetensors", {"a": 0.1, "b": None})
    assert found == {"a": 0, "b": 5}


def test_a_network_that_cannot_be_made_is_the_fault_of_its_file(tmp_path: Path) -> None:
    with (
        pytest.raises(ModelError, match=r"args.json: describes a network that cannot be made 'Ze"),
        configured(tmp_path / "a.pt", "args.json"),
    ):
        1 / 0  # noqa: B018
    with pytest.raises(ModelError, match="own words"), configured(tmp_path / "a.pt"):
        raise ModelError("own words")


def test_tokens_without_a_vector_are_refused(tmp_path: Path) -> None:
    require_tokens([0, 4], 5, tmp_path)
    for token in (-1, 5):
        with pytest.raises(ModelError, match=rf"holds the token {token}. Allowed: 0 to 4"):
            require_tokens([0, token], 5, tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "{}",
        "[]",
        '{"weight_map": 1}',
        '{"weight_map": {"a": 1}}',
        '{"weight_map": {"a": "../b"}}',
    ],
)
def test_an_index_that_is_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "model.safetensors.index.json"
    path.write_text(text)
    with pytest.raises(ModelError, match="is no index of weights"):
        key_names(path)


@pytest.mark.parametrize(
    ("name", "file", "change"),
    [
        ("cellm", "config.json", {"width": "wide"}),
        ("cellm", "config.json", {"depth": -1, "width": -1}),
        ("cellplm", "config.json", {"enc_hid": 30}),
        ("scbert", "config.json", {"heads": None}),
        ("scfoundation", "config.json", {"heads": 5}),
        ("scgpt", "args.json", {"nheads": 5}),
        ("scgpt", "args.json", {"embsize": 32.5}),
        ("tgpt", "config.json", {"activation_function": "nope"}),
        ("uce", "config.json", {"nhead": 7}),
    ],
)
def test_no_configuration_ends_in_a_traceback(
    tmp_path: Path, name: str, file: str, change: dict[str, object]
) -> None:
    tiny(name, tmp_path)
    (tmp_path / file).write_text(json.dumps(change))
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(ModelError, match=rf"{file}[:,] .*(no value|cannot be made)") as caught:
        get_model(name).load(tmp_path, as_published=False)
    assert "\n" not in str(caught.value)


def test_vocabularies_that_the_network_is_too_small_for(tmp_path: Path) -> None:
    tiny("tgpt", tmp_path / "tgpt")
    (tmp_path / "tgpt/config.json").write_text(
        json.dumps({"vocab_size": 20, "n_embd": 32, "n_layer": 1, "n_head": 4})
    )
    tiny("uce", tmp_path / "uce")
    small = {"tokens": 3, "token_dim": 16, "d_model": 40, "d_hid": 80, "nlayers": 1}
    (tmp_path / "uce/config.json").write_text(json.dumps(small))
    tiny("scfoundation", tmp_path / "scfoundation")
    table = next((tmp_path / "scfoundation").glob("*.tsv"))
    table.write_text(table.read_text().rstrip("\n") + "9\n")  # the last number is ten times it
    for name in ("tgpt", "uce", "scfoundation"):
        (tmp_path / name / "model.safetensors").touch()
        with pytest.raises(ModelError, match="does not fit the model: it holds the token"):
            get_model(name).load(tmp_path / name, as_published=False)
