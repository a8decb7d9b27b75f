"""Find cells of several studies whose counts are equal: copies, most likely."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["FINGERPRINTS", "equal_vectors"]

FINGERPRINTS = "fingerprints.npy"
FINGERPRINTS_AT_ONCE = 16_000_000


def equal_vectors(
    parts: Mapping[str, Path], at_once: int = FINGERPRINTS_AT_ONCE
) -> list[dict[str, Any]]:
    """Count cells whose counts on the axis are equal in two studies or more.

    Parameters
    ----------
    parts
        Folder of each finished study, which holds the fingerprints of its cells:
        uint64, shape (cells,).
    at_once
        About how many fingerprints to compare at a time. They are compared by their
        remainders, so that memory does not grow with the release.

    Returns
    -------
    list of dict
        `studies`, a sorted list, and `cells`, the number of different count vectors that
        just these studies have in common; sorted by studies.
    """
    names = sorted(parts)
    files = [np.load(parts[name] / FINGERPRINTS, mmap_mode="r") for name in names]
    pieces = -(-sum(len(file) for file in files) // at_once)
    found: Counter[tuple[str, ...]] = Counter()
    for piece in range(pieces):
        for owners in _shared(files, piece, pieces):
            found[tuple(names[owner] for owner in owners)] += 1
    return [{"studies": list(studies), "cells": count} for studies, count in sorted(found.items())]


def _shared(files: list[NDArray[np.uint64]], piece: int, pieces: int) -> Iterator[list[int]]:
    """Yield, for each fingerprint that several files have, those files."""
    chosen = []
    for file in files:
        # A cell without any count on the axis is equal to nothing.
        values = np.sort(file[(file % np.uint64(pieces) == piece) & (file != 0)])
        chosen.append(values[_first_of_equal(values)])
    together = np.sort(np.concatenate(chosen))
    several = together[~_first_of_equal(together)]
    if not len(several):
        return
    owners = np.repeat(np.arange(len(files)), [len(values) for values in chosen])
    values = np.concatenate(chosen)
    shared = np.isin(values, several)
    values, owners = values[shared], owners[shared]
    order = np.argsort(values, kind="stable")  # owners come sorted
    borders = np.flatnonzero(_first_of_equal(values[order]))[1:]
    for group in np.split(owners[order], borders):
        yield group.tolist()


def _first_of_equal(ordered: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Mask of the first of each run of equal values."""
    first = np.ones(len(ordered), dtype=bool)
    first[1:] = ordered[1:] != ordered[:-1]
    return first
