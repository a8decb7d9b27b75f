"""Summarise a release on one screen."""

from __future__ import annotations

from typing import Any

import pyarrow.compute as pc

from cellresponse.releases.doubts import doubts
from cellresponse.releases.release import Release
from cellresponse.releases.task_summary import cohort_lines, summarise_tasks, task_lines

__all__ = ["summarise", "summary_lines"]


def summarise(release: Release) -> dict[str, Any]:
    """Give what a release holds and how it came about.

    Returns
    -------
    dict
        JSON-ready: name, content hash, references, studies with their counts per step
        and reason, labels by drug, response, stars and basis, tasks and cohorts.
    """
    root = release.root
    return {
        "release": root["release"],
        "title": root["title"],
        "content_hash": root["content"]["hash"],
        "schema_version": root["schema_version"],
        "code": root["code"],
        "references": root["references"],
        "cells": root["cells"],
        "studies": root["studies"],
        "equal_count_vectors": root["equal_count_vectors"],
        "labels": _labels(release),
        "tasks": summarise_tasks(release),
        "cohorts": root["cohorts"],
    }


def _labels(release: Release) -> list[dict[str, Any]]:
    """Count labelled cells by drug, response, stars and basis."""
    labels = release.tables["labels"]
    cells = release.tables["samples"].select(["sample_id", "n_cells"])
    joined = labels.join(cells, keys="sample_id")
    whole = pc.is_null(joined["cell_id"])
    joined = joined.append_column("labelled", pc.if_else(whole, joined["n_cells"], 1))
    key = ["drug_id", "response", "stars", "basis"]
    counted = joined.group_by(key).aggregate([("labelled", "sum")])
    counted = counted.rename_columns({"labelled_sum": "cells"})
    order = [(column, "ascending") for column in key]
    return [
        {column: row[column] for column in (*key, "cells")}
        for row in counted.sort_by(order).to_pylist()
    ]


def summary_lines(summary: dict[str, Any]) -> list[str]:
    """Write a summary as text that fits on one screen."""
    lines = [
        f"{summary['release']}: {summary['title']}",
        f"content hash {summary['content_hash']}",
        "",
        f"{'study':<14}{'in files':>10}{'matched':>10}{'few genes':>11}{'mito':>8}{'kept':>9}",
    ]
    for name, study in [*summary["studies"].items(), ("all", summary)]:
        cells = study["cells"]
        lines.append(
            f"{name:<14}{cells['in_files']:>10,}{cells['matched']:>10,}"
            f"{cells['too_few_genes']:>11,}{cells['too_much_mitochondrial']:>8,}"
            f"{cells['kept']:>9,}"
        )
    lines += ["", "labelled cells by basis, response and stars"]
    for (basis, response, stars), (cells, drugs) in sorted(_by_basis(summary).items()):
        lines.append(f"  {basis:<30}{response:<11}{stars:<9}{cells:>9,}  {drugs} drugs")
    lines += task_lines(summary["tasks"]) + cohort_lines(summary["cohorts"])
    return lines + [f"warning: {doubt}" for doubt in doubts(summary)]


def _by_basis(summary: dict[str, Any]) -> dict[tuple[str, str, str], tuple[int, int]]:
    found: dict[tuple[str, str, str], tuple[int, int]] = {}
    for row in summary["labels"]:
        stars = "-" if row["stars"] is None else "*" * row["stars"]
        key = (row["basis"], row["response"], stars)
        cells, drugs = found.get(key, (0, 0))
        found[key] = (cells + row["cells"], drugs + 1)
    return found
