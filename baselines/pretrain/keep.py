"""Write what was trained: weights, configuration, and a card that says what it is."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from cellresponse import __version__
from cellresponse.baselines.models.geneformer import CONFIG, Geneformer
from cellresponse.baselines.models.interface import Model
from cellresponse.baselines.models.scgpt import ScGPT
from cellresponse.baselines.pretrain.cells import TrainingCells
from cellresponse.baselines.pretrain.objectives import Objective
from cellresponse.releases.release import Release

if TYPE_CHECKING:
    from cellresponse.baselines.pretrain.run import PretrainOptions

__all__ = ["Course", "keep"]


@dataclass(frozen=True)
class Course:
    """How a training went.

    Attributes
    ----------
    options
        As given.
    objective
        What was trained.
    curve
        (step, mean loss since the point before).
    held_out
        Loss on held-out cells before and after.
    guess
        Loss there of the best answer that does not look at the cell.
    cells
        Numbers of trained and held-out cells.
    """

    options: PretrainOptions
    objective: Objective
    curve: list[tuple[int, float]]
    held_out: tuple[float, float]
    guess: float
    cells: tuple[int, int]


def keep(
    model: Model, folder: Path, course: Course, cells: TrainingCells, release: Release
) -> None:
    """Write weights, configuration and card beside the vocabulary.

    Parameters
    ----------
    model
        Trained.
    folder
        Has the vocabulary files.
    course
        How it went.
    cells, release
        What it was trained on.
    """
    from safetensors.torch import save

    # As bytes: what `save_file` writes is closed to other users.
    weights = save(_distinct(model.network.state_dict()), {"format": "pt"})
    (folder / "model.safetensors").write_bytes(weights)
    if isinstance(model, Geneformer):
        config = model.network.config.to_dict()
        _write(folder / "config.json", {key: config[key] for key in CONFIG if key in config})
    if isinstance(model, ScGPT):
        _write(folder / "args.json", dict(model.args))
    card = _card(model, course, cells, release)
    _write(folder / "card.json", card)
    (folder / "README.md").write_text("\n".join(_readme(card)), encoding="utf-8")


def _distinct(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Leave out tied keys, which the published files leave out as well."""
    kept: dict[int, tuple[str, torch.Tensor]] = {}
    for key, value in state.items():
        kept.setdefault(value.data_ptr(), (key, value.detach().cpu().contiguous()))
    return dict(kept.values())


def _write(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _card(model: Model, course: Course, cells: TrainingCells, release: Release) -> dict[str, Any]:
    studies = release.tables["studies"].select(["study_id", "licence"]).to_pylist()
    return {
        "model": model.card.name,
        "what": f"{model.card.title}: {course.options.size}, trained here, not by its authors",
        "objective": course.objective.text,
        "weights": sum(value.numel() for value in model.network.parameters()),
        "dimension": model.dimension,
        "release": release.name,
        "content_hash": release.content_hash,
        "cells": {"trained": course.cells[0], "held_out": course.cells[1]},
        "cells_sha256": hashlib.sha256("\n".join(cells.cell_ids).encode()).hexdigest(),
        "genes": int(cells.seen.sum()),
        "labels": "none were used",
        "options": asdict(course.options),
        "loss": {
            "unit": course.objective.unit,
            "held_out_before": course.held_out[0],
            "held_out_after": course.held_out[1],
            "held_out_without_looking_at_the_cell": course.guess,
            "curve": course.curve,
        },
        "made_with": {
            "cellresponse": __version__,
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
        },
        "licences_of_the_data": {row["study_id"]: row["licence"] for row in studies},
    }


def _readme(card: Mapping[str, Any]) -> list[str]:
    loss, cells = card["loss"], card["cells"]
    return [
        f"# {card['what']}",
        "",
        f"- {card['weights']:,} weights, embedding of {card['dimension']} numbers, "
        f"{card['genes']:,} genes.",
        f"- Trained on {cells['trained']:,} cells of release {card['release']} (content hash "
        f"{card['content_hash']}), without labels, {card['options']['steps']:,} steps of "
        f"{card['options']['batch_size']} cells, seed {card['options']['seed']}.",
        f"- Objective: {card['objective']}.",
        f"- Loss on {cells['held_out']:,} held-out cells, in {loss['unit']}: "
        f"{loss['held_out_before']:.3f} before, {loss['held_out_after']:.3f} after; "
        f"{loss['held_out_without_looking_at_the_cell']:.3f} for the best answer that does not "
        "look at the cell.",
        "- Held-out cells are other cells of the same samples. The cells of a release that were "
        "trained on are also its benchmark's cells: labels were not seen, expression was.",
        "- The weights follow the licences of the data: "
        + "; ".join(f"{study} {licence}" for study, licence in card["licences_of_the_data"].items())
        + ".",
        "",
    ]
