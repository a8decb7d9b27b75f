"""Cells that several studies have, against a count one by one."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cellresponse.builders.equal_vectors import FINGERPRINTS, equal_vectors


@given(st.lists(st.lists(st.integers(0, 12)), max_size=5), st.integers(1, 8))
def test_counts_each_shared_vector_once(studies: list[list[int]], at_once: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        parts = {f"S{number}": Path(folder, str(number)) for number in range(len(studies))}
        for part, values in zip(parts.values(), studies, strict=True):
            part.mkdir()
            np.save(part / FINGERPRINTS, np.array(values, dtype=np.uint64))
        found = equal_vectors(parts, at_once)
    wanted: Counter[tuple[str, ...]] = Counter()
    for value in range(1, 13):  # 0: no counts
        owners = tuple(f"S{n}" for n, values in enumerate(studies) if value in values)
        if len(owners) > 1:
            wanted[owners] += 1
    assert found == [{"studies": list(o), "cells": n} for o, n in sorted(wanted.items())]
