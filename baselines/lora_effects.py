"""Measure whether adapters do anything: each one gets a gradient and changes the embedding."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from cellresponse.baselines.lora import ADAPTER, Adapters, LoraOptions, NoOpWarning, adapt
from cellresponse.baselines.models.interface import Batch, Counts, Genes, Model
from cellresponse.baselines.models.registry import all_models
from cellresponse.baselines.pretrain.vocabularies import WRITERS, write_vocabulary

__all__ = ["Adapted", "Effect", "NoOpRow", "effects", "made_up_cells", "no_op_lines", "no_op_table"]

HEARD = 1e-5  # relative change of an embedding above rounding in float32
GENES = 300


@dataclass(frozen=True)
class Effect:
    """What one adapter does.

    Attributes
    ----------
    module
        Name of the adapted module.
    change
        Norm of the change of the embeddings over their norm, when the adapter's second
        matrix is filled with standard normal numbers.
    gradient
        Whether both matrices get a gradient other than zero when all adapters are
        filled so.
    """

    module: str
    change: float
    gradient: bool

    @property
    def works(self) -> bool:
        """Whether training it can change an embedding beyond rounding."""
        return self.gradient and self.change > HEARD


def effects(adapters: Adapters, batch: Batch) -> list[Effect]:
    """Measure every adapter of a model on its own.

    Parameters
    ----------
    adapters
        Of the model, untrained; they are left as they were.
    batch
        Tokens; cells are embedded one at a time, as most published fine-tuning has it.
    """
    model = adapters.model
    modules = [model.network.get_submodule(name) for name in adapters.modules]
    seconds = [_matrix(module, "lora_B") for module in modules]
    with torch.no_grad():
        before = _embed(model, batch)
        changes = []
        for second in seconds:
            _fill(second)
            changes.append(float((_embed(model, batch) - before).norm() / before.norm()))
            second.zero_()
    for second in seconds:
        _fill(second)
    after = _embed(model, batch)
    if after.requires_grad:  # where all adapters are dead, nothing does
        (after * torch.randn(after.shape, generator=_generator())).sum().backward()
    gradients = [_has_gradient(module) for module in modules]
    for second in seconds:
        torch.nn.init.zeros_(second)
    model.network.zero_grad()
    return [Effect(*found) for found in zip(adapters.modules, changes, gradients, strict=True)]


def _matrix(module: torch.nn.Module, which: str) -> torch.Tensor:
    return module.get_submodule(which).get_parameter(f"{ADAPTER}.weight")


def _fill(matrix: torch.Tensor) -> None:
    torch.nn.init.normal_(matrix, generator=_generator())


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _has_gradient(module: torch.nn.Module) -> bool:
    found = [_matrix(module, which).grad for which in ("lora_A", "lora_B")]
    return all(gradient is not None and bool(gradient.any()) for gradient in found)


def _embed(model: Model, batch: Batch) -> torch.Tensor:
    """Embed with gradients, one cell at a time, with the same noise (CellPLM as published)."""
    model.network.eval()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return torch.cat([model.forward(batch.take([row])) for row in range(len(batch))])


@dataclass(frozen=True)
class Adapted:
    """The adapters of a model, in one of the two ways.

    Attributes
    ----------
    targets
        Whether all adapters of each target work.
    weights
        Number of LoRA weights at rank 8 in the published configuration.
    others
        Number of other weights that are trained beside them.
    """

    targets: Mapping[str, bool]
    weights: int
    others: int


@dataclass(frozen=True)
class NoOpRow:
    """The adapters of a model as published and corrected."""

    model: str
    published: Adapted
    corrected: Adapted


def no_op_table() -> list[NoOpRow]:
    """Measure the adapters of every model that the published benchmark fine-tuned.

    Effects are measured on one made-up cell and tiny networks with random weights; weights
    are counted in the published configurations.
    """
    kinds = {
        name: kind
        for name, kind in all_models().items()
        if kind.lora_targets_as_published and name.partition("-")[0] in WRITERS
    }
    rows = []
    for name, kind in kinds.items():
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore", NoOpWarning)
            ways = [_adapted(name, kind, Path(folder), as_published=way) for way in (True, False)]
        rows.append(NoOpRow(name, *ways))
    return rows


def _adapted(name: str, kind: type[Model], files: Path, *, as_published: bool) -> Adapted:
    counts, genes = made_up_cells()
    write_vocabulary(name, genes, files)
    model = kind.create(files, size="tiny", as_published=as_published, seed=0)
    found = effects(adapt(model), model.tokenise(counts, genes).take([0]))
    targets = model.lora_targets_as_published if as_published else model.lora_targets
    works = {
        target: all(effect.works for effect in found if effect.module.endswith(target))
        for target in targets
    }
    with torch.device("meta"):
        whole = kind.create(files, size="published", as_published=as_published, seed=0)
    adapters = adapt(whole, LoraOptions(rank=8))
    others = sum(value.numel() for value in adapters.others.values())
    trained = sum(value.numel() for value in adapters.parameters)
    return Adapted(works, trained - others, others)


def made_up_cells() -> tuple[Counts, Genes]:
    """Make three cells of 60, 150 and 20 genes."""
    rng = np.random.default_rng(0)
    rows = [np.sort(rng.choice(GENES, size, replace=False)) for size in (60, 150, 20)]
    offsets = np.append(0, np.cumsum([len(row) for row in rows])).astype(np.int64)
    counts = Counts(
        rng.integers(1, 30, offsets[-1]),
        np.concatenate(rows).astype(np.int32),
        offsets,
        np.arange(len(rows), dtype=np.uint64),
    )
    ids = np.array([f"ENSG{number:011d}" for number in range(GENES)])
    symbols = np.array([f"GENE{number}" for number in range(GENES)])
    return counts, Genes(ids, symbols)


def no_op_lines(rows: Sequence[NoOpRow]) -> list[str]:
    """Write the table in Markdown."""
    head = "| model | published target | weights | effect | corrected target | weights | effect |"
    lines = [head, "|---|---|---|---|---|---|---|"]
    for row in rows:
        others = f" + {row.published.others:,} others" if row.published.others else ""
        cells = [
            row.model,
            _names(row.published.targets),
            f"{row.published.weights:,}{others}",
            _effect(row.published.targets),
            _names(row.corrected.targets),
            f"{row.corrected.weights:,}",
            _effect(row.corrected.targets),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _names(targets: Iterable[str]) -> str:
    return ", ".join(f"`{target.removeprefix('self_attn.')}`" for target in targets)


def _effect(targets: Mapping[str, bool]) -> str:
    dead = [target for target, works in targets.items() if not works]
    if not dead:
        return "yes"
    return "**none**" if len(dead) == len(targets) else f"**none** of {_names(dead)}"
