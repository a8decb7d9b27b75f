"""The model of a release spec."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from cellresponse.schema.spec import ReleaseSpec

GENES = {"source": "Ensembl", "release": "114", "table": "g.csv", "table_sha256": "0" * 64}
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
    assert "less than or equal to 1" in refused(SPEC | {"schema_version": "2"})


def test_a_release_has_studies_and_organisms() -> None:
    assert "at least 1" in refused(SPEC | {"studies": {}})
    assert "at least 1" in refused(SPEC | {"organisms": {}})
    organism = SPEC["organisms"]["human"]
    assert "unknown organism" in refused(SPEC | {"organisms": {"humann": organism}})
