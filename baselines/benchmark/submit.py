"""Take predictions that someone else made on the fixed splits."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from cellresponse.baselines.benchmark.addendum import (
    PREDICTIONS,
    Addendum,
    FoldPrediction,
    Identity,
)
from cellresponse.baselines.benchmark.comparators import COMPARATORS
from cellresponse.baselines.benchmark.options import BenchmarkOptions
from cellresponse.baselines.benchmark.plan import Job, TaskOfJob, plan
from cellresponse.baselines.benchmark.prompting import PROMPTS
from cellresponse.baselines.benchmark.scoring import score_addendum
from cellresponse.baselines.models.registry import model_names
from cellresponse.schema.errors import CellResponseError, Problems, ReleaseError

if TYPE_CHECKING:
    from cellresponse.releases.release import Release

__all__ = ["submit"]

COLUMNS = ("model", "task", "split", "fold", "cell_id", "probability")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def submit(release: Release, options: BenchmarkOptions, file: Path, out: Path) -> pd.DataFrame:
    """Check submitted predictions, score them, and add them to a results folder.

    Parameters
    ----------
    release
        Whose splits were used.
    options
        Track and category that the predictions are for.
    file
        Parquet or CSV with one row a prediction: `model` (a name of the sender's choice),
        `task`, `split`, `fold`, `cell_id`, `probability` of sensitive, 0 to 1. Every test
        cell of every fold of a (task, split) that is named, once.
    out
        Results folder.

    Returns
    -------
    pandas.DataFrame
        All results of the folder.

    Raises
    ------
    ReleaseError
        The file is not in this form, names what the release does not have, leaves out
        cells, or holds a probability that is none: with row and value. A model has the name
        of one of ours, or sent other predictions of the task and split before.
    """
    if options.as_published:
        raise ReleaseError(
            "submitted predictions are for the folds of the release, which --as-published replaces",
            column="--submit, --as-published",
            value=", ".join(sorted(options.as_published)),
            hint="Leave out --as-published",
        )
    rows = _read(file)
    sent = list(_sent(out))
    jobs, _ = plan(release, options)
    known = {(task.task, task.split): (job, task) for job in jobs for task in job.tasks}
    problems: list[CellResponseError] = []
    accepted: list[tuple[Identity, list[FoldPrediction]]] = []
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    for (model, task, split), group in rows.groupby(["model", "task", "split"], sort=True):
        named = (str(task), str(split))
        if named not in known:
            problems.append(_unknown(file, group, release, *named, known))
            continue
        job, of_job = known[named]
        try:
            folds = list(_folds(file, job, group))
        except ReleaseError as error:
            problems.append(error)
            continue
        identity = _identity(of_job, str(model), digest, options)
        if any(_replaces(identity, earlier) for earlier in sent):
            problems.append(_again(file, group, *named))
            continue
        accepted.append((identity, folds))
    if problems:
        raise problems[0] if len(problems) == 1 else Problems(problems)
    addendum = Addendum(out, release.name, release.content_hash)
    for identity, folds in accepted:
        addendum.write(identity, folds)
    return addendum.finish(score_addendum(addendum))


def _read(file: Path) -> pd.DataFrame:
    try:
        rows = (
            pd.read_csv(file, dtype={"fold": str})
            if file.suffix == ".csv"
            else pq.read_table(file).to_pandas(ignore_metadata=True)  # an index of its own
        )
    except FileNotFoundError:
        raise ReleaseError("there is no such file", file=file) from None
    except (OSError, ValueError, pa.ArrowException) as error:
        raise ReleaseError(
            f"cannot be read: {error}", file=file, allowed="a Parquet or CSV file"
        ) from None
    for column in COLUMNS:
        if column not in rows:
            raise ReleaseError("a column is missing", file=file, column=column, allowed=COLUMNS)
    if len(rows) == 0:
        raise ReleaseError("there are no predictions", file=file)
    rows = rows[list(COLUMNS)]
    wrong = ~pd.to_numeric(rows["probability"], errors="coerce").between(0, 1)
    if wrong.any():
        _refuse(file, rows, wrong, "probability", "is not a probability", "a number from 0 to 1")
    for column in COLUMNS:
        empty = rows[column].isna()
        if empty.any():
            _refuse(file, rows, empty, column, "is empty", "a value in every row")
    rows = rows.astype({"fold": str})
    unnamed = ~rows["model"].astype(str).map(lambda name: bool(NAME.fullmatch(name)))
    if unnamed.any():
        _refuse(file, rows, unnamed, "model", "is not a model's name", NAME.pattern)
    ours = {name.casefold() for name in (*COMPARATORS, *PROMPTS, *model_names())}
    reserved = rows["model"].astype(str).str.casefold().isin(ours)
    if reserved.any():
        _refuse(file, rows, reserved, "model", "is the name of a model of ours", "another name")
    return rows


def _sent(out: Path) -> Iterator[Identity]:
    """Yield what was submitted to a results folder before."""
    for path in sorted((out / PREDICTIONS).glob("*.parquet")):
        identity = Identity(**json.loads(pq.read_schema(path).metadata[b"identity"]))
        if identity.strategy == "submitted":
            yield identity


def _replaces(identity: Identity, earlier: Identity) -> bool:
    """Whether the folder would hold two submissions of one model for the same folds."""
    anew = replace(earlier, weights_hash=identity.weights_hash, seed=identity.seed)
    return earlier != identity and anew == identity


def _again(file: Path, group: pd.DataFrame, task: str, split: str) -> ReleaseError:
    return ReleaseError(
        "the results folder has another submission of this model, task and split",
        file=file,
        row=int(group.index[0]) + 2,
        column="model, task, split",
        value=f"{group['model'].iloc[0]}, {task}, {split}",
        hint="Give the model another name, or name another folder for the results",
    )


def _refuse(
    file: Path, rows: pd.DataFrame, wrong: pd.Series[bool], column: str, problem: str, allowed: str
) -> None:
    first = int(np.flatnonzero(wrong.to_numpy())[0])
    value = rows[column].iloc[first]
    raise ReleaseError(
        problem,
        file=file,
        row=first + 2,  # the header is row 1
        column=column,
        value=None if pd.isna(value) else value,
        allowed=allowed,
    )


def _unknown(
    file: Path,
    group: pd.DataFrame,
    release: Release,
    task: str,
    split: str,
    known: dict[tuple[str, str], tuple[Job, TaskOfJob]],
) -> ReleaseError:
    return ReleaseError(
        f"the release {release.name} has no such task and split on this track",
        file=file,
        row=int(group.index[0]) + 2,
        column="task, split",
        value=f"{task}, {split}",
        allowed=[f"{name}, {by}" for name, by in sorted(known)][:10],
    )


def _folds(file: Path, job: Job, group: pd.DataFrame) -> Iterator[FoldPrediction]:
    """Check that a model predicted each test cell of each fold once."""
    sent = {str(fold): rows for fold, rows in group.groupby("fold")}
    for fold in sorted(sent.keys() - job.folds.keys()):
        raise ReleaseError(
            "there is no such fold",
            file=file,
            row=int(sent[fold].index[0]) + 2,
            column="fold",
            value=fold,
            allowed=list(job.folds),
        )
    for fold, (train, test) in job.folds.items():
        cells = job.cells.iloc[test]
        rows = sent.get(fold, group.iloc[:0])
        _same_cells(file, group, fold, rows, cells)
        probability = rows.set_index("cell_id")["probability"].loc[cells["cell_id"]]
        yield FoldPrediction(
            fold=fold,
            cells=cells[["cell_id", "sample_id", "response"]],
            probability=probability.to_numpy(np.float64),
            n_train=len(train),
            n_train_sensitive=int(job.sensitive[train].sum()),
        )


def _same_cells(
    file: Path, group: pd.DataFrame, fold: str, rows: pd.DataFrame, cells: pd.DataFrame
) -> None:
    strange = ~rows["cell_id"].isin(cells["cell_id"])
    if strange.any():
        first = int(np.flatnonzero(strange.to_numpy())[0])
        raise ReleaseError(
            f"is no test cell of fold {fold}",
            file=file,
            row=int(rows.index.to_numpy()[first]) + 2,
            column="cell_id",
            value=rows["cell_id"].iloc[first],
        )
    twice = rows["cell_id"].duplicated()
    if twice.any():
        first = int(np.flatnonzero(twice.to_numpy())[0])
        raise ReleaseError(
            f"is predicted twice in fold {fold}",
            file=file,
            row=int(rows.index.to_numpy()[first]) + 2,
            column="cell_id",
            value=rows["cell_id"].iloc[first],
        )
    missing = cells[~cells["cell_id"].isin(rows["cell_id"])]
    if len(missing):
        one = group.iloc[0]
        raise ReleaseError(
            f"{len(missing)} of {len(cells)} test cells of fold {fold} are not predicted",
            file=file,
            column="cell_id",
            value=f"{one['model']}, {one['task']}, {one['split']}: {missing['cell_id'].iloc[0]}",
            hint="Predict every test cell; none may be left out",
        )


def _identity(task: TaskOfJob, model: str, digest: str, options: BenchmarkOptions) -> Identity:
    return Identity(
        **vars(task),
        seed=options.seed,
        model=model,
        weights_hash=digest,
        strategy="submitted",
        options=options.recorded("comparator"),
    )
