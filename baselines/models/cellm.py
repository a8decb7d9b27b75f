"""CellLM: a Performer over the expressed genes of a cell.

Input     genes with a count, in the order of 19,379 symbols, each as a class of its value
          (cut at 5, whole part); a CLS token first; at most 6,000 tokens. The authors' code
          takes values as they come; here they are counts per 10,000 of the known genes,
          log2(1 + x), as scBERT reads them.
Network   value + gene (gene2vec) vectors, 512 numbers -> 10 pre-norm Performer layers,
          16 heads of 64, 266 random features -> LayerNorm.
Embedding 512 numbers, the mean over the cell's tokens.

The network was trained on cells padded to 6,000: padding adds no value, but its keys count
in the kernel's denominator. All padding of a cell is equal in every layer, so that one
position with the weight of all gives the same numbers, and a cell of 1,000 genes costs a
sixth.

Corrected default: mean over real tokens; the key maximum is each cell's own.
As published: the sum over real tokens divided by 6,000 (45 % away), and one key maximum for
the whole batch, so that an embedding depends on its batch mates (0.9-1.3 % relative).
LoRA: `to_q`, `to_k`, `to_v`; it works as published.

Licence: code MIT; that of the weights is not stated. The symbols ship with the checkpoint,
not with the code: put them beside it, one a line, in the order of the position table.
Sources: arXiv 2306.04371; github.com/PharMolix/OpenBioMed at 557bcf9.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cellresponse.baselines.models.interface import (
    Batch,
    Card,
    Counts,
    Genes,
    Model,
    WeightFile,
    pad,
)
from cellresponse.baselines.models.parts.bins import classes, log_normalised
from cellresponse.baselines.models.parts.checkpoint import (
    beside,
    configured,
    load_strictly,
    read_config,
    read_state,
    weight_path,
)
from cellresponse.baselines.models.parts.genes import align
from cellresponse.baselines.models.parts.order import in_vocabulary_order
from cellresponse.baselines.models.parts.performer import PerformerEncoder
from cellresponse.schema.errors import ModelError

__all__ = ["CONFIG", "VOCABULARY", "CellLM"]

VOCABULARY = "genes.txt"
CLS, PAD, TOKENS = 6, 7, 8  # tokens 0 to 5 are classes of values
LENGTH = 6000  # tokens of a padded cell, with CLS
CONFIG: dict[str, Any] = {"width": 512, "depth": 10, "heads": 16, "head_width": 64}
TINY = {"width": 24, "depth": 2, "heads": 2, "head_width": 16}


class CellLM(Model):
    """CellLM. See the head of this file."""

    card = Card(
        name="cellm",
        title="CellLM, 10 layers",
        parameters=51_926_536,
        dimension=512,
        tokens="value class of up to 5,999 expressed genes",
        organisms=("human",),
        gene_names="symbol",
        code_licence="MIT",
        weights_licence="not stated",
        sources=("arXiv:2306.04371", "github.com/PharMolix/OpenBioMed@557bcf9"),
        files=(
            WeightFile("checkpoint4_fixed.pth", "weights"),
            WeightFile(VOCABULARY, "vocabulary"),
        ),
        mark=("token_emb.weight", "performer.net.layers.9.0.fn.to_q.weight"),
    )
    lora_targets = ("to_q", "to_k", "to_v")
    lora_targets_as_published = ("to_q", "to_k", "to_v")

    network: PerformerEncoder

    def __init__(
        self, config: Mapping[str, Any], vocabulary: Mapping[str, int], *, as_published: bool
    ) -> None:
        self.network = PerformerEncoder(TOKENS, len(vocabulary) + 2, **config).eval()
        self.network.performer.share_maximum(as_published)
        self.vocabulary = vocabulary
        self.as_published = as_published
        self.dimension = int(config["width"])

    @classmethod
    def create(
        cls, files: Path, *, size: Literal["published", "tiny"], as_published: bool, seed: int
    ) -> CellLM:
        """Make the model with random weights; see `Model.create`."""
        config = CONFIG | (TINY if size == "tiny" else {})
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = cls(config, read_vocabulary(files), as_published=as_published)
        # As in the published table: ones for CLS, zeros for padding.
        with torch.no_grad():
            nn.init.ones_(model.network.pos_emb.emb.weight[-2])
            nn.init.zeros_(model.network.pos_emb.emb.weight[-1])
        return model

    @classmethod
    def load(cls, weights: Path, *, as_published: bool) -> CellLM:
        """Load weights; see `Model.load`."""
        path = weight_path(weights, cls.card)
        config, vocabulary = read_config(path, CONFIG), read_vocabulary(path)
        with configured(path):
            model = cls(config, vocabulary, as_published=as_published)
        load_strictly(model.network, model.convert(read_state(path, "model_state_dict")), path)
        return model

    def convert(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Take off the name of the encoder in the authors' classifier."""
        return {key.removeprefix("encoder."): value for key, value in state.items()}

    def tokenise(self, counts: Counts, genes: Genes) -> Batch:
        """Give CLS and the classes of the expressed genes; see `Model.tokenise`."""
        alignment = align(genes, self.vocabulary, self.card)
        aligned = alignment.apply(counts)
        values = log_normalised(aligned.values, aligned.offsets, base=2)
        gene = alignment.tokens[aligned.genes]
        order = in_vocabulary_order(gene, aligned.offsets)
        lengths = np.diff(aligned.offsets)
        kept = np.arange(len(gene)) - np.repeat(aligned.offsets[:-1], lengths) < LENGTH - 1
        order = order[kept]
        # CLS goes before the genes of each cell.
        ends = np.append(0, np.cumsum(np.minimum(lengths, LENGTH - 1)))
        start = ends[:-1]
        fields: dict[str, NDArray[np.generic]] = {
            "token": np.insert(classes(values[order]), start, CLS),
            "position": np.insert(gene[order], start, len(self.vocabulary)),
        }
        offsets = ends + np.arange(len(counts) + 1)
        return Batch(fields, offsets.astype(np.int64), coverage=alignment.coverage(counts))

    def hidden(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Give the last hidden states (cells, length, width) and which positions are real."""
        lengths = torch.from_numpy(batch.lengths)
        padding = LENGTH - lengths  # positions that the one after the cell's last stands for
        width = int((lengths + (padding > 0)).max())
        tokens, real = pad(batch, "token", PAD, length=width)
        positions, _ = pad(batch, "position", len(self.vocabulary) + 1, length=width)
        place = torch.arange(width)
        weight = real + (place == lengths[:, None]) * padding[:, None]  # (cells, length)
        tensors = (tokens.long(), positions.long(), weight.float(), real.float())
        hidden = self.network(*(tensor.to(self.device) for tensor in tensors))
        return hidden, real.to(self.device)

    def pool(self, hidden: Tensor, real: Tensor) -> Tensor:
        """Average the states (cells, length, width) of real positions (cells, length)."""
        summed = (hidden * real[:, :, None]).sum(1)  # (cells, width)
        return summed / (LENGTH if self.as_published else real.sum(1, keepdim=True))

    def forward(self, batch: Batch) -> Tensor:
        """Average the hidden states of each cell; see `Model.forward`."""
        return self.pool(*self.hidden(batch))


def read_vocabulary(weights: Path) -> dict[str, int]:
    """Read the symbols beside the weights, one a line, in the order of the position table.

    Raises
    ------
    ModelError
        The file is missing, no text, empty, or has a symbol twice.
    """
    path = beside(weights, VOCABULARY, CellLM.card)
    try:
        names = path.read_text(encoding="utf-8").split()
    except UnicodeDecodeError:
        raise ModelError("is no text", file=path, allowed="gene symbols, one a line") from None
    if not names or len(set(names)) < len(names):
        raise ModelError(
            "is empty, or has a symbol twice", file=path, allowed="gene symbols, one a line"
        )
    return {name: place for place, name in enumerate(names)}
