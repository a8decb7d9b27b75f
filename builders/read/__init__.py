"""Count readers: one function opens every kind of source file.

`open_counts` gives a `CellBlocks` or a `Triplets`: names up front, values in
bounded pieces, whatever the size of the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cellresponse.builders.read.cell_table import read_cell_table
from cellresponse.builders.read.dense_text import open_dense_text
from cellresponse.builders.read.h5ad import open_h5ad
from cellresponse.builders.read.options import (
    DenseTextOptions,
    H5adOptions,
    TenxH5Options,
    TenxMtxOptions,
    parse_options,
)
from cellresponse.builders.read.source import (
    CellBlocks,
    CountSource,
    CsrBlock,
    Features,
    Triplet,
    Triplets,
)
from cellresponse.builders.read.tenx_h5 import open_tenx_h5
from cellresponse.builders.read.tenx_mtx import open_tenx_mtx
from cellresponse.schema.errors import EvidenceError

__all__ = [
    "READERS",
    "CellBlocks",
    "CountSource",
    "CsrBlock",
    "Features",
    "Triplet",
    "Triplets",
    "open_counts",
    "read_cell_table",
]

READERS = ("dense_text", "10x_mtx", "10x_h5", "h5ad")


def open_counts(
    reader: str,
    path: Path,
    *,
    name: str,
    options: Mapping[str, object] | None = None,
    companions: Mapping[str, Path] | None = None,
) -> CountSource:
    """Open a file of counts with the reader that the manifest names.

    Parameters
    ----------
    reader
        One of `READERS`.
    path
        The local file.
    name
        Its name in the manifest; it is in every message.
    options
        The reader's options, as in the manifest: see
        `cellresponse.builders.read.options`.
    companions
        Local file of each other file of the study by its name in the manifest;
        `10x_mtx` finds its lists of barcodes and features there.

    Returns
    -------
    A source whose barcodes and features are read, and whose values are not yet.

    Raises
    ------
    EvidenceError
        Unknown reader or option, or an option that names what is not there.
    SourceFileError
        The file is missing, damaged, of another format, or contradicts itself.
    """
    given = {} if options is None else options
    if reader == "dense_text":
        dense = parse_options(DenseTextOptions, given, name=name)
        return open_dense_text(path, name=name, options=dense)
    if reader == "10x_mtx":
        mtx = parse_options(TenxMtxOptions, given, name=name)
        return open_tenx_mtx(path, name=name, options=mtx, companions=companions or {})
    if reader == "10x_h5":
        tenx = parse_options(TenxH5Options, given, name=name)
        return open_tenx_h5(path, name=name, options=tenx)
    if reader == "h5ad":
        h5ad = parse_options(H5adOptions, given, name=name)
        return open_h5ad(path, name=name, options=h5ad)
    raise EvidenceError("unknown reader", file=name, value=reader, allowed=READERS)
