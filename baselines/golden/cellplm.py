"""Compare CellPLM with its official code: in context, alone, and with Gumbel noise."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from cellresponse.baselines.golden.batches import counts_of, embeddings
from cellresponse.baselines.golden.check import Check, Golden, compare, equal
from cellresponse.baselines.golden.weights import draw_state, first_values
from cellresponse.baselines.models.cellplm import VOCABULARY, CellPLM
from cellresponse.baselines.models.interface import Batch
from cellresponse.baselines.models.parts.checkpoint import load_strictly, shapes_of

__all__ = ["checks"]


def checks(golden: Golden) -> Iterator[Check]:
    """Yield every comparison with the official code.

    Raises
    ------
    ModelError
        The configuration file of CellPLM is not what the model needs.
    """
    if golden.files is None or not (golden.files / VOCABULARY).is_file():
        # The golden file does not say which row of the embedding a gene has.
        yield Check("embedding", False, note=f"not compared: give --files with {VOCABULARY}")
        return
    model = CellPLM.create(golden.files, size="published", as_published=False, seed=0)
    state = draw_state(golden, shapes_of(model.network))
    yield from first_values(golden, state)
    load_strictly(model.network, model.convert(state), golden.file)

    batch = model.tokenise(*counts_of(golden))
    known = np.isin(golden.inputs.gene_ids, model.config.gene_list)
    yield equal("genes of the vocabulary", known, golden.arrays["gene_in_vocabulary"])
    with torch.inference_mode():
        yield from _alone(golden, model, batch)
        yield from _together(golden, model, batch)


def _alone(golden: Golden, model: CellPLM, batch: Batch) -> Iterator[Check]:
    yield from embeddings(model, batch, golden, "embedding_alone")
    logits = _logits(model, batch)
    wanted = golden.arrays["cluster_logits_alone"]
    yield compare("cluster_logits_alone", logits, wanted, golden.tolerance, absolute=False)


def _together(golden: Golden, model: CellPLM, batch: Batch) -> Iterator[Check]:
    arrays, tolerance = golden.arrays, golden.tolerance
    model.context = batch.take(range(1, len(batch)))
    first = model.embed(batch.take([0]))
    yield compare("first cell beside fixed others", first, arrays["embedding"][:1], tolerance)
    model.context, model.as_published = None, True
    cells = model.network.embedder(model.dense(batch))
    states = model.encode(batch)
    embedding = model.network(states, noise=False)
    logits = _logits(model, batch)
    for name, ours in (
        ("embedder_output", cells),
        ("encoder_hidden", states),
        ("cluster_logits", logits),
    ):
        yield compare(name, ours, arrays[name], tolerance, absolute=False)
    yield equal("cluster", logits.argmax(1), arrays["cluster"])
    yield compare("embedding, the batch is the context", embedding, arrays["embedding"], tolerance)
    yield compare("as published, seed 0", _seeded(model, batch), arrays[SEEDED], tolerance)


SEEDED = "embedding_stochastic_seed0"


def _seeded(model: CellPLM, batch: Batch) -> torch.Tensor:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        # The official pass reads its one batch from a DataLoader, which draws a seed first.
        torch.empty((), dtype=torch.int64).random_()
        return model.embed(batch)


def _logits(model: CellPLM, batch: Batch) -> torch.Tensor:
    return model.network.logits(model.encode(batch))
