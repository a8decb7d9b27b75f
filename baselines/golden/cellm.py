"""CellLM beside the official code."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from cellresponse.baselines.golden.batches import counts_of, ragged
from cellresponse.baselines.golden.check import Check, Golden, compare, equal
from cellresponse.baselines.golden.states import (
    States,
    cells_named,
    compare_ends,
    shortest,
    states_alone,
    together,
)
from cellresponse.baselines.golden.weights import draw_state, first_values
from cellresponse.baselines.models.cellm import CellLM
from cellresponse.baselines.models.interface import Batch
from cellresponse.baselines.models.parts.checkpoint import load_strictly, shapes_of

__all__ = ["checks"]


def checks(golden: Golden, *, cells: int | None = None) -> Iterator[Check]:
    """Compare weights, tokens, hidden states and embeddings.

    Parameters
    ----------
    golden
        What the official code gave.
    cells
        Embed so many cells, those with the fewest tokens. None: all.
    """
    model = _model(golden)
    state = draw_state(golden, shapes_of(model.network))
    yield from first_values(golden, state)
    load_strictly(model.network, model.convert(state), golden.file)

    arrays = golden.arrays
    fields = {"token": arrays["tokens"], "position": arrays["positions"].astype(np.int64)}
    batch = ragged(fields, arrays["length"])
    rows = shortest(batch, cells)
    states = states_alone(model.hidden, batch.take(rows))
    yield from _pooled(golden, model, states, rows)
    yield from compare_ends(states, golden, rows)
    yield from together(
        model, batch, golden, "embedding_masked_mean", shortest(batch, min(3, cells or 3))
    )
    yield from _shared_maximum(golden, model, batch)
    ours = model.tokenise(*counts_of(golden))
    for name, values in ours.fields.items():
        yield equal(f"own {name}s", values, batch.fields[name])


def _model(golden: Golden) -> CellLM:
    config = {
        "width": golden.config["dim"],
        "depth": golden.config["depth"],
        "heads": golden.config["heads"],
        "head_width": golden.config["dim_head"],
    }
    vocabulary = {str(name): place for place, name in enumerate(golden.arrays["vocabulary"])}
    return CellLM(config, vocabulary, as_published=False)


def _pooled(
    golden: Golden, model: CellLM, states: States, rows: NDArray[np.int64]
) -> Iterator[Check]:
    arrays, tolerance = golden.arrays, golden.tolerance
    masked = torch.cat([model.pool(*state) for state in states])
    model.as_published = True
    over_all = torch.cat([model.pool(*state) for state in states])
    model.as_published = False
    cls = torch.cat([hidden[:, 0] for hidden, _ in states])
    for name, ours in (
        ("embedding", over_all),
        ("embedding_masked_mean", masked),
        ("embedding_cls", cls),
    ):
        yield compare(f"{name}, one by one", ours, arrays[name][rows], tolerance)
    for name in sorted(name for name in arrays if name.endswith("_f64")):
        place = {int(row): place for place, row in enumerate(rows)}.get(cells_named(name)[0])
        if place is not None:
            yield compare(name, masked[place], arrays[name], tolerance)


def _shared_maximum(golden: Golden, model: CellLM, batch: Batch) -> Iterator[Check]:
    model.network.performer.share_maximum(True)
    for name in (name for name in golden.arrays if "masked_mean_batch_" in name):
        ours = model.embed(batch.take(cells_named(name)))
        yield compare(name, ours, golden.arrays[name], golden.tolerance)
    model.network.performer.share_maximum(False)
