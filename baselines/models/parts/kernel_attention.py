"""Attention whose cost is linear in the number of tokens (FAVOR+, of the Performer).

The softmax kernel exp(q.k) is replaced by a product of positive random features,

    phi(x) = exp(P x - |x|^2 / 2 - m) + eps,      P: (features, dim_head), x: scaled

so that sum_k phi(q).phi(k) v is two matrix products (Choromanski et al., "Rethinking
Attention with Performers", arXiv:2009.14794). m keeps the exponent at or below zero: for a
query it is the maximum of that query and cancels; for keys it is one number, and because
eps is added after it was subtracted it does not quite cancel. The published models take it
over the whole batch, so that an embedding depends on its batch mates. Here it is taken over
the keys of the cell itself, which is what they give for one cell at a time; `shared_maximum`
is the published behaviour.

The features of a long cell (16,907 tokens x 10 heads x 266) do not fit a cache and hardly a
memory, so they are made in blocks of tokens and summed as they come; the maximum is put
right at the end. They are made in float32 whatever the network's dtype: exp of a number
rounded to bfloat16 is wrong by per cents.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

__all__ = ["FastAttention", "random_projection"]

EPS = 1e-4
BLOCK = {"cpu": 2**19, "other": 2**27}  # features at a time: a cache on a CPU, 0.5 GB on a GPU


def random_projection(features: int, width: int) -> Tensor:
    """Draw (features, width): blocks of orthogonal rows, with the lengths of normal vectors."""
    blocks = [_rotation(width) for _ in range(-(-features // width))]
    lengths = torch.randn(features, width).norm(dim=1, keepdim=True)
    return torch.cat(blocks)[:features] * lengths


def _rotation(width: int) -> Tensor:
    q, r = torch.linalg.qr(torch.randn(width, width))
    # Uniform over rotations only with the signs put right (Mezzadri, arXiv:math-ph/0609050).
    return q * r.diagonal().sign()


class FastAttention(nn.Module):
    """Kernel attention of many heads with one random projection."""

    projection_matrix: Tensor

    def __init__(self, width: int, features: int) -> None:
        super().__init__()
        self.shared_maximum = False
        self.register_buffer("projection_matrix", random_projection(features, width))

    def forward(self, q: Tensor, k: Tensor, v: Tensor, weight: Tensor | None) -> Tensor:
        """Attend.

        Parameters
        ----------
        q, k, v
            (cells, heads, length, width). `v` is zero where a key adds no value.
        weight
            (cells, length): how many equal keys a position stands for; 0 where it is
            no key at all. None: every position is one key.

        Returns
        -------
        Tensor
            (cells, heads, length, width), dtype of `v`.
        """
        with torch.autocast(q.device.type, enabled=False):
            wide = torch.promote_types(v.dtype, torch.float32)
            projection = self.projection_matrix.to(wide) * q.shape[-1] ** -0.25
            counted = _counted(v.to(wide), weight)
            blocks = _blocks(q, len(projection))
            keys = [
                _light(_sum_keys, k[:, :, block], counted[:, :, block], projection, weight is None)
                for block in blocks
            ]
            context = _combine(keys, self.shared_maximum)
            read = [_light(_read, q[:, :, block], context, projection) for block in blocks]
            return torch.cat(read, dim=2).to(v.dtype)


def _blocks(q: Tensor, features: int) -> list[slice]:
    cells, heads, length, _ = q.shape
    budget = BLOCK["cpu" if q.device.type == "cpu" else "other"]
    step = max(64, budget // (cells * heads * features))
    return [slice(start, start + step) for start in range(0, length, step)]


def _light[*Args, T](function: Callable[[*Args], T], *args: *Args) -> T:
    """Call; in training, keep no features for the backward pass but make them anew."""
    traced = any(isinstance(value, Tensor) and value.requires_grad for value in args)
    if not (traced and torch.is_grad_enabled()):
        return function(*args)
    return cast(T, checkpoint(function, *args, use_reentrant=False))


def _counted(v: Tensor, weight: Tensor | None) -> Tensor:
    """Append to each value how many keys it stands for: (cells, heads, length, width + 1)."""
    cells, heads, length, _ = v.shape
    column = v.new_ones(1, 1, 1, 1) if weight is None else weight.to(v.dtype)[:, None, :, None]
    return torch.cat([v, column.expand(cells, heads, length, 1)], dim=3)


def _exponents(x: Tensor, projection: Tensor) -> tuple[Tensor, Tensor]:
    """Give P x (..., length, features) and |x|^2 / 2 (..., length, 1) of x / width^(1/4)."""
    x = x.to(projection.dtype)
    half_square = x.square().sum(-1, keepdim=True) * (0.5 * x.shape[-1] ** -0.5)
    return x @ projection.T, half_square


def _sum_keys(
    k: Tensor, counted: Tensor, projection: Tensor, all_present: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Sum a block's features at the block's own maximum, and what eps multiplies.

    Returns
    -------
    maximum : (cells, heads, 1, 1)
    sums : (cells, heads, features, width + 1), sum of exp(...) (v, 1)
    plain : (cells, heads, 1, width + 1), sum of (v, 1)
    """
    product, half_square = _exponents(k, projection)
    if not all_present:
        product = product.masked_fill(counted[..., -1:] == 0, -math.inf)
    # A block without any key of a cell has the maximum -inf; a number keeps its sums at 0.
    lowest = torch.finfo(product.dtype).min
    maximum = product.detach().amax((2, 3), keepdim=True).clamp(min=lowest)
    exps = product.sub_(half_square + maximum).exp_()
    return maximum, exps.transpose(2, 3) @ counted, counted.sum(2, keepdim=True)


def _combine(blocks: list[tuple[Tensor, Tensor, Tensor]], shared_maximum: bool) -> Tensor:
    """Bring the blocks' sums to one maximum and add eps: sum of phi(k) (v, 1).

    Returns
    -------
    Tensor
        (cells, heads, features, width + 1).
    """
    # Over blocks and heads of a cell: (blocks, cells, heads, 1, 1) -> (cells, 1, 1, 1)
    maximum = torch.stack([block[0] for block in blocks]).amax((0, 2))[:, None]
    if shared_maximum:
        maximum = maximum.amax(0, keepdim=True)
    scaled = [(block[0] - maximum).exp() * block[1] + EPS * block[2] for block in blocks]
    return torch.stack(scaled).sum(0) if len(scaled) > 1 else scaled[0]


def _read(q: Tensor, context: Tensor, projection: Tensor) -> Tensor:
    product, half_square = _exponents(q, projection)
    maximum = product.detach().amax(3, keepdim=True)
    exps = product.sub_(half_square + maximum).exp_()  # (cells, heads, length, features)
    # phi(q) = exps + eps; eps times a sum over features needs no pass over the tokens.
    y = exps @ context + EPS * context.sum(2, keepdim=True)
    return y[..., :-1] / y[..., -1:]
