"""Weights by the rule of the golden files: anyone can draw the same."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cellresponse.baselines.golden.check import Check, Golden, equal

__all__ = ["draw", "draw_state", "first_values", "generator", "rule"]


def generator(golden: Golden, key: str, *more: int) -> np.random.Generator:
    """Give the random generator of a key (`more`: of a row of it)."""
    seeds = [int(golden.facts["weight_seed"]), zlib.crc32(key.encode()), *more]
    return np.random.Generator(np.random.PCG64(seeds))


def rule(golden: Golden, key: str) -> tuple[float, float]:
    """Give mean and scale of a key: of the first rule that fits."""
    for entry in golden.facts["weight_rules"]:
        if entry["regex"] == "(integer dtype)":
            continue
        if entry["regex"] == "(anything else)" or re.search(entry["regex"], key):
            return float(entry["mean"]), float(entry["scale"])
    return 0.0, 0.02


def draw(golden: Golden, key: str, shape: tuple[int, ...], *more: int) -> NDArray[np.float32]:
    """Draw float32 values of a key: mean + scale x standard normal."""
    mean, scale = rule(golden, key)
    values = generator(golden, key, *more).standard_normal(shape, dtype=np.float32)
    return np.float32(mean) + np.float32(scale) * values


def draw_state(
    golden: Golden,
    shapes: Mapping[str, tuple[tuple[int, ...], torch.dtype]],
    special: Mapping[str, torch.Tensor] | None = None,
) -> dict[str, torch.Tensor]:
    """Draw the weights of a model.

    Parameters
    ----------
    golden
        Gives seed and rules.
    shapes
        Shape and dtype of every key of the published layout; whole numbers become zero.
    special
        Values of keys that are not drawn by the rule (`weight_special` of the json).
    """
    state = dict(special or {})
    for key, (shape, dtype) in shapes.items():
        if key in state:
            continue
        if dtype.is_floating_point:
            state[key] = torch.from_numpy(draw(golden, key, shape)).to(dtype)
        else:
            state[key] = torch.zeros(shape, dtype=dtype)
    return state


def first_values(golden: Golden, state: Mapping[str, torch.Tensor]) -> Iterator[Check]:
    """Compare the first four values of the keys that the json lists with ours."""
    listed: Mapping[str, Any] = golden.facts.get("weight_check_first4", {})
    for key, values in listed.items():
        if key in state:
            ours = state[key].flatten()[:4].numpy().astype(np.float32)
            yield equal(f"weights {key}", ours, np.asarray(values, np.float32))
        else:
            yield Check(f"weights {key}", False, note="is no key of ours")
