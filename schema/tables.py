"""Pandera models of the tables of a release, one class a Parquet file.

The models are the single source of truth: Parquet schemas (`arrow_schema`), the
Frictionless schemas of `datapackage.json` (`cellresponse.schema.descriptor`) and
the checks of `verify` all come from them. Columns are Arrow-backed, so that a
null is a null and never a NaN.
"""

from __future__ import annotations

from typing import Annotated, Any

import pandas as pd
import pandera.pandas as pr
import pyarrow as pa

from cellresponse.schema.errors import ReleaseError
from cellresponse.schema.vocabulary import words

__all__ = [
    "TABLES",
    "Cells",
    "Drugs",
    "Genes",
    "Labels",
    "Samples",
    "Splits",
    "Studies",
    "arrow_schema",
    "check_table",
]

Text = Annotated[pd.ArrowDtype, pa.string()]
Int = Annotated[pd.ArrowDtype, pa.int64()]
Real = Annotated[pd.ArrowDtype, pa.float64()]
Flag = Annotated[pd.ArrowDtype, pa.bool_()]

CELL_ID = r"^[0-9a-f]{24}$"
STUDY_ID = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"


def _word(vocabulary: str, description: str, *, nullable: bool = False) -> Any:
    """A text column that holds one word of a closed vocabulary."""
    return pr.Field(
        isin=list(words(vocabulary).words),
        nullable=nullable,
        description=description,
        metadata={"vocabulary": vocabulary},
    )


def _text(description: str, *, nullable: bool = False, pattern: str | None = None) -> Any:
    if pattern is None:
        return pr.Field(nullable=nullable, description=description)
    return pr.Field(nullable=nullable, description=description, str_matches=pattern)


class _Table(pr.DataFrameModel):
    class Config:
        strict = True
        ordered = True


class Studies(_Table):
    """One row a study of the release."""

    study_id: Text = pr.Field(
        unique=True, str_matches=STUDY_ID, description="Accession of the series with the files"
    )
    title: Text = _text("Title of the study")
    organism: Text = _word("organism", "Organism of the cells")
    doi: Text = _text("DOI of the paper", nullable=True)
    pmid: Text = _text("PubMed id of the paper", nullable=True)
    parent: Text = _text("Accession of the superseries", nullable=True)
    assays: Text = _text("Assays of its samples, separated by `;`")
    licence: Text = _text("Licence or terms of use of the counts")
    licence_url: Text = _text("Where the licence is stated", nullable=True)
    evidence_terms: Text = _text("Terms of use of the evidence resources", nullable=True)
    access: Text = _word("access", "Whether anyone may download the files")
    curator: Text = _text("Who curated the evidence")
    revision: Int = pr.Field(ge=1, description="Revision of the study's evidence")
    synthetic: Flag = pr.Field(description="True for simulated data")
    n_samples: Int = pr.Field(ge=0, description="Samples in the release")
    n_cells: Int = pr.Field(ge=0, description="Cells in the release")
    n_labelled_cells: Int = pr.Field(ge=0, description="Cells with at least one label")

    class Config(_Table.Config):
        unique = ["study_id"]


