"""scFoundation: an encoder over the expressed genes of a cell, with their values.

Input     expressed genes among 19,264 symbols, in their order, each with ln(1 + counts per
          10,000 of these genes); then two tokens that say how deep the cell was read, T
          (the depth that is asked for, 4 = "t4") and S (log10 of the cell's own total).
Network   value: Linear 1 -> 100, LeakyReLU, Linear 100 -> 100 and a residual, softmax over
          100 bins, weighted sum of bin vectors; + gene vector, 768 numbers -> 12 post-norm
          layers, 12 heads, ReLU -> LayerNorm. The decoder of the pretext task (a Performer)
          is loaded, and is no part of an embedding.
Embedding 3,072 numbers: S, T, the maximum over genes, the mean over genes.

Corrected default: S and T are read where they stand in each cell, and padding is no gene.
As published: S and T are read at the last two positions of the padded batch, maximum and
mean over all before; right for one cell at a time only. `fine_tuning` gives the first 100
tokens, as scDrugMap's fine-tuning cuts them, normally without S and T.
LoRA: the published target `out_proj` is never called and has no effect; the corrected
default adapts q, k, v and the output projection.

Licence: code Apache-2.0, weights for non-commercial research only.
Sources: doi 10.1038/s41592-024-02305-7; github.com/biomap-research/scFoundation at d09626a.
"""

from __future__ import annotations

import csv
import math
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
from cellresponse.baselines.models.parts.bins import log_normalised, totals
from cellresponse.baselines.models.parts.checkpoint import (
    beside,
    configured,
    load_strictly,
    read_config,
    read_state,
    require_tokens,
    weight_path,
)
from cellresponse.baselines.models.parts.encoder import CALLED_PROJECTIONS, EncoderLayer
from cellresponse.baselines.models.parts.genes import align
from cellresponse.baselines.models.parts.order import in_vocabulary_order
from cellresponse.baselines.models.parts.performer import Performer
from cellresponse.schema.errors import ModelError

__all__ = ["CONFIG", "VOCABULARY", "ScFoundation"]

VOCABULARY = "OS_scRNA_gene_index.19264.tsv"
PAD = 103  # value of padding, and its position: that of a gene, as in the authors' code
DEPTH = 4.0  # T of "t4"
FINE_TUNING = 100  # tokens
CONFIG: dict[str, Any] = {
    "width": 768,
    "depth": 12,
    "heads": 12,
    "feedforward": 3072,
    "bins": 100,
    "decoder_width": 512,
    "decoder_depth": 6,
    "decoder_heads": 8,
    "head_width": 64,
}
TINY = {
    "width": 32,
    "depth": 2,
    "heads": 4,
    "feedforward": 64,
    "bins": 10,
    "decoder_width": 16,
    "decoder_depth": 1,
    "decoder_heads": 1,
    "head_width": 16,
}


class ValueBins(nn.Module):
    """A value as a soft choice of bins."""

    def __init__(self, bins: int, width: int) -> None:
        super().__init__()
        self.mlp = nn.Linear(1, bins)
        self.mlp2 = nn.Linear(bins, bins)
        self.emb = nn.Embedding(bins, width)
        self.emb_mask = nn.Embedding(1, width)  # of the pretext task
        self.emb_pad = nn.Embedding(1, width)

    def forward(self, values: Tensor) -> Tensor:
        """(cells, length) -> (cells, length, width)."""
        # In float32 always: as bfloat16, a value would be off by up to 0.4 %.
        with torch.autocast(values.device.type, enabled=False):
            x = functional.leaky_relu(self.mlp(values[:, :, None]), 0.1)  # (cells, length, bins)
            chosen = (x + self.mlp2(x)).softmax(-1)
        padding = (values == PAD)[:, :, None]
        return torch.where(padding, self.emb_pad.weight[0], chosen @ self.emb.weight)


