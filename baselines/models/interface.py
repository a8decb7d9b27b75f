"""What every model offers: tokenise, embed, LoRA targets, load."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray

__all__ = ["Batch", "Card", "Counts", "Coverage", "Genes", "Model", "WeightFile", "pad"]


@dataclass(frozen=True)
class WeightFile:
    """A file that a model is loaded from, and where its authors host it."""

    name: str
    role: Literal["weights", "vocabulary"]
    url: str | None = None
    """None: no plain download is known, the user gives a path. `package:NAME/PATH`: the file
    lies in an installed Python package. `...#MEMBER`: it lies in an archive."""
    sha256: str | None = None
    """None: no checksum is known."""
    bytes: int | None = None
    also: str | None = None
    """Another name that the file is known by."""


@dataclass(frozen=True)
class Card:
    """Facts of a model, shown by `models list` and kept with every result."""

    name: str
    title: str
    parameters: int | None
    """Number of weights in the published configuration. None: any."""
    dimension: int | None
    """Length of an embedding in the published configuration. None: any."""
    tokens: str
    """What the model is fed, in a phrase."""
    organisms: tuple[str, ...]
    gene_names: Literal["ensembl", "symbol"]
    """What its vocabulary is made of."""
    code_licence: str
    weights_licence: str
    sources: tuple[str, ...]
    """DOI and repository with the commit that the facts were read at."""
    files: tuple[WeightFile, ...]
    hashed: tuple[str, ...] = ()
    """Other files that change an embedding where they lie beside the weights: `weights_hash`
    counts them."""
    mark: tuple[str, ...] = ()
    """Ends of keys that only a checkpoint of this model has: `models check` knows it by them.
    With `^` before it: a whole key."""


@dataclass(frozen=True)
class Genes:
    """The columns of a count matrix.

    Attributes
    ----------
    ids, symbols
        (genes,) str each, in column order; an empty string where there is none.
    organism
        As in the release's vocabulary: `human`, `mouse`, ...
    """

    ids: NDArray[np.str_]
    symbols: NDArray[np.str_]
    organism: str = "human"


@dataclass(frozen=True)
class Counts:
    """Raw counts of some cells, compressed by row.

    Attributes
    ----------
    values
        (non-zeros,) raw counts, above zero.
    genes
        (non-zeros,) int32, column of each value; rising within a cell.
    offsets
        (cells + 1,) int64; cell i owns `values[offsets[i]:offsets[i + 1]]`.
    seeds
        (cells,) uint64, one a cell, made from its id. Every sampler draws from the
        cell's own seed, so that tokens do not depend on batch or order.
    """

    values: NDArray[Any]
    genes: NDArray[np.int32]
    offsets: NDArray[np.int64]
    seeds: NDArray[np.uint64]

    def __len__(self) -> int:
        """Give the number of cells."""
        return len(self.offsets) - 1

    def cell(self, row: int) -> tuple[NDArray[np.int32], NDArray[Any]]:
        """Give columns and counts of one cell."""
        span = slice(self.offsets[row], self.offsets[row + 1])
        return self.genes[span], self.values[span]


@dataclass(frozen=True)
class Coverage:
    """How much of the input a vocabulary knows."""

    genes_found: int
    """Columns of the matrix that the vocabulary has."""
    genes: int
    """Columns of the matrix."""
    vocabulary: int
    """Genes of the vocabulary."""
    counts: NDArray[np.float64]
    """(cells,) share of each cell's counts on genes that were found, 0 to 1."""


