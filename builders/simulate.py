"""Simulate the studies of the demo release: synthetic counts on real gene ids.

Nothing here was measured. Two studies hold what a build meets in real ones: three
kinds of files and every barcode rule, controls that two drugs share, all stars,
patients, and the usual faults (empty droplets, dying cells, doublets, spike-ins, ids
with versions, retired ids, a tumour whose cells nobody called).

Counts are negative binomial. A cell's expected share of each gene is the product of
log-normal effects of its line or patient, its batch and its kind; in resistant cells
the genes of `RESISTANCE_PROGRAMME` are shifted as well. Each line, batch and sample
draws from a stream of its own, so none of them changes when another is added.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import yaml
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from cellresponse.builders.genes import GeneAxis
from cellresponse.builders.storage import storage_errors
from cellresponse.schema.errors import ReleaseError
from cellresponse.schema.evidence import SampleEvidence
from cellresponse.schema.spec import Simulation

__all__ = ["PROGRAMME_LOG_FOLD_CHANGE", "RESISTANCE_PROGRAMME", "Programme", "simulate"]


class Programme(NamedTuple):
    """Names of the genes that resistant cells express more, and less."""

    up: tuple[str, ...]
    down: tuple[str, ...]


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split())


DRUG_A, DRUG_B = "synthetic-drug-a", "synthetic-drug-b"
_BOTH_UP = _names("LRIT3 CDH19 GALE ATP2A3 ICAM2 RALGDS NUDT1 RPS7 MALSU1 OTX2")
_BOTH_DOWN = _names("ZCCHC9 GIMAP7 FOXI1 CGAS GPR19 OXER1")

RESISTANCE_PROGRAMME: dict[str, Programme] = {
    DRUG_A: Programme(
        up=_BOTH_UP + _names("TP53I3 ATP7B ALOX5AP CXCL11 GM2A VSIG10 BICDL2 SATB1"),
        down=_BOTH_DOWN + _names("TNPO3 H2BK1 FOXA3 MTX1 CD2AP AK6"),
    ),
    DRUG_B: Programme(
        up=_BOTH_UP + _names("UROD KBTBD7 SURF6 FAM234B RAPGEF6 ZXDA ZNF69 PDXP"),
        down=_BOTH_DOWN + _names("SLC30A6 STARD3 WFDC3 CT47A10 CNFN RNF31"),
    ),
}
"""Planted genes by drug; ten up and six down are shared.

