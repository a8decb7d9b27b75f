"""Compare two releases by what their `release.json` records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cellresponse.schema.errors import ReleaseError

__all__ = ["compare", "diff_lines", "unexplained_losses"]


def compare(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Compare two releases.

    Parameters
    ----------
    old, new
        Contents of two `release.json`.

    Returns
    -------
    dict
        Studies added, gone and changed (with what changed in them), and counts of both.
    """
    before, after = old["content"]["studies"], new["content"]["studies"]
    changed = {
        study: sorted(
            part for part in after[study] if after[study][part] != before[study].get(part)
        )
        for study in sorted(before.keys() & after.keys())
        if before[study] != after[study]
    }
    return {
        "old": {"release": old["release"], "content_hash": old["content"]["hash"]},
        "new": {"release": new["release"], "content_hash": new["content"]["hash"]},
        "same_content": old["content"]["hash"] == new["content"]["hash"],
        "studies_added": sorted(after.keys() - before.keys()),
        "studies_gone": sorted(before.keys() - after.keys()),
        "studies_changed": changed,
        "counts": {
            name: {"old": count, "new": _counts(new)[name]} for name, count in _counts(old).items()
        },
    }


def _counts(root: Mapping[str, Any]) -> dict[str, int]:
    studies = root["studies"].values()
    return {
        "studies": len(root["studies"]),
        "samples": sum(study["samples"] for study in studies),
        "cells": sum(study["cells"]["kept"] for study in studies),
        "labels": sum(sum(study["labels"].values()) for study in studies),
    }


def unexplained_losses(
    diff: Mapping[str, Any], explained: Mapping[str, str]
) -> Iterator[ReleaseError]:
    """Yield an error for each count that drops without a reason in the spec."""
    for name, count in diff["counts"].items():
        if count["new"] < count["old"] and name not in explained:
            yield ReleaseError(
                f"{name} drop from {count['old']} in {diff['old']['release']} to {count['new']}",
                file=f"releases/{diff['new']['release']}.yaml",
                column="explained_losses",
                hint=f"Give the reason: explained_losses: {{{name}: ...}}",
            )


def diff_lines(diff: Mapping[str, Any]) -> list[str]:
    """Write a comparison as text."""
    lines = [f"{diff['old']['release']} -> {diff['new']['release']}"]
    if diff["same_content"]:
        return [*lines, "the content is the same"]
    for name, count in diff["counts"].items():
        change = count["new"] - count["old"]
        lines.append(f"  {name:<9}{count['old']:>12,} -> {count['new']:>12,}  ({change:+,})")
    lines += [f"  + {study}" for study in diff["studies_added"]]
    lines += [f"  - {study}" for study in diff["studies_gone"]]
    for study, parts in diff["studies_changed"].items():
        lines.append(f"  ~ {study}: {', '.join(parts)}")
    return lines
