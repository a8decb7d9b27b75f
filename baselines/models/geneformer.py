"""Geneformer V1: a BERT over a cell's genes, ranked by count against each gene's median.

Input     Ensembl ids by falling count / total x 10,000 / median of the gene, at most 2,048;
          the total is over all genes of the cell. No value, no CLS token.
Network   BERT, ReLU, post-norm: 6 layers of width 256, or 12 of width 512. The checkpoint
          that scDrugMap used is the 6-layer one fine-tuned on cardiomyopathies, with a
          classifier on top that embeddings do not touch.
Embedding 256 or 512 numbers, the mean of the last layer over the real positions. (The
          authors' extractor takes the layer before by default.)

As published in scDrugMap: no attention mask, and the mean over all 2,048 positions, so that
padding is attended to and averaged.
LoRA: `query`, `key` and `value`; they work as published.

Licence: Apache-2.0, code and weights.
Sources: doi 10.1038/s41586-023-06139-9; huggingface.co/ctheodoris/Geneformer at 3a67e20.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
import torch
from torch import Tensor

from cellresponse.baselines.models.interface import (
    Batch,
    Card,
    Counts,
    Genes,
    Model,
    WeightFile,
    pad,
)
from cellresponse.baselines.models.parts.checkpoint import (
    beside,
    configured,
    load_strictly,
    read_config,
    read_state,
    require_tokens,
    weight_path,
)
from cellresponse.baselines.models.parts.genes import align
from cellresponse.baselines.models.parts.pickled_dictionary import read_dictionary
from cellresponse.baselines.models.parts.pooling import masked_mean
from cellresponse.baselines.models.parts.ranks import ranked
from cellresponse.schema.errors import ModelError

if TYPE_CHECKING:
    from transformers import BertForMaskedLM, BertForSequenceClassification

__all__ = [
    "CONFIG",
    "Geneformer",
    "Geneformer12L",
    "GeneformerCardiomyopathies",
    "Vocabulary",
    "make_network",
    "read_vocabulary",
]

MEDIANS = "gene_median_dictionary.pkl"
AGAIN = "Take the file from the model's authors again"
PAD = 0
TOTAL = 10_000  # counts of a cell are scaled to this sum

CONFIG: dict[str, Any] = {
    "vocab_size": 25426,
    "hidden_size": 256,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "intermediate_size": 512,
    "max_position_embeddings": 2048,
    "hidden_act": "relu",
    "layer_norm_eps": 1e-12,
    "pad_token_id": PAD,
    "type_vocab_size": 2,
    "hidden_dropout_prob": 0.02,
    "attention_probs_dropout_prob": 0.02,
    "initializer_range": 0.02,
    "num_labels": 3,
}
LARGE = {
    "hidden_size": 512,
    "num_hidden_layers": 12,
    "num_attention_heads": 8,
    "intermediate_size": 1024,
}
TINY = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
}

HUB = (
    "https://huggingface.co/ctheodoris/Geneformer/resolve/3a67e20b730726c8171a4da28822a7c1b1c0acc6"
)
SOURCES = (
    "doi:10.1038/s41586-023-06139-9",
    "huggingface.co/ctheodoris/Geneformer@3a67e20",
)
VOCABULARY = (
    WeightFile(
        "token_dictionary.pkl",
        "vocabulary",
        f"{HUB}/geneformer/token_dictionary.pkl",
        "ab9dc40973fa5224d77b793e2fd114cacf3d08423ed9c4c49caf0ba9c7f218f1",
        788_424,
        also="gf_token_dictionary.pkl",
    ),
    WeightFile(
        MEDIANS,
        "vocabulary",
        f"{HUB}/geneformer/gene_median_dictionary.pkl",
        "b3b589bb5ec75040d05fc44dd6bf0184cf87f3c362cf158d196a6ed3b7fe5f39",
        940_965,
    ),
)


def _card(name: str, title: str, parameters: int, dimension: int, *files: WeightFile) -> Card:
    return Card(
        name=name,
        title=title,
        parameters=parameters,
        dimension=dimension,
        tokens="at most 2,048 Ensembl ids, by falling count against the gene's median",
        organisms=("human",),
        gene_names="ensembl",
        code_licence="Apache-2.0",
        weights_licence="Apache-2.0",
        sources=SOURCES,
        files=(*files, *VOCABULARY),
        mark=("bert.embeddings.word_embeddings.weight", "bert.embeddings.LayerNorm.weight"),
    )


class Vocabulary:
    """Tokens and medians of the genes.

    Attributes
    ----------
    tokens
        Token of each Ensembl id that has a median.
    medians
        (tokens,) float64, median of each token's gene; 1 where it is no gene.
    size
        Number of tokens, with those that are no gene.
    """

    def __init__(self, tokens: Mapping[str, int], medians: Mapping[str, float]) -> None:
        self.tokens = {gene: token for gene, token in tokens.items() if gene in medians}
        self.size = max(tokens.values(), default=-1) + 1
        self.medians = np.ones(self.size)
        for gene, token in self.tokens.items():
            self.medians[token] = medians[gene]


class Geneformer(Model):
    """Geneformer V1 with 6 layers. See the head of this file."""

    card = _card(
        "geneformer",
        "Geneformer V1, 6 layers",
        10_288_722,
        256,
        WeightFile(
            "model.safetensors",
            "weights",
            f"{HUB}/model.safetensors",
            "a5e33a757431643b3697de7ef6127950cdc49e06e58d4266b3a3ab191b683f14",
            41_183_536,
        ),
        WeightFile(
            "pytorch_model.bin",
            "weights",
            f"{HUB}/pytorch_model.bin",
            "8d860e2125884475dd42bc2cd9a0e60c60808a7351241e08f2154931ffc142da",
        ),
    )
    config: ClassVar[Mapping[str, Any]] = CONFIG
    head: ClassVar[Literal["masked", "classifier"]] = "masked"
    lora_targets = ("query", "key", "value")
    lora_targets_as_published = ("query", "key", "value")

    network: BertForMaskedLM | BertForSequenceClassification

    def __init__(
        self,
        network: BertForMaskedLM | BertForSequenceClassification,
        vocabulary: Vocabulary,
        *,
        as_published: bool,
    ) -> None:
        self.network = network
        self.vocabulary = vocabulary
        self.as_published = as_published
        self.dimension = network.config.hidden_size
        self.length = network.config.max_position_embeddings

    @classmethod
    def create(
        cls, files: Path, *, size: Literal["published", "tiny"], as_published: bool, seed: int
    ) -> Self:
        """Make the model with random weights; see `Model.create`."""
        vocabulary = read_vocabulary(files)
        config = {**cls.config, **(TINY if size == "tiny" else {}), "vocab_size": vocabulary.size}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return cls(make_network(config, cls.head), vocabulary, as_published=as_published)

    @classmethod
    def load(cls, weights: Path, *, as_published: bool) -> Self:
        """Load weights; see `Model.load`."""
        path = weight_path(weights, cls.card)
        config, vocabulary = read_config(path, cls.config), read_vocabulary(path)
        with configured(path):
            model = cls(make_network(config, cls.head), vocabulary, as_published=as_published)
        file = beside(path, "token_dictionary.pkl", cls.card)
        require_tokens(vocabulary.tokens.values(), config["vocab_size"], file)
        load_strictly(model.network, model.convert(read_state(path)), path)
        return model

    def convert(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Leave out the position numbers of old pickles; give tied keys their values."""
        kept = {key: value for key, value in state.items() if key != "bert.embeddings.position_ids"}
        ties = {
            "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
            "cls.predictions.decoder.bias": "cls.predictions.bias",
        }
        for tied, origin in ties.items():
            if self.head == "masked" and origin in kept:
                kept.setdefault(tied, kept[origin])
        return kept

    def tokenise(self, counts: Counts, genes: Genes) -> Batch:
        """Rank the genes of each cell; see `Model.tokenise`."""
        alignment = align(genes, self.vocabulary.tokens, self.card)
        aligned = alignment.apply(counts)
        tokens = alignment.tokens[aligned.genes]
        row = np.repeat(np.arange(len(counts)), np.diff(counts.offsets))
        total = np.bincount(row, counts.values, minlength=len(counts))  # all genes of the cell
        lengths = np.diff(aligned.offsets)
        value = aligned.values / np.repeat(total, lengths) * TOTAL / self.vocabulary.medians[tokens]
        # Ties stay in the order of the columns.
        index, offsets = ranked(value, aligned.offsets, self.length)
        return Batch({"tokens": tokens[index]}, offsets, coverage=alignment.coverage(counts))

    def hidden(self, batch: Batch, *, layer: int | None = None) -> tuple[Tensor, Tensor]:
        """Give hidden states (cells, length, width) and real positions (cells, length).

        Parameters
        ----------
        batch
            Tokens.
        layer
            0 is the embedding layer. None: the last.
        """
        tokens, real = pad(batch, "tokens", PAD, length=self.length if self.as_published else None)
        real = real.to(self.device)
        output = self.network.bert(
            tokens.to(self.device),
            attention_mask=torch.ones_like(real) if self.as_published else real,
            output_hidden_states=layer is not None,
        )
        state = output.last_hidden_state if layer is None else output.hidden_states[layer]
        return state, real

    def forward(self, batch: Batch) -> Tensor:
        """Average the last hidden states; see `Model.forward`."""
        hidden, real = self.hidden(batch)  # (cells, length, width), (cells, length)
        if self.as_published:
            return hidden.mean(1)
        return masked_mean(hidden, real)


