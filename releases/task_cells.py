"""Read the cells of a benchmark task out of a release's tables."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from cellresponse.releases.task_members import IC50, SAMPLE_CATEGORIES, before_drug, declared_labels

if TYPE_CHECKING:
    from cellresponse.releases.release import Release
    from cellresponse.releases.tasks import Task

__all__ = ["cells_of", "label_pairs_of"]

CELL_COLUMNS = ["cell_id", "study_id", "row", "sample_id", "cell_line"]
SAMPLE_COLUMNS = ["patient_id", "batch", "assay", "collection"]
LABEL_COLUMNS = ["drug_id", "basis", "response", "stars"]

Tables = Mapping[str, pa.Table]


def cells_of(task: Task, tables: Tables, spec: Mapping[str, Any]) -> pa.Table:
    """Give the cells of a task, with one response each.

    Parameters
    ----------
    task
        The task.
    tables
        Tables of the release by name.
    spec
        Its spec, as `release.json` holds it.

    Returns
    -------
    pyarrow.Table
        Columns as `Task.cells` says.
    """
    labels = _labels(task, tables, spec)
    cells = _cells(labels, tables)
    order = [("study_id", "ascending"), ("row", "ascending")]
    return _with_cells(_one_a_cell(_pairs(labels, cells)), cells, tables).sort_by(order)


def label_pairs_of(task: Task, release: Release) -> pa.Table:
    """Give the cells of a task with every label of theirs: one row a (cell, label).

    Columns as `Task.cells` says, sorted by study, row, drug and basis. For whoever wants to
    show what it does to a score when cells are copied, one for each comparison.
    """
    labels = _labels(task, release.tables, release.root["spec"])
    cells = _cells(labels, release.tables)
    order = [(name, "ascending") for name in ("study_id", "row", "drug_id", "basis")]
    return _with_cells(_pairs(labels, cells), cells, release.tables).sort_by(order)


def _cells(labels: pa.Table, tables: Tables) -> pa.Table:
    """Cells of the samples that labels are of."""
    cells = tables["cells"].select(CELL_COLUMNS)
    return cells.filter(pc.is_in(cells["sample_id"], value_set=pc.unique(labels["sample_id"])))


def _pairs(labels: pa.Table, cells: pa.Table) -> pa.Table:
    """One row a (cell, label): labels of whole samples spread over their cells."""
    labels = labels.select(["sample_id", "cell_id", *LABEL_COLUMNS])
    single = pc.is_valid(labels["cell_id"])
    of_samples = labels.filter(pc.invert(single)).drop_columns(["cell_id"])
    spread = cells.select(["cell_id", "sample_id"]).join(of_samples, "sample_id", join_type="inner")
    said = [part.select(["cell_id", *LABEL_COLUMNS]) for part in (spread, labels.filter(single))]
    # A join forgets that columns hold no null; "permissive" lets the two differ in that.
    return pa.concat_tables(said, promote_options="permissive")


def _with_cells(said: pa.Table, cells: pa.Table, tables: Tables) -> pa.Table:
    samples = tables["samples"].select(["sample_id", *SAMPLE_COLUMNS])
    found = cells.join(said, "cell_id", join_type="inner").join(samples, "sample_id")
    return found.select(CELL_COLUMNS + SAMPLE_COLUMNS + LABEL_COLUMNS)


def _labels(task: Task, tables: Tables, spec: Mapping[str, Any]) -> pa.Table:
    """Labels that belong to the task."""
    labels = tables["labels"]
    if task.drug_id is not None:
        labels = labels.filter(pc.equal(labels["drug_id"], task.drug_id))
    elif task.by != "declared":
        labels = labels.filter(pc.not_equal(labels["basis"], IC50))
    if task.by == "basis":
        labels = labels.filter(pc.equal(labels["basis"], task.category))
    elif task.by == "drug_class":
        drugs = tables["drugs"]
        of_class = drugs.filter(pc.equal(drugs["drug_class"], task.category))["drug_id"]
        labels = labels.filter(pc.is_in(labels["drug_id"], value_set=of_class.combine_chunks()))
    elif task.by == "declared":
        labels = labels.filter(_declared(task.category, labels, spec["tasks"]))
    samples = _samples(task, tables)
    if task.track == "pretreatment":
        return labels.filter(_before_drug(labels, samples))
    return labels.filter(_in_samples(labels, samples["sample_id"].to_pylist()))


def _samples(task: Task, tables: Tables) -> pa.Table:
    """Samples that a label of the task may be of."""
    studies = tables["studies"]
    ours = studies.filter(pc.equal(studies["organism"], task.organism))["study_id"]
    samples = tables["samples"]
    samples = samples.filter(pc.is_in(samples["study_id"], value_set=ours.combine_chunks()))
    wanted = {SAMPLE_CATEGORIES.get(task.by): task.category, "collection": task.collection}
    for column, value in wanted.items():
        if column is not None and value is not None:
            samples = samples.filter(pc.equal(samples[column], value))
    return samples


def _in_samples(labels: pa.Table, sample_ids: list[str]) -> pa.ChunkedArray:
    return pc.is_in(labels["sample_id"], value_set=pa.array(sample_ids, pa.string()))


def _before_drug(labels: pa.Table, samples: pa.Table) -> pa.ChunkedArray:
    masks = [
        pc.and_(
            pc.equal(labels["basis"], basis),
            _in_samples(
                labels, [row["sample_id"] for row in samples.to_pylist() if before_drug(basis, row)]
            ),
        )
        for basis in pc.unique(labels["basis"]).to_pylist()
    ]
    return reduce(pc.or_, masks)


def _declared(name: str, labels: pa.Table, tasks: list[dict[str, Any]]) -> pa.ChunkedArray:
    columns = ("study_id", "drug_id", "basis")
    said = pc.binary_join_element_wise(*(labels[column] for column in columns), "\0")
    wanted = ["\0".join(part) for part in declared_labels(tasks)[name]]
    return pc.is_in(said, value_set=pa.array(wanted))


def _one_a_cell(said: pa.Table) -> pa.Table:
    """One row a cell whose labels agree."""
    grouped = said.group_by("cell_id").aggregate(
        [
            ("response", "count_distinct"),
            ("response", "min"),
            ("stars", "max"),
            ("basis", "distinct"),
            ("drug_id", "distinct"),
        ]
    )
    agreed = grouped.filter(pc.equal(grouped["response_count_distinct"], 1))
    return pa.table(
        {
            "cell_id": agreed["cell_id"],
            "drug_id": _joined(agreed["drug_id_distinct"]),
            "basis": _joined(agreed["basis_distinct"]),
            "response": agreed["response_min"],
            "stars": agreed["stars_max"],
        }
    )


def _joined(lists: pa.ChunkedArray) -> pa.Array:
    """Words of each list, sorted, with `;` between them."""
    words = pc.binary_join(lists, ";").combine_chunks().dictionary_encode()
    inner = [";".join(sorted(text.split(";"))) for text in words.dictionary.to_pylist()]
    return pa.array(inner, pa.string()).take(words.indices)
