"""Fingerprints of code and inputs: what a finished study was made from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import Path

import cellresponse
from cellresponse.builders.genes import GeneAxis
from cellresponse.releases.canonical import canonical_json
from cellresponse.schema.spec import OrganismSpec

__all__ = ["evidence_checksums", "job_fingerprint", "source_version"]

CODE = ("schema", "curation", "builders", "releases")


@cache
def source_version() -> dict[str, str]:
    """Give version and sha256 of the code and vocabularies that make a release."""
    root = Path(str(resources.files("cellresponse")))
    digest = hashlib.sha256()
    for package in CODE:
        files = [*(root / package).rglob("*.py"), *(root / package / "vocabularies").glob("*.csv")]
        for path in sorted(files):
            digest.update(f"{path.relative_to(root).as_posix()}\0".encode())
            digest.update(path.read_bytes())
    return {"version": cellresponse.__version__, "source_sha256": digest.hexdigest()}


def evidence_checksums(folder: Path) -> dict[str, str]:
    """Give the sha256 of each file of a study folder, by its name."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
    }


def job_fingerprint(evidence: Mapping[str, str], organism: OrganismSpec, axis: GeneAxis) -> str:
    """Identify what a built study depends on: evidence, spec, genes, code.

    Source files are part of it through the checksums in the evidence, whose own are given.
    """
    parts = {
        "code": source_version(),
        "organism": organism.model_dump(mode="json"),
        "genes": axis.checksum,
        "evidence": dict(evidence),
    }
    return hashlib.sha256(canonical_json(parts)).hexdigest()
