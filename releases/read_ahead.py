"""Make the next item of an iterator in a thread while the present one is used."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

__all__ = ["read_ahead"]


def read_ahead[Item](items: Generator[Item, Any, Any]) -> Iterator[Item]:
    """Yield the items of a generator in their order; at most one waits.

    Reading and decoding release the interpreter's lock, so they run beside the work
    on the item before. The generator is closed at the end, also where the consumer
    stops early, and what it raises is raised here.

    Parameters
    ----------
    items
        What makes the items; None is no item.
    """
    with closing(items), ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = pool.submit(next, items, None)
            yield item
