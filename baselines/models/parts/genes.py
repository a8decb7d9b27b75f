"""Bring the columns of a count matrix onto the gene names that a vocabulary knows."""

from __future__ import annotations

import csv
import re
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cellresponse.baselines.models.interface import Card, Counts, Coverage, Genes
from cellresponse.schema.errors import ModelError

__all__ = ["Alignment", "LowCoverageWarning", "align", "exact", "require_organism", "to_human"]

LOW = 0.5  # share of a median cell's counts under which an embedding says little
VERSION = re.compile(r"^(ENS\w+\d{11})\.\d+")


class LowCoverageWarning(UserWarning):
    """The vocabulary knows less than half of the counts of a median cell."""


@dataclass(frozen=True)
class Alignment:
    """Columns of a matrix on an axis of distinct gene names.

    Attributes
    ----------
    axis
        (columns,) int32: place on the axis of each column, -1 for a column that is
        left out. Columns of one name share a place.
    tokens
        (axis,) int64: number in the vocabulary of each place, -1 where unknown.
    vocabulary
        Genes of the vocabulary.
    model
        For the warning.
    """

    axis: NDArray[np.int32]
    tokens: NDArray[np.int64]
    vocabulary: int
    model: str

    @cached_property
    def known(self) -> NDArray[np.bool_]:
        """Whether the vocabulary has each column, (columns,) bool."""
        return (self.axis >= 0) & (np.append(self.tokens, -1)[self.axis] >= 0)

    @cached_property
    def _repeated(self) -> bool:
        used = self.axis[self.axis >= 0]
        return len(np.unique(used)) < len(used)

    def apply(self, counts: Counts) -> Counts:
        """Give the counts on the axis: `genes` are places, rising; equal names summed."""
        place = self.axis[counts.genes]
        row = np.repeat(np.arange(len(counts)), np.diff(counts.offsets))
        kept = np.flatnonzero(place >= 0)
        place, row, values = place[kept], row[kept], counts.values[kept]
        if self._repeated and len(kept):
            # Nearly sorted already: only a name's later columns stand out of place.
            key = row * len(self.tokens) + place
            order = np.argsort(key, kind="stable")
            first = np.flatnonzero(np.append(True, np.diff(key[order]) != 0))
            values = np.add.reduceat(values[order], first)
            place, row = place[order[first]], row[order[first]]
        lengths = np.bincount(row, minlength=len(counts))
        offsets = np.append(0, np.cumsum(lengths)).astype(np.int64)
        return Counts(values, place, offsets, counts.seeds)

    def coverage(self, counts: Counts) -> Coverage:
        """Report how much of the counts is known, and warn where it is little."""
        row = np.repeat(np.arange(len(counts)), np.diff(counts.offsets))
        weights = counts.values.astype(np.float64)
        known = np.bincount(row, weights * self.known[counts.genes], minlength=len(counts))
        total = np.bincount(row, weights, minlength=len(counts))
        # Where there is no value at all, bincount gives integers.
        share = np.divide(known, total, out=np.zeros(len(counts)), where=total > 0)
        if len(share) and np.median(share) < LOW:
            warnings.warn(
                f"{self.model} knows {np.median(share):.0%} of the counts of a median cell "
                f"({int(self.known.sum())} of {len(self.axis)} genes); its embeddings say little",
                LowCoverageWarning,
                stacklevel=3,
            )
        return Coverage(int(self.known.sum()), len(self.axis), self.vocabulary, share)


def exact(name: str) -> str:
    """Take a name as it is."""
    return name