They are the first of the gene table by the sha256 of their id, readthrough genes left
out: nothing is claimed of their biology.
"""
PLANTED = frozenset(gene for drug in RESISTANCE_PROGRAMME.values() for gene in drug.up + drug.down)

PROGRAMME_LOG_FOLD_CHANGE = 0.9
"""Natural logarithm of the fold change of a planted gene at full resistance."""

# Chosen so that cells show about 1,000 of the table's 2,000 genes and pass the thresholds
# of real releases. Standard deviations are of natural logarithms.
GENE_SD, LINE_SD, PATIENT_SD, BATCH_SD, KIND_SD = 1.6, 0.5, 0.3, 0.25, 0.8
DEPTH, DEPTH_SD = 6_000.0, 0.25
GAMMA_SHAPE = 4.0
EMPTY_DEPTH = 0.04
ACTIVITY_SD = 0.3
TUMOUR_SHARE = 0.6

# Two ids of older Ensembl releases, and three of the ERCC spike-in mix.
RETIRED = ("ENSG00000112096", "ENSG00000130723")
SPIKE_INS = ("ERCC-00002", "ERCC-00074", "ERCC-00096")
TUMOUR_CELL, OTHER_CELL = "synthetic tumour cell", "synthetic immune cell"

SIMULATOR = "simulator"


class _Exposure(NamedTuple):
    """What the survivors of a line went through, and how far the programme is on (0 to 1)."""

    days: str
    outcome: str
    proliferation: str
    resistance: float


EXPOSURES = {
    "synthetic-line-1": _Exposure("14", "survived", "none", 0.7),
    "synthetic-line-2": _Exposure("60-90", "survived", "limited", 0.85),
    "synthetic-line-3": _Exposure("240", "proliferating", "proliferating", 1.0),
}
DOSES = {DRUG_A: ("1", "died"), DRUG_B: ("0.5", "arrested")}
"""Dose in uM, and what the drug does to control cells."""


@dataclass(frozen=True)
class _Sample:
    """A row of `samples.csv`, and how far the programme of its treatment is on (0 to 1)."""

    row: dict[str, str]
    resistance: float = 0.0

    @property
    def id(self) -> str:
        return self.row["sample_id"]


@dataclass(frozen=True)
class _Cells:
    """Counts, shape (cells, genes), and what is known of each cell, shape (cells,)."""

    counts: NDArray[np.int64]
    samples: NDArray[np.object_]
    tumour: NDArray[np.bool_]
    doublet: NDArray[np.bool_]

    @property
    def barcodes(self) -> list[str]:
        """Distinct barcodes in the form of 10x: a counter written with four letters."""
        letters = str.maketrans("0123", "ACGT")
        numbers = (np.base_repr(n, 4).zfill(16) for n in range(len(self.samples)))
        return [f"{number.translate(letters)}-1" for number in numbers]


def simulate(simulation: Simulation, axis: GeneAxis, folder: Path) -> tuple[Path, Path]:
    """Write the evidence and the source files of the synthetic studies.

    Parameters
    ----------
    simulation
        Seed, and the number of sound cells in each sample. Every sample gets a few
        more barcodes that quality control removes.
    axis
        Human genes; the counts are of all of them. It must hold the planted genes and
        mitochondrial ones.
    folder
        Where to write, made where it is missing. The same simulation and axis give the
        same bytes with the same versions of numpy, HDF5 and zlib, and the same counts
        with the same numpy.

    Returns
    -------
    curation, mirror : Path
        Folder of study folders, and folder of `<study>/<file>`, as a build takes them.

    Raises
    ------
    ReleaseError
        The axis lacks a gene that the simulator needs.
    StorageError
        The folder cannot be written.

    Examples
    --------
    >>> a, b = RESISTANCE_PROGRAMME.values()
    >>> len(a.up), len(a.down), len({*a.up} & {*b.up}), len({*a.down} & {*b.down})
    (18, 12, 10, 6)
    """
    model = _Model(simulation.seed, axis)
    curation, mirror = folder / "curation", folder / "mirror"
    with storage_errors(folder):
        for study_id, make in (("SYNTHETIC-1", _treated_lines), ("SYNTHETIC-2", _other_designs)):
            (curation / study_id).mkdir(parents=True, exist_ok=True)
            (mirror / study_id).mkdir(parents=True, exist_ok=True)
            make(model, simulation, curation / study_id, mirror / study_id)
    return curation, mirror


class _Model:
    """Expected expression of any cell, on the genes of an axis."""

    def __init__(self, seed: int, axis: GeneAxis) -> None:
        _require_genes(axis)
        self.seed = seed
        self.axis = axis
        self.base = self.effect("genes", GENE_SD)
        columns = [axis.by_name[name][0] for name in sorted(PLANTED)]
        # A gene that is hardly seen shows no shift: planted ones are above the median.
        self.base[columns] = np.maximum(self.base[columns], 0.5)

    def stream(self, name: str) -> np.random.Generator:
        """Give a stream of random numbers that depends on the seed and the name only."""
        sequence = np.random.SeedSequence(self.seed, spawn_key=tuple(name.encode()))
        return np.random.Generator(np.random.PCG64(sequence))

    def effect(self, name: str, sd: float) -> NDArray[np.float64]:
        """Natural logarithm of what a line, batch, ... does to each gene, shape (genes,)."""
        return self.stream(f"effect of {name}").normal(0.0, sd, len(self.axis))

    def programme(self, drug: str) -> NDArray[np.float64]:
        """Natural logarithm of what resistance to a drug does to each gene, shape (genes,)."""
        shift = np.zeros(len(self.axis))
        for names, change in zip(RESISTANCE_PROGRAMME[drug], (1.0, -1.0), strict=True):
            shift[[self.axis.by_name[n][0] for n in names]] = change * PROGRAMME_LOG_FOLD_CHANGE
        return shift

    def file_cells(self, samples: Sequence[_Sample], sound: int, doublets: int = 0) -> _Cells:
        """Draw the cells of a file and mix them, as droplets come in no order."""
        parts = [self._cells(sample, sound, doublets) for sample in samples]
        order = self.stream(f"order of {samples[0].row['file']}").permutation(
            sum(len(part.samples) for part in parts)
        )
        return _Cells(
            *(
                np.concatenate([getattr(part, field.name) for part in parts])[order]
                for field in fields(_Cells)
            )
        )

    def _cells(self, sample: _Sample, sound: int, doublets: int) -> _Cells:
        """Draw the cells of a sample: sound ones, then empty droplets, dying cells, doublets."""
        stream = self.stream(f"cells of {sample.id}")
        empty, dying = _few(sound), _few(sound)
        number = sound + empty + dying
        tumour = np.ones(number, dtype=bool)
        if "patient_id" in sample.row:
            tumour = stream.random(number) < TUMOUR_SHARE
        mitochondrial_share = stream.beta(8.0, 192.0, number)
        mitochondrial_share[sound + empty :] = stream.uniform(0.2, 0.4, dying)
        depth = DEPTH * np.exp(stream.normal(0.0, DEPTH_SD, number))
        depth[sound : sound + empty] *= EMPTY_DEPTH
        shares = self._shares(sample, tumour, mitochondrial_share, stream)
        noise = stream.gamma(GAMMA_SHAPE, 1 / GAMMA_SHAPE, shares.shape)
        counts = stream.poisson(depth[:, np.newaxis] * shares * noise)
        first, second = stream.integers(0, sound, (2, doublets))
        return _Cells(
            np.concatenate([counts, counts[first] + counts[second]]),
            np.full(number + doublets, sample, dtype=object),
            np.concatenate([tumour, tumour[first]]),
            np.arange(number + doublets) >= number,
        )

    def _shares(
        self,
        sample: _Sample,
        tumour: NDArray[np.bool_],
        mitochondrial_share: NDArray[np.float64],
        stream: np.random.Generator,
    ) -> NDArray[np.float64]:
        """Give the expected share of each gene, shape (cells, genes); rows sum to 1."""
        row = sample.row
        if "patient_id" in row:
            origin = self.effect(row["patient_id"], PATIENT_SD)
        else:
            origin = self.effect(row["cell_line"].removesuffix("-resistant"), LINE_SD)
        log_means = self.base + origin + self.effect(row["batch"], BATCH_SD)
        logs = log_means + np.outer(~tumour, self.effect(OTHER_CELL, KIND_SD))
        if sample.resistance:
            activity = sample.resistance * stream.normal(1.0, ACTIVITY_SD, len(tumour))
            logs += np.outer(activity * tumour, self.programme(row["treatment"]))
        shares = np.exp(logs)
        for genes, share in (
            (self.axis.mitochondrial, mitochondrial_share),
            (~self.axis.mitochondrial, 1 - mitochondrial_share),
        ):
            shares[:, genes] *= (share / shares[:, genes].sum(axis=1))[:, np.newaxis]
        return shares


def _few(sound: int) -> int:
    """Give the number of faulty cells of a kind in a sample: one in 25, at least one."""
    return max(1, sound // 25)


def _require_genes(axis: GeneAxis) -> None:
    absent = sorted(PLANTED - axis.by_name.keys())
    if absent or not axis.mitochondrial.any():
        raise ReleaseError(
            "the gene reference lacks genes that the simulator needs",
            column="organisms.human.genes",
            value=", ".join(absent) or "no mitochondrial gene",
            hint="Use the gene table of the demo release, releases/demo_genes.csv",
        )


# --- SYNTHETIC-1: three lines, two drugs, two batches -----------------------------------


def _treated_lines(model: _Model, simulation: Simulation, evidence: Path, mirror: Path) -> None:
    """Write batch 1 as a dense table, batch 2 as a 10x triplet with a table of its cells."""
    sound = simulation.cells_per_sample
    dense, triplet = (
        mirror / f"synthetic_batch_{part}" for part in ("1.counts.csv.gz", "2.matrix.mtx.gz")
    )
    first = list(_treated_samples("synthetic-batch-1", dense.name))
    second = list(_treated_samples("synthetic-batch-2", triplet.name))
    entries = [
        _dense_file(dense, model.file_cells(first, sound), model),
        *_triplet_files(triplet, model.file_cells(second, sound, _few(sound)), model.axis),
    ]
    _write_samples(evidence, [*first, *second])
    _write_manifest(
        evidence,
        simulation,
        entries,
        title="SYNTHETIC: survivors of two drugs in three cell lines and two batches",
        notes="Untreated cells are the control of both drugs, with a vehicle arm beside them in "
        "one line. The batches differ by an effect on each gene and hold the same arms, so that "
        "the batch says nothing of the response.",
    )


def _treated_samples(batch: str, file: str) -> Iterator[_Sample]:
    for line, exposure in EXPOSURES.items():
        controls = ["untreated", "vehicle"] if line == "synthetic-line-1" else ["untreated"]

        def row(name: str, line: str = line, **facts: str) -> dict[str, str]:
            identity = {"sample_id": f"{batch}.{line}.{name}", "barcode_key": f"{line}.{name}"}
            return _row(**identity, file=file, cell_line=line, batch=batch, **facts)

        for arm in controls:
            yield _Sample(row(arm, arm=arm))
        for drug, (dose, control_outcome) in DOSES.items():
            treated = row(
                drug.removeprefix("synthetic-"),
                arm="treated",
                treatment=drug,
                dose=dose,
                dose_unit="uM",
                exposure_days=exposure.days,
                outcome=exposure.outcome,
                proliferation=exposure.proliferation,
                control_samples=";".join(f"{batch}.{line}.{arm}" for arm in controls),
                control_outcome=control_outcome,
            )
            yield _Sample(treated, exposure.resistance)


def _dense_file(path: Path, cells: _Cells, model: _Model) -> dict[str, Any]:
    """Write genes by cells, with retired ids and spike-ins; barcodes begin with their key."""
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
    return _entry(path, "dense_text", {"orientation": "features_by_cells"}, rule)


def _triplet_files(path: Path, cells: _Cells, axis: GeneAxis) -> list[dict[str, Any]]:
    """Write a 10x triplet with versioned ids, and the source's table of samples and doublets."""
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
        _entry(path, "10x_mtx", lists, rule | doublets),
        _entry(features, "companion"),
        _entry(barcodes, "companion"),
        _entry(table, "cell_table"),
    ]