class Samples(_Table):
    """One row a sample, with the evidence that its labels rest on."""

    study_id: Text = _text("Study", pattern=STUDY_ID)
    sample_id: Text = pr.Field(unique=True, description="`<study>:<sample>`")
    file: Text = _text("File that holds the sample's counts")
    gsm: Text = _text("GEO sample accession", nullable=True)
    patient_id: Text = _text("Patient or donor", nullable=True)
    cell_line: Text = _text("Cell line", nullable=True)
    cancer_type: Text = _text("Cancer type", nullable=True)
    tissue: Text = _text("Tissue the cells were taken from", nullable=True)
    source_type: Text = _word("source_type", "What the cells are")
    assay: Text = _text("Single-cell assay", nullable=True)
    batch: Text = _text("Batch as named by the source", nullable=True)
    collection: Text = _word("collection", "Primary or validation collection")
    arm: Text = _word("arm", "Arm of the comparison")
    treatment: Text = _text("Treatment that the arm received (drug_id)", nullable=True)
    dose: Real = pr.Field(nullable=True, gt=0, description="Dose in `dose_unit`")
    dose_unit: Text = _word("dose_unit", "Unit of the dose", nullable=True)
    exposure_days_min: Real = pr.Field(
        nullable=True, ge=0, description="Shortest exposure that the source allows, days"
    )
    exposure_days_max: Real = pr.Field(
        nullable=True, ge=0, description="Longest exposure that the source allows, days"
    )
    time_point: Int = pr.Field(nullable=True, ge=0, description="Order in a time course")
    lesion: Text = _word("lesion", "Lesion the cells were taken from", nullable=True)
    outcome: Text = _word("outcome", "What became of the sampled cells or patient", nullable=True)
    control_outcome: Text = _word(
        "control_outcome", "What the treatment did to the control population", nullable=True
    )
    proliferation: Text = _word("proliferation", "Growth while under the drug", nullable=True)
    intrinsic_resistance: Text = _word(
        "intrinsic_resistance", "Resistance known before the exposure", nullable=True
    )
    response_criterion: Text = _text("Criterion of a clinical response", nullable=True)
    control_samples: Text = _text("Controls of this sample (sample_id, `;`)", nullable=True)
    fact_sources: Text = _text("Source of each fact, `fact=source;...`", nullable=True)
    n_cells: Int = pr.Field(ge=0, description="Cells in the release")


class Cells(_Table):
    """One row a physical cell that passed quality control."""

    cell_id: Text = pr.Field(
        unique=True, str_matches=CELL_ID, description="Hash of study, file and barcode"
    )
    study_id: Text = _text("Study", pattern=STUDY_ID)
    sample_id: Text = _text("Sample")
    barcode: Text = _text("Barcode as in the file")
    cell_line: Text = _text("Cell line", nullable=True)
    cell_type: Text = _text("Cell type as called by the source", nullable=True)
    malignant: Text = _word("malignant", "Malignant or not, as called by the source")
    doublet: Text = _word("doublet", "Doublet call of the source", nullable=True)
    n_counts: Int = pr.Field(ge=0, description="Counts over all input features but spike-ins")
    n_genes: Int = pr.Field(ge=0, description="Detected input features but spike-ins")
    pct_mito: Real = pr.Field(
        nullable=True,
        in_range={"min_value": 0, "max_value": 100},
        description="Mitochondrial counts, percent of n_counts; null: no such gene in the file",
    )
    row: Int = pr.Field(ge=0, description="Row of the cell in matrices/<study_id>.zarr")


class Labels(_Table):
    """One row a label: of one cell, or of every cell of a sample (cell_id null)."""

    study_id: Text = _text("Study", pattern=STUDY_ID)
    sample_id: Text = _text("Sample")
    cell_id: Text = _text("Cell; null: the whole sample", nullable=True, pattern=CELL_ID)
    drug_id: Text = _text("Treatment the label is about")
    response: Text = _word("response", "Response to the treatment")
    stars: Int = pr.Field(
        nullable=True, ge=1, le=3, description="Confidence of a resistant label; else null"
    )
    basis: Text = _word("basis", "Kind of comparison that the label rests on")
    rule_id: Text = _text("Label rule, and star rule where there are stars")
    evidence_ref: Text = _text("Facts the rule read, and where they were read")

    class Config(_Table.Config):
        unique = ["sample_id", "cell_id", "drug_id", "basis"]


class Drugs(_Table):
    """One row a treatment that a label or sample of the release names."""

    drug_id: Text = pr.Field(unique=True, description="Treatment")
    name: Text = _text("Preferred name")
    kind: Text = _text("single agent, or regimen of several")
    components: Text = _text("drug_ids of a regimen, separated by `;`", nullable=True)
    drug_class: Text = _word("drug_class", "Class of the treatment", nullable=True)
    synonyms: Text = _text("Other names, separated by `;`", nullable=True)
    chembl_id: Text = _text("ChEMBL id", nullable=True)
    pubchem_cid: Text = _text("PubChem compound id", nullable=True)
    drugbank_id: Text = _text("DrugBank id", nullable=True)
    cas: Text = _text("CAS registry number", nullable=True)


