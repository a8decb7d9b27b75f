"""Train a small model on the cells of a release, and keep it in the published layout."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from cellresponse.baselines.models.interface import Batch, Model
from cellresponse.baselines.models.registry import get_model
from cellresponse.baselines.pretrain.cells import medians, training_cells
from cellresponse.baselines.pretrain.keep import Course, keep
from cellresponse.baselines.pretrain.objectives import OBJECTIVES, Objective
from cellresponse.baselines.pretrain.vocabularies import write_vocabulary
from cellresponse.builders.progress import Report, silent
from cellresponse.releases.release import load
from cellresponse.schema.errors import ModelError, StorageError

__all__ = ["PretrainOptions", "pretrain"]

HELD_OUT = 10  # one cell in so many is not trained on
MOST_HELD = 200
SHOWN = 20  # points of the loss curve
SHORT_SHARE = 0.9  # of the steps see a part of each cell, as BERT was trained


@dataclass(frozen=True)
class PretrainOptions:
    """How to train.

    Attributes
    ----------
    size
        `tiny`: minutes on two cores. `published`: the published configuration.
    cells
        Cells of the release at most.
    steps, batch_size, learning_rate
        AdamW; the rate rises over the first tenth of the steps and falls to zero after.
    seed
        Of weights, order, and what is hidden.
    device
        Of torch.
    """

    size: Literal["tiny", "published"] = "tiny"
    cells: int = 2000
    steps: int = 400
    batch_size: int = 16
    learning_rate: float = 5e-3
    seed: int = 0
    device: str = "cpu"


def pretrain(
    model: str,
    release: str | Path,
    out: Path,
    options: PretrainOptions | None = None,
    report: Report = silent,
) -> Path:
    """Train a model on cells of a release, without labels.

    The same release, options, machine and number of threads give the same weights.

    Parameters
    ----------
    model
        `geneformer` or `scgpt`.
    release
        Folder or name.
    out
        Folder to make: weights, vocabulary of the release's genes, `card.json`, `README.md`.
    options
        None: the defaults.
    report
        Receives a line now and then.

    Returns
    -------
    Path
        `out`, which `Model.load` takes.

    Raises
    ------
    ModelError
        The model has no objective here, the learning rate is none, or the release has too few
        human cells.
    StorageError
        The folder is there already.
    """
    options = options or PretrainOptions()
    if model not in OBJECTIVES:
        raise ModelError("cannot be pretrained here", value=model, allowed=list(OBJECTIVES))
    if not 0 < options.learning_rate < math.inf:  # nan is neither
        raise ModelError(
            "is no learning rate", value=str(options.learning_rate), allowed="a number above 0"
        )
    if out.exists():
        raise StorageError("is there already", file=out, hint="Name another folder, or remove it")
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    opened = load(release)
    cells = training_cells(opened, options.cells)
    report(f"{len(cells.counts):,} cells, {int(cells.seen.sum()):,} genes of {opened.name}")
    values = medians(cells) if model == "geneformer" else None
    write_vocabulary(model, cells.known, partial, values)
    made = get_model(model).create(
        partial, size=options.size, as_published=False, seed=options.seed
    )
    batch = made.tokenise(cells.counts, cells.genes)
    course = _train(made, OBJECTIVES[model](made), batch, options, report)
    keep(made, partial, course, cells, opened)
    partial.rename(out)
    return out


def _train(
    model: Model, objective: Objective, batch: Batch, options: PretrainOptions, report: Report
) -> Course:
    many = min(len(batch) // HELD_OUT, MOST_HELD)
    # Cells come study by study: held-out ones are taken evenly from all.
    held = [row * len(batch) // many for row in range(many)]
    train = sorted(set(range(len(batch))) - set(held))
    # Evaluation mode throughout: a small network that sees many cells once needs no dropout,
    # and without it attention takes the fused kernel.
    model.network.to(options.device).eval()
    before = _score(objective, batch.take(held), options)
    curve = list(_steps(model, objective, batch.take(train), options, report))
    return Course(
        options=options,
        objective=objective,
        curve=curve,
        held_out=(before, _score(objective, batch.take(held), options)),
        guess=objective.guess(batch.take(train), batch.take(held)),
        cells=(len(train), len(held)),
    )


def _steps(
    model: Model, objective: Objective, batch: Batch, options: PretrainOptions, report: Report
) -> Iterator[tuple[int, float]]:
    """Train, and give the mean loss of each stretch of steps."""
    optimiser = torch.optim.AdamW(model.network.parameters(), lr=options.learning_rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, _rate(options.steps))
    chance = torch.Generator().manual_seed(options.seed)
    stretch = max(1, options.steps // SHOWN)
    losses: list[float] = []
    for step, rows in enumerate(_orders(len(batch), options, chance), start=1):
        cells = batch.take(rows.numpy())
        if step <= options.steps * SHORT_SHARE:
            cells = objective.shorten(cells, chance)
        optimiser.zero_grad()
        loss = objective.loss(cells, chance)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        losses.append(loss.item())
        if step % stretch == 0 or step == options.steps:
            mean = sum(losses) / len(losses)
            losses.clear()
            report(f"step {step}: loss {mean:.3f}", done=step, total=options.steps)
            yield step, mean


def _rate(steps: int) -> Callable[[int], float]:
    """Give the learning rate's share at a step: up over a tenth, then down to zero."""
    rise = max(1, steps // 10)
    return lambda step: min((step + 1) / rise, (steps - step) / max(1, steps - rise))


def _orders(
    cells: int, options: PretrainOptions, chance: torch.Generator
) -> Iterator[torch.Tensor]:
    """Give the rows of each step: every cell once, in new order, again and again."""
    waiting = torch.empty(0, dtype=torch.long)
    for _ in range(options.steps):
        while len(waiting) < options.batch_size:
            waiting = torch.cat([waiting, torch.randperm(cells, generator=chance)])
        yield waiting[: options.batch_size]
        waiting = waiting[options.batch_size :]


def _score(objective: Objective, held: Batch, options: PretrainOptions) -> float:
    """Give the mean loss on held-out cells, with the same places hidden each time."""
    chance = torch.Generator().manual_seed(options.seed)
    losses = []
    with torch.inference_mode():
        for start in range(0, len(held), options.batch_size):
            rows = range(start, min(start + options.batch_size, len(held)))
            losses.append((objective.loss(held.take(list(rows)), chance).item(), len(rows)))
    return sum(loss * many for loss, many in losses) / len(held)
