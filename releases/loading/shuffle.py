"""Copy a release into annbatch's pre-shuffled layout.

A release lies in the order of its samples, so neighbours are alike. The copy mixes the cells
of a study, but keeps those together that a fold takes together: cells of samples with the
same treatment, labelled or not, and of the same fold by cell. A fold then reads few rows that
it does not want (docs/decisions/shuffled-copy.md).
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import anndata
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import scipy.sparse as sp
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec

from cellresponse.releases.layout import files_of
from cellresponse.releases.matrix_store import fast_codecs
from cellresponse.releases.selection import read_rows
from cellresponse.releases.strata import buckets
from cellresponse.schema.errors import ReleaseError
from cellresponse.schema.storage import storage_errors

if TYPE_CHECKING:
    from cellresponse.releases.release import Release

__all__ = ["ABOUT", "shuffle"]

ABOUT = "shuffle.json"
COLLECTION = {"encoding-type": "annbatch-preshuffled", "encoding-version": "0.1.0"}
"""Marks of annbatch's DatasetCollection."""
SLICE = 1024  # neighbouring cells that are read together, as annbatch's own shuffle does
# Measured (bench/README.md): a block of 64 cells decodes less that it does not want than from
# the release's chunks, four times as large.
CHUNK = 16 * 1024
SHARD = 512 * CHUNK
PART = 32 * 1024 * 1024
"""Values that are shuffled in memory at a time; about a gigabyte with its copies."""
PLACES = pa.schema([("study_id", pa.string()), ("row", pa.int64()), ("place", pa.int64())])


def shuffle(release: Release, out: Path, *, seed: int = 0) -> int:
    """Write the shuffled copy of a release.

    Parameters
    ----------
    release
        The release.
    out
        Folder to make: one `<organism>.zarr`, which annbatch's DatasetCollection opens, and
        one `<organism>.parquet`, which tells the place of every cell in it; `shuffle.json`
        names the release and every file with its size.
    seed
        Of the shuffle.

    Returns
    -------
    int
        Cells written: every cell of the release, once.

    Raises
    ------
    ReleaseError
        The folder exists, or would lie inside the release.
    StorageError
        The disk is full, or refuses.
    """
    if out.resolve().is_relative_to(release.folder.resolve()):
        raise ReleaseError(
            "the folder would lie inside the release, which never changes",
            file=out,
            hint="Name a folder outside of it",
        )
    if out.exists():
        raise ReleaseError("the folder exists", file=out, hint="Remove it, or name another one")
    with storage_errors(out.parent):
        out.parent.mkdir(parents=True, exist_ok=True)
        hidden = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
        scratch = hidden / out.name  # the hidden folder itself is closed to others
        try:
            scratch.mkdir()
            cells = _write_organisms(release, scratch, np.random.default_rng(seed))
            about = {
                "release": release.name,
                "content_hash": release.content_hash,
                "seed": seed,
                "files": {path: (scratch / path).stat().st_size for path in files_of(scratch)},
            }
            (scratch / ABOUT).write_text(json.dumps(about, indent=1) + "\n", "utf-8")
            os.rename(scratch, out)
        finally:
            shutil.rmtree(hidden, ignore_errors=True)
    return cells


class _Piece(NamedTuple):
    """Neighbouring cells of a study."""

    study: str
    rows: NDArray[np.int64]
    values: int


def _write_organisms(release: Release, out: Path, stream: np.random.Generator) -> int:
    """Write a collection an organism; give the number of cells."""
    written = 0
    for organism in sorted(pc.unique(release.tables["studies"]["organism"]).to_pylist()):
        genes = release.tables["genes"]
        genes = genes.filter(pc.equal(genes["organism"], organism))["gene_id"].to_pylist()
        var = pd.DataFrame(index=pd.Index(genes, name="gene_id"))
        group = zarr.open_group(out / f"{organism}.zarr", mode="w-", zarr_format=3)
        group.attrs.update(COLLECTION)
        place = 0
        with pq.ParquetWriter(out / f"{organism}.parquet", PLACES, compression="zstd") as places:
            for number, part in enumerate(_parts(release, organism, stream)):
                cells, counts = _read(release, part)
                order = _mix(release, cells, stream)
                cells = cells.take(pa.array(order))
                _write(group, f"dataset_{number}", counts[order], cells, var)
                of_part = pa.array(np.arange(place, place + len(cells)))
                places.write_table(
                    cells.select(["study_id", "row"]).append_column("place", of_part).cast(PLACES)
                )
                place += len(cells)
        written += place
    return written


