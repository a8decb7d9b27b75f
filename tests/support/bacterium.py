"""A synthetic bacterial study for the tiny project, and its gene table. Nothing was measured."""

from __future__ import annotations

import numpy as np
from mini_release import MANIFEST, Project, dense_csv

from cellresponse.builders.genes import gene_axis

STUDY = "SYNTHETIC-BACTERIUM"
ORGANISM = "klebsiella_pneumoniae"
GENES = [(f"SYN_{i:05d}", f"syn{i}" if i % 4 else "", "chromosome") for i in range(1, 19)] + [
    (f"SYN_{i:05d}", f"syn{i}", "plasmid") for i in range(19, 21)
]
CELLS = 10
SPEC = """  {organism}:
    genes:
      source: synthetic
      release: '1'
      {origin}
      table_sha256: {checksum}
    qc:
      min_genes: 4
"""


def gene_table() -> str:
    """Give the genes as CSV."""
    return "gene_id,gene_name,contig\n" + "".join(f"{','.join(gene)}\n" for gene in GENES)


def gff() -> str:
    """Give the genes as NCBI writes GFF3, with a coding sequence that is no gene."""
    lines = ["##gff-version 3"]
    for start, (gene, name, contig) in enumerate(GENES, start=1):
        said = f"ID=gene-{gene};Name={name or gene};gbkey=Gene;locus_tag={gene}"
        place = f"{1000 * start}\t{1000 * start + 300}\t.\t+\t."
        lines.append(f"{contig}\tRefSeq\tgene\t{place}\t{said}{f';gene={name}' if name else ''}")
        lines.append(f"{contig}\tProtein Homology\tCDS\t{place}\tID=cds-{start};Parent=gene-{gene}")
    return "\n".join([*lines, "##FASTA", ">chromosome", "ACGT", ""])


def add_bacterium(project: Project, origin: str = "table: bacterium.csv") -> None:
    """Put the study and its organism into the project, and the gene table beside the spec."""
    (project.folder / "bacterium.csv").write_text(gene_table())
    _write_study(project)
    checksum = gene_axis(ORGANISM, GENES, None, name="synthetic").checksum
    described = SPEC.format(organism=ORGANISM, origin=origin, checksum=checksum)
    spec = project.spec.read_text().replace("organisms:\n", f"organisms:\n{described}")
    project.spec.write_text(spec + f"  {STUDY}:\n    revision: 1\n")


def _write_study(project: Project) -> None:
    """Ten cells an arm; the first of each arm has three genes, the second five."""
    folder, rng = project.curation / STUDY, np.random.default_rng(7)
    folder.mkdir(parents=True)
    (project.mirror / STUDY).mkdir(parents=True)
    text = MANIFEST.format(study=STUDY).replace("organism: human", f"organism: {ORGANISM}")
    for arm in ("untreated", "meropenem"):
        values = rng.poisson(1.0, (len(GENES), CELLS)) + 1
        values[3:, 0] = 0
        values[5:, 1] = 0
        # Features by locus tag in one file, by name in the other.
        names = [tag if arm == "untreated" else name or tag for tag, name, _ in GENES]
        data = dense_csv(values, names, [f"{arm}_{i}" for i in range(CELLS)])
        (project.mirror / STUDY / f"{arm}.csv.gz").write_bytes(data)
        text += (
            f"  - name: {arm}.csv.gz\n    url: https://synthetic.invalid/{arm}.csv.gz\n"
            "    sha256: null\n    bytes: null\n    reader: dense_text\n"
            "    options:\n      orientation: features_by_cells\n"
        )
    (folder / "study.yaml").write_text(text)
    (folder / "samples.csv").write_text(
        "sample_id,file,source_type,assay,collection,arm,treatment,dose,dose_unit,exposure_days,"
        "outcome,control_samples,control_outcome,fact_sources\n"
        "untreated,untreated.csv.gz,bacterium,BacDrop,primary,untreated,,,,,,,,*=synthetic\n"
        "meropenem,meropenem.csv.gz,bacterium,BacDrop,primary,treated,meropenem,4,xMIC,0.1,"
        "survived,untreated,died,*=synthetic\n"
    )
    project.pin(STUDY)
