"""scGPT: an encoder over a sample of the expressed genes of a cell, with binned values.

Input     `<cls>`, then the expressed genes among the symbols of `vocab.json`, each with the
          quantile bin of its count within the cell (1 to 50); at most 1,200 tokens, a random
          sample beyond that. Counts repeat, so that a count lies in several bins: one is
          drawn.
Network   gene vector and LayerNorm + value (Linear 1 -> 512, ReLU, Linear, LayerNorm) ->
          12 post-norm layers of 512, 8 heads, ReLU; no positions.
Embedding 512 numbers, the state of `<cls>`, scaled to length one as the authors' function
          returns it.

Both draws come from the cell's own seed and the gene, so that tokens depend on neither
batch nor order.
As published in scDrugMap: the state of `<cls>` is not scaled.
LoRA: the published target `out_proj` is never called without flash-attn and has no effect;
the corrected default adapts q, k, v and the output projection.

Licence: code and weights MIT.
Sources: doi 10.1038/s41592-024-02201-0; github.com/bowang-lab/scGPT at cebd6fa.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from cellresponse.baselines.models.interface import (
    Batch,
    Card,
    Counts,
    Genes,
    Model,
    WeightFile,
    pad,
)
from cellresponse.baselines.models.parts.bins import quantile_bins, sample, uniform
from cellresponse.baselines.models.parts.checkpoint import (
    beside,
    chosen,
    configured,
    load_strictly,
    read_state,
    weight_path,
)
from cellresponse.baselines.models.parts.encoder import CALLED_PROJECTIONS, EncoderLayer
from cellresponse.baselines.models.parts.genes import align
from cellresponse.schema.errors import ModelError

__all__ = ["ARGS", "ScGPT"]

SPECIAL = ("<pad>", "<cls>", "<eoc>")
# Named as in args.json, which lies beside the published weights and wins over these.
ARGS: dict[str, Any] = {
    "embsize": 512,
    "nlayers": 12,
    "nheads": 8,
    "d_hid": 512,
    "dropout": 0.2,
    "n_bins": 51,
    "max_seq_len": 1200,
    "pad_value": -2,  # of `<cls>` too
}
TINY = {"embsize": 32, "nlayers": 2, "nheads": 4, "d_hid": 32}
LARGEST = 512  # values are cut there before they enter the network
# Heads of other tasks, which a checkpoint may hold and no embedding reads.
IGNORED = ("cls_decoder.", "flag_encoder.")
# Older and newer names of the fused q, k, v weights.
RENAMED = ((r"\.Wqkv\.", ".in_proj_"), (r"\.self_attn\._impl\.", ".self_attn."))


class GeneEncoder(nn.Module):
    """Vectors of genes."""

    def __init__(self, genes: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(genes, width)
        self.enc_norm = nn.LayerNorm(width)

    def forward(self, genes: Tensor) -> Tensor:
        """(cells, length) -> (cells, length, width)."""
        return cast(Tensor, self.enc_norm(self.embedding(genes)))


class ValueEncoder(nn.Module):
    """Vectors of values."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.linear1 = nn.Linear(1, width)
        self.linear2 = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, values: Tensor) -> Tensor:
        """(cells, length) -> (cells, length, width)."""
        x = functional.relu(self.linear1(values.clamp(max=LARGEST)[:, :, None]))
        return cast(Tensor, self.dropout(self.norm(self.linear2(x))))


class ValueDecoder(nn.Module):
    """A value from a hidden state: the pretext task."""

    def __init__(self, width: int) -> None:
        super().__init__()
        hidden = [nn.Linear(width, width), nn.LeakyReLU(), nn.Linear(width, width), nn.LeakyReLU()]
        self.fc = nn.Sequential(*hidden, nn.Linear(width, 1))

    def forward(self, hidden: Tensor) -> Tensor:
        """(cells, length, width) -> (cells, length)."""
        return cast(Tensor, self.fc(hidden))[..., 0]


