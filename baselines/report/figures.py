"""Figures of the report, drawn by plotly from tables that are written beside the page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cellresponse.baselines.benchmark.experiments import over_seeds
from cellresponse.baselines.report.leaderboard import CONFOUNDED

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = ["Figure", "figures"]

LAYOUT = {"template": "plotly_white", "margin": {"l": 60, "r": 20, "t": 50, "b": 80}}
VALUES = ("pooled", "low", "high")
COLOURS = ("cancer_type", "response", "study_id")


@dataclass(frozen=True)
class Figure:
    """A figure with the table behind it."""

    name: str
    title: str
    caption: str
    table: pd.DataFrame
    drawing: go.Figure


def figures(board: pd.DataFrame, maps: pd.DataFrame, runtime: pd.DataFrame) -> Iterator[Figure]:
    """Draw what the results allow.

    Parameters
    ----------
    board
        As `leaderboard` gives it.
    maps
        As `embedding_maps` gives it; may be empty.
    runtime
        Rows of `runtime.csv`; may be empty.

    Yields
    ------
    Figure
        Only those whose data are there.
    """
    yield from _bars(board)
    yield from _radar(board)
    yield from _cross(board)
    yield from _confounding(board)
    yield from _maps(maps)
    yield from _runtime(runtime)


def _mean_over_tasks(board: pd.DataFrame, metric: str, by: list[str]) -> pd.DataFrame:
    rows = board[board["metric"] == metric].copy()
    rows["score"] = pd.to_numeric(rows["mean"]).fillna(pd.to_numeric(rows["pooled"]))
    grouped = over_seeds(rows, "score", by).groupby(by, sort=True)["score"]
    return grouped.agg(mean="mean", sem="sem", tasks="size").reset_index()


def _bars(board: pd.DataFrame) -> Iterator[Figure]:
    import plotly.express as px

    for (track, kind), group in board.groupby(["track", "by"], sort=True):
        table = _mean_over_tasks(group, "f1", ["category", "split", "contender"])
        if table.empty:
            continue
        drawing = px.bar(
            table,
            x="category",
            y="mean",
            error_y="sem",
            color="contender",
            facet_row="split",
            barmode="group",
            labels={"mean": "F1", "category": str(kind)},
            height=220 + 220 * table["split"].nunique(),
        )
        drawing.update_layout(**LAYOUT)
        drawing.update_yaxes(range=[0, 1.05])
        yield Figure(
            name=f"bars-{track}-{kind}",
            title=f"F1 by {kind}, track {track}",
            caption="Mean over tasks of the mean over folds, with the standard error over tasks; "
            "one row a split. The positive class is sensitive.",
            table=table.assign(track=str(track), by=str(kind)),
            drawing=drawing,
        )


def _radar(board: pd.DataFrame) -> Iterator[Figure]:
    import plotly.graph_objects as go

    names = ["f1", "auroc", "auprc", "accuracy", "balanced_accuracy", "precision", "recall", "mcc"]
    for track, group in board.groupby("track", sort=True):
        split = "cell" if (group["split"] == "cell").any() else str(group["split"].iloc[0])
        one = group[group["split"] == split]
        parts = [_mean_over_tasks(one, name, ["contender"]).assign(metric=name) for name in names]
        table = pd.concat(parts, ignore_index=True)
        if table.empty:
            continue
        drawing = go.Figure(layout={**LAYOUT, "height": 560})
        for contender, rows in table.groupby("contender", sort=True):
            values = rows.set_index("metric")["mean"].reindex(names)
            drawing.add_trace(
                go.Scatterpolar(
                    r=[*values, values.iloc[0]], theta=[*names, names[0]], name=str(contender)
                )
            )
        drawing.update_polars(radialaxis_range=[0, 1])
        yield Figure(
            name=f"radar-{track}",
            title=f"All metrics, track {track}, split by {split}",
            caption="Mean over tasks. A metric that is undefined for a model is left out.",
            table=table.assign(track=str(track), split=split),
            drawing=drawing,
        )


def _cross(board: pd.DataFrame) -> Iterator[Figure]:
    import plotly.express as px

    cross = board[board["track"].isin(["cross", "few-shot", "external", "zero-shot"])]
    table = cross[cross["metric"] == "auroc"].dropna(subset=["pooled"])
    if table.empty:
        return
    numbers = table.astype(dict.fromkeys(VALUES, float))
    keys = ["track", "task", "split", "contender"]
    table = numbers.groupby(keys, sort=True)[list(VALUES)].mean().reset_index()
    drawing = px.box(table, x="contender", y="pooled", color="track", points="all", height=480)
    drawing.update_layout(**LAYOUT, yaxis_title="AUROC over all held-out units")
    drawing.add_hline(y=0.5, line_dash="dot")
    yield Figure(
        name="cross",
        title="Trained elsewhere, tested on unseen studies or batches",
        caption="A point a task: AUROC over the pooled predictions of all held-out units, mean "
        "over seeds.",
        table=table,
        drawing=drawing,
    )


def _confounding(board: pd.DataFrame) -> Iterator[Figure]:
    import plotly.express as px

    rows = board[board["metric"] == "auroc"].dropna(subset=["pooled"])
    rows = rows.assign(pooled=rows["pooled"].astype(float))
    keys = ["track", "task", "split", "setting"]
    named = [*keys, "basis", "model", "contender"]
    rows = rows.groupby(named, sort=True)["pooled"].mean().reset_index()  # over seeds
    blind = rows[rows["model"].isin(CONFOUNDED)]
    if blind.empty:
        return
    best = blind.groupby(keys)["pooled"].max().rename("without_expression").reset_index()
    seeing = rows[~rows["model"].isin([*CONFOUNDED, "majority"])].drop(columns="model")
    table = seeing.merge(best, on=keys)
    if table.empty:
        return
    drawing = px.scatter(
        table,
        x="without_expression",
        y="pooled",
        color="contender",
        symbol="split",
        hover_data=["task", "basis"],
        render_mode="svg",  # also where a browser has no WebGL
        height=560,
        labels={
            "without_expression": "AUROC of the best comparator that sees no expression",
            "pooled": "AUROC of the model",
        },
    )
    drawing.add_shape(type="line", x0=0, y0=0, x1=1, y1=1, line={"dash": "dot"})
    drawing.update_layout(**LAYOUT)
    yield Figure(
        name="confounding",
        title="What batch, depth or cell line alone would score",
        caption="Below the line a model knows less than the batch, the depth or the cell line "
        "alone tells. A point that is high only on the right shows confounding, not response.",
        table=table,
        drawing=drawing,
    )


def _maps(maps: pd.DataFrame) -> Iterator[Figure]:
    import plotly.express as px

    for model, table in maps.groupby("model", sort=True) if len(maps) else []:
        for colour in COLOURS:
            drawing = px.scatter(
                table, x="x", y="y", color=table[colour].astype(str), render_mode="webgl"
            )
            drawing.update_traces(marker_size=3)
            drawing.update_layout(**LAYOUT, height=480, legend_title=colour)
            yield Figure(
                name="-".join(re.findall(r"[\w.-]+", f"map {model} {colour}")),
                title=f"Embeddings of {model}, coloured by {colour}",
                caption="UMAP of at most 5,000 cells; distances between groups mean little.",
                table=table[["cell_id", "x", "y", colour]],
                drawing=drawing,
            )


def _runtime(runtime: pd.DataFrame) -> Iterator[Figure]:
    import plotly.express as px

    if runtime.empty:
        return
    table = runtime.assign(cells_per_s=runtime["cells"] / np.maximum(runtime["seconds"], 1e-9))
    drawing = px.bar(
        table, x="model", y="cells_per_s", color="step", barmode="group", log_y=True, height=420
    )
    drawing.update_layout(**LAYOUT)
    yield Figure(
        name="runtime",
        title="Speed as measured in this run",
        caption="Cells per second, tokens made and weights loaded included.",
        table=table,
        drawing=drawing,
    )
