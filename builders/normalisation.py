"""What a matrix holds that is not raw counts.

What is recognised rests on arithmetic alone: undoing a transformation gives
whole numbers, or cells of one total, or cells whose values are multiples of
their smallest one. No threshold on how large values "usually" are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["TRANSFORMS", "Sample", "Transform", "recognise"]


@dataclass(frozen=True)
class Sample:
    """Some whole cells of a matrix.

    Attributes
    ----------
    cells
        int64, shape (values,): which of the sampled cells, from 0.
    features
        int32, shape (values,).
    values
        float64, shape (values,), zeros left out.
    n_cells
        Number of sampled cells, empty ones included.
    """

    cells: NDArray[np.int64]
    features: NDArray[np.int32]
    values: NDArray[np.float64]
    n_cells: int


def recognise(sample: Sample) -> tuple[str, str]:
    """Say what a matrix that is not raw counts holds, and how that was seen.

    Parameters
    ----------
    sample
        Some of its cells; at least one value is no count.

    Returns
    -------
    What it is, and the evidence, both as parts of a sentence.
    """
    values = sample.values
    size = f"{values.size:,} values of {sample.n_cells:,} cells looked at"
    if not np.isfinite(values).all():
        bad = int((~np.isfinite(values)).sum())
        return "missing or infinite values", f"{bad:,} of {size} are not finite"
    if (values < 0).any():
        return _negative(sample, size)
    if (np.rint(values) == values).all():
        return "whole numbers too large to be counts", f"the largest is {values.max():.15g}"
    for look in (_whole_when_undone, _one_total, _multiples_of_smallest):
        for transform in TRANSFORMS:
            undone = transform.undone(values)
            found = None if undone is None else look(sample, undone, transform)
            if found is not None:
                return found
    whole = int((np.rint(values) == values).sum())
    return "values that are not whole numbers", f"{whole:,} of {size} are whole"


def _negative(sample: Sample, size: str) -> tuple[str, str]:
    """Tell z-scored and centred values from other negative ones."""
    negative = int((sample.values < 0).sum())
    evidence = f"{negative:,} of {size} are negative"
    _, feature = np.unique(sample.features, return_inverse=True)
    mean = np.bincount(feature, sample.values) / sample.n_cells
    square = np.bincount(feature, sample.values**2) / sample.n_cells
    deviation = np.sqrt(np.maximum(square - mean**2, 0))
    varying = deviation > 0
    if not varying.any():
        return "negative values", evidence
    spread = float(np.median(deviation[varying]))
    offset = float(np.median(np.abs(mean[varying]) / deviation[varying]))
    if offset > 0.25:
        return "negative values", evidence
    # Counts that were only centred have deviations of every size.
    alike = float((np.abs(deviation[varying] / spread - 1) < 0.3).mean())
    what = "z-scored" if 0.5 < spread < 1.5 and alike > 0.6 else "centred"
    return (
        f"{what} values",
        f"{evidence}; half of the features have a mean within {offset:.2g} standard deviations "
        f"of 0, and the median standard deviation is {spread:.3g}",
    )


@dataclass(frozen=True)
class Transform:
    """A transformation of counts, with its inverse."""

    name: str
    inverse: Callable[[NDArray[np.float64]], NDArray[np.float64]]
    largest: float  # of a value that can be undone to less than 1e12

    def undone(self, values: NDArray[np.float64]) -> NDArray[np.float64] | None:
        """Undo the transformation; None where no count could have given such values."""
        return self.inverse(values) if values.max() <= self.largest else None


TRANSFORMS = (
    Transform("", lambda x: x, 1e12),
    Transform("natural log of 1 + x", np.expm1, float(np.log(1e12))),
    Transform("log2 of 1 + x", lambda x: np.exp2(x) - 1, float(np.log2(1e12))),
    Transform("log10 of 1 + x", lambda x: np.power(10.0, x) - 1, 12.0),
    Transform("square root", np.square, 1e6),
)


def _whole_when_undone(
    sample: Sample, undone: NDArray[np.float64], transform: Transform
) -> tuple[str, str] | None:
    """Recognise counts that were transformed but not scaled."""
    # Large values carry too much rounding to be told from whole ones; values that are whole
    # already say nothing.
    tells = (undone < 50) & (np.rint(sample.values) != sample.values)
    telling, where = undone[tells], np.unique(sample.cells[tells])
    # One cell's values may look whole by chance, as they share one factor; most cells' do not.
    if telling.size < 10 or 2 * where.size < np.unique(sample.cells).size:
        return None
    share = float((_near_whole(telling) & (telling > 0.5)).mean())
    if share < 0.98:
        return None
    logged = "log" in transform.name
    return (
        f"{'log-transformed' if logged else 'square-root transformed'} counts ({transform.name})",
        f"undoing it gives whole numbers in {share:.0%} of {telling.size:,} values",
    )


def _one_total(
    sample: Sample, undone: NDArray[np.float64], transform: Transform
) -> tuple[str, str] | None:
    """Recognise cells that were scaled to one total."""
    totals = np.bincount(sample.cells, undone)
    totals = totals[totals > 0]
    if totals.size < 3:
        return None
    total = float(np.median(totals))
    share = float((np.abs(totals - total) <= 0.01 * total).mean())
    if share < 0.95:
        return None
    summed = f"{transform.name} undone, values" if transform.name else "values"
    unit = " (CPM or TPM)" if abs(total - 1e6) <= 1e4 else ""
    return (
        f"{_scaled(transform)} to a constant total{unit}",
        f"{summed} add up to {total:,.6g} within 1 % in {share:.0%} of {totals.size:,} cells",
    )


def _multiples_of_smallest(
    sample: Sample, undone: NDArray[np.float64], transform: Transform
) -> tuple[str, str] | None:
    """Recognise cells that were divided by a size factor each."""
    smallest = np.full(sample.n_cells, np.inf)
    np.minimum.at(smallest, sample.cells, undone)
    # Unscaled counts are multiples of 1: cells whose smallest value is whole say nothing.
    base = smallest[sample.cells]
    ratio = undone / base
    telling = ratio[(ratio > 1.001) & (ratio < 50) & ~_near_whole(base)]
    if telling.size < 20:
        return None
    share = float(_near_whole(telling).mean())
    if share < 0.9:
        return None
    undoing = f"{transform.name} undone, " if transform.name else ""
    return (
        f"{_scaled(transform)} by a factor for each cell",
        f"{undoing}{share:.0%} of {telling.size:,} values are whole multiples of the smallest "
        "of their cell",
    )


def _near_whole(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    near: NDArray[np.bool_] = np.abs(values - np.rint(values)) <= 1e-3 * (values + 1)
    return near


def _scaled(transform: Transform) -> str:
    if not transform.name:
        return "values normalised"
    if "log" in transform.name:
        return f"log-normalised values ({transform.name}), scaled"
    return "square roots of values, scaled"
