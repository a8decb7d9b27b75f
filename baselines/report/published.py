"""The published figure beside ours, wherever the paper has the same cell of the table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import resources
from typing import Any

import pandas as pd

from cellresponse.baselines.benchmark.faults import FAULTS
from cellresponse.baselines.benchmark.naming import faults_of, read_options

__all__ = ["beside_published", "published_figures"]

NAMED = 5  # studies, before the others are counted


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
        family=lambda t: t["model"].str.partition("@")[0].str.partition("-")[0],
        collection=lambda t: t["task"].str.split("/").str[1],
    )
    theirs = published_figures().assign(family=lambda t: t["model"].str.partition("-")[0])
    found = ours.merge(
        theirs.drop(columns="model").rename(columns={"studies": "published_studies"}),
        on=["track", "collection", "by", "category", "family", "strategy", "metric"],
    )
    found = found.rename(columns={"mean": "ours", "value": "published"})
    found["difference"] = pd.to_numeric(found["ours"]) - found["published"]
    found["explanation"] = [_explain(row) for row in found.to_dict("records")]
    return found[
        [
            *("track", "by", "category", "contender", "split", "seed", "drug_id"),
            *("ours", "sem", "published", "difference", "explanation"),
        ]
    ]


def _explain(row: Mapping[Any, Any]) -> str:
    reasons = []
    if "@random" in row["model"]:
        reasons.append("ours has random weights, a control")
    if pd.notna(row["drug_id"]):
        reasons.append("ours is of one drug, the paper mixes all drugs of the category")
    if row["split"] not in ("cell", "as-published"):
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
    if not faults:
        yield "ours has none of the published faults"
    elif faults < FAULTS.keys():
        yield f"of the published faults ours has only {', '.join(sorted(faults))}"
