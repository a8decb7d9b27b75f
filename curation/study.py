"""Load one study folder: manifest and evidence tables, checked against each other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from cellresponse.curation.evidence_table import no_evidence, read_evidence
from cellresponse.curation.facts import known_rows, sample_facts
from cellresponse.curation.leftovers import manifest_leftovers
from cellresponse.curation.sample_checks import row_problems
from cellresponse.curation.table_checks import cell_problems, dose_response_problems, file_problems
from cellresponse.schema.errors import CellResponseError, EvidenceError, Problems, raise_all
from cellresponse.schema.evidence import EVIDENCE_TABLES, SampleEvidence
from cellresponse.schema.rules import SampleFacts
from cellresponse.schema.study import StudyManifest
from cellresponse.schema.yaml_file import read_yaml

__all__ = ["Study", "load_study", "study_folders"]


@dataclass(frozen=True)
class Study:
    """A study as curated.

    Attributes
    ----------
    folder
        Where it was read from.
    manifest
        `study.yaml`.
    samples
        `samples.csv`, one row a sample; index: line in the file. Empty where an
        excluded study has none.
    cells
        `cells.csv.gz`; None where the source assigns no single cells.
    dose_response
        `dose_response.csv`; None where the study has none.
    """

    folder: Path
    manifest: StudyManifest
    samples: pd.DataFrame
    cells: pd.DataFrame | None
    dose_response: pd.DataFrame | None

    @property
    def study_id(self) -> str:
        """Accession, which is the folder's name."""
        return self.manifest.study_id

    def file_name(self, file: str) -> str:
        """Name one of its files for a message."""
        return _name(self.folder, file)

    def facts(self) -> dict[str, SampleFacts]:
        """Facts of every sample, typed for the rules, by sample id."""
        return {row["sample_id"]: sample_facts(row) for _, row in known_rows(self.samples)}


def study_folders(root: Path) -> list[Path]:
    """Give the study folders under a curation folder, by name."""
    return sorted(path.parent for path in root.glob("*/study.yaml"))


def load_study(folder: Path) -> Study:
    """Read and check a study folder.

    Parameters
    ----------
    folder
        Folder with `study.yaml` and `samples.csv`, and `cells.csv.gz` and
        `dose_response.csv` where the study has them.

    Raises
    ------
    EvidenceError, Problems
        Every mistake found, each with file, row, column, value and what is allowed.
    """
    manifest_file = folder / "study.yaml"
    if not manifest_file.exists():
        raise EvidenceError(
            "there is no study.yaml", file=folder.name, hint="See CONTRIBUTING for a study's files"
        )
    _refuse_leftovers(folder)
    manifest = read_yaml(manifest_file, StudyManifest, name=_name(folder, "study.yaml"))
    if manifest.study_id != folder.name:
        raise EvidenceError(
            "the study is not named like its folder",
            file=_name(folder, "study.yaml"),
            column="study_id",
            value=manifest.study_id,
            allowed=folder.name,
        )
    _refuse_strangers(folder)
    # What is ruled out needs a reason, not evidence.
    needed = () if manifest.status == "excluded" else ("samples.csv",)
    tables = {
        file: read_evidence(folder / file, model, name=_name(folder, file))
        for file, model in EVIDENCE_TABLES.items()
        if file in needed or (folder / file).exists()
    }
    study = Study(
        folder,
        manifest,
        tables["samples.csv"] if "samples.csv" in tables else no_evidence(SampleEvidence),
        tables.get("cells.csv.gz"),
        tables.get("dose_response.csv"),
    )
    raise_all(_contradictions(study))
    return study


def _name(folder: Path, file: str) -> str:
    return f"{folder.name}/{file}"


def _refuse_leftovers(folder: Path) -> None:
    """A manifest with placeholders: name them together with what is wrong in the tables."""
    problems: list[CellResponseError] = list(
        manifest_leftovers(folder / "study.yaml", name=_name(folder, "study.yaml"))
    )
    if not problems:
        return
    for file, model in EVIDENCE_TABLES.items():
        try:
            if (folder / file).exists():
                read_evidence(folder / file, model, name=_name(folder, file))
        except Problems as several:
            problems += several.problems
        except CellResponseError as error:
            problems.append(error)
    raise_all(problems)


def _refuse_strangers(folder: Path) -> None:
    known = {"study.yaml", "README.md", *EVIDENCE_TABLES}
    strangers = sorted(path.name for path in folder.iterdir() if path.name not in known)
    raise_all(
        EvidenceError(
            "a file that no step reads",
            file=_name(folder, stranger),
            allowed=sorted(known),
            hint="Remove it, or rename it",
        )
        for stranger in strangers
    )


def _contradictions(study: Study) -> Iterator[CellResponseError]:
    """Everything that single columns cannot show."""
    facts = study.facts()
    for line, row in known_rows(study.samples):
        for problem, column, allowed in row_problems(study, facts, row):
            yield EvidenceError(
                problem,
                file=study.file_name("samples.csv"),
                row=line,
                column=column,
                value=row[column],
                allowed=allowed,
            )
    if study.manifest.status == "ready":
        yield from file_problems(study)
    yield from cell_problems(study)
    yield from dose_response_problems(study)
