"""Check the tables of a study against its files and against each other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pandas as pd

from cellresponse.curation.facts import known_rows
from cellresponse.schema.errors import EvidenceError

if TYPE_CHECKING:
    from cellresponse.curation.study import Study

__all__ = ["cell_problems", "dose_response_problems", "file_problems"]

SCREEN_COLUMNS = ("q25_ln_ic50", "median_ln_ic50", "n_lines_tested", "source")
"""Columns of `dose_response.csv` that describe the drug's screen, not the line."""


def file_problems(study: Study) -> Iterator[EvidenceError]:
    """A ready study: every sample finds its file, every file its samples."""
    matrices = study.manifest.matrices()
    table = study.file_name("samples.csv")
    by_file: dict[str, list[tuple[int, str | None]]] = {}
    for line, row in known_rows(study.samples):
        if row["file"] is None:
            continue  # said by _gaps
        if row["file"] not in matrices:
            yield EvidenceError(
                "not a count matrix of study.yaml",
                file=table,
                row=line,
                column="file",
                value=row["file"],
                allowed=sorted(matrices) or "a file of study.yaml, which lists no counts",
            )
            continue
        by_file.setdefault(row["file"], []).append((line, row["barcode_key"]))
    for name, matrix in matrices.items():
        rule, rows = matrix.barcodes.rule, by_file.get(name, [])
        if not rows:
            yield EvidenceError(
                "no sample lies in this file",
                file=table,
                column="file",
                value=name,
                hint="Add its samples, or take the file out of study.yaml",
            )
        if rule == "whole_file" and len(rows) > 1:
            yield EvidenceError(
                f"{len(rows)} samples share a file whose barcode rule is whole_file",
                file=table,
                row=rows[1][0],
                column="file",
                value=name,
                hint="Say under `barcodes:` in study.yaml how a barcode finds its sample",
            )
        if rule in ("table", "pattern"):
            yield from _key_problems(rows, table, rule)
        if rule == "cells":
            yield from _assignment_problems(study, [line for line, _ in rows])


def _key_problems(
    rows: list[tuple[int, str | None]], table: str, rule: str
) -> Iterator[EvidenceError]:
    seen: set[str] = set()
    for line, key in rows:
        if key is None or key in seen:
            yield EvidenceError(
                f"the barcode rule {rule} needs one barcode_key a sample",
                file=table,
                row=line,
                column="barcode_key",
                value=key,
                allowed="a key that no other sample of the file has",
            )
        else:
            seen.add(key)


def _assignment_problems(study: Study, lines: list[int]) -> Iterator[EvidenceError]:
    assigned = set() if study.cells is None else set(study.cells["sample_id"])
    for line in lines:
        sample = study.samples.loc[line, "sample_id"]
        if sample not in assigned:
            yield EvidenceError(
                "cells.csv.gz gives the sample no cell, and its file's barcode rule is cells",
                file=study.file_name("samples.csv"),
                row=line,
                column="sample_id",
                value=sample,
                allowed=sorted(assigned),
            )


def cell_problems(study: Study) -> Iterator[EvidenceError]:
    if study.cells is None:
        return
    files: dict[str, Any] = dict(
        zip(study.samples["sample_id"], study.samples["file"], strict=True)
    )
    matrices = study.manifest.matrices()
    yield from _lines_of_cells(study, study.cells)
    pairs = study.cells[["sample_id", "file"]].drop_duplicates()
    for line, (sample, file) in zip(pairs.index, pairs.to_numpy(), strict=True):
        if sample not in files:
            yield EvidenceError(
                "there is no such sample in samples.csv",
                file=study.file_name("cells.csv.gz"),
                row=int(line),
                column="sample_id",
                value=sample,
                allowed=sorted(files) or "a sample of samples.csv, which has none",
            )
        elif pd.isna(files[sample]):
            yield EvidenceError(
                f"samples.csv does not say in which file {sample} lies",
                file=study.file_name("cells.csv.gz"),
                row=int(line),
                column="file",
                value=file,
                hint="Fill in the sample's file in samples.csv",
            )
        elif files[sample] != file:
            yield EvidenceError(
                f"samples.csv says that {sample} lies in {files[sample]}",
                file=study.file_name("cells.csv.gz"),
                row=int(line),
                column="file",
                value=file,
                allowed=str(files[sample]),
            )
        elif file in matrices and matrices[file].barcodes.rule != "cells":
            yield EvidenceError(
                f"no step reads the rows of this file: its barcode rule is "
                f"{matrices[file].barcodes.rule}",
                file=study.file_name("cells.csv.gz"),
                row=int(line),
                column="file",
                value=file,
                hint="Say `rule: cells` under `barcodes:` of the file in study.yaml",
            )


