"""AnnData in HDF5: `X`, `raw/X` or a layer; dense, or compressed by row or column.

Source: https://anndata.readthedocs.io/en/stable/fileformat-prose.html
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import h5py
import numpy as np

from cellresponse.builders.read.hdf5 import (
    child,
    column_triplets,
    compressed_matrix,
    opened_hdf5,
    require_numbers,
    row_blocks,
    strings,
)
from cellresponse.builders.read.options import H5adOptions
from cellresponse.builders.read.source import (
    PIECE_VALUES,
    CellBlocks,
    CountSource,
    CsrBlock,
    Features,
    Triplet,
    Triplets,
    require_distinct_barcodes,
)
from cellresponse.schema.errors import EvidenceError, SourceFileError

__all__ = ["open_h5ad"]


def open_h5ad(path: Path, *, name: str, options: H5adOptions) -> CountSource:
    """Open one matrix of an AnnData file.

    Parameters
    ----------
    path, name
        Local file and name in the manifest.
    options
        `layer`: `X`, `raw/X` or `layers/<name>`. `id_column`: the column of
        `var` (of `raw/var` for `raw/X`) that holds the feature ids; the index is
        then kept as their second name. The barcode is the index of `obs`.

    Returns
    -------
    `Triplets` for a matrix compressed by column, else `CellBlocks`.

    Raises
    ------
    SourceFileError
        Another format, damaged data, parts that do not fit each other, a barcode
        that repeats.
    EvidenceError
        A layer or column that the file lacks.
    """
    with opened_hdf5(path, name=name) as file:
        barcodes = _index(_table(file, "obs", name), name)
        features = _features(file, options, name)
        matrix = _layer(file, options.layer, name)
        shape = (len(barcodes), len(features.ids))
        encoding = _encoding(matrix, name)
        _require_shape(matrix, shape, options.layer, name)
        if encoding == "csr_matrix":
            compressed_matrix(matrix, *shape, name=name)
        elif encoding == "csc_matrix":
            compressed_matrix(matrix, *shape[::-1], name=name)
        else:
            require_numbers(matrix, "iufb", name=name)
    require_distinct_barcodes(barcodes, name=name)
    if encoding == "csc_matrix":
        triplets = partial(_csc_triplets, path, name, options.layer, shape)
        return Triplets(name, barcodes, features, triplets)
    read = _csr_blocks if encoding == "csr_matrix" else _dense_blocks
    return CellBlocks(name, barcodes, features, partial(read, path, name, options.layer, shape))


def _table(file: h5py.File, place: str, name: str) -> h5py.Group:
    found = file.get(place)
    if isinstance(found, h5py.Dataset) and found.dtype.names:
        raise _before_groups(found, name)
    return child(file, place, h5py.Group, name=name)


def _before_groups(part: h5py.Group | h5py.Dataset, name: str) -> SourceFileError:
    return SourceFileError(
        f"the file was written by an anndata before 0.7: {part.name} has a form that is not read",
        file=name,
        hint="Read the file with anndata and write it again",
    )


def _index(table: h5py.Group, name: str) -> list[str]:
    key = table.attrs.get("_index")
    if not isinstance(key, str):
        raise SourceFileError(
            f"{table.name} does not say which column is its index",
            file=name,
            hint="Read the file with anndata and write it again",
        )
    return strings(table, key, name=name)


def _features(file: h5py.File, options: H5adOptions, name: str) -> Features:
    place = "raw/var" if options.layer == "raw/X" else "var"
    if place not in file and place == "raw/var":
        raise _no_layer(file, options.layer, name)
    table = _table(file, place, name)
    index = _index(table, name)
    if options.id_column is None:
        return Features(index)
    if options.id_column not in table:
        raise EvidenceError(
            f"{place} has no such column",
            file=name,
            column="options.id_column",
            value=options.id_column,
            allowed=sorted(table),
        )
    return Features(strings(table, options.id_column, name=name), index)


def _layer(file: h5py.File, layer: str, name: str) -> h5py.Group | h5py.Dataset:
    matrix = file.get(layer)
    if matrix is None:
        raise _no_layer(file, layer, name)
    return matrix


def _no_layer(file: h5py.File, layer: str, name: str) -> EvidenceError:
    there = [place for place in ("X", "raw/X") if place in file]
    if isinstance(file.get("layers"), h5py.Group):
        there += [f"layers/{key}" for key in file["layers"]]
    return EvidenceError(
        "the file has no such layer",
        file=name,
        column="options.layer",
        value=layer,
        allowed=there or "a file that holds a matrix",
    )


def _encoding(matrix: h5py.Group | h5py.Dataset, name: str) -> str:
    if isinstance(matrix, h5py.Dataset):
        return "array"
    if "h5sparse_format" in matrix.attrs:
        raise _before_groups(matrix, name)
    encoding = matrix.attrs.get("encoding-type")
    if encoding not in ("csr_matrix", "csc_matrix"):
        raise SourceFileError(
            f"{matrix.name} has an encoding that is not known",
            file=name,
            value=encoding,
            allowed=["array", "csr_matrix", "csc_matrix"],
            hint="Read the file with anndata and write it again",
        )
    return str(encoding)


def _require_shape(
    matrix: h5py.Group | h5py.Dataset, shape: tuple[int, int], layer: str, name: str
) -> None:
    given = matrix.shape if isinstance(matrix, h5py.Dataset) else matrix.attrs.get("shape", ())
    stored = np.asarray(given)
    if stored.dtype.kind not in "iuf" or stored.ndim != 1:
        raise SourceFileError(
            f"the shape of {layer} is not two whole numbers", file=name, value=str(given)
        )
    if tuple(stored.tolist()) != shape:
        raise SourceFileError(
            f"{layer} has shape {tuple(stored.tolist())}, but the file names {shape[0]} cells and "
            f"{shape[1]} features",
            file=name,
        )


def _csr_blocks(path: Path, name: str, layer: str, shape: tuple[int, int]) -> Iterator[CsrBlock]:
    with opened_hdf5(path, name=name) as file:
        yield from row_blocks(compressed_matrix(file[layer], *shape, name=name))


def _csc_triplets(path: Path, name: str, layer: str, shape: tuple[int, int]) -> Iterator[Triplet]:
    with opened_hdf5(path, name=name) as file:
        yield from column_triplets(compressed_matrix(file[layer], *shape[::-1], name=name))


def _dense_blocks(path: Path, name: str, layer: str, shape: tuple[int, int]) -> Iterator[CsrBlock]:
    with opened_hdf5(path, name=name) as file:
        matrix = child(file, layer, h5py.Dataset, name=name)
        # Whole chunks of rows: a chunk that two pieces share is decompressed twice.
        chunk = matrix.chunks[0] if matrix.chunks else 1
        step = max(PIECE_VALUES // max(shape[1], 1) // chunk, 1) * chunk
        for start in range(0, shape[0], step):
            values = matrix[start : start + step]
            rows, indices = np.nonzero(values)
            indptr = np.searchsorted(rows, np.arange(values.shape[0] + 1)).astype(np.int64)
            yield CsrBlock(start, indptr, indices.astype(np.int32), values[rows, indices])
