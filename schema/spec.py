"""Typed model of a release spec, `releases/<name>.yaml`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from cellresponse.schema.study import Accession, Name, Sha256, Text, Url, form, word
from cellresponse.schema.yaml_file import Strict

__all__ = [
    "GeneReference",
    "OrganismSpec",
    "QcThresholds",
    "ReleaseSpec",
    "Simulation",
    "StudySpec",
]

SCHEMA_VERSION = 1


class PinnedFile(Strict):
    """A file by address, checksum and size."""

    name: Name
    url: Url
    sha256: Sha256
    bytes: PositiveInt


class GeneReference(Strict):
    """Where an organism's gene axis comes from.

    Either a GTF (`url`, downloaded and cached) or a gene table inside the package
    (`table`). `table_sha256` is taken over the parsed (id, name, contig) rows, so it
    holds for any file, compressed or not, that says the same.
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


class StudySpec(Strict):
    """A study of the release, at the revision that the spec was written for."""

    revision: PositiveInt


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
    previous: str | None = None
    """Release to compare counts with; None: the first."""
    explained_losses: dict[str, Text] = {}
    """Reason for each count that drops against `previous`: `studies`, `cells`, ..."""
    organisms: dict[Annotated[str, word("organism")], OrganismSpec] = Field(min_length=1)
    studies: dict[Accession, StudySpec] = Field(min_length=1)
    simulation: Simulation | None = None
