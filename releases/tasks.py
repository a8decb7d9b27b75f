"""Benchmark tasks of a release: one drug inside one category, and the cells it is about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from cellresponse.schema.errors import ReleaseError

if TYPE_CHECKING:
    from cellresponse.releases.release import Release

__all__ = ["Task", "tasks"]

IDENTITY = ("task_id", "track", "collection", "organism", "by", "category", "drug_id")


@dataclass(frozen=True)
class Task:
    """Cells with at most one response each, to learn and to predict.

    Attributes
    ----------
    task_id
        Name, unique in a release.
    track
        `pooled`, `cross`, `external` or `pretreatment`.
    collection
        Collection of its samples; None: both, where the validation one is held out.
    organism
        Of its cells.
    by, category
        What its cells have in common; `by` is `declared` for a task of the spec.
    drug_id
        The treatment; None: several, and each cell has labels of one.
    bases
        Bases of its labels, sorted.
    n_sensitive, n_resistant
        Its cells.
    n_contradicting
        Cells that it leaves out, since their labels contradict each other.
    splits
        Its splits (`cell`, `sample`, `patient`, `study`, `line`), each with the reason why
        it cannot be made; None: it can.
    """

    task_id: str
    track: str
    collection: str | None
    organism: str
    by: str
    category: str
    drug_id: str | None
    bases: tuple[str, ...]
    n_sensitive: int
    n_resistant: int
    n_contradicting: int
    splits: dict[str, str | None]

    def cells(self, release: Release) -> pa.Table:
        """Give the cells of the task, with one response each.

        A cell that several labels of the task agree on has the highest of their stars and
        all of their bases. Cells whose labels contradict each other are left out.

        Parameters
        ----------
        release
            The release that the task is of.

        Returns
        -------
        pyarrow.Table
            cell_id, study_id, row (in the study's matrix), sample_id, cell_line,
            patient_id, batch, assay, collection, drug_id, basis (`;` between several),
            response, stars (null: none); sorted by study and row.
        """
        from cellresponse.releases.task_cells import cells_of

        return cells_of(self, release.tables, release.root["spec"])


def tasks(
    release: Release,
    *,
    track: str | None = None,
    by: str | None = None,
    category: str | None = None,
    drug: str | None = None,
) -> list[Task]:
    """List the benchmark tasks of a release, those too that cannot be evaluated.

    Parameters
    ----------
    release
        The release.
    track
        `pooled`, `cross`, `external` or `pretreatment`. None: all.
    by
        `tissue`, `cancer`, `source`, `assay`, `drug_class`, `regimen`, `basis` or
        `declared`. None: all.
    category
        One category of those. None: all.
    drug
        drug_id of a treatment. None: all, and the tasks of several treatments.

    Returns
    -------
    list of Task
        Sorted by `task_id`.

    Raises
    ------
    ReleaseError
        The release has no such task: with the values that it has.

    Examples
    --------
    >>> release = cellresponse.load("dist/demo")                        # doctest: +SKIP
    >>> tasks(release, track="pooled", by="cancer")                     # doctest: +SKIP
    """
    splits = release.tables["splits"]
    wanted = {"track": track, "by": by, "category": category, "drug_id": drug}
    for column, value in wanted.items():
        if value is None:
            continue
        known = sorted(pc.unique(splits[column].drop_null()).to_pylist())
        if value not in known:
            raise ReleaseError(
                f"the release {release.name} has no such task",
                column=column,
                value=value,
                allowed=known[:30] + (["..."] if len(known) > 30 else []),
            )
        splits = splits.filter(pc.fill_null(pc.equal(splits[column], value), False))
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in splits.to_pylist():
        rows.setdefault(row["task_id"], []).append(row)
    return [_task(rows[task_id]) for task_id in sorted(rows)]


def _task(rows: list[dict[str, Any]]) -> Task:
    """Make a task of its rows; the groups of any one split add up to the whole."""
    first = rows[0]
    one = [row for row in rows if row["split"] == first["split"]]
    return Task(
        **{column: first[column] for column in IDENTITY},
        bases=tuple(first["bases"].split(";")),
        n_sensitive=sum(row["n_sensitive"] for row in one),
        n_resistant=sum(row["n_resistant"] for row in one),
        n_contradicting=first["n_contradicting"],
        splits={
            row["split"]: row["not_evaluable"] if row["group_id"] is None else None for row in rows
        },
    )
