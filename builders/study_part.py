"""Build one study: its matrix and its tables, in a folder of its own."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cellresponse.builders.axis_rows import AxisMap, measure
from cellresponse.builders.genes import GeneAxis
from cellresponse.builders.match import Matched
from cellresponse.builders.matrix_writer import MatrixWriter
from cellresponse.builders.ordered_rows import ordered_rows, rank_cells
from cellresponse.builders.quality import CellQuality, removed_by
from cellresponse.builders.read import CountSource
from cellresponse.builders.study_sources import axis_maps, no_genes, open_sources
from cellresponse.builders.study_tables import (
    cells_table,
    labels_table,
    samples_table,
    study_row,
)
from cellresponse.curation.labels import derive_labels
from cellresponse.curation.study import Study, load_study
from cellresponse.releases.content_hash import table_hash
from cellresponse.releases.read_ahead import read_ahead
from cellresponse.schema.errors import EvidenceError
from cellresponse.schema.spec import OrganismSpec, QcThresholds
from cellresponse.schema.storage import storage_errors

__all__ = ["StudyJob", "build_study"]

SUMMARY = "study.json"


@dataclass(frozen=True)
class StudyJob:
    """Everything that a worker needs to build a study; can be sent to another process.

    Attributes
    ----------
    folder
        The study's evidence.
    organism, axis
        What the spec says of the organism, and its gene axis.
    files
        Local path of each source file, fetched and checked, by manifest name.
    part
        Folder to make.
    """

    folder: Path
    organism: OrganismSpec
    axis: GeneAxis
    files: Mapping[str, Path]
    part: Path


def build_study(job: StudyJob) -> Path:
    """Build a study into `job.part`, unless it is there already.

    Parameters
    ----------
    job
        What to build.

    Returns
    -------
    Path
        `job.part`, with `matrix.zarr`, the tables as Parquet, `fingerprints.npy` and
        `study.json`. It appears by one rename, so a folder that exists is whole.

    Raises
    ------
    CellResponseError
        The evidence, a source file or the disk is at fault.
    """
    if job.part.exists():
        return job.part
    with storage_errors(job.part.parent):
        job.part.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{job.part.name}.", dir=job.part.parent))
        try:
            _build(job, scratch)
            os.rename(scratch / "part", job.part)
        except OSError:
            if not job.part.exists():  # another build of the same study was quicker
                raise
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return job.part


def _build(job: StudyJob, scratch: Path) -> None:
    study = load_study(job.folder)
    derivation = derive_labels(study)
    names, sources, matched = open_sources(study, job.files, scratch)
    part = scratch / "part"
    part.mkdir()
    files, segments, ranked = rank_cells(sources, matched)
    maps = axis_maps(sources, job.axis)
    quality = CellQuality.empty(len(ranked))
    kept = np.zeros(len(ranked), dtype=bool)
    removed: dict[str, int] = {}
    with MatrixWriter(part / "matrix.zarr", job.axis) as writer:
        for file, start, counts in read_ahead(ordered_rows(files, segments, scratch / "spill")):
            if not maps[file].finds_genes:
                raise no_genes(sources[file], job.axis)
            span = slice(start, start + counts.shape[0])
            mapped = maps[file].apply(counts)
            measure(counts, maps[file], quality, start)
            masks = removed_by(quality.part(span), job.organism.qc)
            kept[span] = ~np.logical_or.reduce(list(masks.values()))
            for reason, mask in masks.items():
                removed[reason] = removed.get(reason, 0) + int(mask.sum())
            writer.append(mapped if kept[span].all() else mapped[kept[span]])
        _require_cells(study, job.organism.qc, kept, removed)
        cells = cells_table(study, names, matched, ranked, quality, kept)
        matrix_hash = writer.finish(_obs(cells))
    samples = samples_table(study, cells)
    labels = labels_table(study, derivation.labels, cells)
    np.save(part / "fingerprints.npy", quality.fingerprint[kept])
    row = study_row(study, cells, labels, samples)
    for name, table in (("cells", cells), ("samples", samples), ("labels", labels)):
        pq.write_table(table, part / f"{name}.parquet", compression="zstd")
    summary = {
        "study": row,
        "hashes": {
            "matrix": matrix_hash,
            "cells": table_hash(cells),
            "samples": table_hash(samples),
            "labels": table_hash(labels),
        },
        "inputs": _inputs(study),
        "files": [
            _file_counts(name, source, match, axis_map)
            for name, source, match, axis_map in zip(names, sources, matched, maps, strict=True)
        ],
        "cells": {
            "in_files": sum(len(source.barcodes) for source in sources),
            "matched": len(ranked),
            **removed,
            "kept": len(cells),
        },
        "counts": {
            "of_kept_cells": int(quality.n_counts[kept].sum()),
            "on_axis": writer.total,
        },
        "labels": _label_counts(labels),
        "labels_of_samples_without_cells": len(
            {label.sample_id for label in derivation.labels} - _with_cells(study, samples)
        ),
        # Of those that had cells: quality control removed all of them.
        "samples_without_kept_cells": sorted(
            set(ranked["sample_id"].unique().to_pylist()) - _with_cells(study, samples)
        ),
    }
    (part / SUMMARY).write_text(json.dumps(summary, sort_keys=True), encoding="utf-8")


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


def _obs(cells: pa.Table) -> pd.DataFrame:
    """Make `obs`: the cells' columns but for study_id and row, indexed by cell_id."""
    frame = cells.drop_columns(["study_id", "row"]).to_pandas()
    for column in ("sample_id", "cell_line", "cell_type", "malignant", "doublet"):
        frame[column] = frame[column].astype("category")
    return frame.set_index("cell_id")


def _inputs(study: Study) -> list[dict[str, Any]]:
    return [
        {"name": file.name, "url": file.url, "sha256": file.sha256, "bytes": file.bytes}
        for file in study.manifest.files
    ]


def _file_counts(
    name: str, source: CountSource, match: Matched, axis_map: AxisMap
) -> dict[str, Any]:
    return {
        "name": name,
        "barcodes": len(source.barcodes),
        "matched": int((match.codes >= 0).sum()),
        "left_out": match.left_out,
        "features": len(source.features.ids),
        "features_by_reason": axis_map.features.reasons,
        # False: pct_mito is null for the cells of this file, and no threshold is applied.
        "has_mitochondrial_genes": axis_map.features.has_mitochondrial,
        "features_of_other_types": source.dropped_features,
    }


def _label_counts(labels: pa.Table) -> dict[str, int]:
    found = labels.group_by(["response", "basis"]).aggregate([([], "count_all")]).to_pylist()
    return {
        f"{row['response']}, {row['basis']}": row["count_all"]
        for row in sorted(found, key=lambda row: (row["response"], row["basis"]))
    }


def _with_cells(study: Study, samples: pa.Table) -> set[str]:
    prefix = len(study.study_id) + 1
    return {row["sample_id"][prefix:] for row in samples.to_pylist() if row["n_cells"]}
