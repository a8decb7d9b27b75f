"""What a model is trained to do without labels: fill in what was hidden of a cell."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from numpy.typing import NDArray
from torch import Tensor

from cellresponse.baselines.models.geneformer import PAD, Geneformer
from cellresponse.baselines.models.interface import Batch, pad
from cellresponse.baselines.models.scgpt import ScGPT

__all__ = ["OBJECTIVES", "MaskedGenes", "MaskedValues", "Objective", "shortened"]

SHORT = 512  # tokens of a cell in most of the steps: attention grows with their square


class Objective(abc.ABC):
    """Hide a part of every cell and score what the network puts in its place.

    Attributes
    ----------
    text
        What it is, for the card.
    unit
        What the loss is measured in.
    """

    text: ClassVar[str]
    unit: ClassVar[str]

    @abc.abstractmethod
    def shorten(self, batch: Batch, chance: torch.Generator) -> Batch:
        """Give a part of every cell, for the steps that need not see all of it."""

    @abc.abstractmethod
    def loss(self, batch: Batch, chance: torch.Generator) -> Tensor:
        """Give the mean loss over what was hidden, a scalar with gradients.

        Parameters
        ----------
        batch
            Tokens.
        chance
            Says what is hidden.
        """

    @abc.abstractmethod
    def guess(self, train: Batch, held: Batch) -> float:
        """Give the loss of the best answer that does not look at the cell.

        Parameters
        ----------
        train, held
            Tokens that the answer is taken from, and that it is scored on.
        """


def shortened(batch: Batch, most: int, order: NDArray[np.floating]) -> Batch:
    """Keep of every cell the `most` tokens that come first by `order` (tokens,), in place."""
    row = np.repeat(np.arange(len(batch)), batch.lengths)
    ranked = np.lexsort((order, row))
    rank = np.arange(len(row)) - np.repeat(batch.offsets[:-1], batch.lengths)
    kept = np.zeros(len(row), bool)
    kept[ranked[rank < most]] = True
    offsets = np.append(0, np.cumsum(np.minimum(batch.lengths, most))).astype(np.int64)
    return Batch({name: values[kept] for name, values in batch.fields.items()}, offsets)


class MaskedGenes(Objective):
    """Geneformer's own: 15 % of the ranked genes are hidden and named from the rest."""

    text = (
        "masked genes, as Geneformer was pretrained: 15 % of the ranked tokens are chosen; 80 % "
        "of these become <mask>, 10 % another gene, 10 % stay; the gene is predicted"
    )
    unit = "nats a hidden gene"
    share, mask = 0.15, 1

    def __init__(self, model: Geneformer) -> None:
        self.model = model

    def shorten(self, batch: Batch, chance: torch.Generator) -> Batch:
        """Give the genes of the highest ranks."""
        del chance
        return shortened(batch, SHORT, np.arange(batch.offsets[-1], dtype=np.float64))

    def loss(self, batch: Batch, chance: torch.Generator) -> Tensor:
        """Give the cross-entropy of the hidden genes."""
        tokens, real = pad(batch, "tokens", PAD)
        hidden = real & (torch.rand(tokens.shape, generator=chance) < self.share)
        way = torch.rand(tokens.shape, generator=chance)
        other = torch.randint(2, self.model.vocabulary.size, tokens.shape, generator=chance)
        shown = torch.where(hidden & (way < 0.8), self.mask, tokens)
        shown = torch.where(hidden & (way >= 0.9), other, shown)
        device = self.model.device
        network: Any = self.model.network  # transformers' own class
        states = network.bert(shown.to(device), attention_mask=real.to(device)).last_hidden_state
        # The vocabulary is wide: scores of hidden positions only.
        scores = network.cls(states[hidden.to(device)])  # (hidden, vocabulary)
        return F.cross_entropy(scores.float(), tokens[hidden].to(device))

    def guess(self, train: Batch, held: Batch) -> float:
        """Answer with how often each gene occurs."""
        seen = np.bincount(train.fields["tokens"], minlength=self.model.vocabulary.size) + 1.0
        return float(-np.log(seen / seen.sum())[held.fields["tokens"]].mean())


class MaskedValues(Objective):
    """scGPT's masked value prediction: 40 % of the bins are hidden and predicted."""

    text = (
        "masked value prediction, the objective of scGPT's authors for fine-tuning: the bins of "
        "40 % of the genes are hidden (value -1) and predicted from the rest, squared error; "
        "their generative pretraining with specialised attention masks is not done"
    )
    unit = "squared bins a hidden gene"
    share, mask = 0.4, -1.0

    def __init__(self, model: ScGPT) -> None:
        self.model = model

    def shorten(self, batch: Batch, chance: torch.Generator) -> Batch:
        """Give <cls> and a sample of the genes, which have no order."""
        order = torch.rand(int(batch.offsets[-1]), generator=chance).numpy()
        order[batch.offsets[:-1]] = -1
        return shortened(batch, SHORT, order)

    def loss(self, batch: Batch, chance: torch.Generator) -> Tensor:
        """Give the squared error of the hidden bins."""
        genes, real = pad(batch, "gene", self.model.pad)
        values, _ = pad(batch, "value", self.model.args["pad_value"])
        hidden = real & (torch.rand(values.shape, generator=chance) < self.share)
        hidden[:, 0] = False  # <cls>
        shown = torch.where(hidden, self.mask, values)
        device, network = self.model.device, self.model.network
        states = network(genes.long().to(device), shown.to(device), real.to(device))
        found = network.decoder(states)[hidden.to(device)]  # (hidden,)
        return F.mse_loss(found.float(), values[hidden].to(device))

    def guess(self, train: Batch, held: Batch) -> float:
        """Answer with the mean bin of each gene."""
        size = max(int(part.fields["gene"].max()) for part in (train, held)) + 1
        mine, theirs = (self._bins(part) for part in (train, held))
        overall = mine[1].mean()
        many = np.bincount(mine[0], minlength=size)
        mean = np.bincount(mine[0], mine[1], minlength=size) / np.maximum(many, 1)
        answer = np.where(many > 0, mean, overall)
        return float(np.mean((answer[theirs[0]] - theirs[1]) ** 2))

    def _bins(self, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        genes = batch.fields["gene"] != self.model.cls
        return batch.fields["gene"][genes], batch.fields["value"][genes].astype(np.float64)


OBJECTIVES: dict[str, Callable[[Any], Objective]] = {
    "geneformer": MaskedGenes,
    "scgpt": MaskedValues,
}
"""By name of the model."""
