"""One comparison with golden numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cellresponse.baselines.golden.check import compare, equal, within

TOLERANCE = {"max_abs": 1e-3, "rel_l2": 1e-2}


def test_numbers_within_the_tolerance_pass() -> None:
    found = compare("a", torch.tensor([1.0, 2.0005]), [1.0, 2.0], TOLERANCE)
    assert found.passed
    assert found.max_abs == pytest.approx(5e-4, rel=1e-3)
    assert found.share == pytest.approx(0.5, rel=1e-3)


def test_either_measure_alone_fails() -> None:
    assert not compare("a", [100.0, 100.01], [100.0, 100.0], TOLERANCE).passed
    assert compare("a", [100.0, 100.01], [100.0, 100.0], TOLERANCE, absolute=False).passed
    assert not compare("a", [1e-4, 2e-4], [1e-4, 1e-4], TOLERANCE).passed
    assert not compare("a", [1e-4, 2e-4], [1e-4, 1e-4], TOLERANCE, absolute=False).passed


def test_what_is_no_number_or_has_another_shape_fails() -> None:
    assert not compare("a", [np.nan, 1.0], [1.0, 1.0], TOLERANCE).passed
    assert not compare("a", [np.inf, 1.0], [1.0, 1.0], TOLERANCE).passed
    found = compare("a", [[1.0]], [1.0], TOLERANCE)
    assert (found.passed, found.note) == (False, "shape (1, 1), golden (1,)")
    assert not equal("a", [1, 2], [1]).passed
    assert not within("a", [1, 2], [1], [2]).passed


def test_zeros_are_compared_by_their_difference() -> None:
    assert compare("a", [0.0, 0.0], [0.0, 0.0], TOLERANCE).passed
    assert not compare("a", [0.0, 0.1], [0.0, 0.0], TOLERANCE).passed


def test_whole_numbers_are_equal_or_counted() -> None:
    assert equal("a", [1, 2], [1, 2]).passed
    assert equal("a", [1, 2, 4], [1, 3, 5]).note == "2 of 3 differ"


def test_ranges_are_closed() -> None:
    assert within("a", [1, 2], [1, 0], [1, 2]).passed
    assert within("a", [1, 3], [1, 0], [1, 2]).note == "1 of 2 out of range"
