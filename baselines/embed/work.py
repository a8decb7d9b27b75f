"""What one process does: read blocks, tokenise them, embed them, keep the parts."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellresponse.baselines.embed.batches import embed_batch
from cellresponse.baselines.embed.cells import (
    Block,
    counts_of_rows,
    genes_of,
    organism_of,
)
from cellresponse.baselines.embed.options import EmbedOptions
from cellresponse.baselines.models.interface import Batch, Genes
from cellresponse.baselines.models.parts.genes import require_organism, to_human
from cellresponse.baselines.weights import OpenModel, open_model
from cellresponse.releases.read_ahead import read_ahead
from cellresponse.releases.release import Release, load
from cellresponse.releases.selection import read_rows

__all__ = ["Setting", "Worker", "embed_one", "part_path", "read_part"]


@dataclass(frozen=True)
class Setting:
    """What every process of a run shares.

    Attributes
    ----------
    release
        Its folder.
    model, weights
        As in `open_model`.
    options
        Settled.
    parts
        Folder of finished blocks, on a disk that all processes see.
    """

    release: Path
    model: str
    weights: Path
    options: EmbedOptions
    parts: Path


class Worker:
    """A release and a model, opened.

    Parameters
    ----------
    setting
        See `Setting`.
    """

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.release: Release = load(setting.release)
        self.opened: OpenModel = open_model(
            setting.model, setting.weights, as_published=setting.options.as_published
        )
        self.opened.model.network.to(setting.options.device)
        self._genes: dict[str, Genes] = {}

    def genes(self, study: str) -> Genes:
        """Give the columns of a study's matrix in names that the model knows.

        Raises
        ------
        ModelError
            The model does not know the organism, and there is no table of orthologs.
        """
        organism = organism_of(self.release, study)
        if organism not in self._genes:
            self._genes[organism] = self._known_genes(organism)
        return self._genes[organism]

    def _known_genes(self, organism: str) -> Genes:
        card = self.opened.model.card
        genes = genes_of(self.release, organism)
        orthologs = self.setting.options.orthologs
        if organism in card.organisms or orthologs is None:
            require_organism(organism, card)
            return genes
        return to_human(genes, orthologs)

    def tokenise(self, block: Block) -> Batch:
        """Read the cells of a block and make tokens of them."""
        rows = read_rows(self.release, block.study, block.rows)
        counts = counts_of_rows(rows, block.cell_ids)
        return self.opened.model.tokenise(counts, self.genes(block.study))

    def run(self, blocks: Iterable[Block]) -> Iterator[Block]:
        """Embed blocks and keep their parts; the next is read while one is embedded."""

        def tokens() -> Generator[tuple[Block, Batch]]:
            for block in blocks:
                yield block, self.tokenise(block)

        for block, batch in read_ahead(tokens()):
            embedding = embed_batch(self.opened.model, batch, self.setting.options)
            _keep(part_path(self.setting.parts, block), embedding, _coverage(batch))
            yield block


def _coverage(batch: Batch) -> dict[str, NDArray[Any]]:
    if batch.coverage is None:
        return {}
    found = batch.coverage
    return {
        "counts": found.counts,
        "genes": np.array([found.genes_found, found.genes, found.vocabulary]),
    }


def part_path(parts: Path, block: Block) -> Path:
    """Give the file of a finished block."""
    return parts / f"{block.number:07d}.npz"


def _keep(path: Path, embedding: NDArray[np.float32], more: Mapping[str, NDArray[Any]]) -> None:
    """Write a part beside its name and rename it: what is there is whole."""
    unfinished = path.with_name(f".{path.stem}.{os.getpid()}.npz")
    arrays: dict[str, Any] = {"embedding": embedding, **more}
    np.savez(unfinished, **arrays)
    unfinished.replace(path)


def read_part(path: Path) -> dict[str, NDArray[Any]]:
    """Read a finished block: `embedding`, and where the model matches genes its coverage."""
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


@lru_cache(maxsize=1)
def _worker(setting: Setting) -> Worker:
    return Worker(setting)


def embed_one(setting: Setting, block: Block) -> int:
    """Embed one block in a worker of a cluster, which keeps its model; give its number."""
    for done in _worker(setting).run([block]):
        return done.number
    raise ValueError("the block was not embedded")
