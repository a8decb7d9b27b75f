"""The rule on measured IC50: a gap of ten-fold, or no label."""

from __future__ import annotations

import csv
from itertools import permutations
from math import log
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from studies import CURATION

from cellresponse.schema.ic50_rule import TEN_FOLD, MeasuredLine, ic50_verdicts


def lines(*values: float, q25: float = 2.0, median: float = 3.0) -> list[MeasuredLine]:
    return [MeasuredLine(chr(65 + n), value, q25, median) for n, value in enumerate(values)]


@pytest.mark.parametrize(
    ("values", "called"),
    [
        ((), {}),
        ((-5.0,), {}),  # nobody resistant
        ((5.0,), {}),  # nobody sensitive
        ((-5.0, 5.0), {"A": "sensitive", "B": "resistant"}),
        ((-5.0, 2.5, 5.0), {"A": "sensitive", "C": "resistant"}),  # the middle stays open
        ((1.9, 3.1), {}),  # less than ten-fold apart
        ((1.0, 1.0 + TEN_FOLD), {"A": "sensitive", "B": "resistant"}),  # ten-fold is enough
        ((1.0, 0.999 + TEN_FOLD), {}),
        ((2.0, 9.0), {}),  # on the quartile is not below it
        ((-5.0, 3.0), {}),  # on the median is not above it
        ((-5.0, -4.0, 5.0), {"A": "sensitive", "B": "sensitive", "C": "resistant"}),
        # B is too near to the resistant line, and far enough from A.
        ((-5.0, 1.9, 3.5), {"A": "sensitive", "C": "resistant"}),
        # Neither B can join nor A leave it: the drug labels nothing.
        ((1.5, 1.9, 3.5), {}),
        ((-5.0, 4.0, 9.0), {"A": "sensitive", "B": "resistant", "C": "resistant"}),
    ],
)
def test_ic50_rule(values: tuple[float, ...], called: dict[str, str]) -> None:
    assert ic50_verdicts(lines(*values)) == called


LOG_IC50 = st.floats(-8, 8, allow_nan=False)
SCREENS = st.tuples(st.lists(LOG_IC50, max_size=6), LOG_IC50, st.floats(0, 4)).map(
    lambda drawn: lines(*drawn[0], q25=drawn[1], median=drawn[1] + drawn[2])
)


@given(SCREENS)
def test_ic50_labels_keep_a_ten_fold_gap(screen: list[MeasuredLine]) -> None:
    called = ic50_verdicts(screen)
    value = {line.cell_line: line.ln_ic50 for line in screen}
    low = [value[line] for line, response in called.items() if response == "sensitive"]
    high = [value[line] for line, response in called.items() if response == "resistant"]
    assert bool(low) == bool(high)
    for line in screen:
        response = called.get(line.cell_line)
        if response == "sensitive":
            assert line.ln_ic50 < line.q25_ln_ic50
        elif response == "resistant":
            assert line.ln_ic50 > line.median_ln_ic50
        elif called:
            # Left open: between quartile and median, or below it and ten-fold from the group.
            assert line.ln_ic50 <= line.median_ln_ic50
            assert line.ln_ic50 >= line.q25_ln_ic50 or line.ln_ic50 - max(low) >= log(10)
    if called:
        assert min(high) - max(low) >= log(10)


@given(SCREENS)
def test_ic50_sensitive_group_is_the_largest(screen: list[MeasuredLine]) -> None:
    called = ic50_verdicts(screen)
    ranked = sorted(line.ln_ic50 for line in screen if line.ln_ic50 < line.q25_ln_ic50)
    high = [line.ln_ic50 for line in screen if line.ln_ic50 > line.median_ln_ic50]
    sizes = [
        size
        for size in range(1, len(ranked) + 1)
        if high and min([*ranked[size:], *high]) - ranked[size - 1] >= TEN_FOLD
    ]
    assert list(called.values()).count("sensitive") == max(sizes, default=0)


@given(SCREENS, st.randoms(use_true_random=False))
def test_ic50_verdicts_do_not_depend_on_order(screen: list[MeasuredLine], random: Any) -> None:
    shuffled = random.sample(screen, len(screen))
    assert ic50_verdicts(shuffled) == ic50_verdicts(screen)


def test_equal_lines_are_called_alike() -> None:
    for order in permutations(lines(-5.0, -5.0, 5.0)):
        assert ic50_verdicts(order) == {"A": "sensitive", "B": "sensitive", "C": "resistant"}


def test_ic50_verdicts_of_the_five_curated_lines() -> None:
    by_drug: dict[str, list[MeasuredLine]] = {}
    with (CURATION / "GSE118767" / "dose_response.csv").open(encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            by_drug.setdefault(row["treatment"], []).append(
                MeasuredLine(
                    row["cell_line"],
                    float(row["ln_ic50"]),
                    float(row["q25_ln_ic50"]),
                    float(row["median_ln_ic50"]),
                )
            )
    called = {drug: ic50_verdicts(screen) for drug, screen in by_drug.items()}
    two_each = {
        drug
        for drug, verdicts in called.items()
        if min(list(verdicts.values()).count(side) for side in ("sensitive", "resistant")) >= 2
    }
    assert len(by_drug) == 163
    assert sum(map(bool, called.values())) == 35
    assert two_each == {"5-Fluorouracil", "Docetaxel", "Palbociclib", "Staurosporine"}
    assert called["Erlotinib"]["HCC827"] == "sensitive"
    assert "H1975" not in called["Erlotinib"]