# --- SYNTHETIC-2: a resistant line and its parent, and patients -------------------------


def _other_designs(model: _Model, simulation: Simulation, evidence: Path, mirror: Path) -> None:
    """Write a file for each line and one for all tumours, as AnnData."""
    lines, tumours = list(_derived_lines()), list(_tumours())
    entries = []
    for samples, rule in (*(([line], "whole_file") for line in lines), (tumours, "cells")):
        cells = model.file_cells(samples, simulation.cells_per_sample)
        entries.append(_h5ad_file(mirror / samples[0].row["file"], cells, model.axis, rule))
    _write_calls(evidence, cells, uncalled=tumours[-1])
    _write_samples(evidence, [*lines, *tumours])
    _write_manifest(
        evidence,
        simulation,
        entries,
        title="SYNTHETIC: a resistant line and its parent, and tumours before treatment",
        notes="Seven tumours of patients who later responded or did not; the source calls the "
        "malignant cells of six. Nobody called those of the seventh, so it has no label.",
    )


def _derived_lines() -> Iterator[_Sample]:
    parental = _row(
        sample_id="synthetic-line-4.parental",
        file="synthetic_parental.h5ad",
        cell_line="synthetic-line-4",
        batch="synthetic-batch-3",
        collection="validation",
        arm="parental",
    )
    yield _Sample(parental)
    resistant = parental | {
        "sample_id": "synthetic-line-4.resistant",
        "file": "synthetic_resistant.h5ad",
        "cell_line": "synthetic-line-4-resistant",
        "arm": "resistant_line",
        "treatment": DRUG_A,
        "dose": "1",
        "dose_unit": "uM",
        "exposure_days": ">183",
        "outcome": "proliferating",
        "proliferation": "proliferating",
        "control_samples": "synthetic-line-4.parental",
        "control_outcome": "died",
    }
    yield _Sample(resistant, 1.0)


