"""Name the parts in which a release differs from the one that a build makes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cellresponse.schema.spec import ReleaseSpec

__all__ = ["content_differences", "known_differences"]

ROW_OF_A_STUDY = "study"
"""Part of a study's content: its row in the table `studies`, most of it from `study.yaml`."""


def known_differences(root: Mapping[str, Any], spec: ReleaseSpec) -> Iterator[str]:
    """Yield what must differ between a release and any build of a spec.

    The content names its studies, with their revisions, and holds the genes. What else the
    spec says, such as thresholds, may leave the content equal, so it tells nothing here.

    Parameters
    ----------
    root
        What `release.json` of the release says.
    spec
        What would be built.
    """
    studies = root["content"]["studies"]
    for study in sorted(studies.keys() - spec.studies.keys()):
        yield f"it has study {study}, which the spec does not name"
    for study in sorted(spec.studies.keys() - studies.keys()):
        yield f"the spec names study {study}, which it has not"
    for study in sorted(studies.keys() & spec.studies.keys()):
        before, now = root["studies"][study]["revision"], spec.studies[study].revision
        if before != now:
            yield f"it has revision {before} of study {study}, the spec names {now}"
    for organism in sorted(root["content"]["genes"]):
        described = spec.organisms.get(organism)
        if described is None:
            yield f"it has {organism} genes, and the spec names none"
        elif described.genes.table_sha256 != root["references"][organism]["table_sha256"]:
            yield f"the spec names other {organism} genes"


def content_differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    """Yield the parts that differ between a release that stands and a new one.

    Parameters
    ----------
    before, after
        `content` of both: the hashes by part, as `release.json` holds them.
    """
    yield from _members("study", before["studies"], after["studies"])
    for organism in sorted(before["genes"].keys() | after["genes"].keys()):
        if before["genes"].get(organism) != after["genes"].get(organism):
            yield f"genes of {organism} differ"
    for part in ("drugs", "splits"):
        if before[part] != after[part]:
            yield f"the {part} differ"
    yield from _members("cohort", before["cohorts"], after["cohorts"])


def _members(kind: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    for name in sorted(before.keys() | after.keys()):
        if name not in after:
            yield f"{kind} {name} is in it alone"
        elif name not in before:
            yield f"{kind} {name} is in the new one alone"
        elif before[name] != after[name]:
            yield f"{kind} {name} differs{_parts(before[name], after[name])}"


def _parts(before: object, after: object) -> str:
    """Name the parts of a study that differ; nothing of a cohort, which has one hash."""
    if not (isinstance(before, Mapping) and isinstance(after, Mapping)):
        return ""
    names = sorted(
        part for part in before.keys() | after.keys() if before.get(part) != after.get(part)
    )
    said = ["facts of study.yaml" if name == ROW_OF_A_STUDY else name for name in names]
    return f" ({', '.join(said)})"
