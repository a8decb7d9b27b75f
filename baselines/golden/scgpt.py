"""scGPT beside the official code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cellresponse.baselines.golden.batches import counts_of, ragged
from cellresponse.baselines.golden.check import Check, Golden, compare, equal, within
from cellresponse.baselines.golden.states import compare_ends, shortest, states_alone, together
from cellresponse.baselines.golden.weights import draw_state, first_values
from cellresponse.baselines.models.interface import Batch
from cellresponse.baselines.models.parts.checkpoint import load_strictly, shapes_of
from cellresponse.baselines.models.parts.genes import align
from cellresponse.baselines.models.scgpt import ARGS, TINY, ScGPT, read_vocabulary

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
    # Drawn under the checkpoint's names, which `convert` turns into the network's.
    drawn = {_checkpoint_name(key): shape for key, shape in shapes_of(model.network).items()}
    state = draw_state(golden, drawn)
    yield from first_values(golden, state)
    load_strictly(model.network, model.convert(state), golden.file)

    arrays = golden.arrays
    fields = {"gene": arrays["gene"].astype(np.int64), "value": arrays["value"]}
    batch = ragged(fields, arrays["length"])
    rows = shortest(batch, cells)
    states = states_alone(model.hidden, batch.take(rows))
    alone = torch.cat([hidden[:, 0] for hidden, _ in states])
    for name in ("embedding", "embedding_f64"):
        yield compare(f"{name}, one by one", alone, arrays[name][rows], golden.tolerance)
    yield from compare_ends(states, golden, rows)
    yield from together(model, batch, golden, "embedding_l2", shortest(batch, min(3, cells or 3)))
    model.as_published = True
    yield from together(model, batch, golden, "embedding", shortest(batch, 2))
    yield from _own_tokens(golden, batch)


def _model(golden: Golden) -> ScGPT:
    config = golden.config
    sizes: dict[str, Any] = {
        "embsize": config["d_model"],
        "nheads": config["nhead"],
        "d_hid": config["d_hid"],
        "nlayers": config["nlayers"],
        "pad_value": config["pad_value"],
    }
    # The network alone: of the vocabulary the golden file has the special tokens.
    special: dict[str, int] = dict(golden.facts["special_ids"])
    vocabulary = {f"gene {place}": place for place in range(config["ntoken"] - len(special))}
    return ScGPT(ARGS | sizes, vocabulary | special, as_published=False)


def _checkpoint_name(key: str) -> str:
    return key.replace(".in_proj_", ".Wqkv.")


def _own_tokens(golden: Golden, batch: Batch) -> Iterator[Check]:
    arrays = golden.arrays
    bins = ragged({name: arrays[name] for name in ("bin_low", "bin_high")}, arrays["length"])
    if golden.files is None:
        yield Check("tokens", True, note="not compared: no --files")
        return
    model = ScGPT(ARGS | TINY, read_vocabulary(golden.files), as_published=False)
    ours = model.tokenise(*counts_of(golden))
    yield equal("number of tokens", ours.lengths, batch.lengths)
    low, high = (_by_gene(bins, batch, name) for name in ("bin_low", "bin_high"))
    known = [(row, low[row], high[row]) for row in range(len(batch))]
    # Our sample is another one: the bins of the genes that both have are compared.
    values = _by_gene(ours, ours, "value")
    shared = [
        (values[row][gene], least[gene], most[gene])
        for row, least, most in known
        for gene in least.keys() & values[row].keys()
        if gene != model.cls
    ]
    drawn, least, most = np.array(shared).T
    yield within("bins of genes in both samples", drawn, least, most)
    seed = re.search(r"seed\((\d+)\+i\)", golden.facts.get("sampling_seed", ""))
    if seed:
        yield from _official_draws(golden, model, batch, int(seed[1]))


def _by_gene(batch: Batch, genes: Batch, name: str) -> list[dict[int, float]]:
    """Give a field of each cell by gene."""
    spans = list(map(slice, batch.offsets[:-1], batch.offsets[1:]))
    return [
        dict(zip(genes.fields["gene"][span], batch.fields[name][span], strict=True))
        for span in spans
    ]


def _official_draws(golden: Golden, model: ScGPT, batch: Batch, seed: int) -> Iterator[Check]:
    """Make the stored tokens with the generators and seeds of the official run."""
    counts, genes = counts_of(golden)
    alignment = align(genes, model.vocabulary, model.card)
    aligned = alignment.apply(counts)
    tokens, values = [], []
    for row in range(len(counts)):
        place, count = aligned.cell(row)
        ties, chances = _draws(seed + row, len(place))
        gene, value = model.cell(alignment.tokens[place], count, ties, chances)
        order = np.argsort(gene)
        tokens.append(gene[order])
        values.append(value[order])
    span = np.repeat(np.arange(len(batch)), batch.lengths)
    stored = np.lexsort((batch.fields["gene"], span))
    yield equal(
        "tokens with the official draws", np.concatenate(tokens), batch.fields["gene"][stored]
    )
    yield equal(
        "bins with the official draws", np.concatenate(values), batch.fields["value"][stored]
    )


def _draws(seed: int, number: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Draw ties as NumPy's old generator does, and the sample as torch's does."""
    ties = np.random.RandomState(seed).rand(number)
    shuffled = torch.randperm(number, generator=torch.Generator().manual_seed(seed))
    chances = np.empty(number)
    chances[shuffled.numpy()] = np.arange(number)
    return ties, chances