def _parts(release: Release, organism: str, stream: np.random.Generator) -> Iterator[list[_Piece]]:
    """Yield what is shuffled in memory together: pieces of a study in random order, or studies."""
    part: list[_Piece] = []
    studies = release.tables["studies"]
    studies = studies.filter(pc.equal(studies["organism"], organism))
    for study in studies["study_id"].to_pylist():
        indptr = release.matrix_store(study).indptr
        starts = np.arange(0, len(indptr) - 1, SLICE)
        for start in stream.permutation(starts).tolist():
            stop = min(start + SLICE, len(indptr) - 1)
            values = int(indptr[stop] - indptr[start])
            if part and sum(piece.values for piece in part) + values > PART:
                yield part
                part = []
            part.append(_Piece(study, np.arange(start, stop), values))
    if part:
        yield part


def _read(release: Release, part: list[_Piece]) -> tuple[pa.Table, sp.csr_matrix]:
    """Read the cells of a part and their counts, in the same order."""
    tables, counts = [], []
    cells = release.tables["cells"]
    for study in dict.fromkeys(piece.study for piece in part):
        rows = np.sort(np.concatenate([piece.rows for piece in part if piece.study == study]))
        # The rows of a study stand in matrix order.
        of_study = cells.filter(pc.equal(cells["study_id"], study)).take(pa.array(rows))
        tables.append(of_study.select(["study_id", "row", "cell_id", "sample_id"]))
        counts.append(read_rows(release, study, rows))
    return pa.concat_tables(tables), sp.vstack(counts, format="csr")


def _mix(release: Release, cells: pa.Table, stream: np.random.Generator) -> NDArray[np.int64]:
    """Give the order of a part: by study, treatment, labelled or not, fold by cell; then random."""
    samples, labels = release.tables["samples"], release.tables["labels"]
    sample = pc.index_in(cells["sample_id"], value_set=samples["sample_id"].combine_chunks())
    treatment = pc.fill_null(samples["treatment"], "").combine_chunks().dictionary_encode()
    whole = labels.filter(pc.is_null(labels["cell_id"]))["sample_id"]
    own = labels["cell_id"].drop_null()
    labelled = pc.or_(_among(cells["sample_id"], whole), _among(cells["cell_id"], own))
    keys = (
        stream.random(len(cells)),
        buckets(cells["cell_id"]),
        labelled.to_numpy(),
        treatment.indices.take(sample.combine_chunks()).to_numpy(zero_copy_only=False),
        cells["study_id"].combine_chunks().dictionary_encode().indices.to_numpy(),
    )
    return np.lexsort(keys)


def _among(words: pa.ChunkedArray, known: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.is_in(words, value_set=known.combine_chunks())


def _write(
    group: zarr.Group, name: str, counts: sp.csr_matrix, cells: pa.Table, var: pd.DataFrame
) -> None:
    obs = pd.DataFrame(
        {column: pd.Categorical(cells[column].to_pylist()) for column in ("study_id", "sample_id")},
        index=pd.Index(cells["cell_id"].to_pylist(), name="cell_id"),
    )
    found = anndata.AnnData(counts, obs=obs, var=var)
    with fast_codecs(), anndata.settings.override(allow_write_nullable_strings=False):
        anndata.experimental.write_dispatched(group, name, found, _sharded)


def _sharded(
    write: Any, group: Any, key: str, element: Any, *, dataset_kwargs: Any, iospec: Any
) -> None:
    """Write counts in chunks of their own.

    annbatch's own writer makes indices unsigned, which SciPy copies into int64 at every batch.
    """
    if iospec.encoding_type == "csr_matrix":
        compressor = BloscCodec(typesize=4, cname="lz4", clevel=3, shuffle="shuffle")
        dataset_kwargs = {"chunks": (CHUNK,), "shards": (SHARD,), "compressors": compressor}
    write(group, key, element, dataset_kwargs=dataset_kwargs)
