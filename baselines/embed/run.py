"""Embed the cells of a release: resumable, and divided over ranks or a Dask cluster."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from cellresponse.baselines.embed.cells import Block, blocks_of
from cellresponse.baselines.embed.options import EmbedOptions, settled
from cellresponse.baselines.embed.result import facts_of, merge, require_free
from cellresponse.baselines.embed.work import Setting, Worker, embed_one, part_path
from cellresponse.builders.progress import Report, silent

__all__ = ["embed_release"]


def embed_release(
    release: Path,
    model: str,
    weights: Path,
    out: Path,
    *,
    options: EmbedOptions | None = None,
    cell_ids: Iterable[str] | None = None,
    scheduler: str | None = None,
    report: Report = silent,
) -> Path | None:
    """Embed cells into a Parquet file: `cell_id`, `embedding` (a list of float32).

    Finished blocks of 1,024 cells are kept beside `out` until all are done, so that a
    run that was killed goes on, and gives the same file. Under torchrun (or any starter
    that sets RANK and WORLD_SIZE) each process takes its share, and the last one to
    finish writes the file.

    Parameters
    ----------
    release
        Folder of a release.
    model, weights
        See `open_model`.
    out
        File to write. Where it is there already, made from the same cells in the same
        way, nothing is done.
    options
        None: the defaults.
    cell_ids
        Those wanted. None: all cells of the release.
    scheduler
        Address of a Dask scheduler whose workers see the same folders. None: this process.
    report
        Receives lines with cells/s.

    Returns
    -------
    Path or None
        `out`; None where other ranks are still at work.

    Raises
    ------
    ModelError
        Weights, cells, options or `out` do not fit.

    See Also
    --------
    cellresponse.baselines.embed.result.facts_of : What the file says about itself.
    """
    rank, ranks = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    chosen = _on_own_device(settled(options or EmbedOptions(), model))
    setting = Setting(release, model, weights, chosen, out)
    worker = Worker(setting)
    blocks = blocks_of(worker.release, cell_ids)
    for study in {block.study: None for block in blocks}:
        worker.genes(study)  # an organism that the model does not know is told at once
    facts = _facts(worker, blocks)
    if require_free(out, facts):
        report(f"{out} is there already")
        return out
    parts = out.with_name(f".{out.name}.{_digest(facts)[:12]}.parts")
    parts.mkdir(parents=True, exist_ok=True)
    worker.setting = replace(setting, parts=parts)
    waiting = [block for block in blocks if not part_path(parts, block).is_file()]
    if len(waiting) < len(blocks):
        report(f"{len(blocks) - len(waiting)} of {len(blocks)} blocks are done already")
    share = waiting if scheduler else [block for block in waiting if block.number % ranks == rank]
    finished = _on_cluster(worker.setting, share, scheduler) if scheduler else worker.run(share)
    _count(finished, sum(len(block.cell_ids) for block in share), report)
    if not merge(blocks, parts, out, facts, worker.opened.model.dimension):
        report("this rank is done; the last one writes the file")
        return None
    report(_closing(out))
    return out


def _on_own_device(options: EmbedOptions) -> EmbedOptions:
    local = os.environ.get("LOCAL_RANK")
    if options.device == "cuda" and local is not None:
        return replace(options, device=f"cuda:{local}")
    return options


def _facts(worker: Worker, blocks: list[Block]) -> dict[str, Any]:
    """Say what the embeddings depend on."""
    setting, card = worker.setting, worker.opened.model.card
    cells = hashlib.sha256()
    for block in blocks:
        cells.update("\n".join((block.study, *block.cell_ids, "")).encode())
    table = setting.options.orthologs
    return {
        "model": worker.opened.name,
        "dimension": worker.opened.model.dimension,
        "weights_hash": worker.opened.weights_hash,
        "weights_licence": card.weights_licence,
        "release": worker.release.name,
        "release_hash": worker.release.content_hash,
        "cells": sum(len(block.cell_ids) for block in blocks),
        "cells_hash": cells.hexdigest(),
        "options": setting.options.facts(),
        "orthologs": None if table is None else hashlib.sha256(table.read_bytes()).hexdigest(),
    }


def _digest(facts: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _count(finished: Iterator[Block], total: int, report: Report) -> None:
    """Report cells and cells/s as blocks come in."""
    start, done = time.perf_counter(), 0
    for block in finished:
        done += len(block.cell_ids)
        rate = done / (time.perf_counter() - start)
        report(f"{done:,} of {total:,} cells, {rate:,.1f} cells/s", done=done, total=total)


def _closing(out: Path) -> str:
    facts = facts_of(out)
    line = f"wrote {out}: {facts['cells']:,} cells x {facts['dimension']}"
    if covered := facts.get("coverage"):
        line += (
            f"; {covered['genes_found']:,} of {covered['genes']:,} genes are among the "
            f"{covered['vocabulary']:,} that the model knows, with "
            f"{covered['counts_median']:.0%} of the counts of a median cell"
        )
    return line


def _on_cluster(setting: Setting, blocks: list[Block], address: str) -> Iterator[Block]:
    from distributed import as_completed

    from cellresponse.builders.schedule import cluster

    with cluster(address) as client:
        futures = {client.submit(embed_one, setting, block, pure=False): block for block in blocks}
        try:
            for future in as_completed(futures):
                future.result()
                yield futures[future]
        except BaseException:
            client.cancel(list(futures))
            raise
