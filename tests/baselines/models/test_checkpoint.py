"""Weights: read safely, loaded strictly."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from cellresponse.baselines.models.parts.checkpoint import (
    beside,
    key_names,
    load_strictly,
    read_config,
    read_state,
    weight_path,
)
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
