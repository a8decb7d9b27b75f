"""Find the sample of every barcode of a file, and what the source says of the cell."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cellresponse.builders.read import read_cell_table
from cellresponse.curation.study import Study
from cellresponse.schema.errors import EvidenceError, SourceFileError
from cellresponse.schema.study import BarcodeRule
from cellresponse.schema.vocabulary import cell_lines, words

__all__ = ["CELL_FACTS", "Matched", "match_barcodes"]

CELL_FACTS = ("cell_line", "cell_type", "malignant", "doublet")
MOST_SHOWN = 20


@dataclass(frozen=True)
class Matched:
    """The barcodes of a file, matched.

    Attributes
    ----------
    samples
        Samples of the file, sorted.
    codes
        int32, shape (barcodes,): index into `samples`, -1 where the cell is left out.
    facts
        What the source says of single cells: column to one value (or None) a barcode.
    left_out
        Number of barcodes left out, by reason.
    """

    samples: list[str]
    codes: NDArray[np.int32]
    facts: dict[str, list[str | None]] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)


def match_barcodes(
    study: Study,
    file: str,
    barcodes: list[str],
    rule: BarcodeRule,
    companions: Mapping[str, Path],
) -> Matched:
    """Match the barcodes of one file with the samples of its study.

    Parameters
    ----------
    study
        The study.
    file
        Manifest name of the matrix.
    barcodes
        All barcodes of the file, in file order.
    rule
        From the manifest.
    companions
        Local path of the study's other files by manifest name.

    Raises
    ------
    EvidenceError
        A sample or barcode that the evidence names is not in the file.
    SourceFileError
        A table of the source cannot be read or lacks a column.
    """
    rows = study.samples[study.samples["file"] == file]
    samples = sorted(rows["sample_id"])
    if rule.rule == "whole_file":
        return Matched(samples, np.zeros(len(barcodes), dtype=np.int32))
    if rule.rule == "cells":
        return _by_cells(study, file, barcodes, samples)
    by_key = {str(row["barcode_key"]): row["sample_id"] for _, row in rows.iterrows()}
    keys = (
        _table_keys(study, file, barcodes, rule, companions)
        if rule.rule == "table"
        else _pattern_keys(barcodes, str(rule.pattern))
    )
    matched = _by_key(study, file, samples, by_key, keys, len(barcodes))
    _require_own_lines(study, file, barcodes, matched)
    return matched


def _require_own_lines(study: Study, file: str, barcodes: list[str], matched: Matched) -> None:
    """A label is of its sample's line: no cell of the sample is of another one."""
    named = study.samples.dropna(subset="cell_line")
    line_of = dict(zip(named["sample_id"], named["cell_line"], strict=True))
    own = [line_of.get(sample) for sample in matched.samples]
    for index, line in enumerate(matched.facts.get("cell_line", ())):
        code = int(matched.codes[index])
        if code >= 0 and line is not None and own[code] not in (line, None):
            raise EvidenceError(
                f"the table of {file} says that cell {barcodes[index]} is of the line {line}",
                file=f"{study.study_id}/samples.csv",
                row=_line(study.samples, "sample_id", matched.samples[code]),
                column="cell_line",
                value=own[code],
                allowed=f"{line}; a sample of several lines names none",
            )


type Keys = Iterator[tuple[str | None, str, Mapping[str, str | None]]]
"""For each barcode: its key (None: left out), the reason, and facts of the cell."""


def _by_key(
    study: Study,
    file: str,
    samples: list[str],
    by_key: Mapping[str, str],
    keys: Keys,
    n_barcodes: int,
) -> Matched:
    code_of = {sample: code for code, sample in enumerate(samples)}
    codes = np.full(n_barcodes, -1, dtype=np.int32)
    facts: dict[str, list[str | None]] = {}
    left_out: Counter[str] = Counter()
    strangers: set[str] = set()
    for index, (key, reason, said) in enumerate(keys):
        if key is None:
            left_out[reason] += 1
        elif key not in by_key:
            left_out[f"no sample has the key {key}"] += 1
            strangers.add(key)
        else:
            codes[index] = code_of[by_key[key]]
        for column, value in said.items():
            facts.setdefault(column, []).append(value)
    found = {samples[code] for code in np.unique(codes) if code >= 0}
    absent = [sample for sample in samples if sample not in found]
    if absent:
        key = next(key for key, sample in by_key.items() if sample == absent[0])
        raise EvidenceError(
            f"no barcode of {file} has the key of sample {absent[0]}",
            file=f"{study.study_id}/samples.csv",
            row=_line(study.samples, "sample_id", absent[0]),
            column="barcode_key",
            value=key,
            allowed=sorted(strangers)[:MOST_SHOWN] or None,
            hint="These keys were found and no sample has them"
            if strangers
            else "Every key that was found has its sample: compare with the file's barcodes",
        )
    return Matched(samples, codes, facts, dict(left_out))


