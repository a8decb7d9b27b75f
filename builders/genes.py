"""An organism's gene axis, and the way of a file's features onto it."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise, repeat

import numpy as np
from numpy.typing import NDArray

from cellresponse.builders.read import Features
from cellresponse.schema.errors import SourceFileError

__all__ = ["FeatureMap", "GeneAxis", "map_features"]

SPIKE_IN = re.compile(r"ERCC[-_.]\d{5}(\.\d+)?")
ENSEMBL_ID = re.compile(r"(ENS[A-Z]*G\d{11})(\.\d+)?(_PAR_Y)?")
R_UNSAFE = re.compile(r"[^A-Za-z0-9._]")


@dataclass(frozen=True)
class GeneAxis:
    """The genes of an organism, sorted by id: the columns of its matrices.

    Attributes
    ----------
    organism
        Word of the organism vocabulary.
    ids, names, contigs
        One a gene; a gene without a name carries its id.
    mitochondrial_contig
        Contig of the mitochondrial genes; None where the organism has none.
    aliases
        Former or other names: alias to gene ids.
    """

    organism: str
    ids: tuple[str, ...]
    names: tuple[str, ...]
    contigs: tuple[str, ...]
    mitochondrial_contig: str | None
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __len__(self) -> int:
        """Give the number of genes."""
        return len(self.ids)

    @cached_property
    def checksum(self) -> str:
        """sha256 over the (id, name, contig) rows: the same for any file that says the same."""
        text = "".join(
            f"{gene}\t{name}\t{contig}\n"
            for gene, name, contig in zip(self.ids, self.names, self.contigs, strict=True)
        )
        return hashlib.sha256(text.encode()).hexdigest()

    @cached_property
    def position(self) -> dict[str, int]:
        """Column of each gene id."""
        return {gene: column for column, gene in enumerate(self.ids)}

    @cached_property
    def by_name(self) -> dict[str, list[int]]:
        """Columns of each gene name."""
        return _grouped(self.names)

    @cached_property
    def by_r_name(self) -> dict[str, list[int]]:
        """Columns of each name as R's `make.names` writes it; only names that it changes."""
        changed = [(_r_name(name), column) for column, name in enumerate(self.names)]
        found: dict[str, list[int]] = {}
        for name, column in changed:
            if name != self.names[column] and name not in self.by_name:
                found.setdefault(name, []).append(column)
        return found

    @cached_property
    def mitochondrial(self) -> NDArray[np.bool_]:
        """Mask of the mitochondrial genes, shape (genes,)."""
        return np.array([contig == self.mitochondrial_contig for contig in self.contigs])

    @cached_property
    def fingerprint_weights(self) -> NDArray[np.uint64]:
        """One 64-bit number a gene, from its id: weights of a cell's count fingerprint."""
        digests = b"".join(hashlib.sha256(gene.encode()).digest()[:8] for gene in self.ids)
        return np.frombuffer(digests, "<u8").astype(np.uint64)


def gene_axis(
    organism: str, rows: list[tuple[str, str, str]], mitochondrial_contig: str | None, *, name: str
) -> GeneAxis:
    """Make an axis from (id, name, contig) rows in any order.

    Raises
    ------
    SourceFileError
        No rows, or two rows with one id.
    """
    ordered = sorted(rows)
    ids = tuple(row[0] for row in ordered)
    if not ids:
        raise SourceFileError("holds no genes", file=name)
    for first, second in pairwise(ids):
        if first == second:
            raise SourceFileError("two genes have one id", file=name, value=first)
    return GeneAxis(
        organism,
        ids,
        tuple(row[1] or row[0] for row in ordered),
        tuple(row[2] for row in ordered),
        mitochondrial_contig,
    )


@dataclass(frozen=True)
class FeatureMap:
    """Where each feature of a file goes.

    Attributes
    ----------
    columns
        int32, shape (features,): column on the axis, -1 where the feature has none.
    spike_ins
        bool, shape (features,): outside the axis and outside quality control.
    has_mitochondrial
        Whether any feature is a mitochondrial gene.
    reasons
        Number of features by how they were found, or why they were not.
    """

    columns: NDArray[np.int32]
    spike_ins: NDArray[np.bool_]
    has_mitochondrial: bool
    reasons: dict[str, int]


def map_features(features: Features, axis: GeneAxis) -> FeatureMap:
    """Map a file's features onto the axis, and count how each was found.

    A feature is found by its Ensembl id (with or without version), else by gene name,
    by alias, or by a name that R changed (`HLA.A`). A name of several genes, an id that
    the reference has retired and an unknown name are left out and counted: their counts
    stay in `n_counts`, for quality control sees every feature but spike-ins.
    """
    # Most files have ids of the axis: those are looked up in one go.
    found = map(axis.position.get, features.ids, repeat(-1))
    columns = np.fromiter(found, np.int32, len(features.ids))
    spike_ins = np.zeros(len(features.ids), dtype=bool)
    reasons = Counter({"by_id": int((columns >= 0).sum())})
    for index in np.flatnonzero(columns < 0).tolist():
        column, reason = _find(features.ids[index], axis)
        columns[index] = column
        spike_ins[index] = reason == "spike_in"
        reasons[reason] += 1
    mapped = columns[columns >= 0]
    reasons["summed_onto_another_feature"] = len(mapped) - len(np.unique(mapped))
    return FeatureMap(
        columns,
        spike_ins,
        bool(axis.mitochondrial[mapped].any()),
        {reason: count for reason, count in sorted(reasons.items()) if count},
    )


def _find(text: str, axis: GeneAxis) -> tuple[int, str]:
    """Column of a feature that is no id of the axis (or -1), how it was found or why not."""
    if SPIKE_IN.fullmatch(text):
        return -1, "spike_in"
    if match := ENSEMBL_ID.fullmatch(text):
        column = axis.position.get(match[1], -1)
        return column, "retired_id" if column < 0 else "by_id_without_version"
    for found, reason in (
        (axis.by_name.get(text), "by_name"),
        ([axis.position[gene] for gene in axis.aliases.get(text, ())], "by_alias"),
        (axis.by_r_name.get(text), "by_name_changed_by_r"),
    ):
        if found and len(found) == 1:
            return found[0], reason
        if found:
            return _pseudoautosomal(found, axis)
    return -1, "unknown_name"


def _pseudoautosomal(columns: list[int], axis: GeneAxis) -> tuple[int, str]:
    """Ensembl gives a pseudoautosomal gene one id on X and one on Y: one gene, counted on X."""
    by_contig = {axis.contigs[column]: column for column in columns}
    if len(columns) == 2 and by_contig.keys() == {"X", "Y"}:
        return by_contig["X"], "by_name_pseudoautosomal"
    return -1, "several_ids_for_name"


def _grouped(names: tuple[str, ...]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for column, name in enumerate(names):
        found.setdefault(name, []).append(column)
    return found


def _r_name(name: str) -> str:
    """What R's `make.names` makes of a name."""
    changed = R_UNSAFE.sub(".", name)
    return f"X{changed}" if re.match(r"[0-9_]|\.[0-9]", changed) else changed
