"""A tiny project to build releases from: two studies, thirty genes, a few dozen cells."""

from __future__ import annotations

import gzip
import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cellresponse.builders.build import BuildOptions, build
from cellresponse.builders.genes import gene_axis
from cellresponse.releases.release import Release
from cellresponse.releases.specs import load_spec

GENES = [(f"ENSG{i:011d}", f"GENE{i}", str(1 + i % 3)) for i in range(1, 28)] + [
    (f"ENSG{i:011d}", f"MT-G{i}", "MT") for i in range(28, 31)
]


@dataclass(frozen=True)
class Project:
    """Everything that a build of the tiny release takes."""

    folder: Path

    @property
    def curation(self) -> Path:
        return self.folder / "curation"

    @property
    def mirror(self) -> Path:
        return self.folder / "mirror"

    @property
    def spec(self) -> Path:
        return self.folder / "mini.yaml"

    @property
    def gtf(self) -> Path:
        return self.folder / "genes.gtf.gz"

    def options(self, out: Path, **more: object) -> BuildOptions:
        return BuildOptions(
            out=out,
            curation=self.curation,
            cache=self.folder / "cache",
            mirror=self.mirror,
            gtf=self.gtf,
            **more,  # type: ignore[arg-type]
        )

    def arguments(self, out: Path, *more: str) -> list[str]:
        """Arguments of `python cli.py` for the same build."""
        return [
            "build",
            *("--release", str(self.spec)),
            *("--out", str(out)),
            *("--curation", str(self.curation)),
            *("--cache", str(self.folder / "cache")),
            *("--mirror", str(self.mirror)),
            *("--gtf", str(self.gtf)),
            *more,
        ]

    def build(self, out: Path, **more: object) -> Release:
        return build(load_spec(str(self.spec)), self.options(out, **more))

    def pin(self, study: str) -> None:
        """Write checksums and sizes of the study's mirror files into its manifest."""
        manifest = self.curation / study / "study.yaml"
        lines = []
        for line in manifest.read_text().splitlines():
            if line.strip().startswith("- name:"):
                data = (self.mirror / study / line.split(":")[1].strip()).read_bytes()
            if line.strip().startswith("sha256:"):
                line = f"    sha256: {hashlib.sha256(data).hexdigest()}"
            if line.strip().startswith("bytes:"):
                line = f"    bytes: {len(data)}"
            lines.append(line)
        manifest.write_text("\n".join(lines) + "\n")


def counts(seed: int, cells: int) -> np.ndarray:
    """Counts of GENES x cells; the last two genes before MT are empty in the first cell."""
    rng = np.random.default_rng(seed)
    values = rng.poisson(2.0, (len(GENES), cells))
    values[-3:] = rng.poisson(0.2, (3, cells))
    return values


def dense_csv(values: np.ndarray, names: list[str], barcodes: list[str]) -> bytes:
    text = io.StringIO()
    text.write(",".join(barcodes) + "\n")  # one name fewer than fields, as R writes it
    for name, row in zip(names, values, strict=True):
        text.write(f"{name}," + ",".join(map(str, row)) + "\n")
    return gzip.compress(text.getvalue().encode(), mtime=0)


def make_project(folder: Path) -> Project:
    """Write the project; the same bytes every time."""
    project = Project(folder)
    folder.mkdir(parents=True, exist_ok=True)
    project.gtf.write_bytes(gzip.compress(_gtf().encode(), mtime=0))
    axis = gene_axis("human", GENES, "MT", name="mini")
    project.spec.write_text(
        f"""release: mini
schema_version: 1
title: Tiny synthetic release for tests
organisms:
  human:
    genes:
      source: synthetic
      release: '1'
      url: https://synthetic.invalid/genes.gtf.gz
      table_sha256: {axis.checksum}
      mitochondrial_contig: MT
    qc:
      min_genes: 10
      max_pct_mito: 10
studies:
  MINI1:
    revision: 1
  MINI2:
    revision: 1
"""
    )
    _first_study(project)
    _second_study(project)
    return project