class Encoder(nn.Module):
    """The layers that make hidden states."""

    def __init__(self, width: int, depth: int, heads: int, feedforward: int) -> None:
        super().__init__()
        layers = (EncoderLayer(width, heads, feedforward) for _ in range(depth))
        self.transformer_encoder = nn.ModuleList(layers)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, real: Tensor | None) -> Tensor:
        """(cells, length, width) -> (cells, length, width)."""
        for layer in self.transformer_encoder:
            x = layer(x, real)
        return cast(Tensor, self.norm(x))


class Decoder(nn.Module):
    """The decoder of the pretext task: weights that must load and are not run."""

    def __init__(self, width: int, depth: int, heads: int, head_width: int) -> None:
        super().__init__()
        features = int(head_width * math.log(head_width))
        self.performer = Performer(width, depth, heads, head_width, features, bias=True)
        self.norm = nn.LayerNorm(width)


class Network(nn.Module):
    """The published module tree."""

    def __init__(self, genes: int, config: Mapping[str, Any]) -> None:
        super().__init__()
        width, decoder = config["width"], config["decoder_width"]
        self.token_emb = ValueBins(config["bins"], width)
        self.pos_emb = nn.Embedding(genes + 3, width)  # genes, T, S, padding of the pretext task
        self.encoder = Encoder(width, config["depth"], config["heads"], config["feedforward"])
        self.decoder_embed = nn.Linear(width, decoder)
        self.decoder = Decoder(
            decoder, config["decoder_depth"], config["decoder_heads"], config["head_width"]
        )
        self.norm = nn.LayerNorm(decoder)
        self.to_final = nn.Linear(decoder, 1)

    def forward(self, values: Tensor, positions: Tensor, real: Tensor | None) -> Tensor:
        """Give hidden states (cells, length, width) of values, positions (cells, length)."""
        return cast(Tensor, self.encoder(self.token_emb(values) + self.pos_emb(positions), real))


