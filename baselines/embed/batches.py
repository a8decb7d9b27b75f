"""Run a model over tokens in batches of cells of like length."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from numpy.typing import NDArray

from cellresponse.baselines.embed.options import EmbedOptions
from cellresponse.baselines.models.interface import Batch, Model
from cellresponse.schema.errors import ModelError

__all__ = ["by_length", "embed_batch"]


def by_length(lengths: NDArray[np.int64], batch_tokens: int) -> Iterator[NDArray[np.int64]]:
    """Divide cells into batches of like length.

    Parameters
    ----------
    lengths
        (cells,) tokens of each cell.
    batch_tokens
        Most tokens of a batch when all are padded to its longest cell; a longer cell is
        a batch of its own.

    Yields
    ------
    numpy.ndarray
        Rows of a batch, the longest first.
    """
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        # The first is the longest: so many of its length fit.
        stop = start + max(1, batch_tokens // max(1, int(lengths[order[start]])))
        yield order[start:stop]
        start = stop


def embed_batch(model: Model, batch: Batch, options: EmbedOptions) -> NDArray[np.float32]:
    """Embed cells.

    Parameters
    ----------
    model
        On its device.
    batch
        Tokens of any number of cells.
    options
        Settled.

    Returns
    -------
    numpy.ndarray
        (cells, dimension) float32, in the order of `batch`.

    Raises
    ------
    ModelError
        A batch does not fit the GPU, or an embedding is not finite.
    """
    if options.batch_tokens is None:
        raise ValueError("the options are not settled")
    if options.dtype == "float32":
        model.network.float()  # a text model is loaded as it is stored, maybe in half precision
    found = np.empty((len(batch), model.dimension), np.float32)
    for rows in by_length(batch.lengths, options.batch_tokens):
        try:
            with _precision(model, options):
                found[rows] = model.embed(batch.take(rows)).cpu().numpy()
        except torch.cuda.OutOfMemoryError:
            raise ModelError(
                "a batch does not fit into the memory of the GPU",
                value=options.batch_tokens,
                hint="Give fewer --batch-tokens; what is done is kept",
            ) from None
    if not np.isfinite(found).all():
        bad = int((~np.isfinite(found)).any(axis=1).sum())
        raise ModelError(
            f"{bad} of {len(found)} embeddings are not finite",
            hint="Check the weights, or use --dtype float32",
        )
    return found


def _precision(model: Model, options: EmbedOptions) -> AbstractContextManager[object]:
    if options.dtype == "float32":
        return nullcontext()
    return torch.autocast(model.device.type, torch.bfloat16)
