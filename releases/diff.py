"""Compare two releases: what is added, gone and changed, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cellresponse.releases.diff_rows import KEYS, compare_study
from cellresponse.releases.release import Release
from cellresponse.schema.errors import ReleaseError

__all__ = ["compare", "diff_lines", "unexplained_losses"]

CHANGES = ("added", "gone", "changed")
SHOWN_SAMPLES = 5
SHOWN_LABELS = 20


def compare(old: Release, new: Release) -> dict[str, Any]:
    """Compare two releases.

    Only studies whose content hash differs are read, one at a time.

    Parameters
    ----------
    old, new
        The releases.

    Returns
    -------
    dict
        Counts of both with what is added, gone and changed; studies added, gone and
        changed, these with their samples, cells and labels; and the reasons: those that the
        new spec states, and those that the two releases record (revision, thresholds, gene
        reference, code).
    """
    before, after = old.root["content"]["studies"], new.root["content"]["studies"]
    explained = new.root["spec"]["explained_losses"]
    changed = {
        study: _changed_study(old, new, study, explained)
        for study in sorted(before.keys() & after.keys())
        if before[study] != after[study]
    }
    result = {
        "old": {"release": old.name, "content_hash": old.content_hash},
        "new": {"release": new.name, "content_hash": new.content_hash},
        "same_content": old.content_hash == new.content_hash,
        "studies_added": sorted(after.keys() - before.keys()),
        "studies_gone": {
            study: explained.get(study) or explained.get("studies")
            for study in sorted(before.keys() - after.keys())
        },
        "studies_changed": changed,
        "other_parts_changed": _other_parts(old.root["content"], new.root["content"]),
        "reasons": {name: explained[name] for name in sorted(explained)},
    }
    return result | {"counts": _counts(old, new, result)}


def _other_parts(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Name the parts beside the studies that differ: genes, drugs, splits, cohorts."""
    names = (before.keys() | after.keys()) - {"studies", "hash"}
    return sorted(name for name in names if before.get(name) != after.get(name))


def _changed_study(
    old: Release, new: Release, study: str, explained: Mapping[str, str]
) -> dict[str, Any]:
    before, after = (release.root["content"]["studies"][study] for release in (old, new))
    return {
        "parts": sorted(part for part in after if after[part] != before.get(part)),
        **compare_study(old, new, study),
        "reasons": [
            *([explained[study]] if study in explained else []),
            *_recorded_reasons(old, new, study),
        ],
    }


def _recorded_reasons(old: Release, new: Release, study: str) -> Iterator[str]:
    """What the two releases record that may have changed a study."""
    before, after = (release.root["studies"][study]["revision"] for release in (old, new))
    if before != after:
        yield f"revision {before} -> {after} of its evidence"
    organisms = [_organism(release, study) for release in (old, new)]
    for name, said in (("qc", "quality thresholds"), ("genes", "gene reference")):
        if organisms[0][name] != organisms[1][name]:
            yield f"other {said}"
    then, now = (release.root["code"] for release in (old, new))
    if then["source_sha256"] != now["source_sha256"]:
        yield f"other code (version {then['version']}, now {now['version']})"


def _organism(release: Release, study: str) -> dict[str, Any]:
    """What the spec says of the study's organism."""
    organisms = {row["study_id"]: row["organism"] for row in release.tables["studies"].to_pylist()}
    return dict(release.root["spec"]["organisms"][organisms[study]])


