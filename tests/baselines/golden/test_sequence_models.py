"""Golden folders of other weights, sizes and cells: scBERT, CellLM, scFoundation, scGPT."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from golden_folder import (
    COUNTS,
    SYMBOLS,
    draw,
    ends,
    layer,
    linear,
    norm,
    performer,
    write_golden,
)
from torch import Tensor

from cellresponse.baselines.golden.run import run_file
from cellresponse.baselines.models.interface import Genes
from cellresponse.baselines.pretrain.vocabularies import write_vocabulary

HEADS, HEAD, DEPTH = 2, 8, 2
FEATURES = int(HEAD * math.log(HEAD))


def log2_classes(counts: np.ndarray) -> np.ndarray:
    scaled = np.log1p(counts / counts.sum() * 1e4) / np.log(2)
    return np.minimum(scaled, 5).astype(int)


def states_of(
    tokens: np.ndarray, positions: np.ndarray, valued: Tensor, classes: int, table: int
) -> Tensor:
    """Hidden states of a batch of scBERT or CellLM, (cells, length, width)."""
    x = draw("token_emb.weight", classes, 12)[tokens.astype(int)]
    x = x + draw("pos_emb.emb.weight", table, 12)[positions]
    return performer(x, valued, HEADS, HEAD, DEPTH, FEATURES)


def scbert(folder: Path) -> Path:
    tokens = np.array([np.append(log2_classes(counts), 0) for counts in COUNTS[:4]])
    length = len(SYMBOLS) + 1

    def states_of_rows(rows: list[int]) -> Tensor:
        valued = torch.ones(len(rows), length)
        return states_of(tokens[rows], np.arange(length), valued, 7, length)

    states = [states_of_rows([row])[0] for row in range(4)]
    embedding = np.stack([state.mean(0) for state in states])
    arrays = {
        "cell_index": np.arange(4),
        "tokens": tokens.astype(np.uint8),
        "embedding": embedding,
        "embedding_first6000": embedding,
        "embedding_batch_of_cells_first_last": states_of_rows([0, 3]).mean(1).numpy(),
        "embedding_last_cell_f64": embedding[-1].astype(float),
        **ends(states),
    }
    config = {"dim": 12, "depth": DEPTH, "heads": HEADS, "dim_head": HEAD, "max_seq_len": length}
    return write_golden(folder, "scbert", config, arrays)


def cellm(folder: Path) -> Path:
    genes = len(SYMBOLS)
    tokens = np.full((len(COUNTS), 6000), 7, np.uint8)
    positions = np.full((len(COUNTS), 6000), genes + 1)
    length = np.count_nonzero(COUNTS, axis=1) + 1
    for row, counts in enumerate(COUNTS):
        known = np.flatnonzero(counts)
        tokens[row, : length[row]] = [6, *log2_classes(counts)[known]]
        positions[row, : length[row]] = [genes, *known]
    valued = (torch.arange(6000) < torch.from_numpy(length)[:, None]).float()

    def states_of_rows(rows: list[int]) -> Tensor:
        return states_of(tokens[rows], positions[rows], valued[rows], 8, genes + 2)

    states = [states_of_rows([row])[0, :n] for row, n in enumerate(length)]
    pair = [
        state[:n].mean(0) for state, n in zip(states_of_rows([4, 1]), length[[4, 1]], strict=True)
    ]
    arrays = {
        "vocabulary": np.array(SYMBOLS),
        "tokens": tokens,
        "positions": positions,
        "length": length,
        "embedding": np.stack([state.sum(0) / 6000 for state in states]),
        "embedding_masked_mean": np.stack([state.mean(0) for state in states]),
        "embedding_cls": np.stack([state[0] for state in states]),
        "embedding_masked_mean_batch_cells4_1": np.stack(pair),
        "embedding_masked_mean_cell2_f64": states[2].double().mean(0).numpy(),
        **ends(states),
    }
    config = {"dim": 12, "depth": DEPTH, "heads": HEADS, "dim_head": HEAD}
    return write_golden(folder, "cellm", config, arrays)


def scfoundation(folder: Path) -> Path:
    genes, width, bins = len(SYMBOLS), 16, 5

    def states_of(values: Tensor, positions: np.ndarray) -> Tensor:
        x = torch.nn.functional.leaky_relu(linear(values[:, None], "token_emb.mlp", bins), 0.1)
        x = (x + linear(x, "token_emb.mlp2", bins)).softmax(1)
        x = x @ draw("token_emb.emb.weight", bins, width)
        x = x + draw("pos_emb.weight", genes + 3, width)[positions]
        for at in range(DEPTH):
            key = f"encoder.transformer_encoder.{at}"
            x = layer(x, key, HEADS, 4 * width, fused="in_proj_")
        return norm(x, "encoder.norm")

    longest = genes + 2
    value = np.full((len(COUNTS), longest), 103, np.float32)
    position = np.full((len(COUNTS), longest), 103)
    length, states = [], []
    for row, counts in enumerate(COUNTS):
        known = np.flatnonzero(counts)
        n = len(known) + 2
        logged = np.log1p(counts[known] / counts.sum() * 1e4)
        value[row, :n] = [*logged, 4, np.log10(counts.sum())]
        position[row, :n] = [*known, genes, genes + 1]
        states.append(states_of(torch.from_numpy(value[row, :n]), position[row, :n]))
        length.append(n)
    embedding = np.stack(
        [torch.cat([s[-1], s[-2], s[:-2].amax(0), s[:-2].mean(0)]).numpy() for s in states]
    )
    alone = embedding[[1, 1]]  # two equal cells in a batch: padding has no part in it
    arrays = {
        "value": value,
        "position": position,
        "length": np.array(length),
        "embedding": embedding,
        "padded_batch_exact": alone,
        "padded_batch_positions_minus1_minus2": alone,
        **ends(states),
    }
    decoder = {"hidden_dim": 8, "depth": 1, "heads": 1, "dim_head": 8}
    config = {
        "gene_num": genes + 2,
        "bin_num": bins,
        "encoder": {"hidden_dim": width, "depth": DEPTH, "heads": HEADS},
        "decoder": decoder,
    }
    more = {"padded_batch_example": "cells 1 and 1 in one batch"}
    return write_golden(folder, "scfoundation", config, arrays, **more)


def scgpt(folder: Path) -> Path:
    genes, width = len(SYMBOLS), 16
    special = {"<pad>": genes, "<cls>": genes + 1, "<eoc>": genes + 2}

    def states_of(gene: np.ndarray, value: Tensor) -> Tensor:
        x = norm(draw("encoder.embedding.weight", genes + 3, width)[gene], "encoder.enc_norm")
        y = linear(value[:, None], "value_encoder.linear1", width).relu()
        x = x + norm(linear(y, "value_encoder.linear2", width), "value_encoder.norm")
        for at in range(DEPTH):
            key = f"transformer_encoder.layers.{at}"
            x = layer(x, key, HEADS, 24, fused="Wqkv.")
        return x

    gene = np.full((len(COUNTS), 1200), genes)
    value = np.full((len(COUNTS), 1200), -2, np.float32)
    low, high = np.full(gene.shape, -2), np.full(gene.shape, -2)
    length, states = [], []
    for row, counts in enumerate(COUNTS):
        known = np.flatnonzero(counts)
        n = len(known) + 1
        edges = np.quantile(counts[known], np.linspace(0, 1, 50))
        low[row, 1:n] = [(edges < count).sum() for count in counts[known]]
        high[row, 1:n] = [(edges <= count).sum() for count in counts[known]]
        gene[row, :n] = [genes + 1, *known]
        value[row, 1:n] = high[row, 1:n]
        states.append(states_of(gene[row, :n], torch.from_numpy(value[row, :n])))
        length.append(n)
    embedding = np.stack([state[0] for state in states])
    arrays = {
        "gene": gene,
        "value": value,
        "bin_low": low,
        "bin_high": high,
        "length": np.array(length),
        "embedding": embedding,
        "embedding_f64": embedding.astype(float),
        "embedding_l2": embedding / np.linalg.norm(embedding, axis=1, keepdims=True),
        **ends(states),
    }
    config = {
        "ntoken": genes + 3,
        "d_model": width,
        "nhead": HEADS,
        "d_hid": 24,
        "nlayers": DEPTH,
        "pad_value": -2,
    }
    return write_golden(folder, "scgpt", config, arrays, special_ids=special)


MAKERS = {"scbert": scbert, "cellm": cellm, "scfoundation": scfoundation, "scgpt": scgpt}


@pytest.fixture(params=sorted(MAKERS))
def made(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Path]:
    """A golden file and a folder with the vocabulary."""
    names = np.array(SYMBOLS)
    write_vocabulary(request.param, Genes(names, names), tmp_path / "files")
    return MAKERS[request.param](tmp_path / "golden"), tmp_path / "files"


def test_another_golden_file_passes(made: tuple[Path, Path]) -> None:
    found = run_file(*made)
    assert found.passed, "\n".join(found.lines())
    assert {"hidden_first8", "hidden_last8", "embedding, one by one"} <= {
        check.name for check in found.checks
    }


@pytest.mark.parametrize("wrong", ["embedding", "hidden_last8", "tokens"])
def test_a_difference_is_found(made: tuple[Path, Path], wrong: str) -> None:
    arrays = dict(np.load(made[0].with_suffix(".npz")))
    if wrong == "tokens":
        name = next(name for name in ("tokens", "bin_high", "value") if name in arrays)
        arrays[name][0, 1:6] = 0
    else:
        arrays[wrong][0] += 1e-3
    np.savez(made[0].with_suffix(".npz"), **arrays)
    failed = [check.name for check in run_file(*made).checks if not check.passed]
    beginnings = ("own ", "tokens", "bins") if wrong == "tokens" else (wrong,)
    assert any(name.startswith(beginnings) for name in failed)


def test_without_vocabularies_tokens_are_not_compared(made: tuple[Path, Path]) -> None:
    found = run_file(made[0])
    notes = [check.note for check in found.checks if check.note]
    model = json.loads(made[0].read_text())["model"]
    # The golden file of CellLM holds its vocabulary.
    assert notes == ([] if model == "cellm" else ["not compared: no --files"])
