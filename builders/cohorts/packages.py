"""The packages that cohorts need, and no other part of a build."""

from __future__ import annotations

from importlib.util import find_spec

from cellresponse.schema.errors import EvidenceError
from cellresponse.schema.spec import ReleaseSpec

__all__ = ["require_packages"]

PACKAGES = ("bbknn", "harmonypy", "scanpy", "scib_metrics")


def require_packages(spec: ReleaseSpec) -> None:
    """Refuse a spec with cohorts where their packages are not installed.

    Raises
    ------
    EvidenceError
        Before any work is done.
    """
    missing = [package for package in PACKAGES if find_spec(package) is None]
    if spec.cohorts and missing:
        raise EvidenceError(
            "the cohorts need packages that are not installed",
            file=spec.file,
            column="cohorts",
            value=", ".join(missing),
            hint="Install them: make env",
        )
