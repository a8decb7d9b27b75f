"""Build one study: its matrix and its tables, in a folder of its own."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from cellresponse.builders.axis_rows import AxisMap
from cellresponse.builders.equal_vectors import FINGERPRINTS
from cellresponse.builders.genes import GeneAxis
from cellresponse.builders.match import Matched
from cellresponse.builders.provenance import evidence_checksums
from cellresponse.builders.read import CountSource
from cellresponse.builders.study_counts import StudyCounts, write_counts
from cellresponse.builders.study_tables import (
    cells_table,
    labels_table,
    samples_table,
    study_row,
)
from cellresponse.curation.labels import Derivation, derive_labels
from cellresponse.curation.study import Study, load_study
from cellresponse.releases.content_hash import table_hash
from cellresponse.schema.errors import EvidenceError
from cellresponse.schema.spec import OrganismSpec
from cellresponse.schema.storage import storage_errors

__all__ = ["StudyJob", "begin_study", "build_study"]

SUMMARY = "study.json"
MATRIX = "matrix.zarr"


@dataclass(frozen=True)
class StudyJob:
    """Everything that a worker needs to build a study; can be sent to another process.

    Attributes
    ----------
    folder, evidence
        The study's evidence, and the sha256 of each of its files when the build began.
    organism, axis
        What the spec says of the organism, and its gene axis.
    files
        Local path of each source file, fetched and checked, by manifest name.
    part
        Folder to make.
    """

    folder: Path
    evidence: Mapping[str, str]
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
    return begin_study(job)()


def begin_study(job: StudyJob) -> Callable[[], Path]:
    """Do the larger part of `build_study`: read the counts, and write the matrix.

    The rest makes tables of cells, on one core and mostly in the interpreter, so it may
    run in a thread beside the counts of the next study.

    Parameters
    ----------
    job
        What to build.

    Returns
    -------
    callable
        Does the rest, and gives what `build_study` gives. It has to be called: until then
        a hidden folder waits, and what is known of the cells stays in memory.

    Raises
    ------
    CellResponseError
        As `build_study`; the callable too.
    """
    if job.part.exists():
        return lambda: job.part
    with storage_errors(job.part.parent), ExitStack() as clean_up:
        job.part.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{job.part.name}.", dir=job.part.parent))
        clean_up.callback(shutil.rmtree, scratch, ignore_errors=True)
        (scratch / "part").mkdir()
        study = load_study(job.folder)
        derivation = derive_labels(study)
        counts = write_counts(
            study,
            job.files,
            job.axis,
            job.organism.qc,
            store=scratch / "part" / MATRIX,
            scratch=scratch,
        )
        rest = partial(_write_tables, scratch / "part", study, derivation, counts, job)
        return partial(_end, job, rest, scratch / "part", clean_up.pop_all())


def _end(job: StudyJob, rest: Callable[[], None], part: Path, clean_up: ExitStack) -> Path:
    with storage_errors(job.part.parent), clean_up:
        rest()
        _require_unchanged(job)
        try:
            os.rename(part, job.part)
        except OSError:
            if not job.part.exists():  # another build of the same study was quicker
                raise
    return job.part


def _require_unchanged(job: StudyJob) -> None:
    """The part is kept, and recorded, as made from the evidence that the build began with."""
    if evidence_checksums(job.folder) != job.evidence:
        raise EvidenceError(
            "its evidence was changed while it was built",
            file=job.folder.name,
            hint="Build again",
        )


def _write_tables(
    part: Path,
    study: Study,
    derivation: Derivation,
    counts: StudyCounts,
    job: StudyJob,
) -> None:
    """Finish the matrix, and write the tables and the summary beside it."""
    quality, kept = counts.quality, counts.kept
    cells = cells_table(study, counts)
    matrix_hash = counts.writer.finish(_obs(cells))
    samples = samples_table(study, cells)
    labels = labels_table(study, derivation.labels, cells)
    np.save(part / FINGERPRINTS, quality.fingerprint[kept])
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
        "evidence": dict(job.evidence),
        "inputs": _inputs(study),
        "files": [
            _file_counts(name, source, match, axis_map)
            | {"has_mitochondrial_genes": _has_mitochondrial(axis_map, job.axis)}
            for name, source, match, axis_map in zip(
                counts.names, counts.sources, counts.matched, counts.maps, strict=True
            )
        ],
        "cells": {
            "in_files": sum(len(source.barcodes) for source in counts.sources),
            "matched": len(counts.ranked),
            **counts.removed,
            "kept": len(cells),
        },
        "counts": {
            "of_kept_cells": int(quality.n_counts[kept].sum()),
            "on_axis": counts.writer.total,
        },
        "labels": _label_counts(labels),
        "labels_of_samples_without_cells": len(
            {label.sample_id for label in derivation.labels} - _with_cells(study, samples)
        ),
        # Of those that had cells: quality control removed all of them.
        "samples_without_kept_cells": sorted(
            set(counts.ranked["sample_id"].unique().to_pylist()) - _with_cells(study, samples)
        ),
    }
    (part / SUMMARY).write_text(json.dumps(summary, sort_keys=True), encoding="utf-8")


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
        "features_of_other_types": source.dropped_features,
    }


def _has_mitochondrial(axis_map: AxisMap, axis: GeneAxis) -> bool | None:
    """False: pct_mito of the file's cells is null, and no threshold holds; None: by nature."""
    return None if axis.mitochondrial_contig is None else axis_map.features.has_mitochondrial


def _label_counts(labels: pa.Table) -> dict[str, int]:
    found = labels.group_by(["response", "basis"]).aggregate([([], "count_all")]).to_pylist()
    return {
        f"{row['response']}, {row['basis']}": row["count_all"]
        for row in sorted(found, key=lambda row: (row["response"], row["basis"]))
    }


def _with_cells(study: Study, samples: pa.Table) -> set[str]:
    prefix = len(study.study_id) + 1
    return {row["sample_id"][prefix:] for row in samples.to_pylist() if row["n_cells"]}
