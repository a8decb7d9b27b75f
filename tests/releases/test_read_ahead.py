"""Items come in order, errors arrive, and the source is closed."""

from __future__ import annotations

import threading
from collections.abc import Generator

import pytest

from cellresponse.releases.read_ahead import read_ahead


class Source:
    """Counts, and remembers how far it got and whether it was closed."""

    def __init__(self, stop: int, error: Exception | None = None) -> None:
        self.stop, self.error = stop, error
        self.made = 0
        self.closed = False

    def items(self) -> Generator[int]:
        try:
            for number in range(self.stop):
                self.made = number + 1
                yield number
            if self.error:
                raise self.error
        finally:
            self.closed = True


@pytest.mark.parametrize("length", [0, 1, 2, 50])
def test_same_items(length: int) -> None:
    source = Source(length)
    assert list(read_ahead(source.items())) == list(range(length))
    assert source.closed


def test_at_most_one_waits() -> None:
    source = Source(50)
    for number in read_ahead(source.items()):
        assert source.made <= number + 2


def test_an_error_comes_after_the_items_before_it() -> None:
    source = Source(3, ValueError("damaged"))
    items = read_ahead(source.items())
    assert [next(items) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="damaged"):
        next(items)


def test_stopping_early_closes_the_source() -> None:
    source = Source(50)
    before = threading.active_count()
    items = read_ahead(source.items())
    assert next(items) == 0
    items.close()  # type: ignore[attr-defined]
    assert source.closed
    assert threading.active_count() == before