def _line(frame: pd.DataFrame, column: str, value: str) -> int:
    return int(frame.index[frame[column] == value][0])


def _pattern_keys(barcodes: list[str], pattern: str) -> Keys:
    compiled = re.compile(pattern)
    for barcode in barcodes:
        match = compiled.search(barcode)
        yield (match["key"] if match else None), "barcode does not fit the pattern", {}


def _table_keys(
    study: Study,
    file: str,
    barcodes: list[str],
    rule: BarcodeRule,
    companions: Mapping[str, Path],
) -> Keys:
    name, listed = f"{study.study_id}/{rule.table}", str(rule.table)
    if listed not in companions:
        raise EvidenceError(
            "the table of the barcode rule is not a file of the study",
            file=f"{study.study_id}/{file}",
            column="barcodes.table",
            value=listed,
            allowed=sorted(companions),
        )
    table = read_cell_table(
        companions[listed], name=name, delimiter=rule.delimiter, barcode_column=rule.barcode_column
    )
    needed = [str(rule.key_column), *rule.columns.values(), *rule.keep]
    for column in needed:
        if column not in table.columns:
            raise SourceFileError(
                "the table has no such column",
                file=name,
                column=column,
                allowed=list(map(str, table.columns)),
            )
    rows = table[list(dict.fromkeys(needed))].to_dict(orient="index")
    for barcode in barcodes:
        row = rows.get(barcode)
        if row is None:
            yield None, f"not in {listed}", dict.fromkeys(map(str, rule.columns))
            continue
        said: dict[str, str | None] = {
            ours: _fact(study, file, ours, row[theirs], rule, theirs, f"{name}, cell {barcode}")
            for ours, theirs in rule.columns.items()
        }
        refused = [c for c, allowed in rule.keep.items() if row[c] not in allowed]
        if refused:
            yield None, f"{refused[0]} is {row[refused[0]]}", said
        else:
            yield str(row[str(rule.key_column)]), "", said


def _fact(
    study: Study, file: str, ours: str, value: str, rule: BarcodeRule, theirs: str, where: str
) -> str | None:
    """Translate a value of the source's table into our word."""
    text = rule.values.get(theirs, {}).get(value, value)
    if text in ("", "NA", "NaN", "nan"):
        return None
    if ours == "cell_type":
        return text
    known = cell_lines() if ours == "cell_line" else words(ours)
    try:
        return known.resolve(text).id
    except EvidenceError as error:
        hint = (
            f"Say which word the table means, or NA, under barcodes.values of {file} in "
            f"{study.study_id}/study.yaml: `{theirs}: {{{value}: WORD}}`"
        )
        raise EvidenceError(
            error.problem,
            file=where,
            column=theirs,
            value=text,
            allowed=error.allowed,
            hint=f"{error.hint}. {hint}" if error.hint else hint,
        ) from None


def _by_cells(study: Study, file: str, barcodes: list[str], samples: list[str]) -> Matched:
    table = f"{study.study_id}/cells.csv.gz"
    if study.cells is None:
        raise EvidenceError(
            "is missing, and the barcode rule of a file is `cells`", file=table, value=file
        )
    rows = study.cells[study.cells["file"] == file]
    position = {barcode: index for index, barcode in enumerate(barcodes)}
    unknown = [
        line for line, b in zip(rows.index, rows["barcode"], strict=True) if b not in position
    ]
    if unknown:
        raise EvidenceError(
            f"the barcode is not in {file} ({len(unknown)} such rows)",
            file=table,
            row=int(unknown[0]),
            column="barcode",
            value=rows.loc[unknown[0], "barcode"],
            hint=f"The file's first barcode is {barcodes[0]}" if barcodes else None,
        )
    places = np.array([position[barcode] for barcode in rows["barcode"]], dtype=np.int64)
    codes = np.full(len(barcodes), -1, dtype=np.int32)
    code_of = {sample: code for code, sample in enumerate(samples)}
    codes[places] = [code_of[sample] for sample in rows["sample_id"]]
    facts: dict[str, list[str | None]] = {}
    for column in CELL_FACTS:
        values: list[str | None] = [None] * len(barcodes)
        for place, value in zip(places, rows[column], strict=True):
            values[place] = None if pd.isna(value) else str(value)
        facts[column] = values
    left_out = int((codes < 0).sum())
    return Matched(samples, codes, facts, {"not in cells.csv.gz": left_out} if left_out else {})
