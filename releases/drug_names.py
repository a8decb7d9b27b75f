"""Say which drugs a release has labels for, where another was asked for."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow.compute as pc

from cellresponse.schema.errors import ReleaseError
from cellresponse.schema.term import SHORT_LIST, Term, Vocabulary
from cellresponse.schema.vocabulary import LIST_SEPARATOR

if TYPE_CHECKING:
    from cellresponse.releases.release import Release

__all__ = ["no_such_drug", "similar_drugs"]

MOST_SHOWN = 30


def no_such_drug(release: Release, drug: str, *, known: bool) -> ReleaseError:
    """Make the error for a drug that no label of a release is for.

    Parameters
    ----------
    release
        The release.
    drug
        As it was typed.
    known
        Whether the vocabulary has the drug.
    """
    labelled = pc.unique(release.tables["labels"]["drug_id"]).to_pylist()
    rows = release.tables["drugs"].select(["drug_id", "name", "synonyms"]).to_pylist()
    problem = f"the release {release.name} has no such drug"
    if known:
        problem = (
            f"the vocabulary knows the drug, but the release {release.name} has no label for it"
        )
    return ReleaseError(
        problem,
        value=drug,
        allowed=similar_drugs(drug, rows, labelled) or "none, it has no labels",
        hint='All drugs and their names are in release.tables["drugs"]',
    )


def similar_drugs(
    text: str, rows: Sequence[Mapping[str, Any]], labelled: Collection[str]
) -> list[str]:
    """Choose what to show of the drugs of a release.

    Parameters
    ----------
    text
        What was asked for.
    rows
        `drug_id`, `name` and `synonyms` of its table `drugs`.
    labelled
        Drugs that it has labels for: no other is shown.

    Returns
    -------
    list of str
        Few drugs: all, those first that look like the text. Many: those that look like it, or
        the first of them where none does.
    """
    terms = [
        Term(row["drug_id"], row["name"], tuple(_listed(row["synonyms"])), {})
        for row in rows
        if row["drug_id"] in labelled
    ]
    nearest = Vocabulary("drug", "drugs", terms).nearest(text)
    if nearest and len(labelled) > SHORT_LIST:
        return nearest
    found = [*nearest, *sorted(set(labelled) - set(nearest))]
    return found[:MOST_SHOWN] + (["..."] if len(found) > MOST_SHOWN else [])


def _listed(synonyms: str | None) -> list[str]:
    return [one.strip() for one in (synonyms or "").split(LIST_SEPARATOR) if one.strip()]
