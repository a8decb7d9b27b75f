"""The faults of the published code that can be switched on, one by one, to reproduce it."""

from __future__ import annotations

from collections.abc import Iterable

from cellresponse.schema.errors import ReleaseError

__all__ = ["FAULTS", "chosen_faults"]

FAULTS = {
    "random-split": "one unstratified 80/20 split by row, instead of ten folds by physical cell",
    "split-per-model": "the split's generator is used by the model first, so models differ in it",
    "copied-controls": "a control is one row for each drug it was compared with, on any side",
    "dropout-at-test": "dropout stays active while test cells are predicted",
    "two-logits": "the head has two logits against a one-hot label",
    "model-inputs": "scDrugMap's truncations, pooling and masks in place of the official ones",
    "no-op-lora": "LoRA on modules that are never called, which changes nothing",
    "uce-trains-all": "all weights of UCE outside its encoder are trained beside LoRA",
    "hard-label-auroc": "AUROC of prompts is taken over called classes, not probabilities",
    "swapped-precision-recall": "precision and recall of prompts stand in each other's place",
    "dropped-cells": "malformed replies to prompts and the last fewer than ten cells are dropped",
}
"""Faults by name (facts: public code of scDrugMap at e3a44b9, doi 10.1038/s41467-025-67481-2)."""


def chosen_faults(names: Iterable[str]) -> frozenset[str]:
    """Check names of faults; `all` stands for every one.

    Raises
    ------
    ReleaseError
        An unknown name.

    Examples
    --------
    >>> sorted(chosen_faults(["two-logits"]))
    ['two-logits']
    """
    found = set(names)
    if "all" in found:
        return frozenset(FAULTS)
    for name in sorted(found - FAULTS.keys()):
        raise ReleaseError(
            "there is no such fault to reproduce", value=name, allowed=["all", *FAULTS]
        )
    return frozenset(found)
