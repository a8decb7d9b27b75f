"""Decide which cells make up which batch, before any of them is read.

An epoch is one sequence of the wanted cells: blocks of neighbours on disk, in random order.
Ranks take equal stretches of it. A rank reads its stretch load by load, shuffles each load
in memory and cuts it into batches; the workers of a rank take whole loads in turn. So the
batches of a rank depend on seed and epoch alone, never on the number of workers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["GAP", "BatchPlan", "Load"]

GAP = 32
"""Unwanted rows between two wanted ones that are read along: about half a compressed chunk."""


class Load(NamedTuple):
    """Rows to read in one go, and the batches to make of them.

    Attributes
    ----------
    slices
        Stretches of rows, rising.
    order
        int64, shape (cells,): places of the cells among the rows of the slices, batch by batch.
    sizes
        Cells of each batch.
    """

    slices: list[slice]
    order: NDArray[np.int64]
    sizes: list[int]


@dataclass(frozen=True)
class BatchPlan:
    """The batches of every epoch, for one rank.

    Attributes
    ----------
    rows
        int64, shape (cells,), rising: the wanted rows of the stores, which are counted
        through as if they were one.
    batch_size
        Cells a batch.
    block_size
        Neighbouring cells that stay together until they are in memory.
    in_memory
        Rows that a load may read; at least a batch is read.
    seed
        Of every shuffle.
    shuffle
        False: cells come in the order of their rows.
    rank, world_size
        Which of how many processes.
    """

    rows: NDArray[np.int64]
    batch_size: int
    block_size: int
    in_memory: int
    seed: int
    shuffle: bool
    rank: int
    world_size: int

    @property
    def n_batches(self) -> int:
        """Batches an epoch, the same for every rank."""
        most = -(-len(self.rows) // self.world_size)
        return -(-most // self.batch_size)

    @cached_property
    def load_size(self) -> int:
        """Cells a load: whole batches, fewer where rows are read along to no purpose."""
        steps = np.diff(self.rows)
        along = int((steps[steps <= GAP + 1] - 1).sum())
        share = len(self.rows) / (len(self.rows) + along)
        return max(1, int(self.in_memory * share) // self.batch_size) * self.batch_size

    def loads(
        self, epoch: int, start_batch: int = 0, worker: int = 0, workers: int = 1
    ) -> Iterator[Load]:
        """Yield what a worker reads in an epoch.

        Parameters
        ----------
        epoch
            Epochs differ in their order.
        start_batch
            Batches of the epoch that all workers together have already given.
        worker, workers
            Which of how many workers that take turns, as torch's DataLoader has them.
        """
        role, given = self._turn(start_batch, worker, workers)
        sequence = _Sequence(self, epoch)
        for number in range(role, self._n_loads, workers):
            sizes = self._batch_sizes(number)
            skipped = min(given, len(sizes))
            given -= skipped
            if skipped < len(sizes):
                yield self._load(sequence, number, sizes, skipped)

    @cached_property
    def _stretch(self) -> tuple[int, int]:
        """Part of the sequence that this rank takes; parts differ by one cell at most."""
        total = len(self.rows)
        first, stop = (total * rank // self.world_size for rank in (self.rank, self.rank + 1))
        return first, stop

    @property
    def _n_loads(self) -> int:
        first, stop = self._stretch
        return -(-(stop - first) // self.load_size)

    def _batch_sizes(self, load: int) -> list[int]:
        """Cells of each batch of a load: all full, but for the end of the last load."""
        first, stop = self._stretch
        cells = min(self.load_size, stop - first - load * self.load_size)
        whole, rest = divmod(cells, self.batch_size)
        sizes = [self.batch_size] * whole + ([rest] if rest else [])
        before = load * (self.load_size // self.batch_size)
        if load == self._n_loads - 1 and before + len(sizes) < self.n_batches:
            # Another rank has one cell more and so one batch more: halve a batch to keep step.
            half = sizes.pop() // 2
            sizes += [self.batch_size - half, half]
        return sizes

    def _turn(self, start_batch: int, worker: int, workers: int) -> tuple[int, int]:
        """Give the role that a worker takes up, and the batches which that role has given.

        Workers give one batch each in turn, and those that have no more are passed over.
        After a restart the first worker takes up the role whose turn it is.
        """
        if start_batch == 0:
            return worker, 0
        counts = np.zeros(workers, dtype=np.int64)
        for load in range(self._n_loads):
            counts[load % workers] += len(self._batch_sizes(load))
        roles = np.repeat(np.arange(workers), counts)
        rounds = np.concatenate([np.arange(count) for count in counts])
        turns = roles[np.lexsort((roles, rounds))]
        given = np.bincount(turns[:start_batch], minlength=workers)
        turn = int(turns[start_batch]) if start_batch < len(turns) else 0
        role = (turn + worker) % workers
        return role, int(given[role])

    def _load(self, sequence: _Sequence, number: int, sizes: list[int], skipped: int) -> Load:
        first = self._stretch[0] + number * self.load_size
        cells = sequence.cells(first, first + sum(sizes))
        left = cells[sum(sizes[:skipped]) :]
        rows = self.rows[left]
        slices = _runs(np.sort(rows))
        starts = np.array([run.start for run in slices])
        lengths = np.array([run.stop for run in slices]) - starts
        run = np.searchsorted(starts, rows, side="right") - 1
        places = rows - starts[run] + (np.cumsum(lengths) - lengths)[run]
        return Load(slices, places, sizes[skipped:])


class _Sequence:
    """The order of an epoch's cells, given stretch by stretch."""

    def __init__(self, plan: BatchPlan, epoch: int) -> None:
        self._plan, self._epoch = plan, epoch
        stream = np.random.default_rng((plan.seed, epoch))
        total = len(plan.rows)
        # Blocks begin elsewhere in every epoch, so that other neighbours stay together.
        self._shift = int(stream.integers(total))
        whole = total // plan.block_size
        self._blocks = np.append(stream.permutation(whole), whole)  # the rest of a block is last

    def cells(self, first: int, stop: int) -> NDArray[np.int64]:
        """Give the cells (places in `rows`) of a stretch that is shuffled as a whole."""
        places = np.arange(first, stop)
        if not self._plan.shuffle:
            return places
        block, within = np.divmod(places, self._plan.block_size)
        cells = self._blocks[block] * self._plan.block_size + within + self._shift
        stream = np.random.default_rng((self._plan.seed, self._epoch, first))
        return stream.permutation(cells % len(self._plan.rows))


def _runs(rows: NDArray[np.int64]) -> list[slice]:
    """Give the stretches that hold the rows (rising), small gaps read along."""
    breaks = np.flatnonzero(np.diff(rows) > GAP + 1) + 1
    firsts = rows[np.concatenate(([0], breaks))]
    lasts = rows[np.concatenate((breaks - 1, [len(rows) - 1]))]
    return [
        slice(first, last + 1) for first, last in zip(firsts.tolist(), lasts.tolist(), strict=True)
    ]
