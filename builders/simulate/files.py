"""Write the files of a synthetic study: its counts in three formats, and its evidence.

No file holds a time, so that the same cells give the same bytes.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import yaml
from scipy.sparse import csr_matrix

from cellresponse.builders.genes import GeneAxis
from cellresponse.builders.simulate.expression import OTHER_CELL, Cells, Model, Sample
from cellresponse.schema.evidence import SampleEvidence
from cellresponse.schema.spec import Simulation

__all__ = [
    "sample_row",
    "write_calls",
    "write_dense_table",
    "write_h5ad",
    "write_manifest",
    "write_samples",
    "write_triplet",
]

# Two ids of older Ensembl releases, and three of the ERCC spike-in mix.
RETIRED = ("ENSG00000112096", "ENSG00000130723")
SPIKE_INS = ("ERCC-00002", "ERCC-00074", "ERCC-00096")
TUMOUR_CELL = "synthetic tumour cell"

SIMULATOR = "simulator"


def sample_row(**columns: str) -> dict[str, str]:
    """Give a row of `samples.csv`: what all samples share, and its own columns."""
    return {
        "cancer_type": "synthetic-cancer",
        "tissue": "synthetic",
        "assay": "synthetic-assay",
        "source_type": "cell_line",
        "collection": "primary",
        "fact_sources": f"*={SIMULATOR}",
        "note": "synthetic: simulated counts, nothing was measured",
    } | columns


def write_dense_table(path: Path, cells: Cells, model: Model) -> dict[str, Any]:
    """Write genes by cells, with retired ids and spike-ins; barcodes begin with their key.

    Returns
    -------
    The file's entry in `study.yaml`.
    """
    stream = model.stream(path.name)
    number = len(cells.samples)
    retired = stream.poisson(1.0, (number, len(RETIRED)))
    spiked = stream.poisson(10.0, (number, len(SPIKE_INS)))
    keys = [f"{sample.row['barcode_key']}_{n}" for n, sample in enumerate(cells.samples, 1)]
    counts = np.hstack([cells.counts, retired, spiked]).T.tolist()
    ids = [*model.axis.ids, *RETIRED, *SPIKE_INS]
    rows = (",".join([gene, *map(str, row)]) for gene, row in zip(ids, counts, strict=True))
    _write_gzip(path, [",".join(["gene_id", *keys]), *rows])
    rule = {"rule": "pattern", "pattern": r"^(?P<key>.+)_\d+$"}
    return _pinned_entry(path, "dense_text", {"orientation": "features_by_cells"}, rule)


def write_triplet(path: Path, cells: Cells, axis: GeneAxis) -> list[dict[str, Any]]:
    """Write a 10x triplet with versioned ids, and the source's table of samples and doublets.

    Parameters
    ----------
    path
        The matrix; the lists of features and barcodes and the table are named after it.
    cells
        What it holds.
    axis
        Genes of its counts.

    Returns
    -------
    Entries of the four files in `study.yaml`.
    """
    features, barcodes, table = (
        path.with_name(path.name.replace("matrix.mtx", part))
        for part in ("features.tsv", "barcodes.tsv", "cells.csv")
    )
    places = np.nonzero(cells.counts)
    values = np.column_stack([places[1] + 1, places[0] + 1, cells.counts[places]]).tolist()
    banner = "%%MatrixMarket matrix coordinate integer general"
    sizes = f"{len(axis)} {len(cells.samples)} {len(values)}"
    _write_gzip(path, [banner, sizes, *(f"{gene} {cell} {count}" for gene, cell, count in values)])
    # The versions are made up: what matters is that an id carries one.
    of_genes = zip(axis.ids, axis.names, strict=True)
    _write_gzip(features, [f"{gene}.1\t{name}\tGene Expression" for gene, name in of_genes])
    _write_gzip(barcodes, cells.barcodes)
    of_cells = zip(cells.barcodes, cells.samples, cells.doublet, strict=True)
    calls = [f"{b},{s.row['barcode_key']},{'DBL' if two else 'SNG'}" for b, s, two in of_cells]
    _write_gzip(table, ["barcode,sample,call", *calls])
    lists = {"barcodes": barcodes.name, "features": features.name}
    rule = {"rule": "table", "table": table.name, "key_column": "sample"}
    doublets = {"columns": {"doublet": "call"}, "keep": {"call": ["SNG"]}}
    return [
        _pinned_entry(path, "10x_mtx", lists, rule | doublets),
        _pinned_entry(features, "companion"),
        _pinned_entry(barcodes, "companion"),
        _pinned_entry(table, "cell_table"),
    ]


def write_h5ad(path: Path, cells: Cells, axis: GeneAxis, rule: str) -> dict[str, Any]:
    """Write AnnData with gene names; without anndata, so that its version changes no byte.

    Returns
    -------
    The file's entry in `study.yaml`, with `rule` as its rule for barcodes.
    """
    matrix = csr_matrix(cells.counts.astype(np.int32))
    with h5py.File(path, "w") as file:
        file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        for table, index in (("obs", cells.barcodes), ("var", list(axis.names))):
            names = file.create_dataset(f"{table}/_index", data=index)
            names.attrs.update({"encoding-type": "string-array", "encoding-version": "0.2.0"})
            file[table].attrs.update({"encoding-type": "dataframe", "encoding-version": "0.2.0"})
            file[table].attrs["_index"] = "_index"
            file[table].attrs["column-order"] = np.array([], dtype=h5py.string_dtype())
        for part in ("data", "indices", "indptr"):
            file.create_dataset(f"X/{part}", data=getattr(matrix, part), compression="gzip")
        file["X"].attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0"})
        file["X"].attrs["shape"] = matrix.shape
    return _pinned_entry(path, "h5ad", barcodes={"rule": rule})


def write_calls(evidence: Path, cells: Cells, uncalled: Sample) -> None:
    """Write `cells.csv.gz`: the sample of each barcode, and what the source calls the cell."""
    lines = ["file,barcode,sample_id,cell_type,malignant"]
    for barcode, sample, tumour in zip(cells.barcodes, cells.samples, cells.tumour, strict=True):
        calls = f"{TUMOUR_CELL},malignant" if tumour else f"{OTHER_CELL},non_malignant"
        called = "," if sample is uncalled else calls
        lines.append(f"{sample.row['file']},{barcode},{sample.id},{called}")
    _write_gzip(evidence / "cells.csv.gz", lines)


def write_manifest(
    evidence: Path,
    simulation: Simulation,
    entries: list[dict[str, Any]],
    *,
    title: str,
    notes: str,
) -> None:
    """Write `study.yaml` into a study's folder.

    Parameters
    ----------
    evidence
        Folder of the study; its name is the study's id.
    simulation
        Design and seed, named as the source of every fact.
    entries
        The files, as their writers give them.
    title, notes
        What the study shows.
    """
    manifest = {
        "study_id": evidence.name,
        "title": title,
        "organism": "human",
        "platform": "simulated, no instrument",
        "licence": "MIT (synthetic counts, made by cellresponse)",
        "access": "open",
        "curator": "cellresponse developers",
        "revision": 1,
        "status": "ready",
        "synthetic": True,
        "notes": f"Synthetic: nothing was measured. {notes}",
        "sources": {
            SIMULATOR: {
                "ref": "cellresponse.builders.simulate",
                "kind": "code",
                "where": f"design {simulation.design}, seed {simulation.seed}; all invented",
            }
        },
        "files": entries,
    }
    text = yaml.safe_dump(manifest, sort_keys=False, width=100)
    (evidence / "study.yaml").write_text(text, encoding="utf-8")


def write_samples(evidence: Path, samples: Sequence[Sample]) -> None:
    """Write `samples.csv` into a study's folder, with the columns that any sample fills."""
    given = {column for sample in samples for column in sample.row}
    columns = [column for column in SampleEvidence.to_schema().columns if column in given]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(sample.row for sample in samples)
    (evidence / "samples.csv").write_text(text.getvalue(), encoding="utf-8")


def _write_gzip(path: Path, lines: Iterable[str]) -> None:
    """Write text lines; without a time in the header the same text is the same bytes."""
    path.write_bytes(gzip.compress(("\n".join(lines) + "\n").encode(), compresslevel=6, mtime=0))


def _pinned_entry(
    path: Path,
    reader: str,
    options: dict[str, str] | None = None,
    barcodes: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Give a file's entry in `study.yaml`, pinned to what was just written."""
    content = path.read_bytes()
    entry = {
        "name": path.name,
        # A top-level domain that is reserved and never resolves: the file is nowhere else.
        "url": f"https://synthetic.invalid/{path.parent.name}/{path.name}",
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
        "reader": reader,
        "options": options,
        "barcodes": barcodes,
    }
    return {key: value for key, value in entry.items() if value is not None}
