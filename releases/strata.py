"""Count the labelled cells of a release once, in classes that no task or split divides.

A stratum is the cells of one sample and cell line that have the same labels, counted by
bucket. Tasks, splits and their checks are sums over strata, so their cost does not grow
with cells x tasks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

__all__ = ["BUCKETS", "Label", "Stratum", "buckets", "strata_of_study"]

BUCKETS = 10
"""Folds of the split by cell."""


class Label(NamedTuple):
    """What a label says, apart from its stars and evidence."""

    drug_id: str
    basis: str
    response: str


@dataclass(frozen=True)
class Stratum:
    """Cells that share sample, cell line and labels.

    Attributes
    ----------
    organism
        Of the study.
    unit
        What the cross track leaves out: the study, or `<study>:<batch>`.
    sample
        Row of the table `samples`.
    cell_line
        Of the cells; None: they have none.
    labels
        At least one.
    cells
        Number of cells by bucket, `BUCKETS` numbers.
    """

    organism: str
    unit: str
    sample: Mapping[str, Any]
    cell_line: str | None
    labels: tuple[Label, ...]
    cells: tuple[int, ...]


def buckets(cell_ids: pa.Array | pa.ChunkedArray) -> NDArray[np.int64]:
    """Give the bucket of each physical cell: its id's first eight hex digits, modulo ten.

    It depends on nothing but the cell, so a control that several tasks share is in the
    same fold of all of them. In DuckDB: `('0x' || substr(cell_id, 1, 8))::bigint % 10`.

    Parameters
    ----------
    cell_ids
        Ids as in the table `cells`.

    Returns
    -------
    numpy.ndarray
        int64, shape (cells,), values 0 to 9.

    Examples
    --------
    >>> buckets(pa.array(["0000000b8997e4deb19b5e1c"])).tolist()
    [1]
    """
    digits = pc.utf8_slice_codeunits(cell_ids, 0, 8)
    if isinstance(digits, pa.ChunkedArray):
        digits = digits.combine_chunks()
    text = bytes(digits.buffers()[2] or b"")[: 8 * len(digits)].decode()
    return np.frombuffer(bytes.fromhex(text), ">u4").astype(np.int64) % BUCKETS


def strata_of_study(
    organism: str, units: str, samples: pa.Table, cells: pa.Table, labels: pa.Table
) -> Iterator[Stratum]:
    """Count the labelled cells of one study.

    Parameters
    ----------
    organism
        Of the study.
    units
        `study` or `batch`: what the cross track leaves out.
    samples, cells, labels
        The study's rows of those tables.

    Yields
    ------
    Stratum
        Those with labels, in no particular order.
    """
    if len(cells) == 0:
        return
    whole, own, sets = _sample_labels(labels), *_own_labels(cells, labels)
    rows = {row["sample_id"]: row for row in samples.to_pylist()}
    sample = cells["sample_id"].combine_chunks().dictionary_encode()
    line = cells["cell_line"].combine_chunks().dictionary_encode(null_encoding="encode")
    shape = (len(sample.dictionary), len(line.dictionary), len(sets))
    found, inverse = np.unique(
        np.ravel_multi_index((_codes(sample), _codes(line), own), shape), return_inverse=True
    )
    place = inverse * BUCKETS + buckets(cells["cell_id"])
    counts = np.bincount(place, minlength=len(found) * BUCKETS).reshape(-1, BUCKETS)
    codes = zip(*(code.tolist() for code in np.unravel_index(found, shape)), strict=True)
    for (sample_code, line_code, set_code), by_bucket in zip(codes, counts.tolist(), strict=True):
        name = sample.dictionary[sample_code].as_py()
        all_labels = whole.get(name, ()) + sets[set_code]
        if all_labels:
            yield Stratum(
                organism=organism,
                unit=unit_of(rows[name], units),
                sample=rows[name],
                cell_line=line.dictionary[line_code].as_py(),
                labels=all_labels,
                cells=tuple(by_bucket),
            )


def unit_of(sample: Mapping[str, Any], units: str) -> str:
    """Name the unit of the cross track that a sample belongs to."""
    study = str(sample["study_id"])
    return f"{study}:{sample['batch']}" if units == "batch" else study


def _codes(encoded: pa.DictionaryArray) -> NDArray[np.int64]:
    return encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)


def _sample_labels(labels: pa.Table) -> dict[str, tuple[Label, ...]]:
    """Labels of whole samples."""
    found: dict[str, tuple[Label, ...]] = {}
    for row in labels.filter(pc.is_null(labels["cell_id"])).to_pylist():
        said = Label(row["drug_id"], row["basis"], row["response"])
        found[row["sample_id"]] = (*found.get(row["sample_id"], ()), said)
    return found


def _own_labels(
    cells: pa.Table, labels: pa.Table
) -> tuple[NDArray[np.int64], list[tuple[Label, ...]]]:
    """Give each cell the number of its set of own labels (0: none), and those sets."""
    single = labels.filter(pc.is_valid(labels["cell_id"]))
    row = pc.index_in(single["cell_id"], value_set=cells["cell_id"].combine_chunks()).to_numpy()
    said, code = _distinct(single)
    order = np.lexsort((code, row))
    row, code = row[order], code[order]
    nth = np.arange(len(row)) - np.searchsorted(row, row)
    numbers = np.zeros(len(cells), dtype=np.int64)
    sets: list[tuple[Label, ...]] = [()]
    for turn in range(int(nth.max(initial=-1)) + 1):  # as often as the most labels of a cell
        now = nth == turn
        pairs = numbers[row[now]] * len(said) + code[now]
        unique, inverse = np.unique(pairs, return_inverse=True)
        numbers[row[now]] = len(sets) + inverse
        sets += [(*sets[pair // len(said)], said[pair % len(said)]) for pair in unique.tolist()]
    return numbers, sets


def _distinct(labels: pa.Table) -> tuple[list[Label], NDArray[np.int64]]:
    """Give the distinct contents of labels, and the place of each label's content in them."""
    joined = pc.binary_join_element_wise(*(labels[name] for name in Label._fields), "\0")
    encoded = joined.combine_chunks().dictionary_encode()
    return [Label(*text.split("\0")) for text in encoded.dictionary.to_pylist()], _codes(encoded)
