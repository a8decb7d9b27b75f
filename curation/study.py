"""Load one study folder: manifest and evidence tables, checked against each other."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from cellresponse.curation.evidence_table import no_evidence, read_evidence
from cellresponse.curation.leftovers import manifest_leftovers
from cellresponse.schema.errors import CellResponseError, EvidenceError, Problems, raise_all
from cellresponse.schema.evidence import EVIDENCE_TABLES, SampleEvidence
from cellresponse.schema.rules import (
    AFTER_DRUG_ARMS,
    COMPARED_ARMS,
    CONTROL_ARMS,
    SampleFacts,
)
from cellresponse.schema.study import StudyManifest
from cellresponse.schema.yaml_file import read_yaml

__all__ = [
    "FACTS",
    "Study",
    "exposure_range",
    "fact_sources",
    "known_rows",
    "load_study",
    "study_folders",
]

FACTS = (
    "arm",
    "treatment",
    "dose",
    "exposure_days",
    "time_point",
    "lesion",
    "outcome",
    "control_outcome",
    "proliferation",
    "intrinsic_resistance",
    "response_criterion",
)
"""Columns of `samples.csv` that are evidence: each filled one names its source."""

STRICTLY_MORE = re.compile(">(?!=)")

SCREEN_COLUMNS = ("q25_ln_ic50", "median_ln_ic50", "n_lines_tested", "source")
"""Columns of `dose_response.csv` that describe the drug's screen, not the line."""

CONTROL_HAS = "empty; the treated sample names its controls, and says what the drug did to them"

UNEXPOSED_ARMS = CONTROL_ARMS | {"pre_treatment"}
EXPOSED_ARMS = AFTER_DRUG_ARMS - {"surviving_lineage"}

NEEDED_TO_BUILD = ("file", "source_type", "arm")
"""Columns of `samples.csv` that may be empty only while the study is not ready."""

AFTER_DRUG_EVIDENCE = (
    "exposure_days",
    "outcome",
    "lesion",
    "proliferation",
    "intrinsic_resistance",
)


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

    def facts(self) -> dict[str, SampleFacts]:
        """Facts of every sample, typed for the rules, by sample id."""
        return {row["sample_id"]: _sample_facts(row) for _, row in known_rows(self.samples)}


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


def fact_sources(text: str | None) -> dict[str, str]:
    """Parse `fact=source;...`; the fact `*` stands for all others.

    Examples
    --------
    >>> fact_sources("outcome=smith2020;*=geo")
    {'outcome': 'smith2020', '*': 'geo'}
    """
    if not text:
        return {}
    return dict(part.split("=", 1) for part in text.split(";"))


def exposure_range(text: str | None) -> tuple[float | None, float | None]:
    """Give the shortest and longest exposure in days; None where it is open.

    Examples
    --------
    >>> exposure_range("30-60"), exposure_range(">180"), exposure_range("11")
    ((30.0, 60.0), (180.0, None), (11.0, 11.0))
    """
    if not text:
        return None, None
    number = text.lstrip("<>=")
    if text.startswith(">"):
        return float(number), None
    if text.startswith("<"):
        return 0.0, float(number)
    low, _, high = number.partition("-")
    return float(low), float(high or low)


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


