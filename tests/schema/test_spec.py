"""The model of a release spec."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from cellresponse.schema.spec import ReleaseSpec

GENES = {
    "source": "Ensembl",
    "release": "114",
    "table": "g.csv",
    "table_sha256": "0" * 64,
    "mitochondrial_contig": "MT",
}
SPEC: dict[str, Any] = {
    "release": "2025-06",
    "schema_version": "1",
    "title": "A release",
    "organisms": {"human": {"genes": GENES, "qc": {"min_genes": "500", "max_pct_mito": "10"}}},
    "studies": {"GSE1": {"revision": "1"}},
}


def refused(spec: dict[str, Any]) -> str:
    with pytest.raises(ValidationError) as error:
        ReleaseSpec.model_validate(spec)
    (found,) = error.value.errors()
    return (
        f"{'.'.join(map(str, found['loc']))}: {found['msg']} {found.get('ctx', {}).get('allowed')}"
    )


@pytest.mark.parametrize("name", ["2025-06", "demo", "lung-only"])
def test_a_right_spec(name: str) -> None:
    spec = ReleaseSpec.model_validate(SPEC | {"release": name})
    assert (spec.release, spec.organisms["human"].qc.max_pct_mito) == (name, 10.0)


@pytest.mark.parametrize("name", ["2025-13", "2025-00", "../up", "", "Demo", "2025-06\n", "a/b"])
def test_name_of_a_release(name: str) -> None:
    assert "a month such as 2025-06" in refused(SPEC | {"release": name})


def test_gene_reference_has_one_origin() -> None:
    for genes in (GENES | {"url": "https://example.org/x.gtf"}, GENES | {"table": None}):
        organism = {"genes": genes, "qc": {"min_genes": "0"}}
        assert "either a url or a table" in refused(SPEC | {"organisms": {"human": organism}})


def test_thresholds_and_version_have_limits() -> None:
    qc = {"min_genes": "0", "max_pct_mito": "101"}
    organism = {"genes": GENES, "qc": qc}
    assert "less than or equal to 100" in refused(SPEC | {"organisms": {"human": organism}})
    organism = {"genes": GENES, "qc": qc | {"max_pct_mito": "-1"}}
    assert "greater than or equal to 0" in refused(SPEC | {"organisms": {"human": organism}})
    assert "less than or equal to 1" in refused(SPEC | {"schema_version": "2"})


def test_a_threshold_on_what_nothing_measures() -> None:
    genes = GENES | {"mitochondrial_contig": None}
    bacterium = {"genes": genes, "qc": {"min_genes": "15"}}
    spec = ReleaseSpec.model_validate(SPEC | {"organisms": {"escherichia_coli": bacterium}})
    assert spec.organisms["escherichia_coli"].qc.max_pct_mito is None
    for percent in ("10", "0"):
        organism = {"genes": genes, "qc": {"min_genes": "0", "max_pct_mito": percent}}
        said = refused(SPEC | {"organisms": {"human": organism}})
        assert "needs the mitochondrial_contig" in said


def test_a_release_has_studies_and_organisms() -> None:
    assert "at least 1" in refused(SPEC | {"studies": {}})
    assert "at least 1" in refused(SPEC | {"organisms": {}})
    organism = SPEC["organisms"]["human"]
    assert "unknown organism" in refused(SPEC | {"organisms": {"humann": organism}})


TASK = {
    "name": "lung",
    "labels": [{"study": "GSE1", "drug": "Osimertinib", "basis": "time_course"}],
}
COHORT = {
    "name": "lung",
    "cancer_type": "lung adenocarcinoma",
    "drug": "Osimertinib",
    "studies": ["GSE1"],
    "batch": "study",
}


def test_tasks_and_cohorts_take_any_spelling() -> None:
    spec = ReleaseSpec.model_validate(SPEC | {"tasks": [TASK], "cohorts": [COHORT]})
    assert spec.tasks[0].labels[0].drug == "osimertinib"
    assert (spec.cohorts[0].drug, spec.cohorts[0].cancer_type) == (
        "osimertinib",
        "lung_adenocarcinoma",
    )


@pytest.mark.parametrize("kind", ["tasks", "cohorts"])
def test_names_and_studies_of_tasks_and_cohorts(kind: str) -> None:
    one = {"tasks": TASK, "cohorts": COHORT}[kind]
    assert f"two {kind[:-1]}s have the name lung" in refused(SPEC | {kind: [one, one]})
    other = json.loads(json.dumps(one).replace("GSE1", "GSE9"))
    assert "GSE9, which is no study of the release" in refused(SPEC | {kind: [other]})
    assert "small letters" in refused(SPEC | {kind: [one | {"name": "../up"}]})
    unknown = json.loads(json.dumps(one).replace("Osimertinib", "Osimertinob"))
    assert "unknown drug" in refused(SPEC | {kind: [unknown]})


def test_ic50_is_for_tasks_of_one_drug() -> None:
    labels = [
        {"study": "GSE1", "drug": drug, "basis": "cell_line_ic50"}
        for drug in ("osimertinib", "erlotinib")
    ]
    assert ReleaseSpec.model_validate(SPEC | {"tasks": [TASK | {"labels": labels[:1]}]})
    assert "a single drug only" in refused(SPEC | {"tasks": [TASK | {"labels": labels}]})
    mixed = [labels[0], labels[1] | {"basis": "time_course"}]
    assert "a single drug only" in refused(SPEC | {"tasks": [TASK | {"labels": mixed}]})


def test_every_study_of_a_task_is_of_the_release() -> None:
    labels = [TASK["labels"][0], TASK["labels"][0] | {"study": "GSE9"}]
    assert "GSE9, which is no study" in refused(SPEC | {"tasks": [TASK | {"labels": labels}]})


def test_units_of_the_cross_track() -> None:
    studies = {"GSE1": {"revision": "1", "units": "sample"}}
    assert "'study' or 'batch'" in refused(SPEC | {"studies": studies})


def test_an_unknown_cancer_type() -> None:
    moon = COHORT | {"cancer_type": "moon cancer"}
    assert "unknown cancer type" in refused(SPEC | {"cohorts": [moon]})
