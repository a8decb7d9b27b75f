"""Feed stored tokens to a model: each cell alone, and in mixed batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cellresponse.baselines.golden.check import Check, Golden, compare
from cellresponse.baselines.models.interface import Batch, Counts, Genes, Model

__all__ = ["both_ends", "counts_of", "embeddings", "mixed", "ragged"]


def ragged(arrays: Mapping[str, NDArray[Any]], lengths: NDArray[np.integer]) -> Batch:
    """Make a batch of padded arrays (cells, length, ...), each with its real beginning."""
    real = np.arange(next(iter(arrays.values())).shape[1]) < np.asarray(lengths)[:, None]
    offsets = np.append(0, np.cumsum(lengths)).astype(np.int64)
    return Batch({name: values[real] for name, values in arrays.items()}, offsets)


def counts_of(golden: Golden) -> tuple[Counts, Genes]:
    """Give the raw counts that the golden tokens were made from."""
    inputs = golden.inputs
    row, gene = np.nonzero(inputs.counts)
    offsets = np.append(0, np.cumsum(np.bincount(row, minlength=len(inputs.counts))))
    counts = Counts(
        inputs.counts[row, gene],
        gene.astype(np.int32),
        offsets.astype(np.int64),
        np.arange(len(inputs.counts), dtype=np.uint64),
    )
    return counts, Genes(inputs.gene_ids, inputs.gene_symbols)


def mixed(cells: int) -> list[NDArray[np.int64]]:
    """Give batches that put long and short cells together, in both orders.

    Pairs are made from both ends of the file, where the thinned cells are the last; every
    second pair is turned round.
    """
    pairs = [np.unique([row, cells - 1 - row]) for row in range((cells + 1) // 2)]
    return [pair[::-1] if row % 2 else pair for row, pair in enumerate(pairs)]


def embeddings(
    model: Model,
    batch: Batch,
    golden: Golden,
    name: str,
    *,
    batches: list[NDArray[np.int64]] | None = None,
) -> Iterator[Check]:
    """Compare embeddings of each cell alone and of cells in mixed batches.

    Parameters
    ----------
    model
        With the golden weights.
    batch
        The stored tokens.
    name
        Array with the golden embeddings of all cells.
    batches
        Rows of each mixed batch. None: pairs of a long and a short cell.
    """
    theirs = golden.arrays[name]
    cells = len(batch)
    alone = torch.cat([model.embed(batch.take([row])) for row in range(cells)])
    yield compare(f"{name}, one by one", alone, theirs, golden.tolerance)
    chosen = mixed(cells) if batches is None else batches
    rows = np.concatenate([np.zeros(0, np.int64), *chosen])
    together = torch.cat([model.embed(batch.take(some)) for some in chosen])
    yield compare(f"{name}, mixed batches", together, theirs[rows], golden.tolerance)


def both_ends(
    hidden: Callable[[Batch], tuple[Tensor, Tensor]],
    batch: Batch,
    golden: Golden,
    first: str,
    last: str,
) -> Iterator[Check]:
    """Compare the hidden states at the first and the last real positions of each cell.

    Parameters
    ----------
    hidden
        Gives states (cells, length, width) and real positions (cells, length).
    batch
        The stored tokens.
    golden
        Its arrays hold zeros for a cell that has fewer positions than are stored.
    first, last
        Names of the arrays, each (cells, positions, width).
    """
    with torch.inference_mode():
        states = [hidden(batch.take([row]))[0][0] for row in range(len(batch))]
    for name, ends in ((first, _beginning), (last, _end)):
        theirs = golden.arrays[name]
        ours = np.zeros_like(theirs)
        for row, state in enumerate(states):
            if len(state) >= theirs.shape[1]:
                ours[row] = ends(state, theirs.shape[1]).float().cpu().numpy()
        yield compare(name, ours, theirs, golden.tolerance, absolute=False)


def _beginning(state: Tensor, positions: int) -> Tensor:
    return state[:positions]


def _end(state: Tensor, positions: int) -> Tensor:
    return state[-positions:]