def _counts(old: Release, new: Release, found: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """Count what each release holds, and what changed on the way."""
    totals = [_totals(release.root, list(release.root["studies"])) for release in (old, new)]
    added = _totals(new.root, found["studies_added"])
    gone = _totals(old.root, list(found["studies_gone"]))
    changed = list(found["studies_changed"].values())
    counts = {}
    for name in ("studies", *KEYS):
        rows = [_numbers(study[name]) for study in changed] if name in KEYS else []
        extra = {change: sum(row[change] for row in rows) for change in CHANGES}
        counts[name] = {
            "old": totals[0][name],
            "new": totals[1][name],
            "added": added[name] + extra["added"],
            "gone": gone[name] + extra["gone"],
            "changed": extra["changed"] if name in KEYS else len(changed),
        }
    return counts


def _numbers(changes: Mapping[str, Any]) -> dict[str, int]:
    return {
        name: value if isinstance(value, int) else len(value) for name, value in changes.items()
    }


def _totals(root: Mapping[str, Any], studies: list[str]) -> dict[str, int]:
    chosen = [root["studies"][study] for study in studies]
    return {
        "studies": len(chosen),
        "samples": sum(study["samples"] for study in chosen),
        "cells": sum(study["cells"]["kept"] for study in chosen),
        "labels": sum(sum(study["labels"].values()) for study in chosen),
    }


def unexplained_losses(
    diff: Mapping[str, Any], explained: Mapping[str, str], file: str
) -> Iterator[ReleaseError]:
    """Yield an error for each loss without a reason in the spec.

    A loss is a study, sample, cell or label row that the release before had, however many
    others were added. Its reason stands under its kind, or under the study's accession,
    which explains all losses of that study. `file` is the spec's, for the errors.
    """
    old = diff["old"]["release"]
    for study in diff["studies_gone"]:
        if not explained.keys() & {study, "studies"}:
            yield _loss(f"the study {study} of {old} is gone", file, study)
    for study, changes in diff["studies_changed"].items():
        for name in KEYS:
            gone = _numbers(changes[name])["gone"]
            if gone and not explained.keys() & {study, name}:
                yield _loss(f"{gone} {name} of {study} in {old} are gone", file, study)


def _loss(problem: str, file: str, study: str) -> ReleaseError:
    return ReleaseError(
        problem,
        file=file,
        column="explained_losses",
        hint=f"Give the reason: explained_losses: {{{study}: ...}}",
    )


def diff_lines(diff: Mapping[str, Any]) -> list[str]:
    """Write a comparison as text."""
    lines = [f"{diff['old']['release']} -> {diff['new']['release']}"]
    if diff["same_content"]:
        return [*lines, "the content is the same"]
    lines.append(f"  {'':<9}{'old':>13}{'new':>13}{'added':>12}{'gone':>12}{'changed':>12}")
    for name, count in diff["counts"].items():
        lines.append(
            f"  {name:<9}{count['old']:>13,}{count['new']:>13,}{count['added']:>12,}"
            f"{count['gone']:>12,}{count['changed']:>12,}"
        )
    lines += [f"  + {study}" for study in diff["studies_added"]]
    for study, reason in diff["studies_gone"].items():
        lines.append(f"  - {study}: {reason or 'no reason stated'}")
    for study, changes in diff["studies_changed"].items():
        reasons = "; ".join(changes["reasons"]) or "no reason recorded"
        lines.append(f"  ~ {study} ({', '.join(changes['parts'])}): {reasons}")
        lines += [f"      {line}" for line in _change_lines(changes)]
    lines += [f"  ~ {part}" for part in diff["other_parts_changed"]]
    lines += [f"  reason for {name}: {reason}" for name, reason in diff["reasons"].items()]
    return lines


def _change_lines(changes: Mapping[str, Any]) -> Iterator[str]:
    for name in KEYS:
        numbers = _numbers(changes[name])
        said = [f"{numbers[change]:,} {change}" for change in CHANGES if numbers[change]]
        if said:
            yield f"{name}: {', '.join(said)}"
    for change in CHANGES:
        samples = changes["samples"][change]
        if samples:
            more = f" and {len(samples) - SHOWN_SAMPLES} more"
            more = more if len(samples) > SHOWN_SAMPLES else ""
            yield f"samples {change}: {', '.join(samples[:SHOWN_SAMPLES])}{more}"
    said = changes.get("said", [])  # a release.json from before has none
    for label in said[:SHOWN_LABELS]:
        subject = f"{label['sample_id']} to {label['drug_id']} ({label['basis']})"
        yield f"{subject}: {_rows_of(label['before'])} -> {_rows_of(label['after'])}"
    if len(said) > SHOWN_LABELS:
        yield f"and labels of {len(said) - SHOWN_LABELS} more samples and drugs (--json has all)"


def _rows_of(said: Mapping[str, int]) -> str:
    return "; ".join(f"{rows:,} {what}" for what, rows in sorted(said.items())) or "no label"
