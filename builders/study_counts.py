"""Read a study's counts in release order, measure its cells, and write its matrix."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cellresponse.builders.axis_rows import AxisMap, measure
from cellresponse.builders.genes import GeneAxis
from cellresponse.builders.match import Matched
from cellresponse.builders.matrix_writer import MatrixWriter
from cellresponse.builders.ordered_rows import ordered_rows, rank_cells
from cellresponse.builders.quality import CellQuality, removed_by
from cellresponse.builders.read import CountSource
from cellresponse.builders.study_sources import axis_maps, no_genes, open_sources
from cellresponse.curation.study import Study
from cellresponse.releases.read_ahead import read_ahead
from cellresponse.schema.errors import EvidenceError
from cellresponse.schema.spec import QcThresholds

__all__ = ["StudyCounts", "write_counts"]


@dataclass(frozen=True)
class StudyCounts:
    """What is known of a study whose counts are written.

    Attributes
    ----------
    names, sources, matched, maps
        Of each of its matrices: manifest name, open source, matched barcodes, and the way
        of its features onto the axis.
    ranked
        From `rank_cells`: one row a rank.
    quality
        Measures by rank.
    kept
        bool, shape (ranks,): what quality control left.
    removed
        Cells that it removed, by reason.
    writer
        The matrix, to be finished with its `obs`.
    """

    names: list[str]
    sources: list[CountSource]
    matched: list[Matched]
    maps: list[AxisMap]
    ranked: pa.Table
    quality: CellQuality
    kept: NDArray[np.bool_]
    removed: dict[str, int]
    writer: MatrixWriter


def write_counts(
    study: Study,
    files: Mapping[str, Path],
    axis: GeneAxis,
    qc: QcThresholds,
    *,
    store: Path,
    scratch: Path,
) -> StudyCounts:
    """Stream the counts of a study into its matrix, in bounded memory.

    Parameters
    ----------
    study, files
        The evidence, and the local path of each source file by manifest name.
    axis, qc
        Genes and thresholds of its organism.
    store
        Matrix to make.
    scratch
        Folder for what is unpacked and spilled.

    Raises
    ------
    CellResponseError
        A source file or the disk is at fault, or no cell is left.
    """
    names, sources, matched = open_sources(study, files, scratch)
    ordered, segments, ranked = rank_cells(sources, matched)
    maps = axis_maps(sources, axis)
    quality = CellQuality.empty(len(ranked))
    kept = np.zeros(len(ranked), dtype=bool)
    removed: dict[str, int] = {}
    with MatrixWriter(store, axis) as writer:
        for file, start, counts in read_ahead(ordered_rows(ordered, segments, scratch / "spill")):
            if not maps[file].finds_genes:
                raise no_genes(sources[file], axis)
            span = slice(start, start + counts.shape[0])
            mapped = maps[file].apply(counts)
            measure(counts, mapped, maps[file], quality, start)
            masks = removed_by(quality.part(span), qc)
            kept[span] = ~np.logical_or.reduce(list(masks.values()))
            for reason, mask in masks.items():
                removed[reason] = removed.get(reason, 0) + int(mask.sum())
            writer.append(mapped if kept[span].all() else mapped[kept[span]])
    _require_cells(study, qc, kept, removed)
    return StudyCounts(names, sources, matched, maps, ranked, quality, kept, removed, writer)


def _require_cells(
    study: Study, thresholds: QcThresholds, kept: NDArray[np.bool_], removed: Mapping[str, int]
) -> None:
    if kept.any():
        return
    if not len(kept):
        raise EvidenceError(
            "no barcode of its files belongs to a sample", file=f"{study.study_id}/study.yaml"
        )
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in removed.items() if count)
    raise EvidenceError(
        f"none of {len(kept):,} cells passes quality control ({reasons})",
        file=f"{study.study_id}/study.yaml",
        allowed=f"min_genes {thresholds.min_genes}, max_pct_mito {thresholds.max_pct_mito}",
        hint="Check that the files hold cells, not empty droplets and not genes in their place, or "
        "leave the study out of the release",
    )
