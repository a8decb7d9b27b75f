"""Run a model with adapters (LoRA) over the folds of a job."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cellresponse.baselines.benchmark.addendum import Addendum, Runtime, peak_memory
from cellresponse.baselines.benchmark.cells import counts_of, physical_ids
from cellresponse.baselines.benchmark.contenders import Contender
from cellresponse.baselines.benchmark.options import BenchmarkOptions
from cellresponse.baselines.benchmark.plan import Folds, Job

if TYPE_CHECKING:
    from cellresponse.baselines.lora import Tuned
    from cellresponse.baselines.models.interface import Batch, Model
    from cellresponse.releases.release import Release

__all__ = ["tune_and_predict"]


def tune_and_predict(
    release: Release,
    job: Job,
    folds: Folds,
    contender: Contender,
    options: BenchmarkOptions,
    addendum: Addendum,
) -> Iterator[tuple[str, NDArray[np.float64], float]]:
    """Train adapters and head on each fold's training cells, and predict its test cells.

    The cells are tokenised once; adapters and head start anew in every fold. All is trained
    in float32, on any device.

    Yields
    ------
    fold : str
    probability : numpy.ndarray
        (test cells,) of sensitive.
    train_mean : float
        Mean prediction on the training cells.

    Raises
    ------
    ModelError
        The device is not there, or the model has nothing that can be adapted.
    """
    from cellresponse.baselines.embed.options import EmbedOptions, settled
    from cellresponse.baselines.lora import LoraOptions, adapt, fine_tune
    from cellresponse.baselines.weights import open_model

    settled(EmbedOptions(device=options.device), contender.name)
    faults = options.as_published
    model = open_model(
        contender.name,
        contender.weights or release.folder,
        as_published="model-inputs" in faults,
    ).model
    # A text model is loaded as it is stored, maybe in half precision: small steps vanish there.
    model.network.float().to(options.device)
    batch = _tokens(release, job, model)
    adapters = adapt(
        model,
        LoraOptions(rank=options.rank, alpha=options.rank),
        seed=options.seed,
        published_targets="no-op-lora" in faults,
        train_others="uce-trains-all" in faults,
    )
    trained, start = 0, time.perf_counter()
    for fold, (train, test) in folds.items():
        tuned = fine_tune(
            adapters,
            batch.take(train),
            job.sensitive[train],
            seed=options.seed,
            head=options.head,
        )
        trained += len(train)
        # One side after the other: as published, the cells of a batch may matter to each other.
        predicted, known = (
            _with_dropout(tuned, side, options.seed)
            if "dropout-at-test" in faults
            else tuned.predict(side)
            for side in (batch.take(test), batch.take(train))
        )
        yield fold, predicted, float(known.mean())
    addendum.write_runtime(
        Runtime(
            model=contender.name,
            strategy="lora",
            step="train",
            device=options.device,
            parameters=sum(p.numel() for p in model.network.parameters()),
            dimension=model.dimension,
            cells=trained,
            seconds=time.perf_counter() - start,
            peak_mib=peak_memory(options.device),
        )
    )


def _tokens(release: Release, job: Job, model: Model) -> Batch:
    """Tokens of the job's cells, in their order."""
    from cellresponse.baselines.embed.cells import counts_of_rows, genes_of, organism_of

    organism = organism_of(release, str(job.cells["study_id"].iloc[0]))
    counts = counts_of_rows(counts_of(release, job.cells), physical_ids(job.cells))
    return model.fine_tuning(model.tokenise(counts, genes_of(release, organism)))


def _with_dropout(tuned: Tuned, batch: Batch, seed: int) -> NDArray[np.float64]:
    """Predict without evaluation mode, as the public code does."""
    import torch

    rows = np.arange(len(batch))
    tuned.model.network.train()
    with torch.random.fork_rng(devices=[]), torch.inference_mode():
        torch.manual_seed(seed)
        parts = [
            tuned.head.probability(tuned.model.forward(batch.take(some)).float())
            for some in np.split(rows, rows[32::32])
        ]
    tuned.model.network.eval()
    return torch.cat(parts).double().cpu().numpy()
