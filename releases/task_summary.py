"""Summarise the benchmark tasks and cohorts of a release in a few lines."""

from __future__ import annotations

from typing import Any

from cellresponse.releases.release import Release
from cellresponse.releases.splits import counts_of_folds
from cellresponse.releases.tasks import tasks

__all__ = ["cohort_lines", "fold_lines", "list_splits", "summarise_tasks", "task_lines"]


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


def list_splits(release: Release) -> list[dict[str, Any]]:
    """Give every split of every task with the class counts of its folds.

    Returns
    -------
    list of dict
        task_id, split, `not_evaluable` (why it cannot be made; None: it can), and `folds`:
        fold, train_sensitive, train_resistant, test_sensitive, test_resistant.
    """
    rows: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in release.tables["splits"].to_pylist():
        rows.setdefault((row["task_id"], row["split"]), []).append(row)
    return [
        {
            "task_id": task_id,
            "split": split,
            "not_evaluable": found[0]["not_evaluable"] if found[0]["group_id"] is None else None,
            "folds": counts_of_folds(found),
        }
        for (task_id, split), found in rows.items()
    ]


def fold_lines(splits: list[dict[str, Any]]) -> list[str]:
    """Write `list_splits` as text: tested cells, sensitive+resistant, fold by fold."""
    lines, last = [], None
    for split in splits:
        if split["task_id"] != last:
            last = split["task_id"]
            lines.append(last)
        tested = [f"{f['test_sensitive']}+{f['test_resistant']}" for f in split["folds"]]
        said = split["not_evaluable"] or " ".join(tested)
        lines.append(f"  {split['split']:<8} {said}")
    return lines
