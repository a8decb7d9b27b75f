"""What a golden file holds, and one comparison with it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from cellresponse.schema.errors import ModelError

__all__ = ["Check", "Golden", "Inputs", "compare", "equal", "within"]


@dataclass(frozen=True)
class Inputs:
    """Raw counts that every golden file of a folder was made from.

    Attributes
    ----------
    cell_ids, gene_ids, gene_symbols
        str, shapes (cells,), (genes,), (genes,); a symbol is empty for an id that the
        annotation lacks.
    counts
        Shape (cells, genes), raw counts.
    """

    cell_ids: NDArray[np.str_]
    gene_ids: NDArray[np.str_]
    gene_symbols: NDArray[np.str_]
    counts: NDArray[np.int32]


@dataclass(frozen=True)
class Golden:
    """A golden file `<model>.json` with `<model>.npz` and `inputs.npz` beside it.

    Attributes
    ----------
    file
        The json.
    facts
        What it says: `config`, `weight_rules`, `weight_check_first4`, `tolerance`, ...
    files
        Folder with the vocabulary files of the models. None: tokens are not compared.
    """

    file: Path
    facts: Mapping[str, Any]
    files: Path | None = None

    @classmethod
    def read(cls, file: Path, files: Path | None = None) -> Golden:
        """Open a golden file.

        Raises
        ------
        ModelError
            It is not one, or the arrays are not beside it.
        """
        try:
            facts = json.loads(file.read_bytes())
        except (OSError, ValueError) as error:
            raise ModelError(f"cannot be read: {error}", file=file) from None
        for key in ("model", "weight_seed", "weight_rules", "tolerance", "config"):
            if key not in facts:
                raise ModelError(f"is no golden file: it lacks {key}", file=file)
        return cls(file, facts, files)

    @property
    def model(self) -> str:
        """Name that the file gives the model, such as `geneformer_6l`."""
        return str(self.facts["model"])

    @property
    def config(self) -> Mapping[str, Any]:
        """Configuration of the official class."""
        return dict(self.facts["config"])

    @property
    def tolerance(self) -> Mapping[str, float]:
        """Allowed `max_abs` and `rel_l2` of embeddings in float32 on a CPU."""
        return dict(self.facts["tolerance"])

    @cached_property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """Arrays by name."""
        return _arrays(self.file.with_suffix(".npz"))

    @cached_property
    def inputs(self) -> Inputs:
        """Counts that the tokens were made from."""
        return Inputs(**_arrays(self.file.with_name("inputs.npz")))


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot be read: {error}", file=path) from None


@dataclass(frozen=True)
class Check:
    """One comparison.

    Attributes
    ----------
    name
        What was compared.
    max_abs, rel_l2
        Largest absolute difference, and norm of the difference over the norm of the
        golden values; both zero for things that are equal or not numbers.
    passed
        Whether that is within the tolerance.
    share
        The difference as a part of what is allowed: above 1 fails. Zero for a
        comparison without a tolerance.
    note
        Why it failed, or what was left out.
    """

    name: str
    passed: bool
    max_abs: float = 0.0
    rel_l2: float = 0.0
    share: float = 0.0
    note: str = ""


def compare(
    name: str,
    ours: torch.Tensor | ArrayLike,
    theirs: ArrayLike,
    tolerance: Mapping[str, float],
    *,
    absolute: bool = True,
) -> Check:
    """Compare numbers.

    Parameters
    ----------
    name
        What they are.
    ours, theirs
        Arrays of one shape.
    tolerance
        `max_abs` and `rel_l2`; both must hold.
    absolute
        False: `rel_l2` alone must hold. The tolerances of golden files are those of
        embeddings; hidden states and other values have another magnitude.
    """
    mine = np.asarray(ours.detach().cpu() if isinstance(ours, torch.Tensor) else ours, np.float64)
    golden = np.asarray(theirs, np.float64)
    if mine.shape != golden.shape:
        return Check(name, False, note=f"shape {mine.shape}, golden {golden.shape}")
    difference = np.abs(mine - golden)
    max_abs = float(difference.max(initial=0.0))
    norm = float(np.linalg.norm(golden))
    rel_l2 = float(np.linalg.norm(difference)) / norm if norm else max_abs
    share = rel_l2 / tolerance["rel_l2"]
    if absolute:
        share = max(share, max_abs / tolerance["max_abs"])
    # Not-a-number is no pass.
    return Check(name, bool(share <= 1), max_abs, rel_l2, share)


def equal(name: str, ours: torch.Tensor | ArrayLike, theirs: ArrayLike) -> Check:
    """Compare whole numbers or words that must be the same."""
    mine = np.asarray(ours.detach().cpu() if isinstance(ours, torch.Tensor) else ours)
    golden = np.asarray(theirs)
    if mine.shape != golden.shape:
        return Check(name, False, note=f"shape {mine.shape}, golden {golden.shape}")
    wrong = int(np.sum(mine != golden))
    return Check(name, wrong == 0, note=f"{wrong} of {golden.size} differ" if wrong else "")


def within(name: str, ours: ArrayLike, low: ArrayLike, high: ArrayLike) -> Check:
    """Check that each value lies in its closed range."""
    mine, least, most = np.asarray(ours), np.asarray(low), np.asarray(high)
    if mine.shape != least.shape:
        return Check(name, False, note=f"shape {mine.shape}, golden {least.shape}")
    wrong = int(np.sum(~((mine >= least) & (mine <= most))))
    return Check(name, wrong == 0, note=f"{wrong} of {mine.size} out of range" if wrong else "")
