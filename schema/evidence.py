"""Pandera models of the evidence tables that curators type: one class a CSV file.

Every column has a type, a description and, where its words are controlled, the
name of the vocabulary they resolve in; where they have a pattern, the form that a
contributor reads in its place. `cellresponse.curation.evidence_table`
reads the files; the root `datapackage.json` is generated from the same models.
"""

from __future__ import annotations

from typing import Annotated, Any

import pandas as pd
import pandera.pandas as pr
import pyarrow as pa

__all__ = ["EVIDENCE_TABLES", "CellAssignments", "DoseResponse", "SampleEvidence"]

Text = Annotated[pd.ArrowDtype, pa.string()]
Int = Annotated[pd.ArrowDtype, pa.int64()]
Real = Annotated[pd.ArrowDtype, pa.float64()]

SAMPLE = r"^[A-Za-z0-9][A-Za-z0-9._+-]*$"
DAYS = r"[0-9]{1,5}([.][0-9]{1,3})?"
EXPOSURE = f"^([<>]=?{DAYS}|{DAYS}(-{DAYS})?)$"
FACT_SOURCE = "([a-z_]+|[*])=[a-z0-9_]+"
FACT_SOURCES = f"^{FACT_SOURCE}(;{FACT_SOURCE})*$"


def _column(
    description: str,
    *,
    nullable: bool = True,
    vocabulary: str | None = None,
    pattern: str | None = None,
    form: str | None = None,
    **checks: Any,
) -> Any:
    metadata = {"vocabulary": vocabulary, "form": form}
    if pattern:
        checks["str_matches"] = pattern
    return pr.Field(nullable=nullable, description=description, metadata=metadata, **checks)


class _Evidence(pr.DataFrameModel):
    class Config:
        strict = True


class SampleEvidence(_Evidence):
    """`samples.csv`: one row a sample; identity, and the facts its labels rest on."""

    sample_id: Text = _column(
        "Name of the sample, unique in the study",
        nullable=False,
        unique=True,
        pattern=SAMPLE,
        form="a name that begins with a letter or digit; then also `.`, `_`, `+` and `-`",
    )
    file: Text = _column(
        "File of `study.yaml` that holds the counts; a study that is ready names it"
    )
    barcode_key: Text = _column("Key that the file's barcode rule gives this sample's barcodes")
    gsm: Text = _column(
        "GEO sample accession", pattern="^GSM[0-9]+$", form="GSM and digits, such as GSM4494349"
    )
    patient_id: Text = _column("Patient or donor")
    cell_line: Text = _column("Cell line", vocabulary="cell_lines")
    cancer_type: Text = _column("Cancer type", vocabulary="cancer_types")
    tissue: Text = _column("Tissue the cells were taken from")
    source_type: Text = _column(
        "What the cells are; a study that is ready says it", vocabulary="source_type"
    )
    assay: Text = _column("Single-cell assay", vocabulary="assays")
    batch: Text = _column("Batch as named by the source")
    collection: Text = _column(
        "Primary or validation collection", nullable=False, vocabulary="collection"
    )
    arm: Text = _column("Arm of the comparison; a study that is ready says it", vocabulary="arm")
    treatment: Text = _column(
        "Drug, or regimen as `a + b`, that the arm received", vocabulary="treatments"
    )
    dose: Real = _column("Dose in dose_unit", gt=0)
    dose_unit: Text = _column("Unit of the dose", vocabulary="dose_unit")
    exposure_days: Text = _column(
        "Days under the drug: a number, `30-60`, `>183` (more than six months) or `<30`",
        pattern=EXPOSURE,
        form="a number of days from 0, a range `30-60`, `>183` or `<30`",
    )
    time_point: Int = _column("Order of the arm in a time course, from 0", ge=0)
    lesion: Text = _column("Lesion the cells were taken from", vocabulary="lesion")
    outcome: Text = _column(
        "What became of the sampled cells, or of the patient", vocabulary="outcome"
    )
    control_samples: Text = _column("Samples that are this one's control, separated by `;`")
    control_outcome: Text = _column(
        "What the treatment did to the control population", vocabulary="control_outcome"
    )
    proliferation: Text = _column("Growth while under the drug", vocabulary="proliferation")
    intrinsic_resistance: Text = _column(
        "Resistance known before the exposure", vocabulary="intrinsic_resistance"
    )
    response_criterion: Text = _column("Criterion of a clinical response")
    fact_sources: Text = _column(
        "Where each fact was read: `fact=source;...`, `*` for all others; "
        "sources are keys of `study.yaml`",
        pattern=FACT_SOURCES,
        form="`fact=source;fact=source` without spaces, such as `outcome=smith2020;*=geo`",
    )
    note: Text = _column("Remark for readers; no rule reads it")


class CellAssignments(_Evidence):
    """`cells.csv.gz`: what the source says of single cells; never a response."""

    file: Text = _column("File of `study.yaml` that holds the counts", nullable=False)
    barcode: Text = _column("Barcode as in the file", nullable=False)
    sample_id: Text = _column("Sample of the cell", nullable=False)
    cell_line: Text = _column("Cell line", vocabulary="cell_lines")
    cell_type: Text = _column("Cell type as called by the source")
    malignant: Text = _column("Malignant or not, as called by the source", vocabulary="malignant")
    doublet: Text = _column("Doublet call of the source", vocabulary="doublet")

    class Config(_Evidence.Config):
        unique = ["file", "barcode"]


class DoseResponse(_Evidence):
    """`dose_response.csv`: measured sensitivity of the study's cell lines, one row a pair."""

    cell_line: Text = _column("Cell line", nullable=False, vocabulary="cell_lines")
    treatment: Text = _column("Drug", nullable=False, vocabulary="treatments")
    ln_ic50: Real = _column("Natural logarithm of the IC50 in uM", nullable=False)
    q25_ln_ic50: Real = _column(
        "First quartile of ln_ic50 over all lines that the resource tested", nullable=False
    )
    median_ln_ic50: Real = _column(
        "Median of ln_ic50 over all lines that the resource tested", nullable=False
    )
    n_lines_tested: Int = _column(
        "Lines that the resource tested with the drug", nullable=False, ge=1
    )
    intrinsic_resistance: Text = _column(
        "Resistance that a cited fact beyond the IC50 shows", vocabulary="intrinsic_resistance"
    )
    source: Text = _column("Key of the resource in `study.yaml`", nullable=False)
    intrinsic_source: Text = _column("Key of the source of intrinsic_resistance")

    class Config(_Evidence.Config):
        unique = ["cell_line", "treatment"]


EVIDENCE_TABLES: dict[str, type[_Evidence]] = {
    "samples.csv": SampleEvidence,
    "cells.csv.gz": CellAssignments,
    "dose_response.csv": DoseResponse,
}
"""Evidence tables of a study by file name; only `samples.csv` is obligatory."""
