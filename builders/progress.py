"""How a build tells what it does."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Report", "silent"]


class Report(Protocol):
    """Receives one plain line about the state of the build."""

    def __call__(self, line: str, *, done: int = 0, total: int = 0) -> None:
        """Take a line; `done` of `total` studies are built, 0 of 0 where that is not known."""


def silent(line: str, *, done: int = 0, total: int = 0) -> None:
    """Report nothing."""
