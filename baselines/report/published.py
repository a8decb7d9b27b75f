"""The published figure beside ours, wherever the paper has the same cell of the table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import resources
from typing import Any

import pandas as pd

from cellresponse.baselines.benchmark.faults import FAULTS
from cellresponse.baselines.benchmark.naming import DEFAULTS, faults_of, read_options

__all__ = ["beside_published", "published_figures"]

NAMED = 5  # studies, before the others are counted
GPT = "gpt-4o-mini"
CHECKPOINTS = {"geneformer": "geneformer-cardiomyopathies", GPT: "gpt-4o-mini-2024-07-18"}
"""The paper's checkpoint by family, in our names, where it is known and we have several."""
TRAINING = (
    *("rank", "class_weight", "patience"),
    *("epochs", "batch_size", "learning_rate", "weight_decay"),
)
"""Options of training, whose defaults are the paper's."""


def published_figures() -> pd.DataFrame:
    """Read the published figures: track, collection, by, category, model, strategy, value.

    Source: doi 10.1038/s41467-025-67481-2. The paper calls our `frozen` layer freezing,
    and our source of cells a tissue. `studies` are the accessions behind a figure by the
    paper's tables of data sets, separated by `;`.
    """
    with (
        resources.files("cellresponse.baselines.benchmark")
        .joinpath("published_figures.csv")
        .open() as stream
    ):
        return pd.read_csv(stream)


def beside_published(board: pd.DataFrame) -> pd.DataFrame:
    """Put the published F1 beside ours, and say why they differ.

    All checkpoints of a model stand beside its one published figure. Our zero-shot track
    tests on the validation collection, that of the paper on the primary one.

    Parameters
    ----------
    board
        As `leaderboard` gives it, with the studies that `with_tested_cells` found.

    Returns
    -------
    pandas.DataFrame
        track, by, category, contender, split, seed, drug_id, ours, sem, published,
        difference, explanation. Empty where no cell of the paper's tables is ours too.
    """
    ours = board[board["metric"] == "f1"].assign(
        family=lambda t: t["model"].map(_family),
        collection=lambda t: t["task"].str.split("/").str[1],
    )
    theirs = published_figures().assign(family=lambda t: t["model"].map(_family))
    found = ours.merge(
        theirs.drop(columns="model").rename(
            columns={"studies": "published_studies", "collection": "published_collection"}
        ),
        on=["track", "by", "category", "family", "strategy", "metric"],
    )
    same = found["collection"] == found["published_collection"]
    found = found[same | (found["track"] == "zero-shot")]
    found = found.rename(columns={"mean": "ours", "value": "published"})
    found["difference"] = pd.to_numeric(found["ours"]) - found["published"]
    found["explanation"] = [_explain(row) for row in found.to_dict("records")]
    return found[
        [
            *("track", "by", "category", "contender", "split", "seed", "drug_id"),
            *("ours", "sem", "published", "difference", "explanation"),
        ]
    ]


def _family(model: str) -> str:
    """Name the model without its checkpoint; of a prompt, the language model that is asked."""
    checkpoint = _checkpoint(model)
    return GPT if checkpoint.startswith(GPT) else checkpoint.partition("-")[0]


def _checkpoint(model: str) -> str:
    name = model.partition("@")[0]
    return name.partition(":")[2] if name.startswith("prompt-") else name


def _explain(row: Mapping[Any, Any]) -> str:
    reasons = []
    if "@random" in row["model"]:
        reasons.append("ours has random weights, a control")
    ours, theirs = _checkpoint(row["model"]), CHECKPOINTS.get(row["family"])
    if theirs not in (None, ours):
        reasons.append(f"ours is {ours}, the paper's {theirs}")
    if row["collection"] != row["published_collection"]:
        reasons.append(
            "ours is tested on the validation collection, "
            f"the paper's on the {row['published_collection']} one"
        )
    if pd.notna(row["drug_id"]):
        reasons.append("ours is of one drug, the paper mixes all drugs of the category")
    trained = row["strategy"] != "prompt"
    if trained and row["split"] not in ("cell", "as-published"):
        reasons.append(f"ours keeps every {row['split']} on one side")
    reasons += _studies(set(row["studies"].split(";")), set(row["published_studies"].split(";")))
    reasons += _options(row["options"])
    return "; ".join(reasons) or "nothing that is recorded differs"


def _studies(ours: set[str], theirs: set[str]) -> Iterator[str]:
    """Compare whose cells are tested; our labels may differ even where the studies do not."""
    if theirs - ours:
        yield f"the paper also has {_some(theirs - ours)}, of which no cell is in ours"
    if ours - theirs:
        yield f"ours also has {_some(ours - theirs)}, of which no cell is in the paper's"


def _some(studies: set[str]) -> str:
    names = sorted(studies)
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _options(recorded: str) -> Iterator[str]:
    options, faults = read_options(recorded), faults_of(recorded)
    if options.get("harmony"):
        yield "ours is corrected by batch (Harmony)"
    if options.get("stars"):
        yield f"ours leaves out resistant cells with fewer than {options['stars']} stars"
    if options.get("server"):
        yield f"ours was asked at {options['server']}"
    yield from _training(options)
    if not faults:
        yield "ours has none of the published faults"
    elif faults < FAULTS.keys():
        yield f"of the published faults ours has only {', '.join(sorted(faults))}"


def _training(options: Mapping[str, Any]) -> Iterator[str]:
    for name in TRAINING:
        theirs = DEFAULTS[name]
        ours = options.get(name, theirs)
        if ours != theirs:
            words = name.replace("_", " ")
            told = words if ours is True else f"{words} {ours}"
            other = f"with {theirs}" if theirs else "without"
            yield f"ours is trained with {told}, the paper's {other}"
