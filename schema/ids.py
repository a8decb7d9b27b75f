"""Identifiers made from content, never from build order."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

__all__ = ["cell_ids", "sample_key"]

ID_LENGTH = 24  # hex digits: 96 bits, so a hundred million cells collide with p < 1e-12


def cell_ids(study_id: str, file: str, barcodes: Iterable[str]) -> list[str]:
    """Identify physical cells by study, file and barcode.

    Parameters
    ----------
    study_id
        Accession of the study.
    file
        Manifest name of the file, for archives `archive/member`.
    barcodes
        Barcodes as in the file.

    Returns
    -------
    list of str
        24 hex digits a barcode. They do not depend on the sample's name, so
        renaming a sample moves no split.

    Examples
    --------
    >>> cell_ids("GSE1", "counts.csv.gz", ["AAAC"])
    ['a1ea0ff5aaa8c9954191f972']
    """
    # One state a file, copied for each barcode: the prefix is hashed once.
    prefix = hashlib.sha256(f"{study_id}\0{file}\0".encode())
    ids = []
    for barcode in barcodes:
        state = prefix.copy()
        state.update(barcode.encode())
        ids.append(state.hexdigest()[:ID_LENGTH])
    return ids


def sample_key(study_id: str, sample: str) -> str:
    """Name a sample across studies: `<study>:<sample>`.

    Examples
    --------
    >>> sample_key("GSE149214", "Day11c")
    'GSE149214:Day11c'
    """
    return f"{study_id}:{sample}"
