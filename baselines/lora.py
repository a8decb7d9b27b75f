"""Adapt any model by low-rank matrices (LoRA), through peft.

The published setting is rank 8, alpha 8, dropout 0.05. Some published targets change
nothing: `out_proj` of scGPT, scFoundation and UCE belongs to an attention that reads the
weight of its output projection and never calls the module; query and key of CellPLM have
nobody to compare a cell with when it is alone. The corrected default adapts modules that
are called and heard; `as_published` keeps the no-op and warns. `lora_effects.py` measures it.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cellresponse.baselines.benchmark.head import (
    Head,
    HeadOptions,
    class_weights,
    loss_of,
    make_head,
)
from cellresponse.baselines.embed.batches import by_length
from cellresponse.baselines.models.interface import Batch, Model
from cellresponse.baselines.models.parts.encoder import split_projections
from cellresponse.schema.errors import ModelError

__all__ = [
    "Adapters",
    "LoraOptions",
    "NoOpWarning",
    "Tuned",
    "TuningOptions",
    "adapt",
    "fine_tune",
    "published_tuning",
]

ADAPTER = "default"  # peft's own name of the only adapter of a module

# In memory at once. A published batch holds up to 300,000 tokens (scGPT), which takes more than
# 20 GB even of a tiny model in training; its gradient is the sum over its parts.
MOST_TOKENS = 8192
PREDICTED_AT_ONCE = 32


class NoOpWarning(UserWarning):
    """Adapters were put where they change nothing, as published."""


@dataclass(frozen=True)
class LoraOptions:
    """Shape of the adapters; the defaults are the paper's, whose ablation takes ranks 4, 8, 16."""

    rank: int = 8
    alpha: int = 8
    dropout: float = 0.05


@dataclass(frozen=True)
class TuningOptions:
    """How adapters and head are trained: AdamW without a schedule, as published.

    Attributes
    ----------
    epochs, batch_size, learning_rate, weight_decay
        See `published_tuning` for epochs and batch size of each model.
    """

    epochs: int = 3
    batch_size: int = 10
    learning_rate: float = 1e-4
    weight_decay: float = 0.01


BATCH_SIZES = {
    "cellm": 10,
    "cellplm": 1,
    "geneformer": 10,
    "scbert": 3,
    "scfoundation": 1,
    "scgpt": 256,
    "tgpt": 128,
    "uce": 80,
}
EPOCHS = {"tgpt": 2}


def published_tuning(model: str) -> TuningOptions:
    """Give epochs and batch size of the public code for a model; the default where it has none."""
    family = model.partition("-")[0]
    default = TuningOptions()
    return TuningOptions(
        epochs=EPOCHS.get(family, default.epochs),
        batch_size=BATCH_SIZES.get(family, default.batch_size),
    )


@dataclass(frozen=True)
class Adapters:
    """The adapters of a model, and what else of it is trained.

    Attributes
    ----------
    model
        The model; its network is changed in place.
    modules
        Names of the adapted modules.
    others
        Other parameters that stay trainable, by name, with their first values: none but
        for UCE as published.
    """

    model: Model
    modules: Sequence[str]
    others: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def parameters(self) -> list[nn.Parameter]:
        """What is trained, beside a head."""
        return [value for value in self.model.network.parameters() if value.requires_grad]

    def restart(self, seed: int) -> None:
        """Draw the adapters anew, so that the model is as before training.

        Parameters
        ----------
        seed
            Of the first matrices; the second are zero.
        """
        named = dict(self.model.network.named_modules())
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(seed)
            for name in self.modules:
                named[name].reset_lora_parameters(ADAPTER, True)
            for name, value in self.others.items():
                self.model.network.get_parameter(name).copy_(value)


