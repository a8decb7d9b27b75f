"""Run models and comparators over the folds of a release's tasks."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import as_completed
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp
from numpy.typing import NDArray

from cellresponse.baselines.benchmark.addendum import Addendum, FoldPrediction, Identity
from cellresponse.baselines.benchmark.cells import TaskCells, counts_of, physical_ids
from cellresponse.baselines.benchmark.comparators import NotTrainable
from cellresponse.baselines.benchmark.contenders import Contender, contenders
from cellresponse.baselines.benchmark.expression import ExpressionFeatures, log_normalise
from cellresponse.baselines.benchmark.harmony import corrected
from cellresponse.baselines.benchmark.options import BenchmarkOptions
from cellresponse.baselines.benchmark.plan import Folds, Job, TaskOfJob, plan, random_split
from cellresponse.baselines.benchmark.prompting import (
    PROMPTS,
    answered,
    answers_hash,
    name_of,
    read_answers,
)
from cellresponse.baselines.benchmark.scoring import score_addendum
from cellresponse.baselines.benchmark.threads import one_thread
from cellresponse.baselines.benchmark.tuning import tune_and_predict
from cellresponse.builders.progress import Report, silent
from cellresponse.releases.processes import processes, submit_all

if TYPE_CHECKING:
    from cellresponse.releases.release import Release

__all__ = ["benchmark"]


def benchmark(
    release: Release, options: BenchmarkOptions, out: Path, report: Report = silent
) -> pd.DataFrame:
    """Run the benchmark and write its results.

    Parameters
    ----------
    release
        A release on disk.
    options
        What to run.
    out
        Results folder; what is there already is kept and not run again.
    report
        Receives lines about the progress.

    Returns
    -------
    pandas.DataFrame
        `schema.results.Results`: all results of the folder.

    Raises
    ------
    ReleaseError
        No task can be evaluated, or the folder holds results of another release.
    ModelError
        Weights are missing or are not what a model needs.
    """
    # What worker processes need: told here, before anything is written, where it is missing.
    import sklearn  # noqa: F401

    jobs, not_evaluable = plan(release, options)
    addendum = Addendum(out, release.name, release.content_hash)
    cells = {cell for job in jobs for cell in physical_ids(job.cells)}
    chosen = contenders(release, cells, _tested(jobs, options), options, addendum, report)
    addendum.write_not_evaluable(not_evaluable)
    addendum.write_cells(_known_cells(release, jobs))
    waiting = list(_waiting(jobs, chosen, addendum, options))
    report(f"{len(jobs)} sets of cells and folds, {len(chosen)} models", total=len(waiting))
    refused: list[NotTrainable] = []
    finished = _run_all(release, waiting, options, addendum)
    for number, done in enumerate(finished, start=1):
        work, first = done.work, done.work.job.tasks[0]
        said = f"{work.contender.name}: {first.task}, by {first.split}"
        reason = done.reason()
        if reason is None:
            for identity in work.identities:
                addendum.write(identity, done.predictions)
        else:
            if done.refused is not None:
                refused.append(done.refused)
            addendum.write_not_evaluable(
                [{"task": one.task, "split": one.split, "reason": reason} for one in work.job.tasks]
            )
            said += f": not evaluable: {reason}"
        report(said, done=number, total=len(waiting))
    rows = score_addendum(addendum)
    if refused and not rows:
        raise refused[0]
    return addendum.finish(rows)


def _tested(jobs: list[Job], options: BenchmarkOptions) -> set[str]:
    """Give the cells that language models are asked about: those that a fold tests on."""
    asked = [name_of(name, options) for name in options.models if name in PROMPTS]
    found: set[str] = set()
    for job in jobs:
        for name in asked:
            found |= _tested_in(job, name, options)
    return found


def _tested_in(job: Job, name: str, options: BenchmarkOptions) -> set[str]:
    folds = job.folds or _own_split(job, name, options)
    return {cell for _, test in folds.values() for cell in physical_ids(job.cells.iloc[test])}


def _known_cells(release: Release, jobs: list[Job]) -> pd.DataFrame:
    samples = release.tables["samples"].select(["sample_id", "cancer_type"]).to_pandas()
    columns = ["cell_id", "study_id", "sample_id", "response"]
    parts = [job.cells[columns].assign(cell_id=physical_ids(job.cells)) for job in jobs]
    cells = pd.concat(parts).drop_duplicates("cell_id")
    return cells.merge(samples, on="sample_id").drop(columns="sample_id")


@dataclass(frozen=True)
class _Work:
    """One model on the folds of one job."""

    job: Job
    contender: Contender
    identities: list[Identity]
    """Of its predictions, one a task of the job."""


def _waiting(
    jobs: list[Job], chosen: list[Contender], addendum: Addendum, options: BenchmarkOptions
) -> Iterator[_Work]:
    said = {one.name: read_answers(one.answers) for one in chosen if one.answers is not None}
    for job in jobs:
        for contender in chosen:
            digest = contender.weights_hash
            if contender.name in said:
                # Only cells of the job: what others were asked about changes nothing here.
                cells = _tested_in(job, contender.name, options)
                digest = answers_hash(said[contender.name], cells)
            identities = [_identity(task, contender, digest, options) for task in job.tasks]
            if not all(addendum.has(identity) for identity in identities):
                yield _Work(job, contender, identities)


def _identity(
    task: TaskOfJob, contender: Contender, digest: str | None, options: BenchmarkOptions
) -> Identity:
    return Identity(
        **vars(task),
        seed=options.seed,
        model=contender.name,
        weights_hash=digest,
        strategy=contender.strategy,
        options=options.recorded(contender.strategy),
    )


@dataclass
class _Done:
    """What a model predicts, or why it cannot be trained on one of the folds."""

    work: _Work
    predictions: list[FoldPrediction]
    refused: NotTrainable | None = None

    def reason(self) -> str | None:
        """Say why nothing can be scored; None: something can."""
        if self.refused is not None:
            return f"{self.refused.problem} ({self.refused.value})"
        if not any(len(fold.cells) for fold in self.predictions):
            return "every cell was dropped, as published"
        return None

    def add(
        self,
        fold: str,
        cells: TaskCells,
        train: TaskCells,
        sides: tuple[NDArray[np.int64], NDArray[np.int64]],
        options: BenchmarkOptions,
    ) -> None:
        if self.refused is not None:
            return
        try:
            found = _predict(self.work.contender, fold, cells, train, sides, options)
            self.predictions.append(found)
        except NotTrainable as error:
            self.refused = error


def _run_all(
    release: Release, waiting: list[_Work], options: BenchmarkOptions, addendum: Addendum
) -> Iterator[_Done]:
    """Run work in processes; models that are trained whole run here, in turn."""
    groups: dict[int, list[_Work]] = {}
    for work in waiting:
        if work.contender.strategy != "lora":
            groups.setdefault(id(work.job), []).append(work)
    if options.workers == 1 or len(groups) < 2:
        for group in groups.values():
            yield from _run_group(release.folder, group, options)
    else:
        yield from _in_processes(release.folder, list(groups.values()), options)
    for work in waiting:
        if work.contender.strategy == "lora":
            yield _Done(work, list(_tuned(release, work, options, addendum)))


def _tuned(
    release: Release, work: _Work, options: BenchmarkOptions, addendum: Addendum
) -> Iterator[FoldPrediction]:
    job = work.job
    folds = job.folds or _own_split(job, work.contender.name, options)
    found = tune_and_predict(release, job, folds, work.contender, options, addendum)
    for fold, probability, train_mean in found:
        train, test = folds[fold]
        yield FoldPrediction(
            fold=fold,
            cells=job.cells.iloc[test][["cell_id", "sample_id", "response"]],
            probability=probability,
            n_train=len(train),
            n_train_sensitive=int(job.sensitive[train].sum()),
            train_mean=train_mean,
        )


def _in_processes(
    folder: Path, groups: list[list[_Work]], options: BenchmarkOptions
) -> Iterator[_Done]:
    run = partial(_run_group, folder, options=options)
    with processes(min(options.workers, len(groups))) as pool:
        for future in as_completed(submit_all(pool, run, groups)):
            yield from future.result()


def _run_group(folder: Path, group: list[_Work], options: BenchmarkOptions) -> list[_Done]:
    """Run several models on the folds of one job, which share what is read and fitted."""
    with one_thread():
        cells = _task_cells(folder, group)
        logged = None if cells.counts is None else log_normalise(cells.counts)
        done = [_Done(work, []) for work in group]
        shared = group[0].job.folds
        for fold, sides in shared.items():
            whole, train = _laid_out(cells, logged, sides[0], options)
            for one in done:
                one.add(fold, whole, train, sides, options)
        if not shared:
            for one in done:
                own = _own_split(one.work.job, one.work.contender.name, options)
                for fold, sides in own.items():
                    whole, train = _laid_out(cells, logged, sides[0], options)
                    one.add(fold, whole, train, sides, options)
        return done


def _own_split(job: Job, name: str, options: BenchmarkOptions) -> Folds:
    model = name if "split-per-model" in options.as_published else None
    return random_split(len(job.cells), options.seed, model)


def _task_cells(folder: Path, group: list[_Work]) -> TaskCells:
    from cellresponse.releases.release import load

    job = group[0].job
    release = load(folder)
    read = any(work.contender.reads_counts for work in group)
    cells = TaskCells(
        obs=job.cells,
        sensitive=job.sensitive,
        counts=counts_of(release, job.cells) if read else None,
        features={
            work.contender.name: work.contender.embedding(job.cells)
            for work in group
            if work.contender.embeddings is not None
        },
    )
    totals = _totals(release, job.cells)
    return replace(cells, obs=job.cells.assign(n_counts=totals))


def _totals(release: Release, cells: pd.DataFrame) -> NDArray[np.int64]:
    """Counts of each cell over all input features, as the release gives them."""
    table = release.tables["cells"]
    wanted = pa.array(physical_ids(cells), pa.string())
    there = pc.index_in(wanted, value_set=table["cell_id"].combine_chunks())
    return table["n_counts"].combine_chunks().take(there).to_numpy()


def _laid_out(
    cells: TaskCells,
    logged: sp.csr_matrix | None,
    train: NDArray[np.int64],
    options: BenchmarkOptions,
) -> tuple[TaskCells, TaskCells]:
    """Give all cells of a fold and its training cells; expression features are fitted on those."""
    features = dict(cells.features)
    if logged is not None:
        fitted = ExpressionFeatures.fit(logged[train], options.seed)
        features["expression"] = fitted(logged)
    if options.harmony:
        features = {
            name: corrected(values, cells.obs, options.seed) for name, values in features.items()
        }
    whole = replace(cells, counts=None, features=features)
    return whole, whole.take(train)


def _predict(
    contender: Contender,
    fold: str,
    cells: TaskCells,
    train: TaskCells,
    sides: tuple[NDArray[np.int64], NDArray[np.int64]],
    options: BenchmarkOptions,
) -> FoldPrediction:
    known, test = sides
    tested = cells.obs[["cell_id", "sample_id", "response"]].iloc[test]
    if contender.answers is not None:
        rows, probability = answered(contender.answers, cells.take(test), options)
        return FoldPrediction(fold, tested.iloc[rows], probability, 0, 0)
    # The training cells too: pooled ranks leave out what the model predicts on average there.
    probability = contender.predict(train, cells, options)
    return FoldPrediction(
        fold=fold,
        cells=tested,
        probability=probability[test],
        n_train=len(train),
        n_train_sensitive=int(train.sensitive.sum()),
        train_mean=float(probability[known].mean()),
    )
