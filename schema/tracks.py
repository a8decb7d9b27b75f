"""Words of the benchmark that the command line needs before anything heavy is loaded."""

from __future__ import annotations

__all__ = ["SPLITS", "TRACKS"]

TRACKS = ("pooled", "cross", "external", "zero-shot", "pretreatment", "few-shot")
"""Tracks of the benchmark."""

SPLITS = ("cell", "sample", "patient", "study", "line")
"""What lies on one side of a fold only."""
