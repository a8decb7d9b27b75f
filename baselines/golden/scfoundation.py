"""scFoundation beside the official code."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from cellresponse.baselines.golden.batches import counts_of, ragged
from cellresponse.baselines.golden.check import Check, Golden, compare, equal
from cellresponse.baselines.golden.states import (
    cells_named,
    compare_ends,
    shortest,
    states_alone,
    together,
)
from cellresponse.baselines.golden.weights import draw_state, first_values
from cellresponse.baselines.models.interface import Batch
from cellresponse.baselines.models.parts.checkpoint import load_strictly, shapes_of
from cellresponse.baselines.models.scfoundation import TINY, ScFoundation, read_vocabulary

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

    arrays, tolerance = golden.arrays, golden.tolerance
    fields = {"value": arrays["value"], "position": arrays["position"].astype(np.int64)}
    batch = ragged(fields, arrays["length"])
    rows = shortest(batch, cells)
    states = states_alone(model.hidden, batch.take(rows))
    alone = torch.cat([model.pool(*state) for state in states])
    yield compare("embedding, one by one", alone, arrays["embedding"][rows], tolerance)
    yield from compare_ends(states, golden, rows)
    yield from together(model, batch, golden, "embedding", shortest(batch, min(3, cells or 3)))
    yield from _padded(golden, model, batch)
    yield from _own_tokens(golden, batch)


def _model(golden: Golden) -> ScFoundation:
    config, encoder, decoder = (
        golden.config,
        golden.config["encoder"],
        golden.config["decoder"],
    )
    sizes: dict[str, Any] = {
        "width": encoder["hidden_dim"],
        "depth": encoder["depth"],
        "heads": encoder["heads"],
        "feedforward": 4 * encoder["hidden_dim"],
        "bins": config["bin_num"],
        "decoder_width": decoder["hidden_dim"],
        "decoder_depth": decoder["depth"],
        "decoder_heads": decoder["heads"],
        "head_width": decoder["dim_head"],
    }
    # The network alone: the names of its genes are not in the golden file.
    unnamed = {f"gene {place}": place for place in range(config["gene_num"] - 2)}
    return ScFoundation(sizes, unnamed, as_published=False)


def _padded(golden: Golden, model: ScFoundation, batch: Batch) -> Iterator[Check]:
    arrays, tolerance = golden.arrays, golden.tolerance
    batch = batch.take(cells_named(golden.facts["padded_batch_example"]))
    with torch.inference_mode():
        state = model.hidden(batch)
    exact = model.pool(*state)
    yield compare("padded_batch_exact", exact, arrays["padded_batch_exact"], tolerance)
    for name in sorted(name for name in arrays if name.endswith("_f64")):
        yield compare(name, exact, arrays[name], tolerance)
    model.as_published = True
    name = "padded_batch_positions_minus1_minus2"
    yield compare(name, model.pool(*state), arrays[name], tolerance)
    model.as_published = False


def _own_tokens(golden: Golden, batch: Batch) -> Iterator[Check]:
    if golden.files is None:
        yield Check("tokens", True, note="not compared: no --files")
        return
    model = ScFoundation(TINY, read_vocabulary(golden.files), as_published=False)
    ours = model.tokenise(*counts_of(golden))
    yield equal("own positions", ours.fields["position"], batch.fields["position"])
    name = "own values"
    # Logarithms of float32: the last bit depends on the order of the divisions.
    allowed = {"max_abs": 1e-6, "rel_l2": 1e-6}
    yield compare(name, ours.fields["value"], batch.fields["value"], allowed)
