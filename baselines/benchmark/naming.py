"""Names of contenders: the model with every option that is not the default."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import pandas as pd

from cellresponse.baselines.benchmark.faults import FAULTS
from cellresponse.baselines.benchmark.options import BenchmarkOptions

__all__ = ["faults_of", "read_options", "with_names"]


@cache
def read_options(options: str) -> dict[str, Any]:
    """Read recorded options; those of the head stand beside the others."""
    found = json.loads(options)
    head = found.pop("head", {})
    return {**found, **head}


_DEFAULT = BenchmarkOptions(track="", by="")
DEFAULTS = read_options(_DEFAULT.recorded("lora"))
OF_ALL = frozenset(read_options(_DEFAULT.recorded("comparator")))
"""Options of a whole run; the others belong to how one model is trained."""


def faults_of(options: str) -> frozenset[str]:
    """Give the published faults that recorded options reproduce."""
    return frozenset(read_options(options).get("as_published", ()))


def with_names(rows: pd.DataFrame) -> pd.DataFrame:
    """Add the columns that tell contenders apart.

    Returns
    -------
    pandas.DataFrame
        With `contender`, the whole name; `setting`, the options of the run, empty where
        all are the default; `within`, the name among contenders of one setting.
    """
    setting = rows["options"].map(_setting).astype(object)
    parts = zip(
        rows["model"].astype(object),
        rows["strategy"].astype(object),
        rows["options"].map(_own),
        _weights(rows),
        setting,
        strict=True,
    )
    names = [
        (_name(model, strategy, own, weights), _name(model, strategy, own, weights, shared))
        for model, strategy, own, weights, shared in parts
    ]
    return rows.assign(
        setting=setting,
        within=[within for within, _ in names],
        contender=[whole for _, whole in names],
    )


def _name(model: str, strategy: str, *more: str) -> str:
    trained = "" if strategy in ("comparator", "submitted") else strategy
    told = [part for part in (trained, *more) if part]
    return f"{model} ({', '.join(told)})" if told else model


def _weights(rows: pd.DataFrame) -> list[str]:
    """Give the start of the weights' hash, where a model has results of several."""
    hashes = rows["weights_hash"].astype(object).fillna("")
    # The hash of a submission is of its file, and a file may hold a part of the tasks. That of
    # a prompt is of the answers about the cells of a task, which seed and options choose.
    prompt = rows["strategy"] == "prompt"
    task = rows["track"] + " " + rows["task"] + " " + rows["split"]
    drawn = rows["seed"].astype(str) + " " + rows["options"]
    part = task.where(prompt | (rows["strategy"] == "submitted"), "")
    part += (" " + drawn).where(prompt, "")
    of = [rows["model"], rows["strategy"], part]
    several = hashes.groupby(of).transform("nunique") > 1
    return [
        f"{'answers' if asked else 'weights'} {digest[:8]}" if shown and digest else ""
        for digest, shown, asked in zip(hashes, several, prompt, strict=True)
    ]


@cache
def _setting(options: str) -> str:
    return _shown({k: v for k, v in read_options(options).items() if k in OF_ALL})


@cache
def _own(options: str) -> str:
    return _shown({k: v for k, v in read_options(options).items() if k not in OF_ALL})


def _shown(options: dict[str, Any]) -> str:
    return ", ".join(
        _option(name, value)
        for name, value in sorted(options.items())
        if value != DEFAULTS.get(name)
    )


def _option(name: str, value: Any) -> str:
    words = name.replace("_", " ")
    if name == "as_published":
        return f"{words}: {'all' if set(value) == set(FAULTS) else ' + '.join(value)}"
    return words if value is True else f"{words} {value}"
