"""Train the head for one drug on the labels of a release."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellresponse import __version__
from cellresponse.baselines.benchmark.cells import counts_of
from cellresponse.baselines.benchmark.expression import ExpressionFeatures, log_normalise
from cellresponse.baselines.benchmark.head import fit_head, predict_head
from cellresponse.baselines.benchmark.metrics import log_odds, score, without_prior
from cellresponse.baselines.benchmark.options import BenchmarkOptions
from cellresponse.baselines.benchmark.plan import Job, plan
from cellresponse.baselines.benchmark.threads import one_thread
from cellresponse.baselines.predict.features import EXPRESSION, Embedder
from cellresponse.baselines.predict.trained_head import (
    NEIGHBOURS,
    HeadCard,
    TrainedHead,
)
from cellresponse.builders.progress import Report, silent
from cellresponse.releases.release import Release
from cellresponse.schema.errors import ReleaseError

__all__ = ["TrainingTask", "train_head", "training_task"]

HARDEST_FIRST = ("study", "patient", "sample", "line", "cell")
"""Splits by how far their test cells lie from training ones, the most telling first."""

REFERENCE_CELLS = 5000


@dataclass(frozen=True)
class TrainingTask:
    """What a head is trained on.

    Attributes
    ----------
    name
        task_id.
    splits
        Its cells and folds by split.
    organism
        Of its cells.
    """

    name: str
    splits: Mapping[str, Job]
    organism: str


def training_task(release: Release, drug: str, *, seed: int = 0) -> TrainingTask:
    """Find the task that a head for a drug_id is trained on; trains nothing.

    Raises
    ------
    ReleaseError
        The release has no task for the drug that can be evaluated: with the reasons.
    """
    jobs, _ = plan(
        release, BenchmarkOptions(track="pooled", by="regimen", category=drug, seed=seed)
    )
    # The primary collection comes first by name; the validation one is for those who test.
    name = min(task.task for job in jobs for task in job.tasks)
    splits = {task.split: job for job in jobs for task in job.tasks if task.task == name}
    studies = release.tables["studies"].to_pandas().set_index("study_id")["organism"]
    organisms = sorted(set(studies[next(iter(splits.values())).cells["study_id"]]))
    if len(organisms) != 1:
        raise ReleaseError("the cells are of several organisms", value=", ".join(organisms))
    return TrainingTask(name, splits, organisms[0])


def train_head(
    release: Release,
    drug: str,
    task: TrainingTask,
    embedder: Embedder | None,
    *,
    seed: int = 0,
    report: Report = silent,
) -> TrainedHead:
    """Train a head on every labelled cell of a drug, and measure it on the release's folds.

    Parameters
    ----------
    release
        The release.
    drug
        drug_id.
    task
        As `training_task` finds it for the drug.
    embedder
        The model whose embeddings are used. None: expression components.
    seed
        Of the head.
    report
        Receives lines about the progress.

    Returns
    -------
    TrainedHead
        Calibrated on held-out cells of the hardest split that can be made.
    """
    with one_thread():
        return _train(release, drug, task, embedder, seed, report)


def _train(
    release: Release,
    drug: str,
    task: TrainingTask,
    embedder: Embedder | None,
    seed: int,
    report: Report,
) -> TrainedHead:
    job = next(iter(task.splits.values()))
    features = _features(release, job, embedder)
    everything = np.arange(len(job.cells))
    whole, fitted = features(everything)
    report(f"training on {len(everything):,} cells of {task.name}")
    head = fit_head(whole, job.sensitive, seed=seed)
    held_out = {
        split: _held_out(one, features, seed, report) for split, one in sorted(task.splits.items())
    }
    calibrated_on = next(split for split in HARDEST_FIRST if split in held_out)
    reference = whole[_spread(len(whole))]
    arrays: dict[str, NDArray[Any]] = {
        **{f"head.{key}": value.cpu().numpy() for key, value in head.state_dict().items()},
        **{f"features.{key}": value for key, value in fitted.items()},
        "reference": reference,
        "mean": reference.mean(axis=0),
        "scale": np.maximum(reference.std(axis=0), 1e-6),
        "calibration": _calibration(
            held_out[calibrated_on], float(predict_head(head, whole).mean())
        ),
    }
    card = _card(release, job, task, drug, embedder, seed)
    trained = TrainedHead(
        replace(
            card,
            metrics={split: _metrics(found) for split, found in held_out.items()},
            calibrated_on=calibrated_on,
        ),
        arrays,
    )
    return replace(trained, card=replace(trained.card, far=_far(trained)))


type _HeldOut = tuple[NDArray[np.bool_], NDArray[np.float64], NDArray[np.float64]]

type _Features = Callable[
    [NDArray[np.int64]], tuple[NDArray[np.float32], Mapping[str, NDArray[Any]]]
]


def _features(release: Release, job: Job, embedder: Embedder | None) -> _Features:
    """Give all cells' features; expression components are fitted on the rows named."""
    counts = counts_of(release, job.cells)
    if embedder is not None:
        embedded = embedder.release_cells(release, job.cells, counts)
        return lambda _: (embedded, {})
    logged = log_normalise(counts)

    def fit(train: NDArray[np.int64]) -> tuple[NDArray[np.float32], Mapping[str, NDArray[Any]]]:
        fitted = ExpressionFeatures.fit(logged[train], 0)
        return fitted(logged), fitted.arrays

    return fit


