"""What the workers of a build need, for the server that they are forked from to import once."""

from __future__ import annotations

from cellresponse.builders.study_part import build_study
from cellresponse.schema.evidence import SampleEvidence
from cellresponse.schema.tables import TABLES

__all__ = ["build_study"]

# Pandera imports a part of itself, and keeps the schema, at the first call.
SampleEvidence.to_schema()
for _model in TABLES.values():
    _model.to_schema()
