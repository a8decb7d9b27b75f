"""Put the values of a file into the order of its cells, in bounded memory.

Values arrive in any order (gene by gene, or cell by cell in another order than the
release's). They are appended to one file a bucket of ranks; a bucket is small
enough to be sorted in memory. This is the extra pass that gene-major input costs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from cellresponse.builders.raw_counts import MAX_COUNT, require_sums
from cellresponse.schema.errors import CountsError

__all__ = ["BUCKET", "Spill"]

BUCKET = 4096  # cells; at 5,000 values a cell and 12 bytes a value a bucket takes 250 MB
RECORD = np.dtype([("rank", "<i4"), ("feature", "<i4"), ("value", "<i4")])


class Spill:
    """Values of one file on disk, by bucket of ranks.

    Parameters
    ----------
    folder
        Scratch folder; it is made, and removed by `close`.
    n_features
        Features of the file.
    refusal
        Makes the error for the rank, the feature and the sum of repeats that is larger
        than int32 holds.
    """

    def __init__(
        self, folder: Path, n_features: int, refusal: Callable[[int, int, int], CountsError]
    ) -> None:
        self._folder = folder
        self._n_features = n_features
        self._refusal = refusal
        folder.mkdir(parents=True)

    def add(
        self,
        ranks: NDArray[np.int64],
        features: NDArray[np.int32],
        values: NDArray[np.int32],
    ) -> None:
        """Append values; all arrays have the shape (values,)."""
        records = np.empty(len(ranks), dtype=RECORD)
        records["rank"], records["feature"], records["value"] = ranks, features, values
        buckets = ranks // BUCKET
        # numpy sorts 16-bit numbers in linear time; 2^16 buckets hold 268 million cells.
        order = np.argsort(buckets.astype(np.uint16), kind="stable")
        starts = np.flatnonzero(np.diff(buckets[order], prepend=-1))
        for start, part in zip(starts, np.split(records[order], starts[1:]), strict=False):
            with self._path(int(buckets[order[start]])).open("ab") as stream:
                part.tofile(stream)

    def rows(self, start: int, stop: int) -> Iterator[tuple[int, sp.csr_array]]:
        """Yield (first rank, counts over the file's features) of the ranks start to stop.

        Features rise within a row, and repeats are summed.

        Raises
        ------
        CountsError
            A sum of repeats is larger than int32 holds.
        """
        for low in range(start - start % BUCKET, stop, BUCKET):
            first, last = max(low, start), min(low + BUCKET, stop)
            yield first, self._bucket(low)[first - low : last - low]

    def _bucket(self, low: int) -> sp.csr_array:
        path = self._path(low // BUCKET)
        records = np.fromfile(path, dtype=RECORD) if path.exists() else np.empty(0, RECORD)
        places = (records["rank"] - low, records["feature"])
        shape = (BUCKET, self._n_features)
        counts = sp.coo_array((records["value"], places), shape=shape).tocsr()
        repeats = counts.nnz < len(records)
        if repeats and records["value"].sum(dtype=np.int64) > MAX_COUNT:
            wide = sp.coo_array((records["value"].astype(np.int64), places), shape=shape).tocsr()
            require_sums(wide, lambda row, *place: self._refusal(low + row, *place))
        return counts

    def _path(self, bucket: int) -> Path:
        return self._folder / f"{bucket}.bin"

    def close(self) -> None:
        """Remove the files."""
        for path in self._folder.iterdir():
            path.unlink()
        self._folder.rmdir()

    def __enter__(self) -> Spill:
        """Use as a context that removes the files at its end."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove the files, whatever happened."""
        self.close()
