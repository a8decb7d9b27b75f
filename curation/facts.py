"""Facts of samples: which columns are evidence, and how their texts are read."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

import pandas as pd
import pyarrow as pa

from cellresponse.schema.rules import SampleFacts

__all__ = ["FACTS", "exposure_range", "fact_sources", "known_rows", "sample_facts"]

FACTS = (
    "source_type",
    "arm",
    "treatment",
    "dose",
    "exposure_days",
    "time_point",
    "lesion",
    "outcome",
    "control_outcome",
    "proliferation",
    "intrinsic_resistance",
    "response_criterion",
)
"""Columns of `samples.csv` that are evidence: each filled one names its source."""

STRICTLY_MORE = re.compile(">(?!=)")


def fact_sources(text: str | None) -> dict[str, str]:
    """Parse `fact=source;...`; the fact `*` stands for all others.

    Examples
    --------
    >>> fact_sources("outcome=smith2020;*=geo")
    {'outcome': 'smith2020', '*': 'geo'}
    """
    if not text:
        return {}
    return dict(part.split("=", 1) for part in text.split(";"))


def exposure_range(text: str | None) -> tuple[float | None, float | None]:
    """Give the shortest and longest exposure in days; None where it is open.

    Examples
    --------
    >>> exposure_range("30-60"), exposure_range(">180"), exposure_range("11")
    ((30.0, 60.0), (180.0, None), (11.0, 11.0))
    """
    if not text:
        return None, None
    number = text.lstrip("<>=")
    if text.startswith(">"):
        return float(number), None
    if text.startswith("<"):
        return 0.0, float(number)
    low, _, high = number.partition("-")
    return float(low), float(high or low)


def known_rows(table: pd.DataFrame) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the line in the file and the values of each row; None where not known."""
    # Column by column through Arrow: pandas takes many times as long for rows of its values.
    columns = [pa.array(table[column], from_pandas=True).to_pylist() for column in table]
    names = [str(column) for column in table]
    for line, *values in zip(table.index, *columns, strict=True):
        yield int(line), dict(zip(names, values, strict=True))


def sample_facts(row: dict[str, Any]) -> SampleFacts:
    """Type the facts of one row of `samples.csv`, as `known_rows` gives it, for the rules."""
    low, high = exposure_range(row["exposure_days"])
    if low is not None and STRICTLY_MORE.match(row["exposure_days"]):
        low = math.nextafter(low, math.inf)  # so that ">183" is more than 183
    controls = str(row["control_samples"] or "")
    return SampleFacts(
        **{
            key: row[key]
            for key in (
                "sample_id",
                "arm",
                "source_type",
                "treatment",
                "time_point",
                "lesion",
                "outcome",
                "control_outcome",
                "proliferation",
                "intrinsic_resistance",
            )
        },
        exposure_days_min=low,
        exposure_days_max=high,
        control_samples=tuple(part.strip() for part in controls.split(";") if part.strip()),
    )