def adapt(
    model: Model,
    options: LoraOptions | None = None,
    *,
    seed: int = 0,
    published_targets: bool | None = None,
    train_others: bool | None = None,
) -> Adapters:
    """Put adapters into a model, in place, and freeze the rest.

    Parameters
    ----------
    model
        Loaded or created.
    options
        None: the paper's.
    seed
        Of the adapters.
    published_targets
        Whether to adapt what the public code adapts, although some of it changes nothing;
        None: as `model.as_published` says.
    train_others
        Whether to train what the public code left trainable beside the adapters; None: as
        `model.as_published` says.

    Raises
    ------
    ModelError
        The published benchmark adapted nothing of this model, or it has no module that
        adapters can be put on.

    Warns
    -----
    NoOpWarning
        Adapters are put where they have no effect.
    """
    import peft

    options = options or LoraOptions()
    if published_targets is None:
        published_targets = model.as_published
    if train_others is None:
        train_others = model.as_published
    targets = model.lora_targets_as_published if published_targets else model.lora_targets
    if not targets:
        raise ModelError(
            f"{model.card.name} was not fine-tuned in the published benchmark",
            hint="Leave out --as-published to adapt it",
        )
    if not published_targets:
        split_projections(model.network)
    config = peft.LoraConfig(
        r=options.rank,
        lora_alpha=options.alpha,
        lora_dropout=options.dropout,
        target_modules=list(targets),
        fan_in_fan_out=_transposed(model.network, targets),
    )
    try:
        peft.inject_adapter_in_model(config, model.network)
    except peft.NoMatchingPeftModuleError:
        raise ModelError(
            f"{model.card.name} has no module that adapters can be put on",
            allowed=targets,
            hint="Use --strategy frozen",
        ) from None
    others = _others(model) if train_others else {}
    adapters = Adapters(model, _adapted(model.network), others)
    adapters.restart(seed)
    if dead := [target for target in targets if target not in model.lora_targets]:
        warnings.warn(
            f"as published, {', '.join(dead)} of {model.card.name} are adapted, which changes "
            f"nothing; the corrected default adapts {', '.join(model.lora_targets)}",
            NoOpWarning,
            stacklevel=2,
        )
    return adapters


def _transposed(network: nn.Module, targets: Sequence[str]) -> bool:
    """Whether the targets keep their weight as (inputs, outputs), as GPT-2's layers do."""
    return any(
        type(module).__name__ == "Conv1D" and name.endswith(tuple(targets))
        for name, module in network.named_modules()
    )


def _adapted(network: nn.Module) -> list[str]:
    from peft.tuners.lora import LoraLayer

    return [name for name, module in network.named_modules() if isinstance(module, LoraLayer)]


def _others(model: Model) -> dict[str, Tensor]:
    """Free what the public code left trainable beside the adapters, and keep its values."""
    kept: dict[str, Tensor] = {}
    for name, value in model.network.named_parameters():
        if name.startswith(model.trainable_as_published):
            value.requires_grad = True
            kept[name] = value.detach().clone()
    return kept


@dataclass(frozen=True)
class Tuned:
    """An adapted model with its head, trained."""

    model: Model
    head: Head

    def predict(self, batch: Batch) -> NDArray[np.float64]:
        """Give (cells,) probabilities of sensitive, in evaluation mode."""
        found = np.empty(len(batch))
        with torch.inference_mode():
            for rows in _parts(self.model, batch.lengths, PREDICTED_AT_ONCE):
                features = self.model.embed(batch.take(rows))
                found[rows] = self.head.probability(features).double().cpu().numpy()
        return found


def _parts(model: Model, lengths: NDArray[np.int64], published: int) -> Iterable[NDArray[np.int64]]:
    """Divide cells by tokens; as published by number, because cells of a batch may matter there."""
    if not model.as_published:
        return by_length(lengths, MOST_TOKENS)
    rows = np.arange(len(lengths))
    return np.split(rows, rows[published::published])


def fine_tune(
    adapters: Adapters,
    batch: Batch,
    sensitive: NDArray[np.bool_],
    *,
    seed: int,
    options: TuningOptions | None = None,
    head: HeadOptions | None = None,
) -> Tuned:
    """Train adapters and head from their start; nothing else changes.

    Parameters
    ----------
    adapters
        Of the model; they are drawn anew.
    batch
        Tokens of the training cells.
    sensitive
        (cells,) bool.
    seed
        Of adapters, head, dropout and the order of cells.
    options
        None: `published_tuning` of the model.
    head
        Its number of outputs and class weight; None: the paper's.

    Returns
    -------
    Tuned
        In evaluation mode. It shares the network with `adapters`: the next call changes it.
    """
    model, head = adapters.model, head or HeadOptions()
    options = options or published_tuning(model.card.name)
    device = model.device
    adapters.restart(seed)
    layers = make_head(model.dimension, head, seed).to(device).train()
    target = torch.tensor(sensitive, device=device)
    weights = class_weights(target) if head.class_weight else torch.ones(len(batch), device=device)
    optimiser = torch.optim.AdamW(
        [*adapters.parameters, *layers.parameters()],
        lr=options.learning_rate,
        weight_decay=options.weight_decay,
    )
    order = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)  # dropout
        model.network.train()
        for _ in range(options.epochs):
            for rows in torch.randperm(len(batch), generator=order).split(options.batch_size):
                optimiser.zero_grad()
                lengths = batch.lengths[rows.numpy()]
                for part in _parts(model, lengths, options.batch_size):
                    some = rows[part]
                    features = model.forward(batch.take(some.numpy())).float()
                    loss = loss_of(layers(features), target[some], weights[some])
                    (loss * (len(some) / len(rows))).backward()
                optimiser.step()
    model.network.eval()
    return Tuned(model, layers.eval())