def _gtf() -> str:
    return "".join(
        f"{contig}\tensembl\tgene\t{1000 * i}\t{1000 * i + 500}\t.\t+\t.\t"
        f'gene_id "{gene}"; gene_version "1"; gene_name "{name}"; gene_source "ensembl"; '
        f'gene_biotype "protein_coding";\n'
        for i, (gene, name, contig) in enumerate(GENES, start=1)
    )


MANIFEST = """study_id: {study}
title: Tiny synthetic study {study}
organism: human
licence: CC0-1.0
access: open
curator: tests
revision: 1
status: ready
synthetic: true
sources:
  synthetic:
    ref: https://synthetic.invalid/{study}
    kind: source_file
files:
"""


def _first_study(project: Project) -> None:
    """Two arms and one control in one gene-major file; the barcode's prefix is the key."""
    values = counts(1, 36)
    values[:, 0] = 0
    values[:5, 0] = 1  # too few genes
    values[-3:, 1] = 40  # too much mitochondrial
    barcodes = [f"{'UAB'[i % 3]}_{i:03d}" for i in range(36)]
    names = [name for _, name, _ in GENES]
    data = dense_csv(values, names, barcodes)
    _place(project, "MINI1", "counts.csv.gz", data)
    (project.curation / "MINI1").mkdir(parents=True)
    (project.curation / "MINI1" / "study.yaml").write_text(
        MANIFEST.format(study="MINI1")
        + """  - name: counts.csv.gz
    url: https://synthetic.invalid/MINI1/counts.csv.gz
    sha256: null
    bytes: null
    reader: dense_text
    options:
      orientation: features_by_cells
      delimiter: comma
    barcodes:
      rule: pattern
      pattern: ^(?P<key>[A-Z])_
"""
    )
    (project.curation / "MINI1" / "samples.csv").write_text(
        "sample_id,file,barcode_key,cell_line,source_type,collection,arm,treatment,exposure_days,"
        "outcome,control_samples,control_outcome,proliferation,fact_sources\n"
        "untreated,counts.csv.gz,U,synthetic-line-1,cell_line,primary,untreated,,,,,,,*=synthetic\n"
        "drug_a,counts.csv.gz,A,synthetic-line-1,cell_line,primary,treated,synthetic-drug-a,14,"
        "survived,untreated,died,,*=synthetic\n"
        "drug_b,counts.csv.gz,B,synthetic-line-1,cell_line,primary,treated,synthetic-drug-b,60,"
        "survived,untreated,died,limited,*=synthetic\n"
    )
    project.pin("MINI1")


def _second_study(project: Project) -> None:
    """One file an arm, cell-major, Ensembl ids with versions, one barcode table."""
    ids = [f"{gene}.7" for gene, _, _ in GENES]
    (project.curation / "MINI2").mkdir(parents=True)
    files = ""
    for seed, arm in ((2, "parental"), (3, "resistant")):
        values = counts(seed, 8)
        barcodes = [f"{arm[0]}{i}" for i in range(8)]
        rows = ["\t".join(["cell", *ids])]
        rows += ["\t".join([b, *map(str, values[:, i])]) for i, b in enumerate(barcodes)]
        _place(project, "MINI2", f"{arm}.tsv", ("\n".join(rows) + "\n").encode())
        files += f"""  - name: {arm}.tsv
    url: https://synthetic.invalid/MINI2/{arm}.tsv
    sha256: null
    bytes: null
    reader: dense_text
    options:
      orientation: cells_by_features
      delimiter: tab
"""
    (project.curation / "MINI2" / "study.yaml").write_text(MANIFEST.format(study="MINI2") + files)
    (project.curation / "MINI2" / "samples.csv").write_text(
        "sample_id,file,cell_line,source_type,collection,arm,treatment,exposure_days,outcome,"
        "control_samples,control_outcome,proliferation,fact_sources\n"
        "parental,parental.tsv,synthetic-line-2,cell_line,primary,parental,,,,,,,*=synthetic\n"
        "resistant,resistant.tsv,synthetic-line-2,cell_line,primary,resistant_line,"
        "synthetic-drug-a,200,proliferating,parental,died,proliferating,*=synthetic\n"
    )
    project.pin("MINI2")


def _place(project: Project, study: str, name: str, data: bytes) -> None:
    path = project.mirror / study / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
