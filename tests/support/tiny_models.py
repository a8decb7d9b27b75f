"""Tiny models with made-up vocabularies, and what every model must do."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from cellresponse.baselines.lora_effects import made_up_cells
from cellresponse.baselines.models.interface import Batch, Counts, Genes, Model
from cellresponse.baselines.models.parts.checkpoint import shapes_of
from cellresponse.baselines.models.registry import get_model
from cellresponse.baselines.pretrain.vocabularies import write_vocabulary

__all__ = [
    "assert_batch_is_irrelevant",
    "assert_half_precision_is_near",
    "assert_layout_of_record",
    "assert_tokens_are_each_cells_own",
    "cells",
    "counts_of_rows",
    "save",
    "tiny",
]


def cells() -> tuple[Counts, Genes]:
    """Three cells of 60, 150 and 20 genes."""
    return made_up_cells()


def tiny(name: str, folder: Path, *, as_published: bool = False) -> Model:
    """Make a tiny model whose vocabulary is the genes of `cells`, the last 30 left out."""
    genes = cells()[1]
    write_vocabulary(name, Genes(genes.ids[:-30], genes.symbols[:-30]), folder)
    return get_model(name).create(folder, size="tiny", as_published=as_published, seed=1)


def counts_of_rows(counts: Counts, rows: list[int]) -> Counts:
    """Give some of the cells, in the order asked for."""
    parts = [counts.cell(row) for row in rows]
    lengths = [len(genes) for genes, _ in parts]
    return Counts(
        np.concatenate([values for _, values in parts]),
        np.concatenate([genes for genes, _ in parts]),
        np.append(0, np.cumsum(lengths)).astype(np.int64),
        counts.seeds[rows],
    )


def assert_tokens_are_each_cells_own(model: Model) -> None:
    """Tokens of a cell do not depend on the other cells, or their order."""
    counts, genes = cells()
    whole = model.tokenise(counts, genes)
    for rows in ([0], [2], [2, 0, 1]):
        part = model.tokenise(counts_of_rows(counts, rows), genes)
        expected = whole.take(rows)
        np.testing.assert_array_equal(part.offsets, expected.offsets)
        for name, values in expected.fields.items():
            np.testing.assert_array_equal(part.fields[name], values)


def assert_batch_is_irrelevant(model: Model, batch: Batch) -> None:
    """An embedding is the same alone and in every batch."""
    alone = torch.cat([model.embed(batch.take([row])) for row in range(len(batch))])
    assert alone.shape == (len(batch), model.dimension)
    assert alone.dtype == torch.float32
    assert alone.isfinite().all()
    assert (alone[0] - alone[1]).abs().max() > 1e-3
    for rows in (list(range(len(batch))), list(range(len(batch)))[::-1]):
        torch.testing.assert_close(model.embed(batch.take(rows)), alone[rows])


def assert_half_precision_is_near(model: Model, batch: Batch) -> None:
    """Under autocast an embedding is float32, and what bfloat16's 8 bits allow away."""
    full = model.embed(batch)
    with torch.autocast("cpu", torch.bfloat16):
        half = model.embed(batch)
    assert half.dtype == torch.float32
    difference = (half - full).norm() / full.norm()
    assert 0 < difference < 0.02


def assert_layout_of_record(name: str, record: Path, folder: Path, *, genes: int) -> None:
    """The published configuration has the keys and shapes of record, and the card's size."""
    symbols = np.array([f"GENE{place}" for place in range(genes)])
    write_vocabulary(name, Genes(symbols, symbols), folder)
    with torch.device("meta"):
        model = get_model(name).create(folder, size="published", as_published=False, seed=0)
        entries = json.loads(record.read_text())["state_dict"]
        state = {key: torch.empty(entry["shape"]) for key, entry in entries.items()}
    ours = {key: shape for key, (shape, _) in shapes_of(model.network).items()}
    assert ours == {key: tuple(value.shape) for key, value in model.convert(state).items()}
    assert model.card.parameters == sum(value.numel() for value in model.network.parameters())
    assert model.card.dimension == model.dimension


def save(model: Model, path: Path, *nested: str) -> None:
    """Write a model's weights as torch.save does, under the keys `nested`."""
    state: object = dict(model.network.state_dict())
    for key in reversed(nested):
        state = {key: state}
    torch.save(state, path)
