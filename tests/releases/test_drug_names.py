"""Drugs that a release does not have: what it has is told, not what the vocabulary has."""

from __future__ import annotations

import pytest

from cellresponse.releases.drug_names import similar_drugs
from cellresponse.releases.release import Release
from cellresponse.schema.errors import EvidenceError, ReleaseError

BOTH = ["synthetic-drug-a", "synthetic-drug-b"]


def refused(release: Release, drug: str) -> ReleaseError:
    with pytest.raises(ReleaseError) as caught:
        release.labels(drug=drug)
    with pytest.raises(ReleaseError):
        release.cells(drug=drug)
    return caught.value


@pytest.mark.parametrize("typo", ["synthetic-drug-z", "erlotinb", "@@@@", "", "erlotinb + x"])
def test_an_unknown_drug_gets_those_of_the_release(mini_release: Release, typo: str) -> None:
    error = refused(mini_release, typo)
    assert "the release mini has no such drug" in str(error)
    assert sorted(error.allowed or ()) == BOTH
    assert 'release.tables["drugs"]' in str(error)
    with pytest.raises(ReleaseError, match="no such drug"):
        mini_release.drug_id(typo)


@pytest.mark.parametrize("known", ["erlotinib", "Tarceva", "erlotinib + osimertinib"])
def test_a_drug_that_the_vocabulary_knows(mini_release: Release, known: str) -> None:
    error = refused(mini_release, known)
    assert "the vocabulary knows the drug, but the release mini has no label for it" in str(error)
    assert known in str(error)
    assert sorted(error.allowed or ()) == BOTH


def test_the_form_of_a_regimen_is_told_as_before(mini_release: Release) -> None:
    with pytest.raises(EvidenceError, match=r"Write .*erlotinib \+ osimertinib"):
        mini_release.drug_id("erlotinib and osimertinib")
    with pytest.raises(EvidenceError, match="occurs twice"):
        mini_release.drug_id("erlotinib + erlotinib")


def test_of_many_drugs_the_most_similar_are_told() -> None:
    rows = [{"drug_id": f"drug-{i:02d}", "name": f"Drug {i}", "synonyms": None} for i in range(40)]
    rows += [{"drug_id": "erlotinib", "name": "Erlotinib", "synonyms": "Tarceva; OSI-774"}]
    labelled = {str(row["drug_id"]) for row in rows}
    assert similar_drugs("tarcevaa", rows, labelled) == ["erlotinib"]
    assert similar_drugs("tarcevaa", rows, labelled - {"erlotinib"})[-1] == "..."
    assert len(similar_drugs("@@@@", rows, labelled)) == 31
    assert similar_drugs("@@@@", rows, {"drug-01", "erlotinib"}) == ["drug-01", "erlotinib"]
