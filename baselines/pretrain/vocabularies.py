"""Write the vocabulary files of a model for genes of one's own, in the official format.

A model that is trained here, a control with random weights and a test all need vocabulary
files, and those of the authors are not ours to ship: these hold the genes that are given,
and nothing else.
"""

from __future__ import annotations

import csv
import json
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cellresponse.baselines.models.interface import Genes
from cellresponse.schema.errors import ModelError

__all__ = ["write_vocabulary"]

CHROMOSOMES = 22  # made up for UCE, where genes come without a place on the genome
SPACING = 100_000  # bases between two of them


def write_vocabulary(
    model: str, genes: Genes, folder: Path, medians: Mapping[str, float] | None = None
) -> None:
    """Write a model's vocabulary files.

    Parameters
    ----------
    model
        Name in the registry, such as `geneformer`.
    genes
        Human genes; those without the kind of name that the model reads are left out.
    folder
        Receives the files; made where it is missing.
    medians
        For Geneformer: median of each Ensembl id's non-zero counts per 10,000. None: 1.

    Raises
    ------
    ModelError
        The model has no vocabulary of genes, or no gene has a name.
    """
    write = WRITERS.get(model.partition("-")[0])
    if write is None:
        raise ModelError("has no vocabulary of genes", value=model, allowed=list(WRITERS))
    names = genes.ids if model.startswith(ENSEMBL) else genes.symbols
    distinct = list(dict.fromkeys(str(name) for name in names if name))
    if not distinct:
        raise ModelError(f"no gene has a name that {model} reads")
    folder.mkdir(parents=True, exist_ok=True)
    if medians is not None:
        _geneformer(folder, distinct, medians)
    else:
        write(folder, distinct)


def _geneformer(folder: Path, ids: list[str], medians: Mapping[str, float] | None = None) -> None:
    known = ids if medians is None else [name for name in ids if name in medians]
    tokens = {"<pad>": 0, "<mask>": 1} | {name: 2 + place for place, name in enumerate(known)}
    values = {name: 1.0 if medians is None else float(medians[name]) for name in known}
    (folder / "token_dictionary.pkl").write_bytes(pickle.dumps(tokens))
    (folder / "gene_median_dictionary.pkl").write_bytes(pickle.dumps(values))


def _tgpt(folder: Path, symbols: list[str]) -> None:
    words = [symbol.replace("-", "_").replace(".", "_") for symbol in symbols]
    special = ["<pad>", "</b>", "</s>", "<unk>"]
    numbers = {word: number for number, word in enumerate(dict.fromkeys([*special, *words]))}
    tokenizer = {"model": {"type": "WordLevel", "vocab": numbers, "unk_token": "<unk>"}}
    _write_json(folder / "tokenizer.json", tokenizer)


def _scbert(folder: Path, symbols: list[str]) -> None:
    import h5py

    with h5py.File(folder / "panglao_10000.h5ad", "w") as file:
        columns = file.create_group("var")
        columns.attrs["_index"] = "_index"
        columns["_index"] = np.array(symbols, dtype=h5py.string_dtype())


def _cellm(folder: Path, symbols: list[str]) -> None:
    (folder / "genes.txt").write_text("\n".join(symbols) + "\n", encoding="utf-8")


def _scfoundation(folder: Path, symbols: list[str]) -> None:
    rows = [(symbol, place) for place, symbol in enumerate(symbols)]
    path = folder / "OS_scRNA_gene_index.19264.tsv"
    _write_table(path, ("gene_name", "index"), rows, delimiter="\t")


def _scgpt(folder: Path, symbols: list[str]) -> None:
    names = [*symbols, "<pad>", "<cls>", "<eoc>"]
    _write_json(folder / "vocab.json", {name: place for place, name in enumerate(names)})
    _write_json(folder / "args.json", {})


def _cellplm(folder: Path, ids: list[str]) -> None:
    shape = {"enc_hid": 1024, "enc_layers": 4, "post_latent_dim": 512, "num_clusters": 16}
    _write_json(
        folder / "20230926_85M.config.json", {**shape, "model_dropout": 0.2, "gene_list": ids}
    )


def _uce(folder: Path, symbols: list[str]) -> None:
    import torch

    symbols = list(dict.fromkeys(symbol.upper() for symbol in symbols))
    rows = [
        ("human", symbol, str(1 + place % CHROMOSOMES), place * SPACING)
        for place, symbol in enumerate(symbols)
    ]
    columns = ("species", "gene_symbol", "chromosome", "start")
    _write_table(folder / "species_chrom.csv", columns, rows, delimiter=",")
    (folder / "species_offsets.pkl").write_bytes(pickle.dumps({"human": 4}))
    table = torch.zeros(len(symbols), 1)  # the vectors themselves lie in the checkpoint
    torch.save(
        dict(zip(symbols, table, strict=True)),
        folder / "Homo_sapiens.GRCh38.gene_symbol_to_embedding_ESM2.pt",
    )


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


def _write_table(
    path: Path, columns: tuple[str, ...], rows: list[tuple[Any, ...]], delimiter: str
) -> None:
    with path.open("w", newline="", encoding="utf-8") as lines:
        writer = csv.writer(lines, delimiter=delimiter, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)


ENSEMBL = ("geneformer", "cellplm")
WRITERS: dict[str, Callable[[Path, list[str]], None]] = {
    "cellm": _cellm,
    "cellplm": _cellplm,
    "geneformer": _geneformer,
    "scbert": _scbert,
    "scfoundation": _scfoundation,
    "scgpt": _scgpt,
    "tgpt": _tgpt,
    "uce": _uce,
}
