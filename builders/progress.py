"""How a build tells what it does."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Report", "silent"]


class Report(Protocol):
    """Receives one plain line about the state of the build."""

    def __call__(self, line: str, *, done: int = 0, total: int = 0) -> None:
        """Take a line, and how much of the step is done; an empty line only moves the bar."""


def silent(line: str, *, done: int = 0, total: int = 0) -> None:
    """Report nothing."""