class Geneformer12L(Geneformer):
    """Geneformer V1 with 12 layers."""

    card = _card(
        "geneformer-12l",
        "Geneformer V1, 12 layers",
        39_591_250,
        512,
        WeightFile(
            "pytorch_model.bin",
            "weights",
            f"{HUB}/geneformer-12L-30M/pytorch_model.bin",
            "812f8d85e5ecf9d64c268f052f6ece2c1906bc4f1aecf70d5144b2598386b615",
        ),
    )
    config = {**CONFIG, **LARGE}


class GeneformerCardiomyopathies(Geneformer):
    """Geneformer V1 with 6 layers, fine-tuned on cardiomyopathies: scDrugMap's checkpoint."""

    card = _card(
        "geneformer-cardiomyopathies",
        "Geneformer V1, 6 layers, fine-tuned on cardiomyopathies",
        10_263_555,
        256,
        WeightFile(
            "pytorch_model.bin",
            "weights",
            f"{HUB}/fine_tuned_models/geneformer-6L-30M_CellClassifier_cardiomyopathies_220224/"
            "pytorch_model.bin",
            "12ead3bad8cf4b853bac87eadeb79c9308ae492e9d29f32da1a2c85e8586108d",
            41_115_113,
        ),
    )
    head = "classifier"


