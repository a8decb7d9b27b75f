"""Expression values as the models read them: normalised, cut to classes, put in bins."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["CLASSES", "classes", "log_normalised", "quantile_bins", "sample", "uniform"]

TARGET = 1e4  # counts that a cell is scaled to
CLASSES = 5  # whole numbers from 0 to 5


def log_normalised(
    values: NDArray[np.generic], offsets: NDArray[np.int64], *, base: float = math.e
) -> NDArray[np.float32]:
    """Scale each cell to 10,000 counts and take log(1 + x).

    Parameters
    ----------
    values
        (values,) raw counts of all cells.
    offsets
        (cells + 1,); cell i owns `values[offsets[i]:offsets[i + 1]]`, and its total is
        taken over these.
    base
        Of the logarithm.

    Returns
    -------
    numpy.ndarray
        (values,) float32.

    Examples
    --------
    >>> log_normalised(np.array([3, 1]), np.array([0, 2]), base=10).round(3)
    array([3.875, 3.398], dtype=float32)
    """
    counts = values.astype(np.float32)
    factor = totals(values, offsets).astype(np.float32) / np.float32(TARGET)
    scaled: NDArray[np.float32] = np.log1p(counts / np.repeat(factor, np.diff(offsets)))
    if base != math.e:
        scaled /= np.float32(math.log(base))
    return scaled


def totals(values: NDArray[np.generic], offsets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Sum the values of each cell, (cells,)."""
    row = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    return np.bincount(row, values.astype(np.float64), minlength=len(offsets) - 1)


def classes(values: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Cut values to whole numbers 0 to 5.

    Examples
    --------
    >>> classes(np.array([0.0, 0.9, 3.2, 7.5]))
    array([0, 0, 3, 5], dtype=uint8)
    """
    return np.minimum(values, CLASSES).astype(np.uint8)


def quantile_bins(
    counts: NDArray[np.generic], draws: NDArray[np.float64], *, bins: int
) -> NDArray[np.int64]:
    """Number the counts of one cell by the quantiles that they lie between.

    Counts repeat, so that many quantiles are equal; a count that equals several edges goes
    to one of their bins, by its draw.

    Parameters
    ----------
    counts
        (values,) above zero.
    draws
        (values,) uniform in [0, 1).
    bins
        One for zero, which is not among the counts, and `bins - 1` between the edges.

    Returns
    -------
    numpy.ndarray
        (values,) 1 to `bins - 1`.

    Examples
    --------
    >>> quantile_bins(np.array([1, 2, 3, 4]), np.zeros(4), bins=5)
    array([1, 2, 3, 4])
    """
    if not len(counts):
        return np.zeros(0, np.int64)
    numbers = counts.astype(np.int64)
    up_to = np.cumsum(np.bincount(numbers))  # how many are at most 0, 1, 2, ...
    edges = _quantiles(up_to, np.linspace(0, 1, bins - 1))
    every = np.arange(len(up_to))
    high = np.searchsorted(edges, every, side="right")[numbers]
    low = np.searchsorted(edges, every, side="left")[numbers]
    return np.ceil(high - draws * (high - low)).astype(np.int64)


def _quantiles(up_to: NDArray[np.int64], shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give what `np.quantile` gives, to the last bit, without sorting."""
    last = up_to[-1] - 1
    place = shares * last
    below = np.floor(place)
    part = place - below
    smaller = np.searchsorted(up_to, below, side="right")
    larger = np.searchsorted(up_to, np.minimum(below + 1, last), side="right")
    step = larger - smaller
    return np.where(part < 0.5, smaller + step * part, larger - step * (1 - part))


def uniform(
    seeds: NDArray[np.uint64], keys: NDArray[np.integer], stream: int
) -> NDArray[np.float64]:
    """Draw numbers that depend on nothing but a cell's seed and a gene.

    Parameters
    ----------
    seeds
        (values,) seed of the cell that each value belongs to.
    keys
        (values,) number of its gene.
    stream
        0 or 1: two sets of numbers that have nothing to do with each other.

    Returns
    -------
    numpy.ndarray
        (values,) float64, uniform in [0, 1).

    Notes
    -----
    SplitMix64, with the seed as state and the gene as counter: Steele, Lea and Flood, "Fast
    splittable pseudorandom number generators", OOPSLA 2014.
    """
    with np.errstate(over="ignore"):  # arithmetic modulo 2**64 is meant
        counter = keys.astype(np.uint64) * np.uint64(2) + np.uint64(stream + 1)
        z = seeds + counter * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    return (z >> np.uint64(11)).astype(np.float64) * 2.0**-53


def sample(draws: NDArray[np.float64], limit: int) -> NDArray[np.int64]:
    """Choose at most `limit` places, those of the smallest draws, in rising order."""
    if len(draws) <= limit:
        return np.arange(len(draws))
    return np.flatnonzero(draws <= np.partition(draws, limit - 1)[limit - 1])[:limit]
