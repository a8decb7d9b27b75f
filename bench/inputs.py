"""Simulate studies for the benchmarks: evidence folders and source files, streamed to disk.

A cell's genes are drawn molecule by molecule from a power law of the genes, about
1,000 different ones a cell; a pool of such cells is reused in random order, with counts
drawn anew, so that a file of any size is written in little memory.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pandas as pd
import scipy.sparse as sp
import yaml
from numpy.typing import NDArray

from cellresponse.builders.gene_gtf import read_gtf
from cellresponse.builders.gene_reference import load_axis
from cellresponse.builders.genes import GeneAxis, gene_axis
from cellresponse.schema.evidence import SampleEvidence
from cellresponse.schema.spec import GeneReference

CASES = {
    "sorted": "h5ad, CSR float32; cells by barcode and genes by id, as a release has them",
    "gzip": "the same, compressed with gzip as 10x HDF5 files are",
    "genomic": "genes in another order than the release's, as 10x files have them",
    "unsorted": "cells in no order: the build takes a spill pass",
    "text": "dense text, genes by cells (10,000 detected genes): reading is text, and spilled",
}
IDENTITY = {"source_type": "cell_line", "collection": "primary", "fact_sources": "*=simulator"}
SAMPLES = {  # of each study, one a file
    "control": {"arm": "untreated"},
    "treated": {
        "arm": "treated",
        "treatment": "synthetic-drug-a",
        "exposure_days": "14",
        "outcome": "survived",
        "control_samples": "control",
        "control_outcome": "died",
    },
}
POOL = 16_384
MOLECULES = 2_300  # mean a cell: gives about 1,000 different genes
TEXT_GENES = 10_000
SYNTHETIC_GENES = 78_894


@dataclass(frozen=True)
class Inputs:
    """Simulated studies on disk.

    Attributes
    ----------
    folder
        With `curation/`, `mirror/`, `cache/` (an indexed gene reference) and `genes.gtf`.
    case, cells, values
        What was simulated; `values` counts the non-zeros.
    bytes
        Size of the source files.
    """

    folder: Path
    case: str
    cells: int
    values: int
    bytes: int

    @classmethod
    def of(cls, given: dict[str, Any]) -> Inputs:
        """Make from what `plain` gave."""
        return cls(**{**given, "folder": Path(given["folder"])})

    def plain(self) -> dict[str, Any]:
        """Give as values that JSON can hold."""
        return {**asdict(self), "folder": str(self.folder)}

    def studies(self) -> list[str]:
        """Give the accessions."""
        return sorted(path.name for path in (self.folder / "mirror").iterdir())

    def files(self, study: str) -> list[Path]:
        """Give the source files of a study, in the order of their samples."""
        return sorted((self.folder / "mirror" / study).iterdir())

    def gtf(self) -> Path:
        """Give the GTF that the axis was read from."""
        return Path((self.folder / "gtf").read_text("utf-8"))

    def reference(self) -> GeneReference:
        """Give the gene reference as a spec has it."""
        return GeneReference.model_validate_json((self.folder / "genes.json").read_text("utf-8"))

    def axis(self) -> GeneAxis:
        """Load the axis from its index."""
        cache = self.folder / "cache"
        return load_axis("human", self.reference(), gtf=self.gtf(), cache=cache)


class CellPool:
    """Cells to draw from: the genes of each, rising, and the mean count of each gene."""

    def __init__(self, genes: int, stream: np.random.Generator) -> None:
        shares = 1.0 / (np.arange(genes) + 20.0) ** 1.3
        shares = stream.permutation(shares / shares.sum())
        bounds = np.cumsum(shares)
        rows = []
        for depth in stream.lognormal(np.log(MOLECULES), 0.25, POOL).astype(int):
            drawn = np.searchsorted(bounds, stream.random(depth) * bounds[-1])
            rows.append(np.unique(drawn).astype(np.int32))
        self.lengths = np.array([len(row) for row in rows])
        self.starts = np.cumsum(self.lengths) - self.lengths
        self.indices = np.concatenate(rows)
        self.means = (MOLECULES * shares).astype(np.float32)

    def block(
        self, chosen: NDArray[np.int64], stream: np.random.Generator
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Give genes and counts of the chosen cells, one after the other."""
        lengths = self.lengths[chosen]
        before = np.cumsum(lengths) - lengths
        places = np.arange(lengths.sum()) + np.repeat(self.starts[chosen] - before, lengths)
        indices = self.indices[places]
        noise = stream.standard_exponential(len(indices), dtype=np.float32)
        return indices, np.floor(1 + noise * self.means[indices])


def simulate(case: str, cells: int, studies: int, folder: Path, gtf: Path | None) -> Inputs:
    """Write the studies of a case; they are read through the evidence like any other."""
    folder.mkdir(parents=True)
    stream = np.random.default_rng(20250601)
    axis = _reference(folder, gtf)
    order = stream.permutation(len(axis)) if case == "genomic" else np.arange(len(axis))
    ids = [axis.ids[place] for place in order]
    if case == "text":
        ids = ids[:TEXT_GENES]
    pool = CellPool(len(ids), stream)
    values = size = 0
    for number, study_cells in enumerate(_split(cells, studies), start=1):
        study = f"BENCH-{number}"
        mirror = folder / "mirror" / study
        mirror.mkdir(parents=True)
        for part, file_cells in enumerate(_split(study_cells, len(SAMPLES)), start=1):
            chosen = stream.integers(0, POOL, file_cells)
            barcodes = _barcodes(file_cells, stream)
            if case == "unsorted":
                stream.shuffle(barcodes)
            path = mirror / f"part_{part}{'.csv' if case == 'text' else '.h5ad'}"
            write = _write_text if case == "text" else _write_h5ad
            write(path, pool, chosen, barcodes, ids, stream, "gzip" if case == "gzip" else None)
            values += int(pool.lengths[chosen].sum())
            size += path.stat().st_size
        _write_evidence(folder / "curation" / study, sorted(mirror.iterdir()), case)
    return Inputs(folder, case, cells, values, size)


