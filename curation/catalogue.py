"""List the studies, filter them, and count what they hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cellresponse.curation.validate import StudyReport
from cellresponse.schema.errors import EvidenceError
from cellresponse.schema.vocabulary import cancer_types, treatment, words

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["StudyFilter", "catalogue_rows", "study_lines", "totals"]


def catalogue_rows(reports: Iterable[StudyReport]) -> list[dict[str, Any]]:
    """Describe each study by what it holds and what labels follow.

    `treatments` are those of the evidence and of the labels, `drugs` the agents that
    they are made of, each by itself.

    Returns
    -------
    list of dict
        JSON-ready, sorted by study_id; words are those of the vocabularies.
    """
    return sorted((_row(report) for report in reports), key=lambda row: str(row["study_id"]))


def _row(report: StudyReport) -> dict[str, Any]:
    manifest, samples = report.study.manifest, report.study.samples
    labels = report.derivation.labels
    drugs = sorted({*samples["treatment"].dropna(), *(label.drug_id for label in labels)})
    components = sorted({term.id for drug in drugs for term in treatment(drug).components})
    classes = {term.extra["drug_class"] for drug in drugs for term in treatment(drug).components}
    return {
        "study_id": manifest.study_id,
        "title": manifest.title,
        "status": manifest.status,
        "reason": manifest.reason,
        "organism": manifest.organism,
        "year": manifest.year,
        "doi": manifest.doi,
        "access": manifest.access,
        "licence": manifest.licence,
        "revision": manifest.revision,
        "curator": manifest.curator,
        "samples": len(samples),
        "samples_by": _samples_by(samples),
        "cells_stated": manifest.cells_stated.count if manifest.cells_stated else None,
        "source_types": _distinct(samples["source_type"]),
        "cancer_types": _distinct(samples["cancer_type"]),
        "treatments": drugs,
        "labelled_treatments": sorted({label.drug_id for label in labels}),
        "drugs": components,
        "drug_classes": sorted(word for word in classes if word),
        "bases": sorted({label.basis for label in labels}),
        "responses": sorted({label.response for label in labels}),
        "stars": sorted({label.stars for label in labels if label.stars}),
        "labelled_samples": len({label.sample_id for label in labels}),
        "missing": report.missing(),
    }


def _samples_by(samples: pd.DataFrame) -> dict[str, dict[str, int]]:
    """Count samples by drug that they received, by cancer type, and by source type."""
    given = [treatment(text) for text in samples["treatment"].dropna()]
    return {
        "drugs": dict(Counter(term.id for each in given for term in each.components)),
        "cancer_types": dict(Counter(samples["cancer_type"].dropna())),
        "source_types": dict(Counter(samples["source_type"].dropna())),
    }


def _distinct(values: Any) -> list[str]:
    return sorted(set(values.dropna()))


@dataclass(frozen=True)
class StudyFilter:
    """Which studies to list; None lets every study pass.

    Attributes
    ----------
    source, species, drug, drug_class, cancer, basis, status
        Words of the vocabularies, in any spelling. A cancer type includes the narrower
        ones; a drug finds the regimens that it is part of.
    stars
        Studies with a label of at least so many stars.
    since, until
        Studies published in that year or later, or in that year or earlier. A year that
        is not known fits neither.
    """

    source: str | None = None
    species: str | None = None
    drug: str | None = None
    drug_class: str | None = None
    cancer: str | None = None
    basis: str | None = None
    status: str | None = None
    stars: int | None = None
    since: int | None = None
    until: int | None = None

    def apply(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Give the rows that fit.

        Raises
        ------
        EvidenceError
            A word is in no vocabulary, with the nearest ones.
        """
        wanted: list[tuple[str, set[str]]] = []
        for column, vocabulary, text in (
            ("source_types", "source_type", self.source),
            ("organism", "organism", self.species),
            ("drug_classes", "drug_class", self.drug_class),
            ("bases", "basis", self.basis),
            ("status", "status", self.status),
        ):
            if text is not None:
                wanted.append((column, {words(vocabulary).resolve(text).id}))
        if self.drug is not None:
            found = treatment(self.drug)
            column = "drugs" if len(found.components) == 1 else "treatments"
            wanted.append((column, {found.id}))
        if self.cancer is not None:
            wanted.append(("cancer_types", _narrower(cancer_types().resolve(self.cancer).id)))
        if self.stars is not None and self.stars not in (1, 2, 3):
            raise EvidenceError("there are one to three stars", value=self.stars, allowed="1, 2, 3")
        return [dict(row) for row in rows if self._fits(row, wanted)]

    def _fits(self, row: Mapping[str, Any], wanted: list[tuple[str, set[str]]]) -> bool:
        for column, accepted in wanted:
            held = row[column] if isinstance(row[column], list) else [row[column]]
            if accepted.isdisjoint(held):
                return False
        if self.stars is not None and not any(stars >= self.stars for stars in row["stars"]):
            return False
        if self.since is None and self.until is None:
            return True
        first, last = self.since or 0, self.until or 9999
        return row["year"] is not None and first <= row["year"] <= last


def _narrower(cancer_type: str) -> set[str]:
    """Give a cancer type and every type below it."""
    found = {cancer_type}
    while True:
        below = {term.id for term in cancer_types() if term.extra["parent"] in found}
        if below <= found:
            return found
        found |= below


def totals(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Count studies by status, and over those not excluded what they hold."""
    used = [row for row in rows if row["status"] != "excluded"]
    return {
        "studies": len(rows),
        "by_status": dict(sorted(Counter(row["status"] for row in rows).items())),
        "not_excluded": len(used),
        "samples": sum(row["samples"] for row in used),
        "labelled_samples": sum(row["labelled_samples"] for row in used),
        **{
            column: _counted(used, column)
            for column in ("source_types", "cancer_types", "drugs", "drug_classes", "bases")
        },
        "organisms": dict(sorted(Counter(row["organism"] for row in used).items())),
    }


def _counted(rows: Sequence[Mapping[str, Any]], column: str) -> dict[str, int]:
    counts = Counter(word for row in rows for word in row[column])
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def study_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Write the list as text: a line a study, and the totals."""
    lines = [
        f"{row['study_id']:<18}{row['status']:<17}{row['labelled_samples']:>4} of "
        f"{row['samples']:>3} samples labelled  {', '.join(row['drugs'][:4])}"
        + (", ..." if len(row["drugs"]) > 4 else "")
        for row in rows
    ]
    counted = totals(rows)
    status = ", ".join(f"{count} {name}" for name, count in counted["by_status"].items())
    return [
        *lines,
        f"{counted['studies']} studies ({status}): {len(counted['drugs'])} drugs, "
        f"{len(counted['cancer_types'])} cancer types, {counted['samples']} samples",
    ]