def align(
    genes: Genes,
    vocabulary: Mapping[str, int],
    card: Card,
    *,
    spelling: Callable[[str], str] = exact,
    unknown: bool = False,
) -> Alignment:
    """Find the columns of a matrix in a vocabulary.

    Parameters
    ----------
    genes
        The columns. Versions of Ensembl ids (`.15`) are not looked at.
    vocabulary
        Number of each gene name; symbols or Ensembl ids, as `card.gene_names` says.
    card
        Whose vocabulary it is, and for which organisms.
    spelling
        What the model's procedure does to a name before it looks it up.
    unknown
        True: named genes that the vocabulary lacks keep a place on the axis, token -1.

    Returns
    -------
    Alignment
        The axis is in the order of each name's first column.

    Raises
    ------
    ModelError
        The organism is not one of the model's, or no gene is known.
    """
    require_organism(genes.organism, card)
    names = _names(genes, card.gene_names)
    distinct: dict[str, int] = {}
    axis = np.full(len(names), -1, np.int32)
    for column, name in enumerate(names):
        written = spelling(name)
        if name and (unknown or written in vocabulary):
            axis[column] = distinct.setdefault(written, len(distinct))
    tokens = np.array([vocabulary.get(name, -1) for name in distinct], np.int64)
    if not (tokens >= 0).any():
        first = [name for name in names if name][:3]
        raise ModelError(
            f"none of the {len(names)} genes is in the vocabulary of {card.name}",
            value=", ".join(first) or None,
            allowed=f"{'Ensembl ids' if card.gene_names == 'ensembl' else 'gene symbols'}"
            f" such as {', '.join(list(vocabulary)[-3:])}",
        )
    return Alignment(axis, tokens, len(vocabulary), card.name)


def require_organism(organism: str, card: Card) -> None:
    """Refuse cells of an organism that a model does not know.

    Raises
    ------
    ModelError
        With the organisms that it knows.
    """
    if organism not in card.organisms:
        raise ModelError(
            f"{card.name} was trained on other organisms",
            value=organism,
            allowed=card.organisms,
            hint="Mouse genes can be mapped with a table of one-to-one orthologs (--orthologs)",
        )


def _names(genes: Genes, kind: str) -> list[str]:
    if kind == "symbol":
        return [str(name) for name in genes.symbols]
    return [VERSION.sub(r"\1", name) for name in map(str, genes.ids)]


def to_human(genes: Genes, table: Path) -> Genes:
    """Rename the genes of another organism by one-to-one orthologs.

    Parameters
    ----------
    genes
        Columns with Ensembl ids of the other organism.
    table
        CSV or TSV with the columns `gene_id`, `human_gene_id`, `human_gene_name`. An id
        that occurs in several rows has no one-to-one ortholog and is left out.

    Returns
    -------
    Genes
        Human ids and symbols; empty strings for a gene without such an ortholog.

    Raises
    ------
    ModelError
        The table cannot be read, or has none of the genes.
    """
    rows = _ortholog_rows(table)
    origins, targets = Counter(row[0] for row in rows), Counter(row[1] for row in rows)
    single = {
        origin: (target, name)
        for origin, target, name in rows
        if origins[origin] == 1 and targets[target] == 1
    }
    found = [single.get(name, ("", "")) for name in _names(genes, "ensembl")]
    if not any(target for target, _ in found):
        raise ModelError(
            "has no ortholog of any of the genes",
            file=table,
            value=", ".join(map(str, genes.ids[:3])),
            allowed=f"ids such as {', '.join(list(origins)[:3])}",
        )
    ids, symbols = (np.array(column) for column in zip(*found, strict=True))
    return Genes(ids, symbols, "human")


def _ortholog_rows(table: Path) -> list[tuple[str, str, str]]:
    columns = ("gene_id", "human_gene_id", "human_gene_name")
    try:
        text = table.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"cannot be read: {error}", file=table) from None
    lines = csv.DictReader(text.splitlines(), delimiter="\t" if "\t" in text else ",")
    if not set(columns) <= set(lines.fieldnames or ()):
        raise ModelError(
            "is no table of orthologs", file=table, row=1, allowed=f"columns {', '.join(columns)}"
        )
    rows = ((row["gene_id"], row["human_gene_id"], row["human_gene_name"]) for row in lines)
    return [row for row in rows if row[0] and row[1]]