class Genes(_Table):
    """One row a gene of an organism's axis; `position` is its matrix column."""

    organism: Text = _word("organism", "Organism")
    position: Int = pr.Field(ge=0, description="Column in every matrix of the organism")
    gene_id: Text = _text("Stable gene id")
    gene_name: Text = _text("Gene name; the id where there is none")
    contig: Text = _text("Chromosome or scaffold")

    class Config(_Table.Config):
        unique = ["organism", "gene_id"]


class Splits(_Table):
    """One row a group of cells of a task, with the fold that tests on it.

    A split of a task that cannot be made is one row without a group, which says why. A
    group without a fold is never tested: it trains in every fold.
    """

    task_id: Text = _text("Task: track, collection, organism, category and drug")
    track: Text = _word("track", "Track that the task belongs to")
    collection: Text = _word(
        "collection", "Collection of its samples; null: both, one held out", nullable=True
    )
    organism: Text = _word("organism", "Organism of its cells")
    by: Text = _word("category", "Kind of the task's category")
    category: Text = _text("Category")
    drug_id: Text = _text("Treatment; null: several, and each cell has one", nullable=True)
    bases: Text = _text("Bases of its labels, separated by `;`")
    split: Text = _word("split", "What is never on both sides")
    group_id: Text = _text("Group of cells; null: the split cannot be made", nullable=True)
    fold: Int = pr.Field(nullable=True, ge=0, description="Fold that tests on it; null: none")
    k: Int = pr.Field(nullable=True, ge=1, description="Folds of the split")
    n_sensitive: Int = pr.Field(ge=0, description="Sensitive cells of the group, or of the task")
    n_resistant: Int = pr.Field(ge=0, description="Resistant cells of the group, or of the task")
    n_contradicting: Int = pr.Field(
        ge=0, description="Cells that the task leaves out: their labels contradict each other"
    )
    not_evaluable: Text = _text("Why no fold tests on it", nullable=True)

    class Config(_Table.Config):
        unique = ["task_id", "split", "group_id"]


TABLES: dict[str, type[_Table]] = {
    "studies": Studies,
    "samples": Samples,
    "cells": Cells,
    "labels": Labels,
    "drugs": Drugs,
    "genes": Genes,
    "splits": Splits,
}
"""Tables of a release by file stem."""


def arrow_schema(model: type[pr.DataFrameModel]) -> pa.Schema:
    """Arrow schema of a model, in column order.

    Examples
    --------
    >>> arrow_schema(Labels).field("stars").type
    DataType(int64)
    """
    columns = model.to_schema().columns
    return pa.schema(
        [
            pa.field(name, column.dtype.type.pyarrow_dtype, nullable=column.nullable)
            for name, column in columns.items()
        ]
    )


def check_table(table: pa.Table, model: type[pr.DataFrameModel], *, file: str) -> None:
    """Check every row of a table eagerly.

    Parameters
    ----------
    table
        The rows, as read from Parquet or about to be written.
    model
        One of `TABLES`.
    file
        Name for messages.

    Raises
    ------
    ReleaseError
        At the first column, type or value that the model does not allow.
    """
    expected = arrow_schema(model)
    if table.schema.names != expected.names:
        raise ReleaseError(
            "the columns are not those of the schema",
            file=file,
            value=", ".join(table.schema.names),
            allowed=expected.names,
        )
    frame = table.to_pandas(types_mapper=pd.ArrowDtype)
    try:
        model.validate(frame, lazy=True)
    except pr.errors.SchemaErrors as error:
        case = error.failure_cases.iloc[0]
        raise ReleaseError(
            f"fails the check {case['check']}",
            file=file,
            row=None if pd.isna(case["index"]) else int(case["index"]) + 1,
            column=str(case["column"]),
            value=case["failure_case"],
        ) from None