def _tumours() -> Iterator[_Sample]:
    """Give three responders, three non-responders, and a responder whose cells nobody called."""
    outcomes = ["responder", "non_responder"] * 3 + ["responder"]
    for number, outcome in enumerate(outcomes, start=1):
        row = _row(
            sample_id=f"synthetic-patient-{number}.before",
            patient_id=f"synthetic-patient-{number}",
            file="synthetic_tumours.h5ad",
            source_type="patient_tumour",
            batch="synthetic-batch-4",
            collection="validation",
            arm="pre_treatment",
            treatment=DRUG_A,
            lesion="primary",
            outcome=outcome,
            response_criterion="synthetic criterion",
        )
        yield _Sample(row, 0.85 if outcome == "non_responder" else 0.0)


def _h5ad_file(path: Path, cells: _Cells, axis: GeneAxis, rule: str) -> dict[str, Any]:
    """Write AnnData with gene names; without anndata, so that its version changes no byte."""
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
    return _entry(path, "h5ad", barcodes={"rule": rule})


def _write_calls(evidence: Path, cells: _Cells, uncalled: _Sample) -> None:
    """Write `cells.csv.gz`: the sample of each barcode, and what the source calls the cell."""
    lines = ["file,barcode,sample_id,cell_type,malignant"]
    for barcode, sample, tumour in zip(cells.barcodes, cells.samples, cells.tumour, strict=True):
        calls = f"{TUMOUR_CELL},malignant" if tumour else f"{OTHER_CELL},non_malignant"
        called = "," if sample is uncalled else calls
        lines.append(f"{sample.row['file']},{barcode},{sample.id},{called}")
    _write_gzip(evidence / "cells.csv.gz", lines)


# --- files ------------------------------------------------------------------------------


def _row(**columns: str) -> dict[str, str]:
    """Give a row of `samples.csv`: what all samples share, and its own columns."""
    return {
        "tissue": "synthetic",
        "source_type": "cell_line",
        "collection": "primary",
        "fact_sources": f"*={SIMULATOR}",
        "note": "synthetic: simulated counts, nothing was measured",
    } | columns


def _write_gzip(path: Path, lines: Iterable[str]) -> None:
    """Write text lines; without a time in the header the same text is the same bytes."""
    path.write_bytes(gzip.compress(("\n".join(lines) + "\n").encode(), compresslevel=6, mtime=0))


def _entry(
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


def _write_manifest(
    evidence: Path,
    simulation: Simulation,
    entries: list[dict[str, Any]],
    *,
    title: str,
    notes: str,
) -> None:
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


def _write_samples(evidence: Path, samples: Sequence[_Sample]) -> None:
    given = {column for sample in samples for column in sample.row}
    columns = [column for column in SampleEvidence.to_schema().columns if column in given]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(sample.row for sample in samples)
    (evidence / "samples.csv").write_text(text.getvalue(), encoding="utf-8")