class ScFoundation(Model):
    """scFoundation, the checkpoint for cells. See the head of this file."""

    card = Card(
        name="scfoundation",
        title="scFoundation, 12 layers",
        parameters=119_252_285,
        dimension=3072,
        tokens="expressed genes with values, and two of depth",
        organisms=("human",),
        gene_names="symbol",
        code_licence="Apache-2.0",
        weights_licence="non-commercial research only",
        sources=(
            "doi:10.1038/s41592-024-02305-7",
            "github.com/biomap-research/scFoundation@d09626a",
        ),
        files=(
            WeightFile("models.ckpt", "weights"),
            WeightFile(VOCABULARY, "vocabulary"),
        ),
        mark=("token_emb.emb_mask.weight", "decoder_embed.weight"),
    )
    lora_targets = CALLED_PROJECTIONS
    lora_targets_as_published = ("out_proj",)

    network: Network

    def __init__(
        self, config: Mapping[str, Any], vocabulary: Mapping[str, int], *, as_published: bool
    ) -> None:
        self.network = Network(len(vocabulary), config).eval()
        self.vocabulary = vocabulary
        self.as_published = as_published
        self.dimension = 4 * int(config["width"])

    @classmethod
    def create(
        cls, files: Path, *, size: Literal["published", "tiny"], as_published: bool, seed: int
    ) -> ScFoundation:
        """Make the model with random weights; see `Model.create`."""
        config = CONFIG | (TINY if size == "tiny" else {})
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return cls(config, read_vocabulary(files), as_published=as_published)

    @classmethod
    def load(cls, weights: Path, *, as_published: bool) -> ScFoundation:
        """Load weights; see `Model.load`. Of the published file, the part `cell` is taken."""
        path = weight_path(weights, cls.card)
        config, vocabulary = read_config(path, CONFIG), read_vocabulary(path)
        require_tokens(vocabulary.values(), len(vocabulary), beside(path, VOCABULARY, cls.card))
        with configured(path):
            model = cls(config, vocabulary, as_published=as_published)
        load_strictly(model.network, model.convert(read_state(path, "cell", "state_dict")), path)
        return model

    def convert(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Take off what stands before `model.` in the published keys."""
        return {key.rpartition("model.")[2]: value for key, value in state.items()}

    def tokenise(self, counts: Counts, genes: Genes) -> Batch:
        """Give values and positions of expressed genes, then T and S; see `Model.tokenise`."""
        alignment = align(genes, self.vocabulary, self.card)
        aligned = alignment.apply(counts)
        gene = alignment.tokens[aligned.genes]
        order = in_vocabulary_order(gene, aligned.offsets)
        values = log_normalised(aligned.values, aligned.offsets)
        # A cell without a single known count has S = 0, as a cell with one.
        depth = np.log10(np.maximum(totals(aligned.values, aligned.offsets), 1))
        # T and S go behind the genes of each cell.
        behind = np.repeat(aligned.offsets[1:], 2)
        ends = np.stack([np.full(len(depth), DEPTH), depth], 1).ravel().astype(np.float32)
        places = np.tile([len(self.vocabulary), len(self.vocabulary) + 1], len(depth))
        return Batch(
            {
                "value": np.insert(values[order], behind, ends),
                "position": np.insert(gene[order], behind, places),
            },
            aligned.offsets + 2 * np.arange(len(aligned.offsets)),
            coverage=alignment.coverage(counts),
        )

    def fine_tuning(self, batch: Batch) -> Batch:
        """Give the tokens that fine-tuning sees: as published, the first 100 of a cell."""
        if not self.as_published:
            return batch
        lengths = np.minimum(batch.lengths, FINE_TUNING)
        place = np.arange(batch.offsets[-1]) - np.repeat(batch.offsets[:-1], batch.lengths)
        fields = {name: values[place < FINE_TUNING] for name, values in batch.fields.items()}
        offsets = np.append(0, np.cumsum(lengths)).astype(np.int64)
        return Batch(fields, offsets, batch.per_cell, batch.coverage)

    def hidden(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Give the last hidden states (cells, length, width) and which positions are real."""
        values, real = pad(batch, "value", PAD)
        positions, _ = pad(batch, "position", min(PAD, len(self.vocabulary) + 2))
        mask = None if bool(real.all()) else real.to(self.device)
        hidden = self.network(values.to(self.device), positions.to(self.device), mask)
        return hidden, real.to(self.device)

    def pool(self, hidden: Tensor, real: Tensor) -> Tensor:
        """Give S, T, maximum and mean of states (cells, length, width), real (cells, length)."""
        if self.as_published:
            real = torch.ones_like(real)
        length = real.sum(1)  # (cells,)
        cell = torch.arange(len(length), device=length.device)
        genes = torch.arange(real.shape[1], device=length.device) < length[:, None] - 2
        number = genes.sum(1, keepdim=True)  # (cells, 1)
        left_out = ~genes[:, :, None]
        most = hidden.masked_fill(left_out, -math.inf).amax(1)  # (cells, width)
        most = most.masked_fill(number == 0, 0.0)
        mean = hidden.masked_fill(left_out, 0.0).sum(1) / number.clamp(min=1)
        return torch.cat([hidden[cell, length - 1], hidden[cell, length - 2], most, mean], 1)

    def forward(self, batch: Batch) -> Tensor:
        """Pool the hidden states of each cell; see `Model.forward`."""
        return self.pool(*self.hidden(batch))


def read_vocabulary(weights: Path) -> dict[str, int]:
    """Read the table of genes beside the weights.

    Raises
    ------
    ModelError
        The table is missing, or lacks the columns `gene_name` and `index`.
    """
    path = beside(weights, VOCABULARY, ScFoundation.card)
    try:
        with path.open(encoding="utf-8", newline="") as lines:
            rows = list(csv.DictReader(lines, delimiter="\t"))
        return {row["gene_name"]: int(row["index"]) for row in rows}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"is no table of genes: {error!r}",
            file=path,
            allowed="columns gene_name and index, separated by tabs",
        ) from None
