"""The Performer: pre-norm layers with kernel attention, keys as published checkpoints nest them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from cellresponse.baselines.models.parts.kernel_attention import FastAttention

__all__ = ["Performer", "PerformerEncoder"]


class PerformerAttention(nn.Module):
    """Kernel self-attention; published key names `to_q`, `to_k`, `to_v`, `to_out`."""

    def __init__(self, width: int, heads: int, head_width: int, features: int, bias: bool) -> None:
        super().__init__()
        inner = heads * head_width
        self.heads = heads
        self.fast_attention = FastAttention(head_width, features)
        self.to_q = nn.Linear(width, inner, bias=bias)
        self.to_k = nn.Linear(width, inner, bias=bias)
        self.to_v = nn.Linear(width, inner, bias=bias)
        self.to_out = nn.Linear(inner, width)

    def forward(self, x: Tensor, weight: Tensor | None, valued: Tensor | None) -> Tensor:
        """See `Performer`: (cells, length, width) -> (cells, length, width)."""
        cells, length, _ = x.shape
        q, k, v = (
            project(x).view(cells, length, self.heads, -1).transpose(1, 2)
            for project in (self.to_q, self.to_k, self.to_v)
        )  # each (cells, heads, length, head_width)
        if valued is not None:
            v = v * valued[:, None, :, None]
        y = self.fast_attention(q, k, v, weight)
        y = y.transpose(1, 2).reshape(cells, length, -1)
        return cast(Tensor, self.to_out(y))


class FeedForward(nn.Module):
    """Linear, GELU, Linear; published key names `w1`, `w2`."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.w1 = nn.Linear(width, 4 * width)
        self.w2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(cells, length, width) -> (cells, length, width)."""
        return cast(Tensor, self.w2(functional.gelu(self.w1(x))))


class Chunked(nn.Module):
    """A feed-forward part under the name `fn`, as the published keys nest it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fn = FeedForward(width)

    def forward(self, x: Tensor) -> Tensor:
        """(cells, length, width) -> (cells, length, width)."""
        return cast(Tensor, self.fn(x))


class PreNorm(nn.Module):
    """A part `fn` of a layer behind its LayerNorm."""

    def __init__(self, width: int, fn: nn.Module) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fn = fn

    def forward(self, x: Tensor, *masks: Tensor | None) -> Tensor:
        """(cells, length, width) -> (cells, length, width)."""
        return cast(Tensor, self.fn(self.norm(x), *masks))


class Layers(nn.Module):
    """Pairs of attention and feed-forward parts, each added to what it reads."""

    def __init__(self, depth: int, make: Callable[[], nn.ModuleList]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(make() for _ in range(depth))

    def forward(self, x: Tensor, weight: Tensor | None, valued: Tensor | None) -> Tensor:
        """(cells, length, width) -> (cells, length, width)."""
        for attention, feedforward in cast("list[tuple[nn.Module, nn.Module]]", self.layers):
            x = x + attention(x, weight, valued)
            x = x + feedforward(x)
        return x


class Performer(nn.Module):
    """Stack of pre-norm Performer layers, keys as the published checkpoints nest them.

    Parameters
    ----------
    width
        Length of a token's vector.
    depth, heads, head_width
        Layers, heads a layer, length of a head's vectors.
    features
        Random features; `int(head_width * log(head_width))` in the published models.
    bias
        Of the q, k, v projections.
    """

    calls_since_last_redraw: Tensor

    def __init__(
        self, width: int, depth: int, heads: int, head_width: int, features: int, *, bias: bool
    ) -> None:
        super().__init__()

        def layer() -> nn.ModuleList:
            attention = PerformerAttention(width, heads, head_width, features, bias)
            return nn.ModuleList([PreNorm(width, attention), PreNorm(width, Chunked(width))])

        self.net = Layers(depth, layer)
        # Projections were redrawn while the published models were trained; here they stay.
        self.register_buffer("calls_since_last_redraw", torch.tensor(0))

    def share_maximum(self, shared: bool) -> None:
        """Take the key maximum over the whole batch (as published), or over each cell."""
        for module in self.modules():
            if isinstance(module, FastAttention):
                module.shared_maximum = shared

    def forward(
        self, x: Tensor, weight: Tensor | None = None, valued: Tensor | None = None
    ) -> Tensor:
        """Give hidden states.

        Parameters
        ----------
        x
            (cells, length, width).
        weight
            (cells, length): how many equal keys a position stands for, 0 where it is
            padding that belongs to no cell. None: each stands for one.
        valued
            (cells, length), 1 where a position adds a value, 0 where it only counts in
            the denominator. None: all add one.

        Returns
        -------
        Tensor
            (cells, length, width).
        """
        return cast(Tensor, self.net(x, weight, valued))


class Positions(nn.Module):
    """A table of position vectors under the name `emb`."""

    def __init__(self, positions: int, width: int) -> None:
        super().__init__()
        self.emb = nn.Embedding(positions, width)


class PerformerEncoder(nn.Module):
    """Value classes on genes -> hidden states: the network of scBERT and CellLM.

    Parameters
    ----------
    tokens, positions
        Rows of the table of value classes and of the table of genes.
    width, depth, heads, head_width
        See `Performer`.
    """

    def __init__(
        self, tokens: int, positions: int, *, width: int, depth: int, heads: int, head_width: int
    ) -> None:
        super().__init__()
        features = int(head_width * math.log(head_width))
        self.token_emb = nn.Embedding(tokens, width)
        self.pos_emb = Positions(positions, width)
        self.performer = Performer(width, depth, heads, head_width, features, bias=False)
        self.norm = nn.LayerNorm(width)
        self.to_out = nn.Linear(width, tokens)  # of the pretext task; no part of an embedding

    def forward(
        self,
        tokens: Tensor,
        positions: Tensor,
        weight: Tensor | None = None,
        valued: Tensor | None = None,
    ) -> Tensor:
        """Give hidden states (cells, length, width).

        Parameters
        ----------
        tokens, positions
            (cells, length) int64; `positions` may be (length,).
        weight, valued
            See `Performer.forward`.
        """
        x = self.token_emb(tokens) + self.pos_emb.emb(positions)
        return cast(Tensor, self.norm(self.performer(x, weight, valued)))
