"""tGPT beside the official code."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cellresponse.baselines.golden.batches import both_ends, counts_of, embeddings, ragged
from cellresponse.baselines.golden.check import Check, Golden, compare, equal
from cellresponse.baselines.golden.weights import draw_state, first_values
from cellresponse.baselines.models.interface import Batch
from cellresponse.baselines.models.parts.checkpoint import load_strictly, shapes_of
from cellresponse.baselines.models.tgpt import TGPT, make_network, read_vocabulary

__all__ = ["checks"]


def checks(golden: Golden) -> Iterator[Check]:
    """Compare weights, tokens, hidden states and embeddings."""
    network = make_network(golden.config)
    state = draw_state(golden, shapes_of(network))
    state["lm_head.weight"] = state["transformer.wte.weight"]
    yield from first_values(golden, state)
    load_strictly(network, state, golden.file)
    model = TGPT(network, {}, as_published=False)
    batch = _tokens(golden, "input_ids", "attention_mask")
    yield from embeddings(model, batch, golden, "embedding")
    yield from both_ends(model.hidden, batch, golden, "hidden_first8", "hidden_last8")
    first = _tokens(golden, "input_ids_vocabulary_first", "attention_mask_vocabulary_first")
    yield from embeddings(model, first, golden, "embedding_vocabulary_first")
    model.as_published = True
    yield compare(
        "embedding_as_published",
        model.embed(batch),
        golden.arrays["embedding_as_published"],
        golden.tolerance,
    )
    yield _own_tokens(golden, batch)


def _tokens(golden: Golden, tokens: str, mask: str) -> Batch:
    lengths: NDArray[Any] = golden.arrays[mask].sum(1)
    return ragged({"tokens": golden.arrays[tokens].astype(np.int64)}, lengths)


def _own_tokens(golden: Golden, batch: Batch) -> Check:
    if golden.files is None:
        return Check("tokens", True, note="not compared: no --files")
    with torch.device("meta"):
        network = make_network(golden.config)
    model = TGPT(network, read_vocabulary(golden.files), as_published=False)
    ours = model.tokenise(*counts_of(golden))
    return equal("tokens", ours.fields["tokens"], batch.fields["tokens"])
