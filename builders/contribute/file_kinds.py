"""Guess from the names of source files which reader takes them.

A guess only fills a scaffold: a curator looks at it, and `study pin` opens the files.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from cellresponse.curation.leftovers import PLACEHOLDER

__all__ = ["guess_reader"]

PACKED = re.compile(r"\.(gz|bz2|xz)$")
LIST = re.compile(r"(barcodes?|features?|genes?)\.(tsv|txt|csv)$")
TABLE = re.compile(r"meta|annot|barcode|cell_?info|clinical")
READERS = (
    (re.compile(r"\.(tar|tgz|zip)$"), "archive"),
    (re.compile(r"\.h5ad$"), "h5ad"),
    (re.compile(r"\.(h5|hdf5)$"), "10x_h5"),
    (re.compile(r"\.mtx$"), "10x_mtx"),
    (re.compile(r"\.(rds|rda|rdata|robj)$"), "r_object"),
    (LIST, "companion"),
    (re.compile(r"\.(csv|tsv|txt|tab|dge)$"), "dense_text"),
)


def guess_reader(name: str, names: Sequence[str]) -> tuple[str, dict[str, str]] | None:
    """Guess the reader of a file and its options.

    Parameters
    ----------
    name
        Name of the file.
    names
        All files that lie beside it.

    Returns
    -------
    reader, options
        TODO stands for an option that no name tells. None where no reader takes
        such a file, such as a track for a genome browser.

    Examples
    --------
    >>> guess_reader("a_counts.csv.gz", [])
    ('dense_text', {'orientation': 'TODO'})
    >>> guess_reader("a.bw", [])
    """
    plain = PACKED.sub("", name.lower())
    reader = next((reader for pattern, reader in READERS if pattern.search(plain)), None)
    if reader is None:
        return None
    if reader == "10x_mtx":
        return reader, _lists(name, names)
    if reader == "dense_text":
        return ("cell_table", {}) if TABLE.search(plain) else (reader, {"orientation": PLACEHOLDER})
    return reader, {}


def _lists(name: str, names: Sequence[str]) -> dict[str, str]:
    """Barcodes and features that begin like the matrix: `GSM1_a_matrix.mtx`, `GSM1_a_genes.tsv`."""
    stem = re.sub(r"(matrix|counts?)?\.mtx(\.\w+)?$", "", name, flags=re.IGNORECASE)
    found: dict[str, list[str]] = {"barcodes": [], "features": []}
    for other in names:
        listed = LIST.search(PACKED.sub("", other.lower()))
        if listed and other.startswith(stem):
            found["barcodes" if listed[1].startswith("barcode") else "features"].append(other)
    return {kind: others[0] if len(others) == 1 else PLACEHOLDER for kind, others in found.items()}