def make_network(
    config: Mapping[str, Any], head: Literal["masked", "classifier"] = "masked"
) -> BertForMaskedLM | BertForSequenceClassification:
    """Make the network with random weights, with the head that its checkpoint has."""
    from transformers import BertConfig, BertForMaskedLM, BertForSequenceClassification

    if head == "masked":
        return BertForMaskedLM(BertConfig(**config)).eval()
    return BertForSequenceClassification(BertConfig(**config)).eval()


def read_vocabulary(weights: Path) -> Vocabulary:
    """Read the two dictionaries beside the weights, without executing the pickles.

    Raises
    ------
    ModelError
        One is missing, or is no dictionary of that kind, or a number in it cannot be.
    """
    card = Geneformer.card
    files = [beside(weights, name, card) for name in ("token_dictionary.pkl", MEDIANS)]
    tokens, medians = read_dictionary(files[0], int), read_dictionary(files[1], float)
    if wrong := [f"{gene}: {token}" for gene, token in tokens.items() if token < 0]:
        raise ModelError("has a token under 0", file=files[0], value=wrong[0], hint=AGAIN)
    if wrong := [
        f"{gene}: {median}" for gene, median in medians.items() if not 0 < median < math.inf
    ]:
        raise ModelError(
            "has a median that no gene can have",
            file=files[1],
            value=wrong[0],
            allowed="finite numbers above 0",
            hint=AGAIN,
        )
    return Vocabulary(tokens, medians)
