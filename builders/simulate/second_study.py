"""The second synthetic study: a resistant line and its parent, and tumours of patients."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from cellresponse.builders.simulate.expression import Model, Sample
from cellresponse.builders.simulate.files import (
    sample_row,
    write_calls,
    write_h5ad,
    write_manifest,
    write_samples,
)
from cellresponse.builders.simulate.programme import DRUG_A
from cellresponse.schema.spec import Simulation

__all__ = ["write_second_study"]


def write_second_study(model: Model, simulation: Simulation, evidence: Path, mirror: Path) -> None:
    """Write a file for each line and one for all tumours, as AnnData.

    Parameters
    ----------
    model
        Model of the counts.
    simulation
        Seed, and the number of sound cells in each sample.
    evidence, mirror
        Existing folders of the study: for its evidence, and for its files.
    """
    lines, tumours = list(_derived_lines()), list(_tumours())
    entries = []
    for samples, rule in (*(([line], "whole_file") for line in lines), (tumours, "cells")):
        cells = model.file_cells(samples, simulation.cells_per_sample)
        entries.append(write_h5ad(mirror / samples[0].row["file"], cells, model.axis, rule))
    write_calls(evidence, cells, uncalled=tumours[-1])
    write_samples(evidence, [*lines, *tumours])
    write_manifest(
        evidence,
        simulation,
        entries,
        title="SYNTHETIC: a resistant line and its parent, and tumours before treatment",
        notes="Seven tumours of patients who later responded or did not; the source calls the "
        "malignant cells of six. Nobody called those of the seventh, so it has no label.",
    )


def _derived_lines() -> Iterator[Sample]:
    parental = sample_row(
        sample_id="synthetic-line-4.parental",
        file="synthetic_parental.h5ad",
        cell_line="synthetic-line-4",
        batch="synthetic-batch-3",
        collection="validation",
        arm="parental",
    )
    yield Sample(parental)
    resistant = parental | {
        "sample_id": "synthetic-line-4.resistant",
        "file": "synthetic_resistant.h5ad",
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
    yield Sample(resistant, 1.0)


def _tumours() -> Iterator[Sample]:
    """Give three responders, three non-responders, and a responder whose cells nobody called."""
    outcomes = ["responder", "non_responder"] * 3 + ["responder"]
    for number, outcome in enumerate(outcomes, start=1):
        row = sample_row(
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
        yield Sample(row, 0.85 if outcome == "non_responder" else 0.0)
