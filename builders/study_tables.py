"""Make the rows of a study's cells, samples, labels and treatments."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cellresponse.builders.match import CELL_FACTS, Matched
from cellresponse.builders.study_counts import StudyCounts
from cellresponse.curation.facts import exposure_range
from cellresponse.curation.labels import SampleLabel
from cellresponse.curation.study import Study
from cellresponse.schema.ids import cell_ids, sample_key
from cellresponse.schema.tables import Cells, Labels, Samples, arrow_schema
from cellresponse.schema.vocabulary import treatment

__all__ = ["cells_table", "drug_rows", "labels_table", "samples_table", "study_row"]


def cells_table(study: Study, counts: StudyCounts) -> pa.Table:
    """Make one row a cell that passed quality control.

    Parameters
    ----------
    study
        The study.
    counts
        What is known of its cells.

    Returns
    -------
    pyarrow.Table
        Columns of `schema.tables.Cells`, in matrix row order.
    """
    measures, kept = counts.quality, counts.kept
    rows = counts.ranked.filter(pa.array(kept))
    owner, position = rows["file"].to_numpy(), rows["position"].to_numpy()
    ids, facts = _by_file(study, counts.names, counts.matched, rows["barcode"], owner, position)
    sample_ids = rows["sample_id"].combine_chunks().dictionary_encode()
    line_of = dict(zip(study.samples["sample_id"], study.samples["cell_line"], strict=True))
    samples = sample_ids.dictionary.to_pylist()
    lines = pa.array([_none(line_of[sample]) for sample in samples], pa.string())
    keys = pa.array([sample_key(study.study_id, sample) for sample in samples], pa.string())
    percent = measures.pct_mito()[kept]
    columns = {
        "cell_id": ids,
        "study_id": pa.repeat(study.study_id, len(rows)),
        "sample_id": keys.take(sample_ids.indices),
        "barcode": rows["barcode"].combine_chunks(),
        "cell_line": pc.coalesce(facts["cell_line"], lines.take(sample_ids.indices)),
        "cell_type": facts["cell_type"],
        "malignant": pc.fill_null(facts["malignant"], "unknown"),
        "doublet": facts["doublet"],
        "n_counts": pa.array(measures.n_counts[kept]),
        "n_genes": pa.array(measures.n_genes[kept]),
        "pct_mito": pa.array(percent, mask=np.isnan(percent)),
        "row": pa.array(np.arange(len(rows), dtype=np.int64)),
    }
    return pa.table(columns, schema=arrow_schema(Cells))


def _by_file(
    study: Study,
    files: list[str],
    matched: list[Matched],
    barcodes: pa.ChunkedArray,
    owner: NDArray[np.int32],
    position: NDArray[np.int64],
) -> tuple[pa.Array, dict[str, pa.Array]]:
    """Ids and facts of cells, put together file by file and back into row order."""
    order, ids = [], []
    facts: dict[str, list[pa.Array]] = {column: [] for column in CELL_FACTS}
    for index, (file, match) in enumerate(zip(files, matched, strict=True)):
        own = np.flatnonzero(owner == index)
        order.append(own)
        own_barcodes = barcodes.take(pa.array(own)).to_pylist()
        ids.append(pa.array(cell_ids(study.study_id, file, own_barcodes), pa.string()))
        for column in CELL_FACTS:
            said = match.facts.get(column)
            places = pa.array(position[own])
            facts[column].append(
                pa.nulls(len(own), pa.string())
                if said is None
                else pa.array(said, pa.string()).take(places)
            )
    back = pa.array(np.argsort(np.concatenate(order), kind="stable"))
    return (
        pa.concat_arrays(ids).take(back),
        {column: pa.concat_arrays(parts).take(back) for column, parts in facts.items()},
    )


def samples_table(study: Study, cells: pa.Table) -> pa.Table:
    """Make one row a sample, sorted by sample_id; columns of `schema.tables.Samples`."""
    counted = {
        item["values"]: item["counts"]
        for item in pc.value_counts(cells["sample_id"].combine_chunks()).to_pylist()
    }
    rows, facts = [], study.facts()
    for row in study.samples.to_dict(orient="records"):
        known: dict[Any, Any] = {key: _none(value) for key, value in row.items()}
        key = sample_key(study.study_id, known["sample_id"])
        low, high = exposure_range(known["exposure_days"])
        rows.append(
            known
            | {
                "study_id": study.study_id,
                "sample_id": key,
                "exposure_days_min": low,
                "exposure_days_max": high,
                "control_samples": ";".join(
                    sample_key(study.study_id, control)
                    for control in facts[known["sample_id"]].control_samples
                )
                or None,
                "n_cells": counted.get(key, 0),
            }
        )
    schema = arrow_schema(Samples)
    rows = [{name: row.get(name) for name in schema.names} for row in rows]
    return pa.Table.from_pylist(rows, schema=schema).sort_by("sample_id")


def labels_table(study: Study, labels: Iterable[SampleLabel], cells: pa.Table) -> pa.Table:
    """Make the label rows of the samples that have cells, in canonical order.

    Labels of tumour, blood and marrow samples get one row a malignant cell; others one row
    a sample or, where the source calls some of its cells non-malignant, one row a cell of
    the rest.
    """
    present = set(pc.unique(cells["sample_id"]).to_pylist())
    malignant = _by_sample(cells.filter(pc.equal(cells["malignant"], "malignant")))
    normal = pc.equal(cells["malignant"], "non_malignant")
    mixed = pc.unique(cells.filter(normal)["sample_id"])
    others = pc.and_not(pc.is_in(cells["sample_id"], value_set=mixed), normal)
    rest = {key: list[str]() for key in mixed.to_pylist()} | _by_sample(cells.filter(others))
    rows = []
    for label in labels:
        key = sample_key(study.study_id, label.sample_id)
        if key not in present:
            continue
        row = {
            "study_id": study.study_id,
            "sample_id": key,
            "drug_id": label.drug_id,
            "response": label.response,
            "stars": label.stars,
            "basis": label.basis,
            "rule_id": label.rule_id,
            "evidence_ref": label.evidence_ref,
        }
        targets = malignant.get(key, []) if label.malignant_only else rest.get(key, [None])
        rows += [{**row, "cell_id": cell} for cell in targets]
    table = pa.Table.from_pylist(rows, schema=arrow_schema(Labels))
    return table.sort_by(
        [(key, "ascending") for key in ("sample_id", "drug_id", "basis", "cell_id")]
    )


def _by_sample(cells: pa.Table) -> dict[str, list[str]]:
    by_sample: dict[str, list[str]] = {}
    for sample, cell in zip(
        cells["sample_id"].to_pylist(), cells["cell_id"].to_pylist(), strict=True
    ):
        by_sample.setdefault(sample, []).append(cell)
    return by_sample


def labelled_cells(labels: pa.Table, cells: pa.Table) -> int:
    """Count the cells that have at least one label."""
    whole = pc.unique(labels.filter(pc.is_null(labels["cell_id"]))["sample_id"])
    single = pc.unique(labels["cell_id"].drop_null())
    by_sample = pc.is_in(cells["sample_id"], value_set=whole)
    by_cell = pc.is_in(cells["cell_id"], value_set=single)
    return int(pc.sum(pc.or_(by_sample, by_cell)).as_py() or 0)


def study_row(study: Study, cells: pa.Table, labels: pa.Table, samples: pa.Table) -> dict[str, Any]:
    """Make the study's row; keys are the columns of `schema.tables.Studies`."""
    manifest = study.manifest
    assays = sorted({a for a in samples["assay"].to_pylist() if a})
    terms = sorted({source.terms for source in manifest.sources.values() if source.terms})
    return {
        "study_id": study.study_id,
        "title": manifest.title,
        "organism": manifest.organism,
        "doi": manifest.doi,
        "pmid": manifest.pmid,
        "parent": manifest.parent,
        "assays": ";".join(assays),
        "licence": manifest.licence,
        "licence_url": manifest.licence_url,
        "evidence_terms": " ".join(terms) or None,
        "access": manifest.access,
        "curator": manifest.curator,
        "revision": manifest.revision,
        "synthetic": manifest.synthetic,
        "n_samples": len(samples),
        "n_cells": len(cells),
        "n_labelled_cells": labelled_cells(labels, cells),
    }