def known_rows(table: pd.DataFrame) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the line in the file and the values of each row; None where not known."""
    for line, row in zip(table.index, table.to_dict(orient="records"), strict=True):
        yield int(line), {str(key): None if pd.isna(each) else each for key, each in row.items()}


def _sample_facts(row: dict[str, Any]) -> SampleFacts:
    low, high = exposure_range(row["exposure_days"])
    if low is not None and STRICTLY_MORE.match(row["exposure_days"]):
        low = math.nextafter(low, math.inf)  # so that ">183" is more than 183
    controls = str(row["control_samples"] or "")
    return SampleFacts(
        **{
            key: row[key]
            for key in (
                "sample_id",
                "arm",
                "source_type",
                "treatment",
                "time_point",
                "lesion",
                "outcome",
                "control_outcome",
                "proliferation",
                "intrinsic_resistance",
            )
        },
        exposure_days_min=low,
        exposure_days_max=high,
        control_samples=tuple(part.strip() for part in controls.split(";") if part.strip()),
    )


def _contradictions(study: Study) -> Iterator[CellResponseError]:
    """Everything that single columns cannot show."""
    facts = study.facts()
    for line, row in known_rows(study.samples):
        for problem, column, allowed in _row_problems(study, facts, row):
            yield EvidenceError(
                problem,
                file=_name(study.folder, "samples.csv"),
                row=line,
                column=column,
                value=row[column],
                allowed=allowed,
            )
    if study.manifest.status == "ready":
        yield from _file_problems(study)
    yield from _cell_problems(study)
    yield from _dose_response_problems(study)


type Problem = tuple[str, str, str | list[str] | None]


def _row_problems(
    study: Study, facts: dict[str, SampleFacts], row: dict[str, Any]
) -> Iterator[Problem]:
    sample = facts[row["sample_id"]]
    if (row["dose"] is None) != (row["dose_unit"] is None):
        yield "dose and dose_unit belong together", "dose_unit", "both, or neither"
    if sample.arm in CONTROL_ARMS:
        for fact in ("treatment", "dose", "outcome"):
            if row[fact] is not None:
                yield f"the control arm {sample.arm} receives no drug", fact, CONTROL_HAS
    if study.manifest.status == "ready":
        yield from _gaps(sample, row)
    yield from _exposure_problems(sample)
    yield from _control_problems(facts, sample)
    yield from _source_problems(study, row)


def _gaps(sample: SampleFacts, row: dict[str, Any]) -> Iterator[Problem]:
    """Facts that a study may lack until it is ready; until then `validate` lists them."""
    for column in NEEDED_TO_BUILD:
        if row[column] is None:
            yield "a study that is ready needs it", column, None
    if sample.arm and sample.arm not in CONTROL_ARMS and not sample.treatment:
        yield f"the arm {sample.arm} needs a treatment", "treatment", "a drug, or a regimen a + b"
    if sample.arm in AFTER_DRUG_ARMS and not any(row[fact] for fact in AFTER_DRUG_EVIDENCE):
        yield (
            f"the arm {sample.arm} has no evidence of what became of its cells",
            "outcome",
            f"at least one of {', '.join(AFTER_DRUG_EVIDENCE)}, with its source",
        )


def _exposure_problems(sample: SampleFacts) -> Iterator[Problem]:
    low, high = sample.exposure_days_min, sample.exposure_days_max
    if low is not None and high is not None and low > high:
        yield "the range ends before it begins", "exposure_days", "a-b with a <= b"
    elif sample.arm in UNEXPOSED_ARMS and low is not None and high != 0:
        yield (
            f"the arm {sample.arm} has not met the drug",
            "exposure_days",
            "empty or 0: days under the drug, not days in culture",
        )
    elif sample.arm in EXPOSED_ARMS and high == 0:
        yield f"the arm {sample.arm} has met the drug", "exposure_days", "more than 0, or empty"


def _control_problems(facts: dict[str, SampleFacts], sample: SampleFacts) -> Iterator[Problem]:
    for control in sample.control_samples:
        if control not in facts:
            yield f"there is no sample {control!r}", "control_samples", sorted(facts)
        elif facts[control].arm not in CONTROL_ARMS:
            yield (
                f"{control!r} is no control: its arm is {facts[control].arm}",
                "control_samples",
                f"a sample of the arms {', '.join(sorted(CONTROL_ARMS))}",
            )
    if sample.control_outcome and not sample.control_samples:
        yield "control_outcome without control_samples", "control_outcome", "name the controls"
    if sample.control_samples and sample.arm not in COMPARED_ARMS:
        yield (
            f"no rule compares the arm {sample.arm} with controls",
            "control_samples",
            f"empty, or one of the arms {', '.join(sorted(COMPARED_ARMS))}",
        )


def _source_problems(study: Study, row: dict[str, Any]) -> Iterator[Problem]:
    named = fact_sources(row["fact_sources"])
    sources = study.manifest.sources
    if row["fact_sources"] and len(named) <= row["fact_sources"].count(";"):
        yield "a fact stands twice", "fact_sources", "one source a fact"
    for fact, source in named.items():
        if fact != "*" and fact not in FACTS:
            yield f"{fact!r} is not a fact", "fact_sources", ["*", *FACTS]
        elif source not in sources:
            yield (
                f"{source!r} is not among the sources of study.yaml",
                "fact_sources",
                sorted(sources) or "name it under `sources:` first",
            )
    bare = [fact for fact in FACTS if row[fact] is not None and not {fact, "*"} & named.keys()]
    if bare:
        yield (
            f"{bare[0]} does not say where it was read",
            "fact_sources",
            f"{bare[0]}=SOURCE, with SOURCE a key of `sources:` in study.yaml",
        )


def _file_problems(study: Study) -> Iterator[EvidenceError]:
    """A ready study: every sample finds its file, every file its samples."""
    matrices = study.manifest.matrices()
    table = _name(study.folder, "samples.csv")
    by_file: dict[str, list[tuple[int, str | None]]] = {}
    for line, row in known_rows(study.samples):
        if row["file"] is None:
            continue  # said by _gaps
        if row["file"] not in matrices:
            yield EvidenceError(
                "not a count matrix of study.yaml",
                file=table,
                row=line,
                column="file",
                value=row["file"],
                allowed=sorted(matrices),
            )
            continue
        by_file.setdefault(row["file"], []).append((line, row["barcode_key"]))
    for name, matrix in matrices.items():
        rule, rows = matrix.barcodes.rule, by_file.get(name, [])
        if not rows:
            yield EvidenceError("no sample lies in this file", file=table, value=name)
        if rule == "whole_file" and len(rows) > 1:
            yield EvidenceError(
                f"{len(rows)} samples share a file whose barcode rule is whole_file",
                file=table,
                row=rows[1][0],
                column="file",
                value=name,
                hint="Say under `barcodes:` in study.yaml how a barcode finds its sample",
            )
        if rule in ("table", "pattern"):
            yield from _key_problems(rows, table, rule)
        if rule == "cells":
            yield from _assignment_problems(study, [line for line, _ in rows])


def _key_problems(
    rows: list[tuple[int, str | None]], table: str, rule: str
) -> Iterator[EvidenceError]:
    seen: set[str] = set()
    for line, key in rows:
        if key is None or key in seen:
            yield EvidenceError(
                f"the barcode rule {rule} needs one barcode_key a sample",
                file=table,
                row=line,
                column="barcode_key",
                value=key,
                allowed="a key that no other sample of the file has",
            )
        else:
            seen.add(key)


def _assignment_problems(study: Study, lines: list[int]) -> Iterator[EvidenceError]:
    assigned = set() if study.cells is None else set(study.cells["sample_id"])
    for line in lines:
        sample = study.samples.loc[line, "sample_id"]
        if sample not in assigned:
            yield EvidenceError(
                "cells.csv.gz gives the sample no cell, and its file's barcode rule is cells",
                file=_name(study.folder, "samples.csv"),
                row=line,
                column="sample_id",
                value=sample,
            )


def _cell_problems(study: Study) -> Iterator[EvidenceError]:
    if study.cells is None:
        return
    files = dict(zip(study.samples["sample_id"], study.samples["file"], strict=True))
    matrices = study.manifest.matrices()
    pairs = study.cells[["sample_id", "file"]].drop_duplicates()
    for line, (sample, file) in zip(pairs.index, pairs.to_numpy(), strict=True):
        if sample not in files:
            yield EvidenceError(
                "there is no such sample in samples.csv",
                file=_name(study.folder, "cells.csv.gz"),
                row=int(line),
                column="sample_id",
                value=sample,
                allowed=sorted(files),
            )
        elif files[sample] != file:
            yield EvidenceError(
                f"samples.csv says that {sample} lies in {files[sample]}",
                file=_name(study.folder, "cells.csv.gz"),
                row=int(line),
                column="file",
                value=file,
            )
        elif file in matrices and matrices[file].barcodes.rule != "cells":
            yield EvidenceError(
                f"no step reads the rows of this file: its barcode rule is "
                f"{matrices[file].barcodes.rule}",
                file=_name(study.folder, "cells.csv.gz"),
                row=int(line),
                column="file",
                value=file,
                hint="Say `rule: cells` under `barcodes:` of the file in study.yaml",
            )


def _dose_response_problems(study: Study) -> Iterator[EvidenceError]:
    if study.dose_response is None:
        return
    table = _name(study.folder, "dose_response.csv")
    lines = set(study.samples["cell_line"].dropna())
    first: dict[str, tuple[int, dict[str, Any]]] = {}
    for line, row in known_rows(study.dose_response):
        place: Any = {"file": table, "row": line}
        before, said = first.setdefault(row["treatment"], (line, row))
        for column in SCREEN_COLUMNS:
            if row[column] != said[column]:
                yield EvidenceError(
                    f"the drug has {said[column]!r} in row {before}, and lines of one drug are "
                    "compared within one screen",
                    column=column,
                    value=row[column],
                    allowed="one value a drug",
                    **place,
                )
        if row["cell_line"] not in lines:
            yield EvidenceError(
                "no sample of the study is of this line",
                column="cell_line",
                value=row["cell_line"],
                allowed=sorted(lines),
                **place,
            )
        if row["q25_ln_ic50"] > row["median_ln_ic50"]:
            yield EvidenceError("the first quartile is above the median", **place)
        for column in ("source", "intrinsic_source"):
            if row[column] is not None and row[column] not in study.manifest.sources:
                yield EvidenceError(
                    "not among the sources of study.yaml",
                    column=column,
                    value=row[column],
                    allowed=sorted(study.manifest.sources),
                    **place,
                )
        if (row["intrinsic_resistance"] is None) != (row["intrinsic_source"] is None):
            yield EvidenceError(
                "intrinsic_resistance and intrinsic_source belong together",
                column="intrinsic_source",
                **place,
            )
