"""Summarise the benchmark tasks and cohorts of a release in a few lines."""

from __future__ import annotations

from typing import Any

from cellresponse.releases.release import Release
from cellresponse.releases.tasks import tasks

__all__ = ["cohort_lines", "summarise_tasks", "task_lines"]


def summarise_tasks(release: Release) -> dict[str, dict[str, Any]]:
    """Count tasks, and those of them that each split can be made for.

    Returns
    -------
    dict
        By track: `tasks`, and `evaluable` by split. Why a split cannot be made stands in
        the table `splits`.
    """
    found: dict[str, dict[str, Any]] = {}
    for task in tasks(release):
        track = found.setdefault(task.track, {"tasks": 0, "evaluable": {}})
        track["tasks"] += 1
        for split, problem in task.splits.items():
            track["evaluable"].setdefault(split, 0)
            track["evaluable"][split] += problem is None
    return found


def task_lines(summary: dict[str, dict[str, Any]]) -> list[str]:
    """Write `summarise_tasks` as text, a line a track."""
    lines = ["", "benchmark tasks, and how many of them can be split by what"] if summary else []
    for track, counted in summary.items():
        splits = ", ".join(f"{split} {count}" for split, count in counted["evaluable"].items())
        lines.append(f"  {track:<14}{counted['tasks']:>6}  {splits}")
    return lines


def cohort_lines(cohorts: dict[str, Any]) -> list[str]:
    """Write what `release.json` says of cohorts, a line a cohort."""
    lines = ["", "cohorts, before and after integration"] if cohorts else []
    for name, cohort in cohorts.items():
        before, after = (cohort["scores"][step]["ilisi_batch"] for step in ("pca", "harmony"))
        lines.append(
            f"  {name:<24}{cohort['cells']:>9,} cells, {len(cohort['batches'])} batches; "
            f"iLISI {before:.2f} -> {after:.2f}"
        )
    return lines
