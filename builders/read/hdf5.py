"""What the HDF5 readers share: opening, strings, and slices of compressed matrices."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from cellresponse.builders.read.source import PIECE_VALUES, CsrBlock, Triplet
from cellresponse.schema.errors import SourceFileError

__all__ = [
    "CompressedMatrix",
    "child",
    "column_triplets",
    "compressed_matrix",
    "opened_hdf5",
    "require_numbers",
    "row_blocks",
    "strings",
]


@contextmanager
def opened_hdf5(path: Path, *, name: str) -> Iterator[h5py.File]:
    """Open an HDF5 file for reading.

    Raises
    ------
    SourceFileError
        Missing, truncated or damaged file, or one of another format, also where
        it is met later, inside the `with` block.
    """
    try:
        # Without HDF5's cache of chunks, what is not compressed is read straight into its place.
        # Pieces are read once and in order: the cache could save the chunk at a border, no more.
        with h5py.File(path, "r", rdcc_nbytes=0) as file:
            yield file
    except FileNotFoundError as error:
        raise SourceFileError("the file is missing", file=name) from error
    except (OSError, RuntimeError) as error:
        raise SourceFileError(
            f"the file is no HDF5 file, or is truncated or damaged ({error})",
            file=name,
            hint="Download it again, and check that the manifest names the right reader",
        ) from error


def child[Kind: (h5py.Group, h5py.Dataset)](
    parent: h5py.Group, key: str, kind: type[Kind], *, name: str
) -> Kind:
    """Get a group or a data set that has to be there.

    Raises
    ------
    SourceFileError
        It is not there, or is of the other kind.
    """
    found = parent.get(key)
    if isinstance(found, kind):
        return found
    place = f"{parent.name.rstrip('/')}/{key}"
    raise SourceFileError(
        f"the file has no {kind.__name__.lower()} {place}",
        file=name,
        hint="Check that the manifest names the right reader for this file",
    )


def require_numbers(data: h5py.Dataset, kinds: str, *, name: str) -> None:
    """Refuse a data set whose type is of another kind than numpy's letters `kinds`.

    Raises
    ------
    SourceFileError
        With the type.
    """
    if data.dtype.kind in kinds:
        return
    found = "string" if h5py.check_string_dtype(data.dtype) else str(data.dtype)
    wanted = "numbers" if "f" in kinds else "whole numbers"
    raise SourceFileError(
        f"{data.name} holds values of type {found}, not {wanted}",
        file=name,
        hint="Read the file with the tool that wrote it, and write it again",
    )


def _column(data: h5py.Dataset, kinds: str, *, name: str) -> NDArray[Any]:
    """Read numbers that have to be one a row."""
    require_numbers(data, kinds, name=name)
    _require_one_dimension(data, name)
    return data[:]


def _require_one_dimension(data: h5py.Dataset, name: str) -> None:
    if data.ndim != 1:
        raise SourceFileError(f"{data.name} is no column: its shape is {data.shape}", file=name)


def strings(parent: h5py.Group, key: str, *, name: str) -> list[str]:
    """Read a column of strings in any encoding that AnnData has used.

    Plain strings (variable or fixed length), `nullable-string-array` (values and
    mask), `categorical` (codes and categories; in one data set before AnnData 0.8);
    numbers are given as text.

    Raises
    ------
    SourceFileError
        No such column, a missing entry, or another encoding.
    """
    column = parent.get(key)
    if isinstance(column, h5py.Dataset):
        if "categories" in column.attrs:
            return _by_code(column, _plain_strings(_referred(column, name), name), name)
        return _plain_strings(column, name)
    if not isinstance(column, h5py.Group):
        raise SourceFileError(
            f"the file has no column {parent.name}/{key}", file=name, allowed=sorted(parent)
        )
    if "codes" in column:
        categories = strings(column, "categories", name=name)
        return _by_code(child(column, "codes", h5py.Dataset, name=name), categories, name)
    if "mask" in column:
        mask = _column(child(column, "mask", h5py.Dataset, name=name), "biu", name=name)
        _require_present(mask != 0, column.name, name)
    return _plain_strings(child(column, "values", h5py.Dataset, name=name), name)


def _referred(codes: h5py.Dataset, name: str) -> h5py.Dataset:
    """Get the categories that a column of AnnData 0.7 refers to."""
    reference = codes.attrs["categories"]
    with suppress(KeyError, ValueError):  # it leads nowhere
        found = codes.file[reference] if isinstance(reference, h5py.Reference) else None
        if isinstance(found, h5py.Dataset):
            return found
    raise SourceFileError(
        f"{codes.name} holds codes, and refers to no categories",
        file=name,
        hint="Read the file with anndata and write it again",
    )


def _by_code(data: h5py.Dataset, categories: list[str], name: str) -> list[str]:
    place = data.name.removesuffix("/codes")
    codes = _column(data, "iu", name=name)
    _require_present(codes < 0, place, name)
    if codes.size and codes.max() >= len(categories):
        raise SourceFileError(f"{place} has a code without a category", file=name)
    return [categories[code] for code in codes.tolist()]


def _plain_strings(data: h5py.Dataset, name: str) -> list[str]:
    _require_one_dimension(data, name)
    if h5py.check_string_dtype(data.dtype) is None:
        require_numbers(data, "iufb", name=name)
        return [str(value) for value in data[:].tolist()]
    try:
        return [value.decode() for value in data[:].tolist()]
    except UnicodeDecodeError as error:
        raise SourceFileError(f"{data.name} is not UTF-8 text", file=name) from error


def _require_present(missing: NDArray[np.bool_], place: str, name: str) -> None:
    if missing.any():
        first = int(np.flatnonzero(missing)[0]) + 1
        raise SourceFileError(f"entry {first} of {place} is missing", file=name)


@dataclass(frozen=True)
class CompressedMatrix:
    """A compressed sparse matrix in an open file.

    Attributes
    ----------
    indptr
        int64, shape (major + 1,), in memory.
    indices, data
        Data sets of shape (values,), on disk.
    minor
        Size of the axis that `indices` points to.
    name
        The file's name in the manifest.
    """

    indptr: NDArray[np.int64]
    indices: h5py.Dataset
    data: h5py.Dataset
    minor: int
    name: str

    def slice(self, start: int, stop: int) -> tuple[NDArray[np.int32], NDArray[Any]]:
        """Read the indices, checked to be in range, and values of one stretch."""
        indices = self.indices[start:stop]
        # Two passes over what was just read; a wild index would corrupt counts silently.
        if indices.size and not 0 <= indices.min() <= indices.max() < self.minor:
            raise SourceFileError(
                f"{self.indices.name} points outside of the matrix",
                file=self.name,
                value=f"{indices.min()} to {indices.max()}",
                allowed=f"0 to {self.minor - 1}",
            )
        return indices.astype(np.int32, copy=False), self.data[start:stop]


def compressed_matrix(group: h5py.Group, major: int, minor: int, *, name: str) -> CompressedMatrix:
    """Open a group of `data`, `indices` and `indptr`.

    Parameters
    ----------
    group
        The group.
    major, minor
        Sizes of the compressed axis and the other one, by the names of the axes.
    name
        The file's name in the manifest.

    Raises
    ------
    SourceFileError
        A part is missing or holds no numbers, or the parts do not fit each other and
        the sizes.
    """
    data, indices, pointers = (
        child(group, key, h5py.Dataset, name=name) for key in ("data", "indices", "indptr")
    )
    require_numbers(data, "iufb", name=name)
    require_numbers(indices, "iu", name=name)
    indptr = _column(pointers, "iu", name=name).astype(np.int64)
    if indptr.shape != (major + 1,):
        raise SourceFileError(
            f"{group.name} holds {indptr.size - 1} rows or columns where the file names {major}",
            file=name,
        )
    rising = indptr[0] == 0 and bool((np.diff(indptr) >= 0).all())
    if not (rising and data.shape == indices.shape == (indptr[-1],)):
        raise SourceFileError(f"the parts of {group.name} do not fit each other", file=name)
    return CompressedMatrix(indptr, indices, data, minor, name)


def row_blocks(matrix: CompressedMatrix, size: int = PIECE_VALUES) -> Iterator[CsrBlock]:
    """Yield the whole rows of a matrix in blocks of about `size` values."""
    indptr, rows = matrix.indptr, matrix.indptr.size - 1
    start = 0
    while start < rows:
        reached = int(np.searchsorted(indptr, indptr[start] + size, side="right")) - 1
        stop = min(max(reached, start + 1), rows)
        indices, data = matrix.slice(int(indptr[start]), int(indptr[stop]))
        pointers = indptr[start : stop + 1] - indptr[start]
        yield CsrBlock(start, pointers, indices, data).without_zeros()
        start = stop


def column_triplets(matrix: CompressedMatrix, size: int = PIECE_VALUES) -> Iterator[Triplet]:
    """Yield a column-compressed matrix of cells by features in pieces of `size` values."""
    features = np.arange(matrix.indptr.size - 1, dtype=np.int32)
    for start in range(0, int(matrix.indptr[-1]), size):
        stop = min(start + size, int(matrix.indptr[-1]))
        cells, values = matrix.slice(start, stop)
        lengths = np.diff(np.clip(matrix.indptr, start, stop)).astype(np.int64)
        keep = values != 0
        yield Triplet(cells[keep], np.repeat(features, lengths)[keep], values[keep])
