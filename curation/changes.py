"""How the labels of changed studies differ from those at another commit."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from cellresponse.curation.revision import (
    changed_studies,
    require_history,
    restore_studies,
    revision_problems,
)
from cellresponse.curation.validate import StudyReport, report_lines, validate
from cellresponse.schema.errors import CellResponseError

__all__ = ["change_lines", "validate_changes"]

type Counts = dict[tuple[str, str, str, str], int]
"""Labelled samples by treatment, response, stars and basis."""


def validate_changes(
    root: Path, ref: str, studies: Sequence[str] = (), *, markdown: bool
) -> tuple[list[str], list[CellResponseError]]:
    """Check the studies that differ from a commit.

    Parameters
    ----------
    root
        Folder of study folders, in a git checkout.
    ref
        Branch, tag or commit; compared is the commit where this branch left it.
    studies
        Names of folders; empty: all.
    markdown
        Form of the report.

    Returns
    -------
    lines, problems
        The report; and every mistake, a revision that did not grow among them.

    Raises
    ------
    EvidenceError
        There is no such commit to compare with.
    """
    commit = require_history(root, ref)
    differ = [name for name in changed_studies(root, commit) if not studies or name in studies]
    problems: list[CellResponseError] = list(revision_problems(root, commit, differ))
    there = [name for name in differ if (root / name / "study.yaml").exists()]
    if not there:
        return ["no study to check: none differs"], problems
    reports, found = validate(root, there)
    lines = report_lines(reports, markdown=markdown)
    return [*lines, *change_lines(root, commit, reports, markdown=markdown)], problems + found


def change_lines(
    root: Path, commit: str, reports: Sequence[StudyReport], *, markdown: bool
) -> list[str]:
    """Say how many samples carry each label, before and now, a line a difference.

    Parameters
    ----------
    root
        Folder of study folders.
    commit
        What to compare with, from `cellresponse.curation.revision.require_history`.
    reports
        The studies as they are now.
    markdown
        Whether to write a table.
    """
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        names = [report.study.study_id for report in reports]
        restore_studies(root, commit, names, Path(folder))
        for report in reports:
            study = report.study.study_id
            before = _counts_before(Path(folder), study)
            if before is None:
                rows.append((study, "the version before is not valid under these rules", "", ""))
                continue
            rows += [(study, *row) for row in _differences(before, _counts(report))]
    return _markdown(rows) if markdown else _text(rows)


def _counts_before(root: Path, study: str) -> Counts | None:
    """Labels of a study in a folder of old versions; no label where it is new."""
    if not (root / study).exists():
        return {}
    try:
        reports, problems = validate(root, [study])
    except CellResponseError:
        return None
    return None if problems else _counts(reports[0])


def _counts(report: StudyReport) -> Counts:
    found: Counts = {}
    for row in report.labels():
        key = (row["drug_id"], row["response"], str(row["stars"] or ""), row["basis"])
        found[key] = found.get(key, 0) + row["samples"]
    return found


def _differences(before: Counts, now: Counts) -> Iterator[tuple[str, str, str]]:
    for key in sorted(before.keys() | now.keys()):
        old, new = before.get(key, 0), now.get(key, 0)
        if old != new:
            drug, response, stars, basis = key
            label = f"{drug}, {response}{f', stars {stars}' if stars else ''}, {basis}"
            yield label, str(old), str(new)


def _markdown(rows: list[tuple[str, str, str, str]]) -> list[str]:
    if not rows:
        return ["### Labels that changed", "", "None.", ""]
    table = [f"| {' | '.join(row)} |" for row in rows]
    head = ["| study | label | samples before | samples now |", "|---|---|--:|--:|"]
    return ["### Labels that changed", "", *head, *table, ""]


def _text(rows: list[tuple[str, str, str, str]]) -> list[str]:
    if not rows:
        return ["no label changed"]
    return [
        f"{study}  {label}" + (f": {old} -> {new} samples" if new else "")
        for study, label, old, new in rows
    ]
