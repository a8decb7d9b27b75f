"""The published procedures, transcribed plainly: one cell at a time, padded as published.

They take the weights of a model of ours and give the corrected embedding (padding masked
out), so that both ways can be compared in time and in value. Attention is written out, or
torch's own encoder layer, as in the authors' code; nothing is batched, blocked or shared.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from cellresponse.baselines.models.interface import Batch, Model, pad

__all__ = ["PLAIN", "prepare"]


def _tokens(
    model: Model, cell: Batch, name: str, fill: float, length: int
) -> tuple[Tensor, Tensor]:
    values, real = pad(cell, name, fill, length=length)
    return values.to(model.device), real.to(model.device)


def _mean(hidden: Tensor, real: Tensor) -> Tensor:
    return (hidden * real[:, :, None]).sum(1) / real.sum(1, keepdim=True)


def tgpt(model: Any, cell: Batch) -> Tensor:
    """Padded to 64, with a mask."""
    tokens, real = _tokens(model, cell, "tokens", 0, 64)
    hidden = model.network.transformer(tokens, attention_mask=real.long()).last_hidden_state
    real[:, 0] = False
    real[0, int(cell.lengths[0]) - 1] = False
    return _mean(hidden, real)


def geneformer(model: Any, cell: Batch) -> Tensor:
    """Padded to 2,048, with a mask."""
    tokens, real = _tokens(model, cell, "tokens", 0, model.length)
    hidden = model.network.bert(tokens, attention_mask=real.long()).last_hidden_state
    return _mean(hidden, real)


def text(model: Any, cell: Batch) -> Tensor:
    """Unpadded."""
    tokens, real = _tokens(model, cell, "tokens", 0, int(cell.lengths[0]))
    hidden = model.network(tokens.long(), attention_mask=real.long()).last_hidden_state
    return _mean(hidden, real)


def _features(x: Tensor, projection: Tensor, *, query: bool) -> Tensor:
    """Positive random features of (1, heads, length, width), all at once."""
    scaled = x * x.shape[-1] ** -0.25
    product = scaled @ projection.T
    half_square = scaled.square().sum(-1, keepdim=True) / 2
    most = product.amax(-1, keepdim=True) if query else product.amax()
    return (torch.exp(product - half_square - most) + 1e-4) / math.sqrt(len(projection))


def _performer(network: Any, tokens: Tensor, positions: Tensor, valued: Tensor | None) -> Tensor:
    x = network.token_emb(tokens) + network.pos_emb.emb(positions).to(torch.float32)
    for attention, feedforward in network.performer.net.layers:
        y, inner = attention.norm(x), attention.fn
        q, k, v = (
            project(y).view(1, y.shape[1], inner.heads, -1).transpose(1, 2)
            for project in (inner.to_q, inner.to_k, inner.to_v)
        )
        if valued is not None:
            v = v * valued[:, None, :, None]
        projection = inner.fast_attention.projection_matrix
        q, k = _features(q, projection, query=True), _features(k, projection, query=False)
        total = 1 / (q @ k.sum(2)[..., None])
        y = (q @ (k.transpose(2, 3) @ v)) * total
        x = x + inner.to_out(y.transpose(1, 2).reshape(1, y.shape[2], -1))
        inner = feedforward.fn.fn
        x = x + inner.w2(functional.gelu(inner.w1(feedforward.norm(x))))
    return network.norm(x)


def scbert(model: Any, cell: Batch) -> Tensor:
    """All 16,907 tokens."""
    tokens, _ = _tokens(model, cell, "token", 0, int(cell.lengths[0]))
    positions = torch.arange(tokens.shape[1], device=tokens.device)[None]
    return _performer(model.network, tokens.long(), positions, None).mean(1)


def cellm(model: Any, cell: Batch) -> Tensor:
    """Padded to 6,000; padding gives no value but counts as a key."""
    tokens, real = _tokens(model, cell, "token", 7, 6000)
    positions, _ = _tokens(model, cell, "position", len(model.vocabulary) + 1, 6000)
    hidden = _performer(model.network, tokens.long(), positions.long(), real.float())
    return _mean(hidden, real)


def scfoundation(model: Any, cell: Batch) -> Tensor:
    """Unpadded, as the authors' script for single cells."""
    values, _ = _tokens(model, cell, "value", 103, int(cell.lengths[0]))
    positions, _ = _tokens(model, cell, "position", 103, int(cell.lengths[0]))
    x = model.network.token_emb(values) + model.network.pos_emb(positions)
    hidden = model.network.encoder.norm(model.plain_encoder(x))
    genes = hidden[:, :-2]
    return torch.cat([hidden[:, -1], hidden[:, -2], genes.amax(1), genes.mean(1)], 1)


def scgpt(model: Any, cell: Batch) -> Tensor:
    """Unpadded."""
    genes, _ = _tokens(model, cell, "gene", model.pad, int(cell.lengths[0]))
    values, _ = _tokens(model, cell, "value", -2, int(cell.lengths[0]))
    x = model.network.encoder(genes.long()) + model.network.value_encoder(values)
    return functional.normalize(model.plain_encoder(x)[:, 0], dim=1)


def uce(model: Any, cell: Batch) -> Tensor:
    """Padded to 1,536, with a mask; every token's protein vector is projected."""
    tokens, real = _tokens(model, cell, "token", 0, 1536)
    network = model.network
    vectors = functional.normalize(network.pe_embedding(tokens.long()), dim=2)
    x = network.pos_encoder(network.encoder(vectors) * math.sqrt(network.encoder[0].out_features))
    hidden = model.plain_encoder(x, src_key_padding_mask=~real)
    return functional.normalize(network.decoder(hidden)[:, 0], dim=1)


def one_by_one(model: Model, cell: Batch) -> Tensor:
    """Our own code, a cell at a time: the cell is the token, nothing is padded."""
    return model.forward(cell)


PLAIN: dict[str, Callable[[Any, Batch], Tensor]] = {
    "cellm": cellm,
    "cellplm": one_by_one,
    "geneformer": geneformer,
    "geneformer-12l": geneformer,
    "minilm": text,
    "scbert": scbert,
    "scfoundation": scfoundation,
    "scgpt": scgpt,
    "tgpt": tgpt,
    "uce": uce,
}


def prepare(name: str, model: Any) -> Any:
    """Give the model for the plain way: attention written out, or torch's encoder."""
    if hasattr(model.network, "set_attn_implementation"):
        model.network.set_attn_implementation("eager")
    layers = {
        "scfoundation": lambda: model.network.encoder.transformer_encoder,
        "scgpt": lambda: model.network.transformer_encoder.layers,
        "uce": lambda: model.network.transformer_encoder["layers"],
    }
    if name in layers:
        model.plain_encoder = _torch_encoder(layers[name]()).to(model.device).eval()
    return model


def _torch_encoder(layers: nn.ModuleList) -> nn.TransformerEncoder:
    first: Any = layers[0]
    width, heads = first.norm1.normalized_shape[0], first.self_attn.heads
    layer = nn.TransformerEncoderLayer(
        width, heads, first.linear1.out_features, batch_first=True, activation="relu"
    )
    encoder = nn.TransformerEncoder(layer, len(layers), enable_nested_tensor=False)
    encoder.layers.load_state_dict(layers.state_dict())
    return encoder