def _lines_of_cells(study: Study, cells: pd.DataFrame) -> Iterator[EvidenceError]:
    """A label is of its sample's line: no cell of the sample is of another one."""
    named = study.samples.dropna(subset="cell_line")
    line_of = dict(zip(named["sample_id"], named["cell_line"], strict=True))
    pairs = cells[["sample_id", "cell_line"]].dropna().drop_duplicates()
    for row, (sample, line) in zip(pairs.index, pairs.to_numpy(), strict=True):
        if line_of.get(sample, line) != line:
            yield EvidenceError(
                f"samples.csv says that {sample} is of the line {line_of[sample]}",
                file=study.file_name("cells.csv.gz"),
                row=int(row),
                column="cell_line",
                value=line,
                allowed=f"{line_of[sample]}; a sample of several lines names none",
            )


def dose_response_problems(study: Study) -> Iterator[EvidenceError]:
    if study.dose_response is None:
        return
    table = study.file_name("dose_response.csv")
    lines = set(study.samples["cell_line"].dropna())
    first: dict[str, tuple[int, dict[str, Any]]] = {}
    for line, row in known_rows(study.dose_response):
        place: Any = {"file": table, "row": line}
        before, said = first.setdefault(row["treatment"], (line, row))
        for column in SCREEN_COLUMNS:
            if row[column] != said[column]:
                yield EvidenceError(
                    f"the drug has {said[column]!r} in row {before}, and lines of one drug are "
                    "compared within one screen",
                    column=column,
                    value=row[column],
                    allowed="one value a drug",
                    **place,
                )
        if row["cell_line"] not in lines:
            yield EvidenceError(
                "no sample of the study is of this line",
                column="cell_line",
                value=row["cell_line"],
                allowed=sorted(lines) or "a line of samples.csv, which names none",
                **place,
            )
        if row["q25_ln_ic50"] > row["median_ln_ic50"]:
            yield EvidenceError(
                "the first quartile is above the median",
                column="q25_ln_ic50",
                value=row["q25_ln_ic50"],
                allowed=f"at most {row['median_ln_ic50']}",
                **place,
            )
        for column in ("source", "intrinsic_source"):
            if row[column] is not None and row[column] not in study.manifest.sources:
                yield EvidenceError(
                    "not among the sources of study.yaml",
                    column=column,
                    value=row[column],
                    allowed=sorted(study.manifest.sources) or "name it under `sources:` first",
                    **place,
                )
        if row["intrinsic_resistance"] == "established" and _same_text(study, row):
            yield EvidenceError(
                "the screen itself does not establish resistance: that takes a fact beyond its IC50",
                column="intrinsic_source",
                value=row["intrinsic_source"],
                allowed="the source of such a fact, or no intrinsic_resistance",
                **place,
            )
        if (row["intrinsic_resistance"] is None) != (row["intrinsic_source"] is None):
            yield EvidenceError(
                "intrinsic_resistance and intrinsic_source belong together",
                column="intrinsic_source",
                value=row["intrinsic_source"],
                allowed="both, or neither",
                **place,
            )


def _same_text(study: Study, row: dict[str, Any]) -> bool:
    """Whether the source of the resistance is that of the IC50, under whatever key."""
    sources = study.manifest.sources
    screen, beyond = (sources.get(row[column]) for column in ("source", "intrinsic_source"))
    return screen is not None and beyond is not None and screen.ref == beyond.ref