def _split(total: int, parts: int) -> list[int]:
    return [total // parts + (number < total % parts) for number in range(parts)]


def _reference(folder: Path, gtf: Path | None) -> GeneAxis:
    """Index the gene reference once; every measured build then finds it in its cache."""
    if gtf is None:
        gtf = folder / "genes.gtf"
        fields = 'ensembl\tgene\t1\t9\t.\t+\t.\tgene_id "{0}"; gene_name "N{1}"; gene_biotype "x";'
        lines = (
            f"{'MT' if n % 2000 == 0 else n % 22 + 1}\t" + fields.format(f"ENSG{n:011d}", n)
            for n in range(SYNTHETIC_GENES)
        )
        gtf.write_text("\n".join(lines) + "\n", "utf-8")
    rows = read_gtf(gtf, cache=folder / "cache", name=gtf.name)
    axis = gene_axis("human", rows, "MT", name=gtf.name)
    reference = {
        "source": "benchmark",
        "release": "1",
        "url": "https://example.org/genes.gtf",
        "table_sha256": axis.checksum,
        "mitochondrial_contig": "MT",
    }
    (folder / "genes.json").write_text(json.dumps(reference), "utf-8")
    (folder / "gtf").write_text(str(gtf.resolve()), "utf-8")
    return axis


def _barcodes(cells: int, stream: np.random.Generator) -> NDArray[np.str_]:
    """Give distinct 16-letter barcodes, sorted."""
    numbers = np.sort(stream.choice(4**14, cells, replace=False))
    digits = (numbers[:, np.newaxis] >> (2 * np.arange(15, -1, -1))) & 3
    letters = np.array(list("ACGT"))[digits]
    return np.array(["".join(row) + "-1" for row in letters])


def _write_h5ad(
    path: Path,
    pool: CellPool,
    chosen: NDArray[np.int64],
    barcodes: NDArray[np.str_],
    ids: list[str],
    stream: np.random.Generator,
    compression: str | None,
) -> None:
    """Write as `AnnData.write_h5ad` does, in the same chunks."""
    indptr = np.concatenate(([0], np.cumsum(pool.lengths[chosen]))).astype(np.int32)
    frame = {"obs": pd.DataFrame(index=list(barcodes)), "var": pd.DataFrame(index=ids)}
    empty = sp.csr_matrix((len(barcodes), len(ids)), dtype=np.float32)
    with h5py.File(path, "w") as file:
        anndata.io.write_elem(file, "/", anndata.AnnData(empty, **frame))
        group = file["X"]
        for name, dtype in (("indices", "<i4"), ("data", "<f4"), ("indptr", "<i4")):
            del group[name]
            length = len(indptr) if name == "indptr" else indptr[-1]
            group.create_dataset(
                name, shape=(length,), maxshape=(None,), dtype=dtype, compression=compression
            )
        group["indptr"][:] = indptr
        for start, block in _blocks(chosen):
            span = slice(indptr[start], indptr[start + len(block)])
            group["indices"][span], group["data"][span] = pool.block(block, stream)


def _write_text(
    path: Path,
    pool: CellPool,
    chosen: NDArray[np.int64],
    barcodes: NDArray[np.str_],
    ids: list[str],
    stream: np.random.Generator,
    _: str | None,
) -> None:
    dense = np.zeros((len(ids), len(barcodes)), dtype=np.int16)
    for start, block in _blocks(chosen):
        genes, counts = pool.block(block, stream)
        dense[genes, np.repeat(np.arange(start, start + len(block)), pool.lengths[block])] = counts
    with path.open("w", encoding="utf-8") as text:
        text.write(",".join(["gene", *barcodes]) + "\n")
        for gene, row in zip(ids, dense, strict=True):
            text.write(f"{gene},{','.join(map(str, row.tolist()))}\n")


def _blocks(
    chosen: NDArray[np.int64], cells: int = 8192
) -> Iterator[tuple[int, NDArray[np.int64]]]:
    for start in range(0, len(chosen), cells):
        yield start, chosen[start : start + cells]


def _write_evidence(folder: Path, files: list[Path], case: str) -> None:
    folder.mkdir(parents=True)
    text = case == "text"
    manifest = {
        "study_id": folder.name,
        "title": "Simulated for a benchmark",
        "organism": "human",
        "licence": "MIT",
        "access": "open",
        "curator": "bench/build.py",
        "revision": 1,
        "status": "ready",
        "synthetic": True,
        "sources": {"simulator": {"ref": "bench/inputs.py", "kind": "code"}},
        "files": [
            {
                "name": path.name,
                "url": f"https://example.org/{path.name}",
                "sha256": _sha256(path),
                "bytes": path.stat().st_size,
                "reader": "dense_text" if text else "h5ad",
                "options": {"orientation": "features_by_cells"} if text else {},
            }
            for path in files
        ],
    }
    (folder / "study.yaml").write_text(yaml.safe_dump(manifest), "utf-8")
    header = SampleEvidence.to_schema().columns
    control, treated = (
        {
            "sample_id": sample,
            "file": path.name,
            "cell_line": "synthetic-line-1",
            **IDENTITY,
            **facts,
        }
        for sample, path, facts in zip(SAMPLES, files, SAMPLES.values(), strict=True)
    )
    with (folder / "samples.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, header)
        writer.writeheader()
        writer.writerows([control, treated])


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
