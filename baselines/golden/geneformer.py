"""Geneformer beside the official code."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from cellresponse.baselines.golden.batches import both_ends, counts_of, embeddings, ragged
from cellresponse.baselines.golden.check import Check, Golden, compare, equal
from cellresponse.baselines.golden.weights import draw_state, first_values
from cellresponse.baselines.models.geneformer import (
    Geneformer,
    Vocabulary,
    make_network,
    read_vocabulary,
)
from cellresponse.baselines.models.interface import Batch
from cellresponse.baselines.models.parts.checkpoint import load_strictly, shapes_of
from cellresponse.baselines.models.parts.pooling import masked_mean

__all__ = ["checks"]

# Relative: official values of equal count and median differ by rounding, and tie.
TIE = 1e-12


def checks(golden: Golden) -> Iterator[Check]:
    """Compare weights, tokens, hidden states and embeddings."""
    network = make_network(golden.config)
    state = draw_state(golden, shapes_of(network))
    state["cls.predictions.decoder.weight"] = state["bert.embeddings.word_embeddings.weight"]
    state["cls.predictions.decoder.bias"] = state["cls.predictions.bias"]
    yield from first_values(golden, state)
    load_strictly(network, state, golden.file)
    model = Geneformer(network, Vocabulary({}, {}), as_published=False)
    arrays = golden.arrays
    batch = ragged({"tokens": arrays["input_ids"].astype(np.int64)}, arrays["length"])
    yield from embeddings(model, batch, golden, "embedding")
    yield from both_ends(model.hidden, batch, golden, "hidden_first8", "hidden_last8")
    yield _layer_before(model, batch, golden)
    model.as_published = True
    published = torch.cat([model.embed(batch.take([row])) for row in range(len(batch))])
    name = "embedding_as_published"
    yield compare(name, published, arrays[name], golden.tolerance)
    yield from _own_tokens(golden)


def _layer_before(model: Geneformer, batch: Batch, golden: Golden) -> Check:
    """Compare the layer that the authors' extractor takes by default."""
    layer = int(golden.config["num_hidden_layers"]) - 1
    name = f"embedding_hidden_states_{layer}"
    with torch.inference_mode():
        ours = [
            masked_mean(*model.hidden(batch.take([row]), layer=layer)) for row in range(len(batch))
        ]
    return compare(name, torch.cat(ours), golden.arrays[name], golden.tolerance)


def _own_tokens(golden: Golden) -> Iterator[Check]:
    if golden.files is None:
        yield Check("tokens", True, note="not compared: no --files")
        return
    vocabulary = read_vocabulary(golden.files)
    with torch.device("meta"):
        network = make_network(golden.config)
    counts, genes = counts_of(golden)
    ours = Geneformer(network, vocabulary, as_published=False).tokenise(counts, genes)
    arrays = golden.arrays
    yield equal("number of tokens", ours.lengths, arrays["length"])
    stable = ragged({"tokens": arrays["input_ids_stable_ties"]}, arrays["length"])
    yield equal("tokens, ties in order", ours.fields["tokens"], stable.fields["tokens"])
    # The official order of ties is that of an unstable sort: the values must be the same.
    official = ragged(
        {name: arrays[name] for name in ("input_ids", "norm_value_f64")}, arrays["length"]
    )
    values = official.fields["norm_value_f64"]
    other = ours.fields["tokens"] != official.fields["input_ids"]
    near = np.minimum(_step(values, 1), _step(values, -1)) <= TIE
    yield equal("tokens but for ties", other & ~near, np.zeros(len(other), bool))


def _step(values: NDArray[np.float64], by: int) -> NDArray[np.float64]:
    """Relative distance of each value to its neighbour."""
    return np.abs(values - np.roll(values, by)) / values
