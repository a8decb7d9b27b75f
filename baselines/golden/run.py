"""Compare every golden file of a folder with our models."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cellresponse.baselines.golden.check import Check, Golden
from cellresponse.schema.errors import ModelError

__all__ = ["GoldenResult", "golden_files", "run_golden"]

# Beginning of a golden file's model name, and the module of ours that compares it.
MODULES = {
    "tgpt": "tgpt",
    "geneformer": "geneformer",
    "scbert": "scbert",
    "cellm": "cellm",
    "scfoundation": "scfoundation",
    "scgpt": "scgpt",
    "cellplm": "cellplm",
    "uce": "uce",
}

SLOW = ("scbert", "cellm", "scfoundation", "scgpt")
"""Models whose comparison can be limited to some cells."""


@dataclass(frozen=True)
class GoldenResult:
    """Comparisons of one model."""

    model: str
    checks: Sequence[Check]

    @property
    def passed(self) -> bool:
        """Whether something was compared and all of it is within its tolerance."""
        return bool(self.checks) and all(check.passed for check in self.checks)

    def lines(self) -> Iterator[str]:
        """Give a line for the model, then one for each failure and each note."""
        worst = max(self.checks, key=lambda check: check.share, default=Check("nothing", False))
        failed = [check for check in self.checks if not check.passed]
        state = "ok    " if self.passed else "FAILED"
        yield (
            f"{self.model:<14} {state} {len(self.checks) - len(failed)} of {len(self.checks)} "
            f"checks; largest difference {worst.max_abs:.1e} absolute, {worst.rel_l2:.1e} relative "
            f"({worst.share:.0%} of what is allowed) in {worst.name}"
        )
        for check in failed:
            numbers = f"{check.max_abs:.1e} absolute, {check.rel_l2:.1e} relative"
            yield f"  over: {check.name}: {check.note or numbers}"
        for check in self.checks:
            if check.passed and check.note:
                yield f"  note: {check.name}: {check.note}"


def golden_files(folder: Path) -> list[Path]:
    """Give the golden files of a folder, by name.

    Raises
    ------
    ModelError
        There are none.
    """
    found = sorted(path for path in folder.glob("*.json") if path.with_suffix(".npz").is_file())
    if not found:
        raise ModelError("holds no golden files", file=folder, allowed="<model>.json with .npz")
    return found


def run_golden(folder: Path, files: Path | None = None) -> Iterator[GoldenResult]:
    """Compare our models with every golden file of a folder.

    Parameters
    ----------
    folder
        `<model>.json`, `<model>.npz` and `inputs.npz`.
    files
        Folder with the vocabulary files of the models. None: tokens are not compared.

    Yields
    ------
    GoldenResult
        One a file, in the order of their names.

    Raises
    ------
    ModelError
        A file cannot be read.
    """
    for path in golden_files(folder):
        yield run_file(path, files)


def run_file(path: Path, files: Path | None = None, *, cells: int | None = None) -> GoldenResult:
    """Compare one golden file.

    Parameters
    ----------
    path, files
        As in `run_golden`.
    cells
        Of the models that take minutes, compare this many cells only. None: all.
    """
    golden = Golden.read(path, files)
    name = next((MODULES[start] for start in MODULES if golden.model.startswith(start)), None)
    if name is None:
        missing = Check("the model", False, note="there is no such model here")
        return GoldenResult(golden.model, [missing])
    module = importlib.import_module(f"cellresponse.baselines.golden.{name}")
    limit = {"cells": cells} if name in SLOW and cells is not None else {}
    return GoldenResult(golden.model, list(module.checks(golden, **limit)))