class CellDecoder(nn.Module):
    """A value from the cell's state and a gene's vector: loaded, not run."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gene2query = nn.Linear(width, width)
        self.W = nn.Linear(width, width, bias=False)


class Layers(nn.Module):
    """Encoder layers under the name `layers`."""

    def __init__(self, args: Mapping[str, Any]) -> None:
        super().__init__()
        width, heads, hidden = args["embsize"], args["nheads"], args["d_hid"]
        layers = (
            EncoderLayer(width, heads, hidden, args["dropout"]) for _ in range(args["nlayers"])
        )
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor, real: Tensor | None, first: int | None) -> Tensor:
        """(cells, length, width) -> (cells, length or `first`, width)."""
        *others, last = self.layers
        for layer in others:
            x = layer(x, real)
        return cast(Tensor, last(x, real, first))


class Network(nn.Module):
    """The published module tree, without the heads of other tasks."""

    def __init__(self, genes: int, args: Mapping[str, Any]) -> None:
        super().__init__()
        width = args["embsize"]
        self.encoder = GeneEncoder(genes, width)
        self.value_encoder = ValueEncoder(width, args["dropout"])
        self.transformer_encoder = Layers(args)
        self.decoder = ValueDecoder(width)
        self.mvc_decoder = CellDecoder(width)

    def forward(
        self, genes: Tensor, values: Tensor, real: Tensor | None, first: int | None = None
    ) -> Tensor:
        """Give hidden states (cells, length, width) of genes and values (cells, length).

        `first`: of so many positions only, as the last layer need not make the others.
        """
        x = self.encoder(genes) + self.value_encoder(values)
        return cast(Tensor, self.transformer_encoder(x, real, first))


class ScGPT(Model):
    """scGPT, the whole-human checkpoint. See the head of this file."""

    card = Card(
        name="scgpt",
        title="scGPT, whole human",
        parameters=51_329_025,
        dimension=512,
        tokens="up to 1,199 expressed genes with value bins",
        organisms=("human",),
        gene_names="symbol",
        code_licence="MIT",
        weights_licence="MIT",
        sources=("doi:10.1038/s41592-024-02201-0", "github.com/bowang-lab/scGPT@cebd6fa"),
        files=(
            WeightFile("best_model.pt", "weights"),
            WeightFile("vocab.json", "vocabulary", also="default_census_vocab.json"),
            WeightFile("args.json", "vocabulary"),
        ),
        mark=("encoder.enc_norm.weight", "value_encoder.linear1.weight"),
    )
    lora_targets = CALLED_PROJECTIONS
    lora_targets_as_published = ("out_proj",)

    network: Network

    def __init__(
        self, args: Mapping[str, Any], vocabulary: Mapping[str, int], *, as_published: bool
    ) -> None:
        self.network = Network(max(vocabulary.values()) + 1, args).eval()
        self.args = args
        self.vocabulary = {name: place for name, place in vocabulary.items() if name not in SPECIAL}
        self.pad, self.cls = vocabulary["<pad>"], vocabulary["<cls>"]
        self.as_published = as_published
        self.dimension = int(args["embsize"])

    @classmethod
    def create(
        cls, files: Path, *, size: Literal["published", "tiny"], as_published: bool, seed: int
    ) -> ScGPT:
        """Make the model with random weights; see `Model.create`."""
        args = ARGS | (TINY if size == "tiny" else {})
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return cls(args, read_vocabulary(files), as_published=as_published)

    @classmethod
    def load(cls, weights: Path, *, as_published: bool) -> ScGPT:
        """Load weights, with `vocab.json` and `args.json` beside them; see `Model.load`."""
        path = weight_path(weights, cls.card)
        args, vocabulary = read_args(path), read_vocabulary(path)
        with configured(path, "args.json"):
            model = cls(args, vocabulary, as_published=as_published)
        load_strictly(model.network, model.convert(read_state(path)), path)
        return model

    def convert(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Give the fused q, k, v weights torch's names, and leave out heads of other tasks."""
        converted = {}
        for key, value in state.items():
            if not key.startswith(IGNORED):
                for pattern, replacement in RENAMED:
                    key = re.sub(pattern, replacement, key)
                converted[key] = value
        return converted

    def tokenise(self, counts: Counts, genes: Genes) -> Batch:
        """Give `<cls>` and a sample of genes with value bins; see `Model.tokenise`."""
        alignment = align(genes, self.vocabulary, self.card)
        aligned = alignment.apply(counts)
        gene = alignment.tokens[aligned.genes]
        seeds = np.repeat(counts.seeds, np.diff(aligned.offsets))
        ties, chances = uniform(seeds, gene, 0), uniform(seeds, gene, 1)
        cells = [
            self.cell(gene[span], aligned.values[span], ties[span], chances[span])
            for span in map(slice, aligned.offsets[:-1], aligned.offsets[1:])
        ]
        fields = {
            "gene": np.concatenate([np.zeros(0, np.int64), *(cell[0] for cell in cells)]),
            "value": np.concatenate([np.zeros(0, np.float32), *(cell[1] for cell in cells)]),
        }
        offsets = np.cumsum([0, *(len(cell[0]) for cell in cells)]).astype(np.int64)
        return Batch(fields, offsets, coverage=alignment.coverage(counts))

    def cell(
        self, gene: np.ndarray, counts: np.ndarray, ties: np.ndarray, chances: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Give genes and values of one cell: bins first, then the sample, `<cls>` in front."""
        bins = quantile_bins(counts, ties, bins=self.args["n_bins"])
        kept = sample(chances, self.args["max_seq_len"] - 1)
        values = np.append(np.float32(self.args["pad_value"]), bins[kept].astype(np.float32))
        return np.append(self.cls, gene[kept]), values

    def hidden(self, batch: Batch, first: int | None = None) -> tuple[Tensor, Tensor]:
        """Give the last hidden states and which positions are real.

        Returns
        -------
        hidden : Tensor
            (cells, length, width), or (cells, first, width).
        real : Tensor
            (cells, length) bool.
        """
        genes, real = pad(batch, "gene", self.pad)
        values, _ = pad(batch, "value", self.args["pad_value"])
        mask = None if bool(real.all()) else real.to(self.device)
        hidden = self.network(genes.long().to(self.device), values.to(self.device), mask, first)
        return hidden, real.to(self.device)

    def forward(self, batch: Batch) -> Tensor:
        """Give the state of `<cls>`; see `Model.forward`."""
        state = self.hidden(batch, first=1)[0][:, 0]
        return state if self.as_published else functional.normalize(state.float(), dim=1)


def read_vocabulary(weights: Path) -> dict[str, int]:
    """Read `vocab.json` beside the weights, or the census list that it was made from.

    Returns
    -------
    dict
        Number of each symbol and of `<pad>`, `<cls>`, `<eoc>`, which are appended where the
        file lacks them, as in the authors' code.

    Raises
    ------
    ModelError
        The file is missing, or maps no names to numbers.
    """
    path = beside(weights, "vocab.json", ScGPT.card)
    try:
        found = {str(name): int(place) for name, place in json.loads(path.read_bytes()).items()}
        size = max(found.values()) + 1
    except (ValueError, AttributeError, TypeError) as error:
        raise ModelError(f"does not map gene names to numbers: {error}", file=path) from None
    for name in SPECIAL:
        if name not in found:
            found[name], size = size, size + 1
    return found


def read_args(weights: Path) -> dict[str, Any]:
    """Read `args.json` beside the weights.

    Raises
    ------
    ModelError
        The file is missing, no JSON object, or has values of other types.
    """
    return chosen(beside(weights, "args.json", ScGPT.card), ARGS)
