"""tGPT: a GPT-2 that reads the names of a cell's genes, the most expressed first.

Input     `</b> gene gene ... </s>`, at most 64 tokens, no values. Symbols with `-` and `.`
          written as `_`; a symbol that the vocabulary lacks takes a place as `<unk>`, as in
          the authors' code.
Network   GPT-2: 8 layers, width 1,024, 16 heads, causal, tied output.
Embedding 1,024 numbers, the mean over the genes' positions (neither `</b>` nor `</s>`).

As published in scDrugMap: the mean over all 64 positions, padding and both ends included.
LoRA: `c_attn`, query, key and value in one matrix; it works as published.

Licence: code GPL-3.0; that of the weights is not stated. This file is written from the
published description and uses the GPT-2 of transformers; no line is from the authors' code.
Sources: doi 10.1016/j.isci.2023.106536; github.com/deeplearningplus/tGPT at 9714a98.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

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
from cellresponse.baselines.models.parts.pooling import masked_mean
from cellresponse.baselines.models.parts.ranks import ranked
from cellresponse.schema.errors import ModelError

if TYPE_CHECKING:
    from transformers import GPT2LMHeadModel

__all__ = ["CONFIG", "TGPT"]

PAD, BEGIN, END, UNKNOWN = 0, 1, 2, 3
LENGTH = 64  # tokens of a cell, with both ends

CONFIG: dict[str, Any] = {
    "model_type": "gpt2",
    "vocab_size": 21150,
    "n_positions": 1024,
    "n_embd": 1024,
    "n_layer": 8,
    "n_head": 16,
    "activation_function": "gelu_new",
    "layer_norm_epsilon": 1e-5,
    "bos_token_id": BEGIN,
    "eos_token_id": END,
    "pad_token_id": PAD,
}
TINY = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}

HUB = "https://huggingface.co/lixiangchun/transcriptome-gpt-1024-8-16-64/resolve/main"


class TGPT(Model):
    """tGPT. See the head of this file."""

    card = Card(
        name="tgpt",
        title="tGPT, 8 layers",
        parameters=123_478_016,
        dimension=1024,
        tokens="62 gene symbols, by falling expression",
        organisms=("human",),
        gene_names="symbol",
        code_licence="GPL-3.0",
        weights_licence="not stated",
        sources=("doi:10.1016/j.isci.2023.106536", "github.com/deeplearningplus/tGPT@9714a98"),
        files=(
            WeightFile("pytorch_model.bin", "weights", f"{HUB}/pytorch_model.bin"),
            WeightFile(
                "tokenizer.json",
                "vocabulary",
                f"{HUB}/tokenizer.json",
                "2bf03f8be6d2e83ba842c191c1851e1e23d319cd53ffcafb0095a74a40fefe25",
                301_689,
                also="tgpt_tokenizer.json",
            ),
        ),
        mark=("transformer.wte.weight", "transformer.h.0.attn.c_attn.weight"),
    )
    lora_targets = ("c_attn",)
    lora_targets_as_published = ("c_attn",)

    network: GPT2LMHeadModel

    def __init__(
        self, network: GPT2LMHeadModel, vocabulary: Mapping[str, int], *, as_published: bool
    ) -> None:
        self.network = network
        self.vocabulary = {
            word: token
            for word, token in vocabulary.items()
            if not word.startswith(("<", "extra_id_"))
        }
        self.as_published = as_published
        self.dimension = network.config.n_embd

    @classmethod
    def create(
        cls, files: Path, *, size: Literal["published", "tiny"], as_published: bool, seed: int
    ) -> TGPT:
        """Make the model with random weights; see `Model.create`."""
        vocabulary = read_vocabulary(files)
        words = {"vocab_size": max(vocabulary.values()) + 1}
        config = CONFIG | (TINY if size == "tiny" else {}) | words
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return cls(make_network(config), vocabulary, as_published=as_published)

    @classmethod
    def load(cls, weights: Path, *, as_published: bool) -> TGPT:
        """Load weights; see `Model.load`."""
        path = weight_path(weights, cls.card)
        vocabulary = read_vocabulary(path)
        config = read_config(path, CONFIG)
        with configured(path):
            model = cls(make_network(config), vocabulary, as_published=as_published)
        file = beside(path, "tokenizer.json", cls.card)
        require_tokens(model.vocabulary.values(), config["vocab_size"], file)
        load_strictly(model.network, model.convert(read_state(path)), path)
        return model

    def convert(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Leave out old buffers (causal masks) and give the tied output its key."""
        kept = {
            key: value
            for key, value in state.items()
            if not key.endswith((".attn.bias", ".attn.masked_bias"))
        }
        if "transformer.wte.weight" in kept:
            kept.setdefault("lm_head.weight", kept["transformer.wte.weight"])
        return kept

    def tokenise(self, counts: Counts, genes: Genes) -> Batch:
        """Rank the genes of each cell; see `Model.tokenise`."""
        alignment = align(genes, self.vocabulary, self.card, spelling=_spelling, unknown=True)
        aligned = alignment.apply(counts)
        # Ties stay in the order of the columns.
        index, offsets = ranked(aligned.values, aligned.offsets, LENGTH - 2)
        tokens = alignment.tokens[aligned.genes[index]]
        tokens[tokens < 0] = UNKNOWN
        return Batch(
            {"tokens": with_ends(tokens, offsets)},
            offsets + 2 * np.arange(len(offsets)),
            coverage=alignment.coverage(counts),
        )

    def hidden(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Give the last hidden states (cells, length, width) and which positions are real."""
        length = LENGTH if self.as_published else None
        tokens, real = pad(batch, "tokens", PAD, length=length)
        tokens = tokens.to(self.device)
        # Nothing is masked: padding is on the right and a position looks to its left only.
        everything = torch.ones_like(tokens)
        output = self.network.transformer(tokens, attention_mask=everything, use_cache=False)
        return output.last_hidden_state, real.to(self.device)

    def forward(self, batch: Batch) -> Tensor:
        """Average the hidden states of the genes; see `Model.forward`."""
        hidden, real = self.hidden(batch)  # (cells, length, width), (cells, length)
        if self.as_published:
            return hidden.mean(1)
        position = torch.arange(real.shape[1], device=real.device)
        genes = (position > 0) & (position < real.sum(1, keepdim=True) - 1)  # (cells, length)
        return masked_mean(hidden, genes)


def make_network(config: Mapping[str, Any]) -> GPT2LMHeadModel:
    """Make the network with random weights."""
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(GPT2Config(**config)).eval()


def read_vocabulary(weights: Path) -> dict[str, int]:
    """Read the WordLevel tokenizer file beside the weights.

    Raises
    ------
    ModelError
        It is missing, or is no such file.
    """
    path = beside(weights, "tokenizer.json", TGPT.card)
    try:
        words = json.loads(path.read_bytes())["model"]["vocab"]
        special = [words[word] for word in ("<pad>", "</b>", "</s>", "<unk>")]
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"is no WordLevel tokenizer file: {error!r}", file=path) from None
    if special != [PAD, BEGIN, END, UNKNOWN]:
        raise ModelError("numbers its special tokens in another way", file=path, value=special)
    return {str(word): int(number) for word, number in words.items()}


def _spelling(symbol: str) -> str:
    # The tokenizer splits at `-` and `.`: HLA-B would be three unknown words.
    return symbol.replace("-", "_").replace(".", "_")


def with_ends(tokens: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Put `</b>` before and `</s>` after the tokens of each cell, (tokens + 2 x cells,)."""
    cells = np.arange(len(offsets) - 1)
    ended = np.full(len(tokens) + 2 * len(cells), BEGIN, np.int64)
    row = np.repeat(cells, np.diff(offsets))
    ended[np.arange(len(tokens)) + 2 * row + 1] = tokens
    ended[offsets[1:] + 2 * cells + 1] = END
    return ended
