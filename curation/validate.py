"""Check every study and show what follows from its evidence."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cellresponse.curation.labels import Derivation, derive_labels
from cellresponse.curation.study import Study, load_study, study_folders
from cellresponse.schema.errors import CellResponseError, EvidenceError, Problems

__all__ = ["StudyReport", "report_lines", "validate"]


@dataclass(frozen=True)
class StudyReport:
    """A study that was checked, and the labels that follow."""

    study: Study
    derivation: Derivation

    def labels(self) -> list[dict[str, Any]]:
        """Count the labelled samples by treatment, response, stars, basis and rule."""
        counted = Counter(
            (label.drug_id, label.response, label.stars, label.basis, label.rule_id)
            for label in self.derivation.labels
        )
        keys = ("drug_id", "response", "stars", "basis", "rule_id")
        ordered = sorted(counted.items(), key=lambda item: tuple(map(str, item[0])))
        return [dict(zip(keys, key, strict=True)) | {"samples": n} for key, n in ordered]

    def missing(self) -> list[dict[str, Any]]:
        """Count the samples that lack facts, by rule and fact."""
        counted = Counter((each.rule_id, each.facts) for each in self.derivation.missing)
        return [
            {"rule_id": rule, "facts": list(facts), "samples": n}
            for (rule, facts), n in sorted(counted.items())
        ]

    def fits_no_rule(self) -> list[str]:
        """Name the samples that lack no fact and have no label: no rule takes what is known."""
        labelled = {label.sample_id for label in self.derivation.labels}
        lacking = {each.sample_id for each in self.derivation.missing}
        return [name for name in self.study.samples["sample_id"] if name not in labelled | lacking]

    def options_to_add(self) -> list[dict[str, Any]]:
        """Count the files that lack an option: what `study pin` will ask for."""
        if self.study.manifest.status == "excluded":
            return []
        counted = Counter(
            (file.reader, ".".join(map(str, said.place)), str(said.allowed))
            for file in self.study.manifest.matrices().values()
            for said in file.option_problems()
        )
        keys = ("reader", "option", "allowed")
        return [
            dict(zip(keys, key, strict=True)) | {"files": n} for key, n in sorted(counted.items())
        ]


def validate(
    root: Path, studies: list[str] | None = None
) -> tuple[list[StudyReport], list[CellResponseError]]:
    """Check studies.

    Parameters
    ----------
    root
        Folder of study folders.
    studies
        Names of folders; None or empty: all.

    Returns
    -------
    reports, problems
        One report a right study, by name; and every mistake of the others.

    Raises
    ------
    EvidenceError
        There is no such study, or no study at all.
    """
    known = {folder.name: folder for folder in study_folders(root)}
    if not known:
        raise EvidenceError("holds no study folder", file=root, hint="Name the curation folder")
    for name in studies or ():
        if name not in known:
            raise EvidenceError("there is no such study", value=name, allowed=sorted(known))
    reports: list[StudyReport] = []
    problems: list[CellResponseError] = []
    for name in sorted(set(studies or known)):
        try:
            study = load_study(known[name])
            reports.append(StudyReport(study, derive_labels(study)))
        except Problems as several:
            problems += several.problems
        except CellResponseError as error:
            problems.append(error)
    return reports, problems


def report_lines(reports: list[StudyReport], *, markdown: bool) -> list[str]:
    """Write the reports as text or Markdown, a line an item."""
    return [
        line for report in reports for line in (_markdown(report) if markdown else _text(report))
    ]


def _text(report: StudyReport) -> list[str]:
    manifest, labels = report.study.manifest, report.labels()
    labelled = len({label.sample_id for label in report.derivation.labels})
    lines = [
        f"{manifest.study_id}  {manifest.status}, revision {manifest.revision}: "
        f"{labelled} of {len(report.study.samples)} samples labelled, "
        f"{len({row['drug_id'] for row in labels})} treatments"
    ]
    by_rule: Counter[tuple[str, str, int | None]] = Counter()
    for row in labels:
        by_rule[(row["rule_id"], row["response"], row["stars"])] += row["samples"]
    for (rule, response, stars), count in sorted(by_rule.items(), key=str):
        shown = "no stars" if stars is None else f"{stars} star{'s' if stars > 1 else ''}"
        lines.append(f"  {count:>6} {response}, {shown}, by {rule}")
    lines += [
        f"  {row['samples']:>6} without label by {row['rule_id']}: "
        f"{', '.join(row['facts'])} not known"
        for row in report.missing()
    ]
    if rest := report.fits_no_rule():
        lines.append(f"  {len(rest):>6} without label: no rule takes what is known of them")
    lines += [
        f"  {row['files']:>6} of its files {row['reader']} without the option "
        f"{row['option']}, which `study pin` needs: {row['allowed']}"
        for row in report.options_to_add()
    ]
    return lines


def _markdown(report: StudyReport) -> list[str]:
    manifest = report.study.manifest
    lines = [
        f"### {manifest.study_id}: {manifest.title or 'title not known'}",
        "",
        f"Status `{manifest.status}`, revision {manifest.revision}, "
        f"{len(report.study.samples)} samples, curator {manifest.curator}.",
        "",
        "| treatment | response | stars | basis | rule | samples |",
        "|---|---|---|---|---|--:|",
    ]
    lines += [
        f"| {row['drug_id']} | {row['response']} | {row['stars'] or ''} | {row['basis']} "
        f"| {row['rule_id']} | {row['samples']} |"
        for row in report.labels()
    ]
    missing = report.missing()
    if missing:
        lines += ["", "Missing facts:", ""]
        lines += [
            f"- {', '.join(row['facts'])} (for {row['rule_id']}, {row['samples']} samples)"
            for row in missing
        ]
    if rest := report.fits_no_rule():
        lines += ["", f"No rule takes what is known of: {', '.join(rest)}."]
    for row in report.options_to_add():
        lines += [
            "",
            f"Files that `study pin` needs the option `{row['option']}` of {row['reader']} for: "
            f"{row['files']}. Allowed: {row['allowed']}.",
        ]
    return [*lines, ""]
