"""A trained head with its card: saved as safetensors and JSON, loaded without running code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellresponse.baselines.benchmark.metrics import log_odds
from cellresponse.releases.canonical import canonical_json
from cellresponse.schema.errors import ModelError
from cellresponse.schema.storage import storage_errors

__all__ = ["HeadCard", "TrainedHead", "load_head", "save_head"]

ARRAYS = "head.safetensors"
CARD = "card.json"
NEIGHBOURS = 10


@dataclass(frozen=True)
class HeadCard:
    """What a head is and how far it can be trusted.

    Attributes
    ----------
    drug_id, organism, model, weights_hash
        What it predicts, and on whose features; weights_hash None: expression.
    release, release_hash, task, bases, n_sensitive, n_resistant
        The training data.
    code_version, seed
        What made it.
    metrics
        By split, then metric: over the pooled predictions of the split's folds; null
        where undefined.
    calibrated_on
        Split whose held-out predictions the calibration was fitted on.
    far
        Distance above which a cell lies far from the training cells: the 99 % point of
        the training cells' own distances.
    licences
        Of the studies whose labels and cells were used, and of the model's weights.
    """

    drug_id: str
    organism: str
    model: str
    weights_hash: str | None
    release: str
    release_hash: str
    task: str
    bases: tuple[str, ...]
    n_sensitive: int
    n_resistant: int
    code_version: str
    seed: int
    metrics: Mapping[str, Mapping[str, float | None]]
    calibrated_on: str
    far: float
    licences: tuple[str, ...]


@dataclass(frozen=True)
class TrainedHead:
    """A head that predicts.

    Attributes
    ----------
    card
        What it is.
    arrays
        Float and integer arrays by name: `head.*` weights, `features.*` of expression
        features, `reference` (cells, d) training features, `mean` and `scale` (d,) of
        them, `calibration` (2,) slope and intercept on the log-odds.
    """

    card: HeadCard
    arrays: Mapping[str, NDArray[Any]]

    def probability(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Give (cells,) probabilities of sensitive, as the head says them."""
        import torch

        from cellresponse.baselines.benchmark.head import Head, predict_head

        head = Head(features.shape[1])
        head.load_state_dict(
            {
                name.removeprefix("head."): torch.from_numpy(np.array(values))
                for name, values in self.arrays.items()
                if name.startswith("head.")
            }
        )
        return predict_head(head, features)

    def calibrated(self, probability: NDArray[np.float64]) -> NDArray[np.float64]:
        """Give (cells,) probabilities of sensitive as held-out cells bear them out."""
        slope, intercept = self.arrays["calibration"]
        return 1 / (1 + np.exp(-(slope * log_odds(probability) + intercept)))

    def distance(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Give (cells,) mean distance to the ten nearest training cells."""
        from sklearn.neighbors import NearestNeighbors

        reference = self.arrays["reference"]
        mean, scale = self.arrays["mean"], self.arrays["scale"]
        known = NearestNeighbors(n_neighbors=min(NEIGHBOURS, len(reference)))
        known.fit((reference - mean) / scale)
        distances, _ = known.kneighbors((features - mean) / scale)
        return np.asarray(distances.mean(axis=1), np.float64)


def save_head(folder: Path, head: TrainedHead) -> None:
    """Write a head into a folder, the card last: a folder with a card is whole."""
    from safetensors.numpy import save_file

    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        arrays = {name: np.ascontiguousarray(values) for name, values in head.arrays.items()}
        save_file(arrays, folder / ARRAYS)
        part = folder / (CARD + ".part")
        part.write_bytes(canonical_json(asdict(head.card)))
        part.replace(folder / CARD)


def load_head(folder: Path) -> TrainedHead:
    """Read a head.

    Raises
    ------
    ModelError
        The folder has no head, or it is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        card = json.loads((folder / CARD).read_bytes())
        arrays = load_file(folder / ARRAYS)
        card["bases"], card["licences"] = tuple(card["bases"]), tuple(card["licences"])
        return TrainedHead(HeadCard(**card), arrays)
    except (OSError, ValueError, TypeError, KeyError, SafetensorError) as error:
        raise ModelError(
            f"is no trained head: {error}", file=folder, hint="Remove the folder and train anew"
        ) from None
