"""Hidden states of each cell alone: made once, where a pass costs seconds."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cellresponse.baselines.golden.check import Check, Golden, compare
from cellresponse.baselines.models.interface import Batch, Model

__all__ = ["States", "cells_named", "compare_ends", "shortest", "states_alone", "together"]

type States = Sequence[tuple[Tensor, Tensor]]
"""Of each cell: hidden states (1, length, width) and real positions (1, length)."""


def states_alone(hidden: Callable[[Batch], tuple[Tensor, Tensor]], batch: Batch) -> States:
    """Make the hidden states of each cell in a batch of its own."""
    with torch.inference_mode():
        return [hidden(batch.take([row])) for row in range(len(batch))]


def compare_ends(states: States, golden: Golden, rows: NDArray[np.int64]) -> Iterator[Check]:
    """Compare the first and the last real positions of the cells `rows`.

    The arrays hold zeros for a cell that has fewer positions than they store.
    """
    for name, last in (("hidden_first8", False), ("hidden_last8", True)):
        theirs = golden.arrays[name][rows]
        ours = np.zeros_like(theirs)
        stored = theirs.shape[1]
        for place, (hidden, real) in enumerate(states):
            state = hidden[real].float().cpu().numpy()  # (real positions, width)
            if len(state) >= stored:
                ours[place] = state[-stored:] if last else state[:stored]
        yield compare(name, ours, theirs, golden.tolerance, absolute=False)


def cells_named(text: str) -> list[int]:
    """Give the rows that a name or note speaks of.

    Examples
    --------
    >>> cells_named("embedding_batch_cells6_7"), cells_named("cells 6 and 7; pads 103")
    ([6, 7], [6, 7])
    >>> cells_named("embedding_cell7_f64")
    [7]
    """
    found = re.search(r"cells? ?(\d+)(?:(?:_| and )(\d+))?", text)
    return [int(number) for number in found.groups() if number] if found else []


def shortest(batch: Batch, cells: int | None) -> NDArray[np.int64]:
    """Give the rows of the cells with the fewest tokens, the longest first; None: of all."""
    return np.argsort(batch.lengths, kind="stable")[:cells][::-1].astype(np.int64)


def together(
    model: Model, batch: Batch, golden: Golden, name: str, rows: NDArray[np.int64]
) -> Iterator[Check]:
    """Compare embeddings of the cells `rows` in one batch, in both orders."""
    for order, chosen in (("this order", rows), ("the other order", rows[::-1].copy())):
        ours = model.embed(batch.take(chosen))
        theirs = golden.arrays[name][chosen]
        yield compare(f"{name}, one batch in {order}", ours, theirs, golden.tolerance)
