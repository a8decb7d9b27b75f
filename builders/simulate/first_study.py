"""The first synthetic study: three lines, two drugs, two batches, shared controls."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from cellresponse.builders.simulate.expression import Model, Sample, few_faulty
from cellresponse.builders.simulate.files import (
    sample_row,
    write_dense_table,
    write_manifest,
    write_samples,
    write_triplet,
)
from cellresponse.builders.simulate.programme import DRUG_A, DRUG_B
from cellresponse.schema.spec import Simulation

__all__ = ["write_first_study"]


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


def write_first_study(model: Model, simulation: Simulation, evidence: Path, mirror: Path) -> None:
    """Write batch 1 as a dense table, batch 2 as a 10x triplet with a table of its cells.

    Parameters
    ----------
    model
        Model of the counts.
    simulation
        Seed, and the number of sound cells in each sample.
    evidence, mirror
        Existing folders of the study: for its evidence, and for its files.
    """
    sound = simulation.cells_per_sample
    dense, triplet = (
        mirror / f"synthetic_batch_{part}" for part in ("1.counts.csv.gz", "2.matrix.mtx.gz")
    )
    first = list(_treated_samples("synthetic-batch-1", dense.name))
    second = list(_treated_samples("synthetic-batch-2", triplet.name))
    entries = [
        write_dense_table(dense, model.file_cells(first, sound), model),
        *write_triplet(triplet, model.file_cells(second, sound, few_faulty(sound)), model.axis),
    ]
    write_samples(evidence, [*first, *second])
    write_manifest(
        evidence,
        simulation,
        entries,
        title="SYNTHETIC: survivors of two drugs in three cell lines and two batches",
        notes="Untreated cells are the control of both drugs, with a vehicle arm beside them in "
        "one line. The batches differ by an effect on each gene and hold the same arms, so that "
        "the batch says nothing of the response.",
    )


def _treated_samples(batch: str, file: str) -> Iterator[Sample]:
    for line, exposure in EXPOSURES.items():
        controls = ["untreated", "vehicle"] if line == "synthetic-line-1" else ["untreated"]

        def row(name: str, line: str = line, **facts: str) -> dict[str, str]:
            identity = {"sample_id": f"{batch}.{line}.{name}", "barcode_key": f"{line}.{name}"}
            return sample_row(**identity, file=file, cell_line=line, batch=batch, **facts)

        for arm in controls:
            yield Sample(row(arm, arm=arm))
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
            yield Sample(treated, exposure.resistance)
