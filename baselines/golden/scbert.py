"""scBERT beside the official code."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cellresponse.baselines.golden.batches import counts_of, ragged
from cellresponse.baselines.golden.check import Check, Golden, compare, equal
from cellresponse.baselines.golden.states import compare_ends, states_alone
from cellresponse.baselines.golden.weights import draw_state, first_values
from cellresponse.baselines.models.interface import Batch
from cellresponse.baselines.models.parts.checkpoint import load_strictly, shapes_of
from cellresponse.baselines.models.scbert import ScBERT, read_vocabulary

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
    tokens = arrays["tokens"]
    batch = ragged({"token": tokens}, np.full(len(tokens), tokens.shape[1]))
    rows = np.arange(len(batch))[slice(None) if cells is None else slice(-cells, None)]
    everywhere = torch.ones(1, tokens.shape[1], dtype=torch.bool)
    states = states_alone(lambda some: (model.hidden(some), everywhere), batch.take(rows))
    alone = torch.cat([hidden.mean(1) for hidden, _ in states])
    yield compare("embedding, one by one", alone, arrays["embedding"][rows], tolerance)
    if (name := "embedding_last_cell_f64") in arrays:
        yield compare(name, alone[-1], arrays[name], tolerance)
    yield from compare_ends(states, golden, rows)
    ends = np.array([len(batch) - 1, 0])
    mixed = model.embed(batch.take(ends))
    name = "embedding, cells last and first in one batch"
    yield compare(name, mixed, arrays["embedding"][ends], tolerance)
    yield from _as_published(golden, model, batch, rows)
    yield _own_tokens(golden)


def _model(golden: Golden) -> ScBERT:
    config: dict[str, Any] = {
        "width": golden.config["dim"],
        "depth": golden.config["depth"],
        "heads": golden.config["heads"],
        "head_width": golden.config["dim_head"],
    }
    # The network alone: the names of its genes are not in the golden file.
    unnamed = {f"gene {place}": place for place in range(golden.config["max_seq_len"] - 1)}
    return ScBERT(config, unnamed, as_published=False)


def _as_published(
    golden: Golden, model: ScBERT, batch: Batch, rows: NDArray[np.int64]
) -> Iterator[Check]:
    arrays, tolerance = golden.arrays, golden.tolerance
    model.as_published = True
    cut = model.fine_tuning(batch.take(rows))
    name = "embedding_first6000"
    ours = torch.cat([model.embed(cut.take([row])) for row in range(len(cut))])
    yield compare(name, ours, arrays[name][rows], tolerance)
    model.network.performer.share_maximum(True)
    name = "embedding_batch_of_cells_first_last"
    ours = model.embed(batch.take([0, len(batch) - 1]))
    yield compare(name, ours, arrays[name], tolerance)


def _own_tokens(golden: Golden) -> Check:
    if golden.files is None:
        return Check("tokens", True, note="not compared: no --files")
    config = {"width": 8, "depth": 1, "heads": 1, "head_width": 8}  # tokens need no network
    model = ScBERT(config, read_vocabulary(golden.files), as_published=False)
    ours = model.tokenise(*counts_of(golden)).take(golden.arrays["cell_index"])
    return equal("tokens", ours.fields["token"], golden.arrays["tokens"].ravel())