@dataclass(frozen=True)
class Batch:
    """Tokens of some cells, without padding.

    Attributes
    ----------
    fields
        Arrays (tokens,) by name; cell i owns `offsets[i]:offsets[i + 1]` of each.
    offsets
        (cells + 1,) int64.
    per_cell
        Arrays (cells, ...) by name.
    coverage
        How much of the input was found; None for tokens that were given, not made.
    """

    fields: Mapping[str, NDArray[Any]]
    offsets: NDArray[np.int64]
    per_cell: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    coverage: Coverage | None = None

    def __len__(self) -> int:
        """Give the number of cells."""
        return len(self.offsets) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each cell, (cells,)."""
        return np.diff(self.offsets)

    def take(self, rows: Sequence[int] | NDArray[np.integer]) -> Batch:
        """Give some of the cells, in the order asked for."""
        rows = np.asarray(rows, np.int64)
        lengths = self.lengths[rows]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        index = np.repeat(self.offsets[rows] - offsets[:-1], lengths) + np.arange(offsets[-1])
        return replace(
            self,
            fields={name: values[index] for name, values in self.fields.items()},
            offsets=offsets,
            per_cell={name: values[rows] for name, values in self.per_cell.items()},
            coverage=None
            if self.coverage is None
            else replace(self.coverage, counts=self.coverage.counts[rows]),
        )


def pad(
    batch: Batch, name: str, fill: float, *, length: int | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Lay the cells of a batch side by side, padded on the right.

    Parameters
    ----------
    batch
        Tokens.
    name
        Which of its fields.
    fill
        Value of padded positions.
    length
        Width of the result. None: the longest cell, at least 1.

    Returns
    -------
    values : torch.Tensor
        (cells, length), dtype of the field.
    real : torch.Tensor
        (cells, length) bool, False where padded.
    """
    values = batch.fields[name]
    # Networks take no empty tensor: cells without a token get a position of padding.
    width = int(batch.lengths.max(initial=1)) if length is None else length
    real = np.arange(width) < batch.lengths[:, None]
    laid = np.full(real.shape, fill, dtype=values.dtype)
    laid[real] = values
    return torch.from_numpy(laid), torch.from_numpy(real)


class Model(abc.ABC):
    """A foundation model: vocabulary, network, and the way from counts to embeddings.

    Attributes
    ----------
    card
        Facts of the model.
    network
        The module whose keys are the published checkpoint's, after the documented
        conversion.
    as_published
        True: behave as scDrugMap's public code does where that differs from the
        corrected default. False: the corrected default.
    dimension
        Length of an embedding of this network, which may be a tiny one.
    lora_targets, lora_targets_as_published
        Names (or name endings) of the modules that LoRA adapts.
    trainable_as_published
        Beginnings of the names of parameters that the public code trains beside them.
    cpu_tokens
        Padded tokens of a batch that a CPU computes fastest. The default takes long cells
        one by one, so that none of their attention is padding.
    """

    card: ClassVar[Card]
    lora_targets: ClassVar[tuple[str, ...]]
    lora_targets_as_published: ClassVar[tuple[str, ...]]
    trainable_as_published: ClassVar[tuple[str, ...]] = ()
    cpu_tokens: ClassVar[int] = 1024
    network: torch.nn.Module
    as_published: bool
    dimension: int

    @property
    def device(self) -> torch.device:
        """Where the network is: `forward` moves a batch there."""
        return next(self.network.parameters()).device

    @classmethod
    @abc.abstractmethod
    def create(
        cls, files: Path, *, size: Literal["published", "tiny"], as_published: bool, seed: int
    ) -> Model:
        """Make the model with random weights.

        Parameters
        ----------
        files
            Folder with the vocabulary files that `card.files` names.
        size
            The published configuration, or a tiny one of the same architecture for
            tests and controls.
        as_published
            See the class.
        seed
            Of the random weights.

        Raises
        ------
        ModelError
            A vocabulary file is missing or is not what the model needs.
        """

    @classmethod
    @abc.abstractmethod
    def load(cls, weights: Path, *, as_published: bool) -> Model:
        """Load published (or own) weights.

        Parameters
        ----------
        weights
            Folder that holds the weight file and the vocabulary files of `card.files`,
            or the weight file with the vocabulary beside it.
        as_published
            See the class.

        Raises
        ------
        ModelError
            A file is missing, is not safe to read, or has missing or extra keys, or
            other shapes.
        """

    @abc.abstractmethod
    def convert(self, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Rename a published state dict to the keys of `network`."""

    @abc.abstractmethod
    def tokenise(self, counts: Counts, genes: Genes) -> Batch:
        """Make tokens of raw counts, each cell on its own.

        Raises
        ------
        ModelError
            The organism is not one of the model's, or no gene is known.
        """

    @abc.abstractmethod
    def forward(self, batch: Batch) -> torch.Tensor:
        """Give embeddings (cells, dimension) with gradients, for training.

        Runs on the network's device; dropout follows `network.training`. Half precision
        is the caller's `torch.autocast`: what needs float32 leaves it inside.
        """

    def fine_tuning(self, batch: Batch) -> Batch:
        """Give the tokens that fine-tuning sees: all, but where scDrugMap cuts them."""
        return batch

    def embed(self, batch: Batch) -> torch.Tensor:
        """Give embeddings (cells, dimension), float32, without gradients or dropout."""
        training = self.network.training
        self.network.eval()
        try:
            with torch.inference_mode():
                return self.forward(batch).float()
        finally:
            self.network.train(training)
