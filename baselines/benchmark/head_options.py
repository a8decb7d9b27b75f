"""How a head is trained; without torch, which takes seconds to import."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["HeadOptions"]


@dataclass(frozen=True)
class HeadOptions:
    """How a head is trained; the defaults are the paper's.

    Attributes
    ----------
    epochs, batch_size, learning_rate, weight_decay
        AdamW without a schedule.
    outputs
        1: one logit for sensitive. 2: one logit a class, as the public code has it.
    class_weight
        True: the rarer class weighs more, so that both weigh the same in total.
    patience
        Training stops when more than so many epochs in a row bring no better loss on a
        tenth of the training cells, which is held out; None: all epochs are run.
    """

    epochs: int = 10
    batch_size: int = 128
    learning_rate: float = 1e-4
    weight_decay: float = 0.01
    outputs: int = 1
    class_weight: bool = False
    patience: int | None = None
