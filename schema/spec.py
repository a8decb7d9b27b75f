"""Typed model of a release spec, `releases/<name>.yaml`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    Field,
    NonNegativeInt,
    PositiveInt,
    PrivateAttr,
    model_validator,
)
from pydantic_core import PydanticCustomError

from cellresponse.schema.errors import EvidenceError
from cellresponse.schema.study import Accession, Name, Sha256, Text, Url, form, word
from cellresponse.schema.version import SCHEMA_VERSION
from cellresponse.schema.vocabulary import cancer_types, treatment_id
from cellresponse.schema.yaml_file import Strict

__all__ = [
    "CohortSpec",
    "DeclaredTask",
    "GeneReference",
    "OrganismSpec",
    "QcThresholds",
    "ReleaseSpec",
    "Simulation",
    "StudySpec",
    "TaskLabels",
]


def _treatment(value: str) -> str:
    """Accept any spelling of a treatment, keep its id."""
    try:
        return treatment_id(value)
    except EvidenceError as error:
        raise PydanticCustomError(
            "treatment", "{problem}", {"problem": error.problem, "allowed": error.allowed}
        ) from None


def _cancer_type(value: str) -> str:
    """Accept any spelling of a cancer type, keep its id."""
    try:
        return cancer_types().resolve(value).id
    except EvidenceError as error:
        raise PydanticCustomError(
            "cancer_type", "{problem}", {"problem": error.problem, "allowed": error.allowed}
        ) from None


class PinnedFile(Strict):
    """A file by address, checksum and size."""

    name: Name
    url: Url
    sha256: Sha256
    bytes: PositiveInt


class GeneReference(Strict):
    """Where an organism's gene axis comes from.

    Either a file of the web (`url`, downloaded and cached) or a file beside the spec
    (`table`): a GTF, a GFF3, or a CSV of gene_id, gene_name and contig. `table_sha256`
    is taken over the parsed (id, name, contig) rows, so it holds for any file,
    compressed or not, that says the same.
    """

    source: Text
    release: Text
    url: Url | None = None
    table: Name | None = None
    table_sha256: Sha256
    mitochondrial_contig: str | None = None
    """None: the organism has none (bacteria)."""
    aliases: PinnedFile | None = None
    """Former and alias symbols, in the format of HGNC's complete set; None: none are used."""

    @model_validator(mode="after")
    def _one_origin(self) -> GeneReference:
        if (self.url is None) == (self.table is None):
            raise ValueError("a gene reference has either a url or a table")
        return self


class QcThresholds(Strict):
    """A cell stays when it has at least `min_genes` and at most `max_pct_mito`."""

    min_genes: NonNegativeInt
    max_pct_mito: Annotated[float, Field(ge=0, le=100)] | None = None
    """Percent of counts; None: not tested."""


class OrganismSpec(Strict):
    """Gene reference and thresholds of one organism."""

    genes: GeneReference
    qc: QcThresholds

    @model_validator(mode="after")
    def _measurable(self) -> OrganismSpec:
        if self.qc.max_pct_mito is not None and self.genes.mitochondrial_contig is None:
            raise ValueError("max_pct_mito needs the mitochondrial_contig of the genes")
        return self


class StudySpec(Strict):
    """A study of the release, at the revision that the spec was written for."""

    revision: PositiveInt
    units: Literal["study", "batch"] = "study"
    """What the cross track leaves out: the whole study, or one named batch of it at a time."""


class TaskLabels(Strict):
    """The labels of one study, treatment and basis."""

    study: Accession
    drug: Annotated[str, AfterValidator(_treatment)]
    basis: Annotated[str, word("basis")]


class DeclaredTask(Strict):
    """A benchmark task made of named labels rather than of a category."""

    name: Annotated[str, form(r"[a-z0-9][a-z0-9_-]*", "small letters, digits, `_` and `-`")]
    labels: list[TaskLabels] = Field(min_length=1)

    @model_validator(mode="after")
    def _one_drug_by_ic50(self) -> DeclaredTask:
        if len({part.drug for part in self.labels}) > 1 and any(
            part.basis == "cell_line_ic50" for part in self.labels
        ):
            raise ValueError("labels by IC50 enter tasks of a single drug only")
        return self


class CohortSpec(Strict):
    """Cells of one cancer type and drug, integrated over batches."""

    name: Annotated[str, form(r"[a-z0-9][a-z0-9_-]*", "small letters, digits, `_` and `-`")]
    cancer_type: Annotated[str, AfterValidator(_cancer_type)]
    drug: Annotated[str, AfterValidator(_treatment)]
    studies: list[Accession] = Field(min_length=1)
    batch: Literal["study", "batch"]
    """What is corrected for: differences between studies, or between their named batches."""
    n_top_genes: PositiveInt = 2000
    n_pcs: PositiveInt = 30
    seed: NonNegativeInt = 0


class Simulation(Strict):
    """Parameters of the built-in simulator; its cells are synthetic."""

    design: Literal["demo"]
    seed: NonNegativeInt
    cells_per_sample: PositiveInt


class ReleaseSpec(Strict):
    """What a release is made of. The same spec and sources give the same content hash."""

    release: Annotated[
        str,
        form(
            r"\d{4}-(0[1-9]|1[0-2])|[a-z][a-z0-9-]*",
            "a month such as 2025-06, or a name of small letters, digits and `-`",
        ),
    ]
    schema_version: Annotated[int, Field(ge=1, le=SCHEMA_VERSION)]
    title: Text
    description: str | None = None
    repo: Annotated[str, form(r"[\w.-]+/[\w.-]+", "ORG/NAME")] | None = None
    """Dataset repository on the Hub that the release is published in; None: nowhere."""
    previous: str | None = None
    """Release to compare counts with; None: the first."""
    explained_losses: dict[str, Text] = {}
    """Reason for each count that drops against `previous`: `studies`, `cells`, ..."""
    organisms: dict[Annotated[str, word("organism")], OrganismSpec] = Field(min_length=1)
    studies: dict[Accession, StudySpec] = Field(min_length=1)
    tasks: list[DeclaredTask] = []
    """Benchmark tasks beside those that the categories give."""
    cohorts: list[CohortSpec] = []
    expression: bool = False
    """Whether the counts are also written as Parquet, one row a cell."""
    simulation: Simulation | None = None
    _folder: Path | None = PrivateAttr(default=None)
    _file: str | None = PrivateAttr(default=None)

    @property
    def folder(self) -> Path | None:
        """Folder of the spec's file, with its gene tables; None: the one of the package."""
        return self._folder

    @property
    def file(self) -> str:
        """The spec's file, as messages name it."""
        return self._file or f"releases/{self.release}.yaml"

    def read_from(self, folder: Path, file: str) -> ReleaseSpec:
        """Remember the folder of the spec's file, and how messages name the file."""
        self._folder, self._file = folder, file
        return self

    @model_validator(mode="after")
    def _of_the_release(self) -> ReleaseSpec:
        """Tasks and cohorts have names of their own, and studies of the release."""
        named = [(task.name, {part.study for part in task.labels}) for task in self.tasks]
        sets = [(cohort.name, set(cohort.studies)) for cohort in self.cohorts]
        for kind, described in (("task", named), ("cohort", sets)):
            names = [name for name, _ in described]
            if twice := sorted(name for name in set(names) if names.count(name) > 1):
                raise ValueError(f"two {kind}s have the name {twice[0]}")
            for name, studies in described:
                if strange := sorted(studies - self.studies.keys()):
                    raise ValueError(
                        f"the {kind} {name} names {strange[0]}, which is no study of the release"
                    )
        return self