def drug_rows(treatment_ids: Iterable[str]) -> list[dict[str, Any]]:
    """Make the rows of treatments and of the drugs that they are made of, sorted."""
    rows: dict[str, dict[str, Any]] = {}
    for treatment_id in treatment_ids:
        found = treatment(treatment_id)
        for term in found.components:
            rows[term.id] = {
                "drug_id": term.id,
                "name": term.name,
                "kind": term.extra["kind"],
                "components": None,
                "synonyms": ";".join(term.synonyms) or None,
                **_identifiers(term.extra),
            }
        if len(found.components) > 1:
            classes = {term.extra["drug_class"] for term in found.components}
            rows[found.id] = {
                "drug_id": found.id,
                "name": found.name,
                "kind": "regimen",
                "components": ";".join(term.id for term in found.components),
                "synonyms": None,
                **_identifiers({"drug_class": classes.pop() if len(classes) == 1 else ""}),
            }
    return [rows[key] for key in sorted(rows)]


def _identifiers(extra: Mapping[str, str]) -> dict[str, str | None]:
    columns = ("drug_class", "chembl_id", "pubchem_cid", "drugbank_id", "cas")
    return {column: extra.get(column) or None for column in columns}


def _none(value: object) -> Any:
    return None if pd.isna(value) else value  # type: ignore[call-overload]
