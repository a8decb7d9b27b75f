"""The rule that calls cell lines sensitive or resistant to a drug by measured IC50."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import log

__all__ = ["IC50_RULE", "MeasuredLine", "ic50_verdicts"]

TEN_FOLD = log(10)

IC50_RULE = "ic50_ten_fold_gap"


@dataclass(frozen=True)
class MeasuredLine:
    """Measured sensitivity of one cell line to one drug; all in ln(uM)."""

    cell_line: str
    ln_ic50: float
    q25_ln_ic50: float
    median_ln_ic50: float


def ic50_verdicts(lines: Iterable[MeasuredLine]) -> dict[str, str]:
    """Call cell lines sensitive or resistant to one drug by measured IC50.

    Resistant are the lines above the median of all lines that the resource
    tested. Sensitive is the largest group of lines below the first quartile that
    is at least ten times more sensitive than every resistant line, and than
    every line below the quartile that is left out of it: the group may end
    only where the measurements leave a ten-fold gap. Where one of the two sides
    is empty the drug labels nothing, and nothing between the two is ever labelled.

    Parameters
    ----------
    lines
        The study's cell lines, measured with one drug, each once.

    Returns
    -------
    dict
        `sensitive` or `resistant` by cell line; lines in between are absent.

    Examples
    --------
    >>> lines = [MeasuredLine("A", -2.7, 2.0, 2.9), MeasuredLine("B", 1.8, 2.0, 2.9),
    ...          MeasuredLine("C", 3.6, 2.0, 2.9)]
    >>> ic50_verdicts(lines)
    {'A': 'sensitive', 'C': 'resistant'}
    """
    ranked = sorted(lines, key=lambda line: (line.ln_ic50, line.cell_line))
    low = [line for line in ranked if line.ln_ic50 < line.q25_ln_ic50]
    resistant = [line for line in ranked if line.ln_ic50 > line.median_ln_ic50]
    for size in range(len(low), 0, -1):
        beyond = low[size:] + resistant
        gap = beyond[0].ln_ic50 - low[size - 1].ln_ic50 if resistant else 0.0
        if gap >= TEN_FOLD:
            called = {line.cell_line: "sensitive" for line in low[:size]}
            return called | {line.cell_line: "resistant" for line in resistant}
    return {}
