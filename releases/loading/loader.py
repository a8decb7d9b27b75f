"""Feed the cells of a benchmark fold to a model: shuffled batches, read from disk by annbatch."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator, Mapping
from functools import cached_property
from importlib.util import find_spec
from itertools import pairwise
from multiprocessing.sharedctypes import RawArray
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp
from numpy.typing import NDArray

from cellresponse.releases.loading.plan import BatchPlan
from cellresponse.releases.read_ahead import read_ahead
from cellresponse.schema.errors import ReleaseError

if TYPE_CHECKING:
    import torch

if TYPE_CHECKING or find_spec("torch"):
    from torch.utils.data import IterableDataset
else:

    class IterableDataset:
        """Stands in where torch is not installed; the loader then gives NumPy arrays only."""

        def __class_getitem__(cls, _: Any) -> type:
            return cls


__all__ = ["RESPONSES", "Batch", "Loader", "numbered"]

RESPONSES = ("resistant", "sensitive")
"""What the numbers in `Batch.response` mean: the positive class is `sensitive`."""


class Batch(NamedTuple):
    """Cells with their labels; arrays are torch tensors where the loader was asked for them.

    Attributes
    ----------
    X
        int32, shape (cells, genes): raw counts, CSR or dense.
    response
        int64, shape (cells,): place in `RESPONSES`, 1 is sensitive.
    stars
        int64, shape (cells,): 1 to 3; 0 where the label has none.
    drug, basis
        int64, shape (cells,): places in the loader's `drugs` and `bases`.
    cell_ids
        Their ids, in the same order.
    """

    X: Any
    response: Any
    stars: Any
    drug: Any
    basis: Any
    cell_ids: list[str]


class Loader(IterableDataset[Batch]):
    """Batches of one side of a fold, epoch after epoch.

    What holds, and is tested: every cell comes exactly once an epoch, over all ranks and
    workers; nothing is dropped or repeated; the last batch of an epoch may be smaller. Seed and
    epoch (with the sizes and the number of ranks) fix which cells make up a batch and their
    order in it. Workers of torch's DataLoader share out whole loads: any number gives the same
    batches, interleaved in an order that their number fixes. Ranks give equally many batches,
    none of them empty.

    Wrap it as `DataLoader(loader, batch_size=None, num_workers=2)`, or iterate over it as it is:
    the next load is then read in a thread while the present one is used.

    Parameters
    ----------
    cells
        Cells in the order of their rows: cell_id, drug_id, basis, response, stars.
    stores
        AnnData stores, whose rows are counted through as if they were one.
    plan
        Which rows make up which batch.
    sparse
        Whether X is CSR.
    torch
        Whether batches hold torch tensors.
    release_hash
        Content hash of the release.

    Attributes
    ----------
    drugs, bases
        What the numbers in `Batch.drug` and `Batch.basis` mean.
    """

    def __init__(
        self,
        cells: pa.Table,
        stores: list[Path],
        plan: BatchPlan,
        *,
        sparse: bool,
        torch: bool,
        release_hash: str,
    ) -> None:
        self._stores, self._plan, self._sparse, self._torch = stores, plan, sparse, torch
        self._release_hash = release_hash
        self._cell_ids = cells["cell_id"].combine_chunks()
        stars = pc.fill_null(cells["stars"], 0).to_numpy()
        response = pc.index_in(cells["response"], value_set=pa.array(RESPONSES)).to_numpy()
        (drug, self.drugs), (basis, self.bases) = (
            numbered(cells[column]) for column in ("drug_id", "basis")
        )
        self._labels = np.stack([response, stars, drug, basis]).astype(np.int64)
        # Shared memory: DataLoader's persistent workers are copies, and see a new epoch too.
        self._place = RawArray("q", 2)
        self._given: int | None = None

    def __len__(self) -> int:
        """Give the batches of an epoch of this rank."""
        return self._plan.n_batches

    @property
    def n_cells(self) -> int:
        """Cells of an epoch, of all ranks together."""
        return len(self._plan.rows)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration gives, from its first batch on.

        Without it every iteration gives the same epoch, 0 at first.
        """
        self._place[:] = [epoch, 0]
        self._given = None

    def state_dict(self, batch: int | None = None) -> dict[str, Any]:
        """Say where training stands, to go on from there.

        Parameters
        ----------
        batch
            Batches of this epoch that were used. None: those that this loader gave, which it
            knows only where it is iterated over without DataLoader's workers.

        Raises
        ------
        ReleaseError
            The number is not known.
        """
        if batch is None:
            batch = self._given
        if batch is None:
            raise ReleaseError(
                "only you know how many batches of this epoch were used",
                hint="Call state_dict(batch=...) with their number",
            )
        return {"epoch": self._place[0], "batch": batch, "plan": self._fingerprint}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where a state was taken; it holds until `set_epoch`.

        Raises
        ------
        ReleaseError
            The state is of other cells, sizes, seed or ranks.
        """
        if state["plan"] != self._fingerprint:
            raise ReleaseError(
                "the state was taken from another loader",
                hint="Open the loader with the same release, fold, sizes, seed and ranks",
            )
        self._place[:] = [state["epoch"], state["batch"]]
        self._given = None

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches of the epoch that was set."""
        from cellresponse.releases.loading.reader import read_loads

        worker, workers = _worker()
        epoch, start = self._place
        loads = self._plan.loads(epoch, start, worker, workers)
        given = start
        for counts, rows, sizes in read_ahead(read_loads(self._stores, loads)):
            cells = np.searchsorted(self._plan.rows, rows)
            labels, ids = self._labels[:, cells], self._cell_ids.take(pa.array(cells))
            for first, stop in pairwise(np.cumsum([0, *sizes]).tolist()):
                given += 1
                self._given = given
                span = slice(first, stop)
                yield self._batch(counts, span, labels[:, span], ids[span].to_pylist())

    def _batch(
        self, load: sp.csr_matrix, span: slice, labels: NDArray[np.int64], ids: list[str]
    ) -> Batch:
        """Cut a batch out of a load, without a copy of its counts where they stay sparse."""
        low, high = load.indptr[span.start], load.indptr[span.stop]
        indptr = load.indptr[span.start : span.stop + 1] - low
        shape = (span.stop - span.start, load.shape[1])
        counts = sp.csr_matrix((load.data[low:high], load.indices[low:high], indptr), shape=shape)
        found: Any = counts if self._sparse else counts.toarray()
        told: Any = labels
        if self._torch:
            import torch

            found = _torch_csr(counts) if self._sparse else torch.from_numpy(found)
            told = torch.from_numpy(labels)
        response, stars, drug, basis = told
        return Batch(found, response, stars, drug, basis, ids)

    @cached_property
    def _fingerprint(self) -> str:
        plan = self._plan
        state = hashlib.sha256(self._release_hash.encode())
        state.update(plan.rows)
        sizes = (plan.batch_size, plan.block_size, plan.in_memory, plan.seed, plan.shuffle)
        state.update(repr((*sizes, plan.world_size)).encode())
        return state.hexdigest()


def _torch_csr(counts: sp.csr_matrix) -> torch.Tensor:
    """Give the same counts, in the same memory, as a torch tensor."""
    import torch

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta", UserWarning)
        return torch.sparse_csr_tensor(
            torch.from_numpy(counts.indptr),
            torch.from_numpy(counts.indices),
            torch.from_numpy(counts.data),
            size=counts.shape,
            check_invariants=False,
        )


def numbered(words: pa.ChunkedArray) -> tuple[NDArray[np.int64], list[str]]:
    """Number the words of a column: a number each row, and the words in order."""
    named = sorted(pc.unique(words).to_pylist())
    codes = pc.index_in(words, value_set=pa.array(named, pa.string()))
    return codes.to_numpy().astype(np.int64), named


def _worker() -> tuple[int, int]:
    """Give number and count of DataLoader's workers, in one of them; else one."""
    if find_spec("torch"):
        from torch.utils.data import get_worker_info

        info = get_worker_info()
        if info is not None:
            return info.id, info.num_workers
    return 0, 1
