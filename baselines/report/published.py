"""The published figure beside ours, wherever the paper has the same cell of the table."""

from __future__ import annotations

from importlib import resources

import pandas as pd

__all__ = ["beside_published", "published_figures"]


def published_figures() -> pd.DataFrame:
    """Read the published figures: track, collection, by, category, model, strategy, value.

    Source: doi 10.1038/s41467-025-67481-2. The paper calls our `frozen` layer freezing,
    and our source of cells a tissue.
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
        As `leaderboard` gives it.

    Returns
    -------
    pandas.DataFrame
        track, by, category, model, strategy, split, drug_id, ours, sem, published,
        difference, explanation. Empty where no cell of the paper's tables is ours too.
    """
    ours = board[board["metric"] == "f1"].assign(
        family=lambda t: t["model"].str.partition("@")[0].str.partition("-")[0],
        collection=lambda t: t["task"].str.split("/").str[1],
    )
    theirs = published_figures().assign(family=lambda t: t["model"].str.partition("-")[0])
    found = ours.merge(
        theirs.drop(columns="model"),
        on=["track", "collection", "by", "category", "family", "strategy", "metric"],
    )
    found = found.rename(columns={"mean": "ours", "value": "published"})
    found["difference"] = pd.to_numeric(found["ours"]) - found["published"]
    found["explanation"] = [
        _explain(str(row["model"]), bool(pd.notna(row["drug_id"])), str(row["split"]))
        for row in found.to_dict("records")
    ]
    return found[
        [
            *("track", "by", "category", "model", "strategy", "split", "drug_id"),
            *("ours", "sem", "published", "difference", "explanation"),
        ]
    ]


def _explain(model: str, one_drug: bool, split: str) -> str:
    reasons = []
    if "@random" in model:
        reasons.append("ours has random weights, a control")
    if one_drug:
        reasons.append("ours is of one drug, the paper mixes all drugs of the category")
    if split != "cell":
        reasons.append(f"ours keeps every {split} on one side")
    reasons.append("the paper's data sets are not in this release")
    return "; ".join(reasons)
