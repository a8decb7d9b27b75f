"""Open a loader over cells of a release, or of its shuffled copy."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cellresponse.releases.loading.loader import Loader, numbered
from cellresponse.releases.loading.plan import BatchPlan
from cellresponse.releases.loading.shuffled import shuffled_places
from cellresponse.schema.errors import CellResponseError, ReleaseError

if TYPE_CHECKING:
    from cellresponse.releases.release import Release

__all__ = ["Reading", "open_loader"]


@dataclass(frozen=True)
class Reading:
    """How a loader reads.

    Attributes
    ----------
    batch_size
        Cells a batch.
    seed
        Of the shuffles.
    shuffle
        False: cells come in the order of the files, to predict rather than to train.
    to
        Arrays of `numpy` (and SciPy) or of `torch`.
    sparse
        Whether X is CSR; else dense.
    shuffled
        Folder that `python cli.py shuffle` made of the release. None: the release is read.
    block_size
        Neighbours on disk that are read together. Larger reads faster and mixes less.
    rows_in_memory
        Rows that are read and shuffled together. Larger mixes better.
    rank, world_size
        Which of how many training processes. None: as torch.distributed says, else one.
    """

    batch_size: int = 128
    seed: int = 0
    shuffle: bool = True
    to: Literal["numpy", "torch"] = "numpy"
    sparse: bool = True
    shuffled: str | Path | None = None
    block_size: int = 64
    rows_in_memory: int = 16_384
    rank: int | None = None
    world_size: int | None = None


def open_loader(release: Release, cells: pa.Table, reading: Reading) -> Loader:
    """Open a loader over cells of a release.

    Parameters
    ----------
    release
        The release.
    cells
        The cells, with one response each, as `fold_cells` gives them.
    reading
        How to read them.

    Returns
    -------
    Loader

    Raises
    ------
    ReleaseError
        The sizes cannot be, or the shuffled folder is of another release.
    CellResponseError
        A library is missing.
    """
    _check_libraries(reading)
    rank, world_size = _rank(reading)
    _check_sizes(len(cells), reading, rank, world_size)
    if reading.shuffled is None:
        stores, rows = _places(release, cells)
    else:
        stores, rows = shuffled_places(Path(reading.shuffled), release, cells)
    order = np.argsort(rows, kind="stable")
    plan = BatchPlan(
        rows=rows[order],
        batch_size=reading.batch_size,
        block_size=reading.block_size,
        in_memory=reading.rows_in_memory,
        seed=reading.seed,
        shuffle=reading.shuffle,
        rank=rank,
        world_size=world_size,
    )
    return Loader(
        cells.take(pa.array(order)),
        stores,
        plan,
        sparse=reading.sparse,
        torch=reading.to == "torch",
        release_hash=release.content_hash,
    )


def _check_libraries(reading: Reading) -> None:
    if reading.to not in ("numpy", "torch"):
        raise ReleaseError("there are no such arrays", value=reading.to, allowed="numpy, torch")
    for library in ("annbatch", "torch"):
        if find_spec(library) is None and (library == "annbatch" or reading.to == library):
            raise CellResponseError(
                f"the loader needs {library}, which is not installed",
                hint="Install it: make env",
            )


def _places(release: Release, cells: pa.Table) -> tuple[list[Path], NDArray[np.int64]]:
    """Give the matrices that hold the cells, and each cell's row in all of them together."""
    studies = release.tables["studies"]
    size = dict(zip(studies["study_id"].to_pylist(), studies["n_cells"].to_pylist(), strict=True))
    codes, named = numbered(cells["study_id"])
    sizes = np.array([size[study] for study in named])
    offsets = np.cumsum(sizes) - sizes
    return [release.matrix(study) for study in named], offsets[codes] + cells["row"].to_numpy()


def _check_sizes(cells: int, reading: Reading, rank: int, world_size: int) -> None:
    least = {
        # A rank that has one cell fewer keeps step by halving a batch.
        "batch_size": (reading.batch_size, 1 if world_size == 1 else 2),
        "block_size": (reading.block_size, 1),
        "rows_in_memory": (reading.rows_in_memory, 1),
        "seed": (reading.seed, 0),
        "world_size": (world_size, 1),
    }
    for name, (value, fewest) in least.items():
        if value < fewest:
            raise ReleaseError(f"{name} is too small", value=value, allowed=f"{fewest} or more")
    if not 0 <= rank < world_size:
        raise ReleaseError("there is no such rank", value=rank, allowed=f"0 to {world_size - 1}")
    if cells < world_size:
        raise ReleaseError(f"{cells} cells cannot be shared by {world_size} ranks")


def _rank(reading: Reading) -> tuple[int, int]:
    """Give rank and number of the training processes."""
    if reading.rank is not None and reading.world_size is not None:
        return reading.rank, reading.world_size
    if reading.rank is not None or reading.world_size is not None:
        raise ReleaseError("rank and world_size are given together, or neither is")
    if find_spec("torch"):
        from torch import distributed

        if distributed.is_available() and distributed.is_initialized():
            return distributed.get_rank(), distributed.get_world_size()
    return 0, 1
