"""scBERT: a Performer that reads the value class of every gene, zeros too.

Input     16,906 genes in the order of the authors' reference matrix, each as a class: counts
          per 10,000 of these genes, log2(1 + x), cut at 5, whole part; one more token 0 ends
          the cell. 16,907 tokens, whatever the cell expresses.
Network   value + gene (gene2vec) vectors, 200 numbers -> 6 pre-norm Performer layers,
          10 heads of 64, 266 random features -> LayerNorm.
Embedding 200 numbers, the mean over all positions.

Corrected default: the key maximum of the kernel is each cell's own, which is what the
authors' code gives for one cell at a time.
As published: one maximum for the whole batch, so that an embedding depends on its batch
mates (up to 6e-4 relative); `fine_tuning` gives the first 6,000 genes, as scDrugMap's
fine-tuning cuts them (its text says 8,000).
LoRA: `to_q`, `to_k`, `to_v`; it works as published.

Cells below 200 genes, which the authors' script drops, are embedded here: nothing is lost
silently; filter them before if you want to.

Licence: code and weights GPL-3.0. This file is written from the published description and
from recorded outputs; no line is from the authors' code.
Sources: doi 10.1038/s42256-022-00534-z; github.com/TencentAILabHealthcare/scBERT at 262fd4b.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from cellresponse.baselines.models.interface import Batch, Card, Counts, Genes, Model, WeightFile
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
from cellresponse.baselines.models.parts.performer import PerformerEncoder
from cellresponse.schema.errors import ModelError

__all__ = ["CONFIG", "VOCABULARY", "ScBERT"]

VOCABULARY = "panglao_10000.h5ad"
TOKENS = 7  # classes 0 to 5, and one for padding and masks, which embedding never uses
FINE_TUNING = 6000  # genes
CONFIG: dict[str, Any] = {"width": 200, "depth": 6, "heads": 10, "head_width": 64}
TINY = {"width": 24, "depth": 2, "heads": 2, "head_width": 16}


class ScBERT(Model):
    """scBERT. See the head of this file."""

    card = Card(
        name="scbert",
        title="scBERT, 6 layers",
        parameters=8_388_607,
        dimension=200,
        tokens="value class of each of 16,906 genes, zeros too",
        organisms=("human",),
        gene_names="symbol",
        code_licence="GPL-3.0",
        weights_licence="GPL-3.0",
        sources=(
            "doi:10.1038/s42256-022-00534-z",
            "github.com/TencentAILabHealthcare/scBERT@262fd4b",
        ),
        files=(
            WeightFile("panglao_pretrain.pth", "weights"),
            WeightFile(VOCABULARY, "vocabulary", also="panglao_10000_simplified.h5ad"),
        ),
        mark=("token_emb.weight", "performer.net.layers.5.0.fn.to_q.weight"),
    )
    lora_targets = ("to_q", "to_k", "to_v")
    lora_targets_as_published = ("to_q", "to_k", "to_v")

    network: PerformerEncoder

    def __init__(
        self, config: Mapping[str, Any], vocabulary: Mapping[str, int], *, as_published: bool
    ) -> None:
        self.network = PerformerEncoder(TOKENS, len(vocabulary) + 1, **config).eval()
        self.network.performer.share_maximum(as_published)
        self.vocabulary = vocabulary
        self.as_published = as_published
        self.dimension = int(config["width"])

    @classmethod
    def create(
        cls, files: Path, *, size: Literal["published", "tiny"], as_published: bool, seed: int
    ) -> ScBERT:
        """Make the model with random weights; see `Model.create`."""
        config = CONFIG | (TINY if size == "tiny" else {})
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return cls(config, read_vocabulary(files), as_published=as_published)

    @classmethod
    def load(cls, weights: Path, *, as_published: bool) -> ScBERT:
        """Load weights; see `Model.load`."""
        path = weight_path(weights, cls.card)
        config, vocabulary = read_config(path, CONFIG), read_vocabulary(path)
        with configured(path):
            model = cls(config, vocabulary, as_published=as_published)
        load_strictly(model.network, model.convert(read_state(path, "model_state_dict")), path)
        return model

    def convert(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Keep the keys: they are the network's."""
        return dict(state)

    def tokenise(self, counts: Counts, genes: Genes) -> Batch:
        """Give the class of every gene of the vocabulary; see `Model.tokenise`."""
        alignment = align(genes, self.vocabulary, self.card)
        aligned = alignment.apply(counts)
        values = log_normalised(aligned.values, aligned.offsets, base=2)
        length = len(self.vocabulary) + 1
        tokens = np.zeros((len(counts), length), np.uint8)  # the last token stays 0
        row = np.repeat(np.arange(len(counts)), np.diff(aligned.offsets))
        tokens[row, alignment.tokens[aligned.genes]] = classes(values)
        offsets = np.arange(len(counts) + 1, dtype=np.int64) * length
        return Batch({"token": tokens.ravel()}, offsets, coverage=alignment.coverage(counts))

    def fine_tuning(self, batch: Batch) -> Batch:
        """Give the tokens that fine-tuning sees: as published, 6,000 genes and the end."""
        length = len(self.vocabulary) + 1
        if not self.as_published or length <= FINE_TUNING + 1:
            return batch
        tokens = batch.fields["token"].reshape(-1, length)
        kept = np.append(np.arange(FINE_TUNING), length - 1)
        offsets = np.arange(len(batch) + 1, dtype=np.int64) * len(kept)
        return replace(batch, fields={"token": tokens[:, kept].ravel()}, offsets=offsets)

    def hidden(self, batch: Batch) -> Tensor:
        """Give the last hidden states, (cells, length, width)."""
        tokens = torch.from_numpy(batch.fields["token"].reshape(len(batch), -1)).to(self.device)
        # Positions are counted along the cell, also in a cell that was cut.
        return self.network(tokens.long(), torch.arange(tokens.shape[1], device=self.device))

    def forward(self, batch: Batch) -> Tensor:
        """Average the hidden states of all positions; see `Model.forward`."""
        return self.hidden(batch).mean(1)


def read_vocabulary(weights: Path) -> dict[str, int]:
    """Read the names of the columns of the authors' reference matrix, beside the weights.

    Raises
    ------
    ModelError
        The matrix is missing, or is no h5ad file.
    """
    import h5py

    path = beside(weights, VOCABULARY, ScBERT.card)
    try:
        with h5py.File(path) as file:
            columns = file["var"]
            names = columns[columns.attrs["_index"]].asstr()[:]
    except (OSError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"is no h5ad file with names of genes: {error}", file=path) from None
    return {str(name): place for place, name in enumerate(names)}
