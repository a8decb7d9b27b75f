"""The HDF5 matrices of Cell Ranger, version 2 (a group a genome) and 3 (`matrix`).

Source: https://www.10xgenomics.com/support/software/cell-ranger (HDF5 feature-barcode
matrix format). Both store features by barcodes in compressed columns: cell by cell.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import h5py

from cellresponse.builders.read.hdf5 import (
    child,
    compressed_matrix,
    opened_hdf5,
    row_blocks,
    strings,
)
from cellresponse.builders.read.options import TenxH5Options
from cellresponse.builders.read.source import CellBlocks, CsrBlock, require_distinct_barcodes
from cellresponse.builders.read.tenx_features import FeatureChoice, choose_features
from cellresponse.schema.errors import EvidenceError, SourceFileError

__all__ = ["open_tenx_h5"]

_VERSION_3 = "matrix"


def open_tenx_h5(path: Path, *, name: str, options: TenxH5Options) -> CellBlocks:
    """Open a Cell Ranger HDF5 matrix.

    Parameters
    ----------
    path, name
        Local file and name in the manifest.
    options
        The genome, where a version 2 file has several; feature types to keep
        where the features have one.

    Raises
    ------
    SourceFileError
        Another format, damaged data, parts that do not fit each other, a barcode
        that repeats.
    EvidenceError
        A genome the file lacks or does not need, several without a choice, or no
        feature of a wanted type.
    """
    with opened_hdf5(path, name=name) as file:
        key = _matrix_group(file, options.genome, name)
        group = child(file, key, h5py.Group, name=name)
        barcodes = strings(group, "barcodes", name=name)
        choice, features = _features(group, options, name)
        compressed_matrix(group, len(barcodes), features, name=name)
    require_distinct_barcodes(barcodes, name=name)
    blocks = partial(_blocks, path, name, key, len(barcodes), features, choice)
    return CellBlocks(name, barcodes, choice.features, blocks, choice.dropped)


def _matrix_group(file: h5py.File, genome: str | None, name: str) -> str:
    if _VERSION_3 in file:
        if genome is not None:
            raise EvidenceError(
                "the file holds one matrix of all genomes: leave the option out",
                file=name,
                column="options.genome",
                value=genome,
            )
        return _VERSION_3
    genomes = sorted(
        str(key) for key in file if isinstance(file.get(key), h5py.Group) and "indptr" in file[key]
    )
    if not genomes:
        raise SourceFileError(
            "the file holds no Cell Ranger matrix",
            file=name,
            hint="Check that the manifest names the right reader for this file",
        )
    if genome is None and len(genomes) == 1:
        return genomes[0]
    if genome is None or genome not in genomes:
        raise EvidenceError(
            "the file has no such genome" if genome else "the file has several genomes: name one",
            file=name,
            column="options.genome",
            value=genome,
            allowed=genomes,
        )
    return genome


def _features(group: h5py.Group, options: TenxH5Options, name: str) -> tuple[FeatureChoice, int]:
    """Give the kept features, and how many the file has."""
    types = None
    if "features" in group:
        listed = child(group, "features", h5py.Group, name=name)
        ids, names = strings(listed, "id", name=name), strings(listed, "name", name=name)
        types = strings(listed, "feature_type", name=name)
    else:
        ids, names = strings(group, "genes", name=name), strings(group, "gene_names", name=name)
    if len(names) != len(ids) or (types is not None and len(types) != len(ids)):
        raise SourceFileError("the columns of the feature list differ in length", file=name)
    return choose_features(ids, names, types, options.feature_types, name=name), len(ids)


def _blocks(
    path: Path, name: str, key: str, cells: int, features: int, choice: FeatureChoice
) -> Iterator[CsrBlock]:
    with opened_hdf5(path, name=name) as file:
        matrix = compressed_matrix(file[key], cells, features, name=name)
        for block in row_blocks(matrix):
            yield choice.in_block(block)
