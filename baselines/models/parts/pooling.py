"""Average hidden states over the tokens that are real."""

from __future__ import annotations

from torch import Tensor

__all__ = ["masked_mean"]


def masked_mean(hidden: Tensor, real: Tensor) -> Tensor:
    """Average (cells, length, width) over the positions where `real` (cells, length) is True.

    A cell without such a position gives zeros.
    """
    summed = (hidden * real[:, :, None]).sum(1)  # (cells, width)
    return summed / real.sum(1, keepdim=True).clamp(min=1)
