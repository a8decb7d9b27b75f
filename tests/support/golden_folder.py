"""Golden folders of small models, by plain procedures: one cell at a time, nothing shared."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["COUNTS", "RULES", "SEED", "SYMBOLS", "draw", "features", "layer", "write_golden"]

SEED = 11
RULES = [(r"norm\d?\.weight$", 1.0, 0.1), (r"projection_matrix$", 0.0, 1.0), (r".", 0.0, 0.3)]
SYMBOLS = [f"GENE{place}" for place in range(40)]
EPS = 1e-4


def make_counts() -> np.ndarray:
    rng = np.random.default_rng(3)
    counts = rng.integers(1, 400, (5, len(SYMBOLS))) * (rng.random((5, len(SYMBOLS))) < 0.7)
    counts[3:, 12:] = 0  # two short cells
    return counts.astype(np.int32)


COUNTS = make_counts()


def draw(key: str, *shape: int) -> Tensor:
    """The rule of the golden files, written from its description."""
    mean, scale = next(rule[1:] for rule in RULES if re.search(rule[0], key))
    rng = np.random.Generator(np.random.PCG64([SEED, zlib.crc32(key.encode())]))
    z = rng.standard_normal(shape, dtype=np.float32)
    return torch.from_numpy(np.float32(mean) + np.float32(scale) * z)


def linear(x: Tensor, key: str, outputs: int, *, bias: bool = True) -> Tensor:
    y = x @ draw(f"{key}.weight", outputs, x.shape[-1]).T
    return y + draw(f"{key}.bias", outputs) if bias else y


def norm(x: Tensor, key: str) -> Tensor:
    width = x.shape[-1]
    weight, bias = draw(f"{key}.weight", width), draw(f"{key}.bias", width)
    return nn.functional.layer_norm(x, [width], weight, bias)


def layer(x: Tensor, key: str, heads: int, hidden: int, *, fused: str) -> Tensor:
    """torch's own encoder layer with drawn weights; x (length, width)."""
    width = x.shape[-1]
    module = nn.TransformerEncoderLayer(width, heads, hidden, 0.0, batch_first=True).eval()
    state = {}
    for name, value in module.state_dict().items():
        state[name] = draw(f"{key}.{name.replace('in_proj_', fused)}", *value.shape)
    module.load_state_dict(state)
    with torch.no_grad():
        return module(x[None])[0]


def features(x: Tensor, projection: Tensor, largest: Tensor | None) -> Tensor:
    """Random features of one head, (length, features); `largest` None: each row's own."""
    x = x / x.shape[-1] ** 0.25
    product = x @ projection.T
    largest = product.amax(1, keepdim=True) if largest is None else largest
    return (product - (x**2).sum(1, keepdim=True) / 2 - largest).exp() + EPS


def performer(x: Tensor, valued: Tensor, heads: int, head: int, depth: int, number: int) -> Tensor:
    """Performer layers over a batch with one key maximum; x (cells, length, width)."""
    width = x.shape[2]
    for at in range(depth):
        key = f"performer.net.layers.{at}"
        y = norm(x, f"{key}.0.norm")
        q, k, v = (linear(y, f"{key}.0.fn.to_{n}", heads * head, bias=False) for n in "qkv")
        q, k, v = (z.unflatten(2, (heads, head)) for z in (q, k, v * valued[:, :, None]))
        projection = draw(f"{key}.0.fn.fast_attention.projection_matrix", number, head)
        largest = (k / head**0.25 @ projection.T).amax()
        out = torch.zeros_like(v)  # (cells, length, heads, head)
        for cell in range(len(x)):
            for i in range(heads):
                asked = features(q[cell, :, i], projection, None)
                keys = features(k[cell, :, i], projection, largest)
                total = asked @ keys.sum(0)[:, None]
                out[cell, :, i] = asked @ (keys.T @ v[cell, :, i]) / total
        x = x + linear(out.flatten(2), f"{key}.0.fn.to_out", width)
        y = nn.functional.gelu(linear(norm(x, f"{key}.1.norm"), f"{key}.1.fn.fn.w1", 4 * width))
        x = x + linear(y, f"{key}.1.fn.fn.w2", width)
    return norm(x, "norm")


def write_golden(
    folder: Path, model: str, config: Mapping[str, Any], arrays: Mapping[str, Any], **more: Any
) -> Path:
    """Write `<model>.json`, `<model>.npz` and `inputs.npz`."""
    folder.mkdir(exist_ok=True)
    names = np.array([f"ENSG{place:011d}" for place in range(len(SYMBOLS))])
    np.savez(
        folder / "inputs.npz",
        cell_ids=np.array([f"cell{row}" for row in range(len(COUNTS))]),
        gene_ids=names,
        gene_symbols=np.array(SYMBOLS),
        counts=COUNTS,
    )
    np.savez(folder / f"{model}.npz", **arrays)
    rules = [dict(zip(("regex", "mean", "scale"), rule, strict=True)) for rule in RULES]
    facts = {
        "model": model,
        "weight_seed": SEED,
        "weight_rules": rules,
        "config": config,
        "tolerance": {"max_abs": 1e-4, "rel_l2": 2e-5},
        **more,
    }
    (folder / f"{model}.json").write_text(json.dumps(facts))
    return folder / f"{model}.json"


def ends(states: list[Tensor]) -> dict[str, np.ndarray]:
    """First and last eight positions of each cell, zeros for a shorter one."""
    width = states[0].shape[1]
    found = np.zeros((2, len(states), 8, width), np.float32)
    for row, state in enumerate(states):
        if len(state) >= 8:
            found[:, row] = np.stack([state[:8], state[-8:]])
    return {"hidden_first8": found[0], "hidden_last8": found[1]}
