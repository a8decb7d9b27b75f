"""Put finished studies together into a release folder."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cellresponse.builders.cohorts.build import build_cohorts
from cellresponse.builders.equal_vectors import equal_vectors
from cellresponse.builders.expression import write_expression
from cellresponse.builders.genes import GeneAxis
from cellresponse.builders.progress import Report
from cellresponse.builders.split_tables import splits_table
from cellresponse.builders.study_part import SUMMARY
from cellresponse.builders.study_tables import drug_rows
from cellresponse.releases.card import write_card
from cellresponse.releases.content_hash import combine, table_hash
from cellresponse.releases.croissant import write_croissant
from cellresponse.releases.datapackage import write_descriptor, write_root
from cellresponse.releases.diff import compare, unexplained_losses
from cellresponse.releases.doubts import doubts
from cellresponse.releases.layout import PARTITION_ABOVE, matrix_path, table_path
from cellresponse.releases.release import Release
from cellresponse.releases.tables_io import write_by_study, write_table
from cellresponse.releases.verify_content import content_hash
from cellresponse.schema.errors import raise_all
from cellresponse.schema.spec import ReleaseSpec
from cellresponse.schema.tables import Drugs, Genes, Studies, arrow_schema

__all__ = ["assemble"]


def assemble(
    spec: ReleaseSpec,
    axes: dict[str, GeneAxis],
    parts: list[Path],
    folder: Path,
    previous: Release | None,
    code: dict[str, str],
    report: Report,
) -> None:
    """Make a release folder from the folders of its studies.

    Parameters
    ----------
    spec, axes
        What is built, and the gene axis of each organism.
    parts
        Folders of `build_study`, sorted by study.
    folder
        Folder to make. Matrices are moved there where the disk is the same, else copied.
    previous
        Release to compare counts with.
    code
        Version of the code.
    report
        Receives a line where something deserves the reader's eye.

    Raises
    ------
    ReleaseError
        A count dropped against `previous` and the spec gives no reason.
    """
    summaries = [json.loads((part / SUMMARY).read_text("utf-8")) for part in parts]
    (folder / "matrices").mkdir(parents=True)
    tables = _write_tables(folder, axes, parts, summaries)
    for part, summary in zip(parts, summaries, strict=True):
        _place(part / "matrix.zarr", folder / matrix_path(summary["study"]["study_id"]))
    if spec.expression:
        report("writing counts as Parquet")
        write_expression(folder, [summary["study"] for summary in summaries])
    equal = equal_vectors(
        {summary["study"]["study_id"]: part for part, summary in zip(parts, summaries, strict=True)}
    )
    splits = splits_table(folder, spec, equal)
    write_table(folder, "splits", splits)
    tables["splits"] = table_hash(splits)
    tables["cohorts"], cohorts = build_cohorts(spec, folder, report)
    root = _root(spec, axes, summaries, tables, code)
    root |= {"equal_count_vectors": equal, "cohorts": cohorts}
    for doubt in doubts(root):
        report(f"warning: {doubt}")
    if previous is not None:
        root["diff"] = compare(previous, Release(folder, root))
        raise_all(unexplained_losses(root["diff"], spec.explained_losses, spec.file))
    write_card(folder, root)
    licences = [
        {
            "name": summary["study"]["study_id"].lower(),
            "title": summary["study"]["licence"],
            **(
                {"path": summary["study"]["licence_url"]} if summary["study"]["licence_url"] else {}
            ),
        }
        for summary in summaries
    ]
    write_croissant(folder, root, licences)
    digest = write_descriptor(folder, name=spec.release, title=spec.title, licences=licences)
    write_root(folder, root, digest)


def _place(source: Path, target: Path) -> None:
    """Link the files where the disk allows it, else copy: the finished study stays resumable."""
    for path in sorted(source.rglob("*")):
        place = target / path.relative_to(source)
        if path.is_dir():
            place.mkdir(parents=True)
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(path, place)
        except OSError:
            shutil.copyfile(path, place)


def _write_tables(
    folder: Path,
    axes: dict[str, GeneAxis],
    parts: list[Path],
    summaries: list[dict[str, Any]],
) -> dict[str, Any]:
    studies = [summary["study"] for summary in summaries]
    write_table(folder, "studies", pa.Table.from_pylist(studies, schema=arrow_schema(Studies)))
    partitioned = sum(study["n_cells"] for study in studies) > PARTITION_ABOVE
    for name in ("samples", "cells", "labels"):
        if partitioned and name != "samples":
            for part, study in zip(parts, studies, strict=True):
                target = folder / table_path(name, study["study_id"])
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(part / f"{name}.parquet", target)
        else:
            write_by_study(
                folder, name, (pq.read_table(part / f"{name}.parquet") for part in parts)
            )
    drugs = pa.Table.from_pylist(drug_rows(_treatments(parts)), schema=arrow_schema(Drugs))
    write_table(folder, "drugs", drugs)
    used = sorted({study["organism"] for study in studies})
    genes = [_genes(axes[organism]) for organism in used]
    write_by_study(folder, "genes", genes)
    return {
        "drugs": table_hash(drugs),
        "genes": {organism: table_hash(table) for organism, table in zip(used, genes, strict=True)},
    }


def _treatments(parts: list[Path]) -> set[str]:
    named: set[str] = set()
    for part in parts:
        named |= set(
            pq.read_table(part / "labels.parquet", columns=["drug_id"])["drug_id"].to_pylist()
        )
        given = pq.read_table(part / "samples.parquet", columns=["treatment"])["treatment"]
        named |= set(given.drop_null().to_pylist())
    return named


def _genes(axis: GeneAxis) -> pa.Table:
    columns = {
        "organism": pa.array([axis.organism] * len(axis), pa.string()),
        "position": pa.array(np.arange(len(axis), dtype=np.int64)),
        "gene_id": pa.array(axis.ids, pa.string()),
        "gene_name": pa.array(axis.names, pa.string()),
        "contig": pa.array(axis.contigs, pa.string()),
    }
    return pa.table(columns, schema=arrow_schema(Genes))


def _root(
    spec: ReleaseSpec,
    axes: dict[str, GeneAxis],
    summaries: list[dict[str, Any]],
    tables: dict[str, Any],
    code: dict[str, str],
) -> dict[str, Any]:
    """Everything that `release.json` records, but for its digests."""
    content: dict[str, Any] = {
        "studies": {
            summary["study"]["study_id"]: {**summary["hashes"], "study": combine(summary["study"])}
            for summary in summaries
        },
        "genes": tables["genes"],
        "drugs": tables["drugs"],
        "splits": tables["splits"],
        "cohorts": tables["cohorts"],
    }
    content["hash"] = content_hash(content)
    totals: Counter[str] = Counter()
    for summary in summaries:
        totals.update(summary["cells"])
    return {
        "release": spec.release,
        "title": spec.title,
        "schema_version": spec.schema_version,
        "spec": spec.model_dump(mode="json"),
        "code": code,
        "references": {
            organism: {"genes": len(axis), "table_sha256": axis.checksum}
            for organism, axis in sorted(axes.items())
        },
        "content": content,
        "cells": dict(sorted(totals.items())),
        "studies": {
            summary["study"]["study_id"]: {
                key: summary[key] for key in summary if key not in ("hashes", "study")
            }
            | {"revision": summary["study"]["revision"], "samples": summary["study"]["n_samples"]}
            for summary in summaries
        },
        "diff": None,
    }
