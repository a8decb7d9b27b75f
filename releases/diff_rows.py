"""Compare the rows of one study in two releases: added, gone, changed."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from cellresponse.releases.release import Release
from cellresponse.releases.tables_io import read_table

__all__ = ["compare_study"]

KEYS = {
    "samples": ("sample_id",),
    "cells": ("cell_id",),
    "labels": ("sample_id", "cell_id", "drug_id", "basis"),
}
"""What makes a row the same row in two releases."""
SUBJECT = ("sample_id", "drug_id", "basis")
PLACES = ("row",)
"""Columns that move when another row is added: no change of what is said."""


def compare_study(old: Release, new: Release, study_id: str) -> dict[str, Any]:
    """Compare one study.

    Returns
    -------
    dict
        By table: `added`, `gone` and `changed`; ids of samples, and numbers of cells and
        label rows. And `said`: of each sample, drug and basis whose labels say something else
        now, how many rows said and say what.
    """
    found: dict[str, Any] = {}
    for table, key in KEYS.items():
        before, after = (_rows(release, table, study_id) for release in (old, new))
        parts = {
            "added": after.join(before, list(key), join_type="left anti"),
            "gone": before.join(after, list(key), join_type="left anti"),
            "changed": _changed(before, after, key),
        }
        found[table] = {
            name: sorted(rows["sample_id"].to_pylist()) if table == "samples" else len(rows)
            for name, rows in parts.items()
        }
    return found | {"said": _said(*(_rows(release, "labels", study_id) for release in (old, new)))}


def _said(before: pa.Table, after: pa.Table) -> list[dict[str, Any]]:
    then, now = _what_labels_say(before), _what_labels_say(after)
    return [
        dict(zip(SUBJECT, subject, strict=True))
        | {"before": then.get(subject, {}), "after": now.get(subject, {})}
        for subject in sorted(then.keys() | now.keys())
        if then.get(subject) != now.get(subject)
    ]


def _what_labels_say(labels: pa.Table) -> dict[tuple[str, ...], dict[str, int]]:
    columns = [*SUBJECT, "response", "stars"]
    found: dict[tuple[str, ...], dict[str, int]] = {}
    for row in labels.group_by(columns).aggregate([([], "count_all")]).to_pylist():
        said, stars = row["response"], row["stars"]
        if stars is not None:
            said += f", {stars} star{'s' if stars > 1 else ''}"
        found.setdefault(tuple(row[name] for name in SUBJECT), {})[said] = row["count_all"]
    return found


def _rows(release: Release, table: str, study_id: str) -> pa.Table:
    """A study's rows, with keys that join: a null is no key that equals another."""
    if release.remote is not None:
        release.tables[table]  # fetches the file
    rows = read_table(release.folder, table, study_id=study_id)
    for name in KEYS[table]:
        column = pc.fill_null(rows[name], "")
        rows = rows.set_column(rows.schema.get_field_index(name), name, column)
    return rows.drop_columns([name for name in PLACES if name in rows.column_names])


def _changed(before: pa.Table, after: pa.Table, key: tuple[str, ...]) -> pa.Table:
    """Rows of both that say something else."""
    both = before.join(after, list(key), join_type="inner", right_suffix=" now")
    differs = pa.chunked_array([pa.array([False] * len(both))])
    for name in before.column_names:
        if name in key:
            continue
        then, now = both[name], both[f"{name} now"]
        same = pc.or_(
            pc.fill_null(pc.equal(then, now), False), pc.and_(pc.is_null(then), pc.is_null(now))
        )
        differs = pc.or_(differs, pc.invert(same))
    return both.filter(differs)
