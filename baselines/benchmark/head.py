"""The published head on frozen embeddings: d -> 512 -> 512 -> 1."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from cellresponse.baselines.benchmark.head_options import HeadOptions

__all__ = ["Head", "HeadOptions", "fit_head", "make_head", "predict_head"]

HIDDEN = 512
PREDICTED_AT_ONCE = 65_536  # cells whose hidden layers are in memory


class Head(torch.nn.Sequential):
    """Linear d -> 512, ReLU, Linear 512 -> 512, ReLU, Linear 512 -> outputs."""

    def __init__(self, dimension: int, outputs: int = 1) -> None:
        super().__init__(
            torch.nn.Linear(dimension, HIDDEN),
            torch.nn.ReLU(),
            torch.nn.Linear(HIDDEN, HIDDEN),
            torch.nn.ReLU(),
            torch.nn.Linear(HIDDEN, outputs),
        )

    def probability(self, features: torch.Tensor) -> torch.Tensor:
        """Give (cells,) probabilities of sensitive for (cells, d) features."""
        logits = self(features)
        if logits.shape[1] == 1:
            return torch.sigmoid(logits[:, 0])
        return torch.softmax(logits, dim=1)[:, 1]


def make_head(dimension: int, options: HeadOptions, seed: int) -> Head:
    """Make a head with seeded weights; the global generator is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Head(dimension, options.outputs)


def loss_of(
    logits: torch.Tensor, sensitive: torch.Tensor, weights: torch.Tensor | None
) -> torch.Tensor:
    """Give the binary cross-entropy; two logits are held against a one-hot label."""
    if logits.shape[1] == 2:
        target = torch.nn.functional.one_hot(sensitive.long(), 2).float()
        weights = None if weights is None else weights[:, None]
    else:
        target = sensitive.float()[:, None]
        weights = None if weights is None else weights[:, None]
    return torch.nn.functional.binary_cross_entropy_with_logits(logits, target, weight=weights)


def fit_head(
    features: NDArray[np.float32],
    sensitive: NDArray[np.bool_],
    *,
    seed: int,
    options: HeadOptions | None = None,
    device: str = "cpu",
) -> Head:
    """Train a head.

    Parameters
    ----------
    features
        (cells, d) float32 embeddings.
    sensitive
        (cells,) bool.
    seed
        Of weights and of the order of cells.
    options
        None: the paper's.
    device
        Of torch.

    Returns
    -------
    Head
        In evaluation mode.
    """
    options = options or HeadOptions()
    head = make_head(features.shape[1], options, seed).to(device).train()
    x = torch.tensor(features, device=device)
    y = torch.tensor(sensitive, device=device)
    weights = class_weights(y) if options.class_weight else torch.ones(len(y), device=device)
    order = torch.Generator().manual_seed(seed)
    fitted, held = _hold_out(len(y), options, order)
    optimiser = torch.optim.AdamW(
        head.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay
    )
    best, waited = np.inf, 0
    for _ in range(options.epochs):
        for rows in fitted[torch.randperm(len(fitted), generator=order)].split(options.batch_size):
            optimiser.zero_grad()
            loss_of(head(x[rows]), y[rows], weights[rows]).backward()
            optimiser.step()
        if options.patience is None:
            continue
        with torch.inference_mode():
            now = float(loss_of(head(x[held]), y[held], None))
        best, waited = (now, 0) if now < best else (best, waited + 1)
        if waited > options.patience:
            break
    return head.eval()


def _hold_out(
    cells: int, options: HeadOptions, order: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    if options.patience is None:
        return torch.arange(cells), torch.empty(0, dtype=torch.long)
    mixed = torch.randperm(cells, generator=order)
    held = max(1, cells // 10)
    return mixed[held:], mixed[:held]


def class_weights(sensitive: torch.Tensor) -> torch.Tensor:
    """Give (cells,) weights of mean 1 under which both classes weigh the same."""
    share = sensitive.float().mean()
    return torch.where(sensitive, 0.5 / share, 0.5 / (1 - share))


def predict_head(head: Head, features: NDArray[np.float32]) -> NDArray[np.float64]:
    """Give (cells,) probabilities of sensitive, in evaluation mode."""
    device = next(head.parameters()).device
    with torch.inference_mode():
        parts = torch.tensor(features).split(PREDICTED_AT_ONCE)
        found = torch.cat([head.eval().probability(part.to(device)) for part in parts])
    return found.double().cpu().numpy()