def _held_out(job: Job, features: _Features, seed: int, report: Report) -> _HeldOut:
    """Predict each cell by heads that did not see it.

    Returns
    -------
    truth, probability, ranks
        (cells,) each; ranks are log-odds less those of what a head predicts on average.
    """
    truth, probability, ranks = [], [], []
    for fold, (train, test) in job.folds.items():
        values, _ = features(train)
        head = fit_head(values[train], job.sensitive[train], seed=seed)
        truth.append(job.sensitive[test])
        probability.append(predict_head(head, values[test]))
        ranks.append(without_prior(probability[-1], predict_head(head, values[train]).mean()))
        report(f"held out: split by {job.tasks[0].split}, fold {fold}")
    return np.concatenate(truth), np.concatenate(probability), np.concatenate(ranks)


def _calibration(held_out: _HeldOut, mean: float) -> NDArray[np.float64]:
    """Fit Platt's slope and intercept on log-odds (Platt 1999).

    `mean` is what the head that is kept predicts on average: held-out predictions, which come
    from heads of their folds, are brought to it.

    A head whose held-out predictions run the wrong way says nothing: its slope is 0, so
    that every cell gets the share of sensitive cells.
    """
    from sklearn.linear_model import LogisticRegression

    truth, _, ranks = held_out
    fitted = LogisticRegression(C=1e3).fit((ranks + log_odds(np.asarray(mean)))[:, None], truth)
    slope = float(fitted.coef_[0, 0])
    share = float(log_odds(np.asarray(truth.mean())))
    return np.array([slope, fitted.intercept_[0]] if slope > 0 else [0.0, share])


def _metrics(held_out: _HeldOut) -> dict[str, float | None]:
    return {one.metric: one.value for one in score(*held_out)}


def _spread(cells: int) -> NDArray[np.int64]:
    return np.unique(np.linspace(0, cells - 1, min(cells, REFERENCE_CELLS)).astype(np.int64))


def _far(trained: TrainedHead) -> float:
    """Give the 99 % point of the distances of training cells to the others."""
    reference = np.asarray(trained.arrays["reference"])
    near = min(NEIGHBOURS, len(reference))
    # Among the nearest of a training cell is the cell itself, at distance 0.
    return float(np.quantile(trained.distance(reference), 0.99) * near / max(near - 1, 1))


def _card(
    release: Release,
    job: Job,
    task: TrainingTask,
    drug: str,
    embedder: Embedder | None,
    seed: int,
) -> HeadCard:
    studies = release.tables["studies"].to_pandas().set_index("study_id")
    used = sorted(set(job.cells["study_id"]))
    licences = [f"{study}: {studies.loc[study, 'licence']}" for study in used]
    if embedder is not None:
        licences.append(f"weights of {embedder.name}: {embedder.licence}")
    return HeadCard(
        drug_id=drug,
        organism=task.organism,
        model=EXPRESSION if embedder is None else embedder.name,
        weights_hash=None if embedder is None else embedder.weights_hash,
        release=release.name,
        release_hash=release.content_hash,
        task=task.name,
        bases=tuple(sorted({basis for one in job.tasks for basis in one.basis.split(";")})),
        n_sensitive=int(job.sensitive.sum()),
        n_resistant=int((~job.sensitive).sum()),
        code_version=__version__,
        seed=seed,
        metrics={},
        calibrated_on="",
        far=0.0,
        licences=tuple(licences),
    )
