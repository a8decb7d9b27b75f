"""Compare UCE with its official code: exact mask, float mask, and the order of tokens."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields

import numpy as np
import torch
from numpy.typing import NDArray

from cellresponse.baselines.golden.batches import both_ends, counts_of, embeddings, ragged
from cellresponse.baselines.golden.check import Check, Golden, compare, equal
from cellresponse.baselines.golden.weights import draw, draw_state, first_values
from cellresponse.baselines.models.interface import Batch
from cellresponse.baselines.models.parts.checkpoint import load_strictly, shapes_of
from cellresponse.baselines.models.parts.genes import align
from cellresponse.baselines.models.uce import PAD, UCE, Config, Vocabulary, arrange

__all__ = ["checks"]

TABLE = "pe_embedding.weight"


def checks(golden: Golden) -> Iterator[Check]:
    """Yield every comparison with the official code."""
    known = {field.name for field in fields(Config)} & golden.config.keys()
    config = Config(**{name: golden.config[name] for name in known})
    vocabulary = _universe(golden)
    model = UCE(config, {"human": vocabulary})
    yield from _weights(golden, model)

    batch = ragged({"token": golden.arrays["tokens"]}, golden.arrays["length"])
    yield _tokens(golden, vocabulary, config.sample_size)
    pair = np.argsort(batch.lengths, kind="stable")[[0, -1]]
    yield from embeddings(model, batch, golden, "embedding", batches=[pair, pair[::-1]])
    yield from both_ends(
        lambda some: (model.network.encode(*model.inputs(some)), torch.empty(0)),
        batch,
        golden,
        "transformer_first8",
        "transformer_last8",
    )
    yield from _as_published(golden, model, batch)


def _universe(golden: Golden) -> Vocabulary:
    arrays = golden.arrays
    return Vocabulary(
        {str(name): place for place, name in enumerate(arrays["universe_symbols"])},
        arrays["universe_token"].astype(np.int64),
        arrays["universe_chrom_code"].astype(np.int64),
        arrays["universe_start"],
    )


def _weights(golden: Golden, model: UCE) -> Iterator[Check]:
    """Fill the network; of the token table, 3 GB, only the rows that are used."""
    table = model.network.pe_embedding.weight
    used = golden.arrays["used_token_ids"]
    for row in used:
        table[row] = torch.from_numpy(draw(golden, TABLE, (table.shape[1],), int(row)))
    sinusoid = {"pos_encoder.pe": model.network.pos_encoder.pe}
    state = draw_state(golden, shapes_of(model.network), {TABLE: table, **sinusoid})
    rows = {name: name.rpartition(" row ") for name in golden.facts["weight_check_first4"]}
    named = {name: table[int(row)] for name, (key, _, row) in rows.items() if key == TABLE}
    yield from first_values(golden, {**state, **named})
    wanted = golden.arrays["pe_row_check"]
    rows_checked = table[torch.from_numpy(used[: len(wanted)]).long(), : wanted.shape[1]]
    yield equal("rows of the token table", rows_checked, wanted)
    load_strictly(model.network, state, golden.file)


def _tokens(golden: Golden, vocabulary: Vocabulary, draws: int) -> Check:
    """Lay out the official draws, which NumPy's old generator repeats, with our own code."""
    seeded = re.search(r"random\.seed\((\d+) \+ cell", str(golden.facts.get("sampling_seed")))
    if seeded is None:
        return Check("tokens", True, note="not compared: the seed of the draws is not stated")
    counts, genes = counts_of(golden)
    alignment = align(genes, vocabulary.places, UCE.card)
    known = alignment.apply(counts)
    drawn, rank = [], []
    for row in range(len(known)):
        place, values = known.cell(row)
        weights = np.zeros(len(vocabulary.token), np.float32)
        weights[alignment.tokens[place]] = values
        chosen, order = _official(weights, vocabulary, draws, int(seeded[1]) + row)
        drawn.append(chosen)
        rank.append(order[vocabulary.chromosome[chosen]])
    rows = np.repeat(np.arange(len(known)), draws)
    tokens, _ = arrange(vocabulary, np.concatenate(drawn), np.concatenate(rank), rows, len(known))
    golden_tokens = golden.arrays["tokens"]
    return equal("tokens of the official draws", tokens, golden_tokens[golden_tokens != PAD])


def _official(
    counts: NDArray[np.float32], vocabulary: Vocabulary, draws: int, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw genes (draws,) of counts (genes,), and give the place (codes,) of each chromosome."""
    state = np.random.RandomState(seed)
    logged = torch.log1p(torch.from_numpy(counts))
    weights = (logged / logged.sum()).numpy()
    chosen = state.choice(len(weights), size=draws, p=weights / weights.sum(), replace=True)
    order = np.unique(vocabulary.chromosome[chosen])
    state.shuffle(order)
    place = np.zeros(vocabulary.chromosome.max() + 1, np.int64)
    place[order] = np.arange(len(order))
    return chosen, place


def _as_published(golden: Golden, model: UCE, batch: Batch) -> Iterator[Check]:
    """Compare the shortest and the longest cell: published batches are slow."""
    arrays, tolerance = golden.arrays, golden.tolerance
    rows = [int(batch.lengths.argmin()), int(batch.lengths.argmax())]
    model.as_published = True
    tokens, mask = model.inputs(batch.take(rows))
    assert mask is not None  # noqa: S101 - published batches always have one
    for name, width in (
        ("embedding_as_published_batch", int(batch.lengths.max())),
        ("embedding_as_published_pad1536", model.config.pad_length),
    ):
        with torch.inference_mode():
            ours = model.network(tokens[:, :width], mask[:, :width])
        yield compare(name, ours, arrays[name][rows], tolerance)
