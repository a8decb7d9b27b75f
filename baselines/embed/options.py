"""How to embed."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from cellresponse.schema.errors import ModelError

__all__ = ["EmbedOptions", "settled"]

# Padded tokens in a batch: what keeps the arithmetic units busy, in memory that is there. For a CPU
# each model says it, but as published, where the cells of a batch change each other in some models.
GPU_TOKENS, PUBLISHED_CPU_TOKENS = 131_072, 16_384


@dataclass(frozen=True)
class EmbedOptions:
    """Options of `embed`.

    Attributes
    ----------
    as_published
        True: as scDrugMap's public code. False: the corrected default.
    device
        `cpu`, `cuda` or `cuda:N`. None: a GPU where there is one.
    dtype
        Of the arithmetic; embeddings are float32. None: bfloat16 on a GPU, else float32.
    batch_tokens
        Most tokens of a batch, padding counted. None: 131,072 on a GPU, on a CPU the
        model's `cpu_tokens`, or 16,384 as published.
    orthologs
        Table of one-to-one orthologs for cells of an organism that the model does not
        know. None: such cells are refused.
    """

    as_published: bool = False
    device: str | None = None
    dtype: Literal["float32", "bfloat16"] | None = None
    batch_tokens: int | None = None
    orthologs: Path | None = None

    def facts(self) -> dict[str, Any]:
        """Give what an embedding depends on, for the metadata of the file."""
        return {
            "as_published": self.as_published,
            "device": str(self.device).partition(":")[0],
            "dtype": self.dtype,
            "batch_tokens": self.batch_tokens,
        }


def settled(options: EmbedOptions, model: str) -> EmbedOptions:
    """Fill in what was left open, for a model by its name.

    Raises
    ------
    ModelError
        The device is not there, a batch has no tokens, or there is no such model.
    """
    import torch

    from cellresponse.baselines.models.registry import get_model

    cpu_tokens = get_model(model.partition("@")[0]).cpu_tokens
    if options.as_published:
        cpu_tokens = PUBLISHED_CPU_TOKENS
    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    named = re.fullmatch(r"cpu|cuda(?::(\d+))?", device, re.ASCII)
    if named is None:
        raise ModelError("there is no such device", value=device, allowed="cpu, cuda, cuda:N")
    gpu = device != "cpu"
    if gpu and not torch.cuda.is_available():
        raise ModelError("there is no GPU that torch can use", value=device, allowed="cpu")
    if gpu and int(named[1] or 0) >= (gpus := torch.cuda.device_count()):
        raise ModelError(
            "there is no such GPU", value=device, allowed=[f"cuda:{n}" for n in range(gpus)]
        )
    if options.batch_tokens is not None and options.batch_tokens < 1:
        raise ModelError("a batch needs tokens", value=options.batch_tokens, allowed="1 or more")
    return replace(
        options,
        device=device,
        dtype=options.dtype or ("bfloat16" if gpu else "float32"),
        batch_tokens=options.batch_tokens or (GPU_TOKENS if gpu else cpu_tokens),
    )
