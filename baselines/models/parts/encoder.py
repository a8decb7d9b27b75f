"""Transformer encoder layers with the keys of `torch.nn.TransformerEncoderLayer`.

scGPT, scFoundation and UCE are stacks of the same layer: post-norm, ReLU, self-attention
whose query, key and value weights lie in one matrix. torch's own module *reads* the weight
of its output projection and never calls it, so that an adapter wrapped around `out_proj`
(the published LoRA target of these models) changes nothing. A layer made here starts in
that state; `split_projections` turns q, k, v and the output projection into modules that
are called, with the same numbers, so that LoRA can adapt them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["CALLED_PROJECTIONS", "EncoderLayer", "SelfAttention", "split_projections"]

CALLED_PROJECTIONS = ("self_attn.q", "self_attn.k", "self_attn.v", "self_attn.out_proj")
"""Ends of the names of the modules that LoRA can adapt after `split_projections`."""


class SelfAttention(nn.Module):
    """Multi-head self-attention with the keys of `torch.nn.MultiheadAttention`.

    Parameters
    ----------
    width
        Length of a token's vector.
    heads
        Number of heads; divides `width`.
    dropout
        Of attention weights, in training.
    """

    q: nn.Linear  # after `split_projections`
    k: nn.Linear
    v: nn.Linear

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        if heads < 1 or width % heads:
            raise ValueError(f"{heads} heads do not divide a width of {width}")
        self.heads = heads
        self.dropout = dropout
        self.split = False
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, x: Tensor, mask: Tensor | None, queries: int | None = None) -> Tensor:
        """Let the first `queries` tokens (None: all) attend to the keys that `mask` admits."""
        # (cells, length, width) -> (cells, heads, length, width / heads)
        q, k, v = (
            y.view(*y.shape[:2], self.heads, -1).transpose(1, 2) for y in self._project(x, queries)
        )
        dropout = self.dropout if self.training else 0.0
        y = functional.scaled_dot_product_attention(q, k, v, _over_heads(mask, q), dropout)
        y = y.transpose(1, 2).flatten(2)  # (cells, queries, width)
        if self.split:
            return cast(Tensor, self.out_proj(y))
        # Read, not called, as torch does: an adapter around `out_proj` has no effect here.
        return functional.linear(y, self.out_proj.weight, self.out_proj.bias)

    def _project(self, x: Tensor, queries: int | None) -> Sequence[Tensor]:
        """Give queries (cells, queries, width), keys and values (cells, length, width)."""
        asking = x[:, :queries]
        if self.split:
            return [self.q(asking), self.k(x), self.v(x)]
        weight, bias, width = self.in_proj_weight, self.in_proj_bias, x.shape[2]
        if queries is None:
            return functional.linear(x, weight, bias).chunk(3, -1)
        q = functional.linear(asking, weight[:width], bias[:width])
        return [q, *functional.linear(x, weight[width:], bias[width:]).chunk(2, -1)]

    def split_projections(self) -> None:
        """Turn the fused q, k, v weights into three modules; from now on modules are called."""
        if self.split:
            return
        weights = self.in_proj_weight.detach().chunk(3)
        biases = self.in_proj_bias.detach().chunk(3)
        for name, weight, bias in zip("qkv", weights, biases, strict=True):
            linear = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
            linear.weight = nn.Parameter(weight.clone())
            linear.bias = nn.Parameter(bias.clone())
            self.add_module(name, linear)
        del self.in_proj_weight, self.in_proj_bias
        self.split = True


def _over_heads(mask: Tensor | None, q: Tensor) -> Tensor | None:
    """(cells, keys) -> (cells, 1, 1, keys), a float mask in the dtype of the logits."""
    if mask is None:
        return None
    return (
        mask[:, None, None, :] if mask.dtype == torch.bool else mask[:, None, None, :].to(q.dtype)
    )


class EncoderLayer(nn.Module):
    """Post-norm encoder layer with ReLU.

    Parameters
    ----------
    width, heads
        See `SelfAttention`.
    feedforward
        Width of the hidden layer of the feed-forward part.
    dropout
        In training, at the places where torch's layer has it.
    """

    def __init__(self, width: int, heads: int, feedforward: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.self_attn = SelfAttention(width, heads, dropout)
        self.linear1 = nn.Linear(width, feedforward)
        self.linear2 = nn.Linear(feedforward, width)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor | None = None, queries: int | None = None) -> Tensor:
        """Give the layer's output.

        Parameters
        ----------
        x
            (cells, length, width).
        mask
            (cells, length). bool: True where a token is real and may be attended to. float:
            added to the logits of the key (UCE as published). None: all tokens are real.
        queries
            How many of the first tokens are wanted: after the last layer an embedding may
            need one. None: all.

        Returns
        -------
        Tensor
            (cells, queries, width).
        """
        attended = self.self_attn(x, mask, queries)
        x = self.norm1(x[:, :queries] + self.dropout(attended))
        y = self.linear2(self.dropout(functional.relu(self.linear1(x))))
        return self.norm2(x + self.dropout(y))


def split_projections(network: nn.Module) -> None:
    """Call `SelfAttention.split_projections` in every layer of a network.

    Embeddings stay the same; the keys are no longer the published ones, so weights are
    loaded before and adapters are added after.
    """
    for module in list(network.modules()):
        if isinstance(module, SelfAttention):
            module.split_projections()
