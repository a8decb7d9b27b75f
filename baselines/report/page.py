"""One self-contained HTML page, and the tables behind its figures."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from cellresponse.baselines.benchmark.addendum import (
    NOT_EVALUABLE,
    REPORT,
    RESULTS,
    RUNTIME,
    read_results,
)
from cellresponse.baselines.benchmark.tested_cells import with_tested_cells
from cellresponse.baselines.report.card import write_card
from cellresponse.baselines.report.figures import Figure, figures
from cellresponse.baselines.report.leaderboard import (
    comparisons,
    leaderboard,
    recommendations,
)
from cellresponse.baselines.report.maps import embedding_maps
from cellresponse.baselines.report.published import beside_published
from cellresponse.builders.progress import Report, silent
from cellresponse.schema.errors import ReleaseError
from cellresponse.schema.storage import storage_errors

__all__ = ["report"]

PAGE = "report.html"
STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:1100px;margin:2rem auto;padding:0 1rem;color:#222}
table{border-collapse:collapse;font-size:14px;margin:1rem 0;display:block;overflow-x:auto}
td,th{border:1px solid #ddd;padding:.25rem .5rem;text-align:left;white-space:nowrap}
th{background:#f3f3f3}
td.wide{white-space:normal;min-width:12rem}
.note{background:#fff6dd;border-left:4px solid #e0a800;padding:.5rem 1rem}
figcaption,.small{color:#555;font-size:14px}
h2{margin-top:2.5rem}
"""
SHOWN_ROWS = 200


def report(folder: Path, out: Path | None = None, told: Report = silent) -> Path:
    """Write the report of a results folder.

    Parameters
    ----------
    folder
        Results of `benchmark`.
    out
        Folder for `report.html` and `report/`, one CSV a figure or table, and `README.md`
        with the leaderboard. None: the results folder.
    told
        Receives lines about the progress.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    ReleaseError
        There are no complete results, none at all, or a file was changed.
    """
    manifest, results = read_results(folder)
    if results.empty:
        raise ReleaseError(
            "there are no results to report",
            file=folder / RESULTS,
            hint="Run `python cli.py benchmark --out` on this folder first",
        )
    results = with_tested_cells(results, folder)
    out = folder if out is None else out
    runtime = _csv(folder / RUNTIME)
    told("maps of embeddings")
    maps = embedding_maps(folder / "embeddings", _csv(folder / "cells.csv"))
    board = leaderboard(results)
    tables = {
        "recommendations": recommendations(results),
        "leaderboard": board,
        "published": beside_published(board),
        "comparisons": comparisons(results),
        "runtime": runtime,
        "not_evaluable": _csv(folder / NOT_EVALUABLE),
    }
    told("figures")
    drawn = list(figures(board, maps, runtime))
    with storage_errors(out):
        (out / REPORT).mkdir(parents=True, exist_ok=True)
        for name, table in tables.items():
            table.to_csv(out / REPORT / f"{name}.csv", index=False)
        for figure in drawn:
            figure.table.to_csv(out / REPORT / f"{figure.name}.csv", index=False)
        write_card(out / "README.md", manifest, board, tables["recommendations"])
        page = out / PAGE
        page.write_text(_page(manifest, tables, drawn), encoding="utf-8")
    return page


def _csv(path: Path) -> pd.DataFrame:
    return pd.read_csv(path) if path.exists() else pd.DataFrame()


def _page(
    manifest: Mapping[str, Any], tables: Mapping[str, pd.DataFrame], drawn: Iterable[Figure]
) -> str:
    title = f"cellresponse benchmark on {manifest['release']}"
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>",
        f"<title>{html.escape(title)}</title><style>{STYLE}</style>{_plotly()}</head><body>",
        f"<h1>{html.escape(title)}</h1>",
        f"<p class='small'>Content hash {manifest['release_hash']}; code "
        f"{manifest['code_version']}. Every table and figure is a CSV in report/.</p>",
    ]
    parts += _section(
        "Which model to use",
        tables["recommendations"],
        "Mean pooled AUROC over tasks and its standard error. Names under not_worse cannot be "
        "told apart from the best by a paired test over tasks (Holm, 5 %). Seeds are averaged "
        "first. Tasks with the same cells, labels and folds count once; copies says how many "
        "more there are. Results with other options, under setting, are weighed apart.",
    )
    for figure in drawn:
        parts.append(f"<h2>{html.escape(figure.title)}</h2><figure>")
        parts.append(figure.drawing.to_html(full_html=False, include_plotlyjs=False))
        parts.append(
            f"<figcaption>{html.escape(figure.caption)} Data: report/{figure.name}.csv"
            "</figcaption></figure>"
        )
    parts += _section(
        "Beside the published figures",
        tables["published"],
        "F1 of the paper (doi 10.1038/s41467-025-67481-2) where our table has the same cell.",
        empty="No cell of the paper's tables is among these results.",
    )
    parts += _section(
        "Pairs of models on the same folds",
        tables["comparisons"],
        "Differences of AUROC. Folds share training cells and are not independent; the test "
        "allows for it, p_corrected is Holm's over all pairs of a task.",
    )
    parts += _section("Runtime", tables["runtime"], "Measured in the run that made the results.")
    parts += _section(
        "Not evaluable", tables["not_evaluable"], "Tasks and splits that cannot be made, and why."
    )
    return "\n".join([*parts, "</body></html>"])


def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    return f"<script>{get_plotlyjs()}</script>"


def _section(title: str, table: pd.DataFrame, note: str, empty: str = "None.") -> list[str]:
    parts = [f"<h2>{html.escape(title)}</h2><p class='small'>{html.escape(note)}</p>"]
    if table.empty:
        return [*parts, f"<p>{html.escape(empty)}</p>"]
    shown = table.head(SHOWN_ROWS)
    head = "".join(f"<th>{html.escape(str(name))}</th>" for name in shown.columns)
    body = "".join(
        "<tr>" + "".join(_cell(value) for value in row) + "</tr>"
        for row in shown.itertuples(index=False)
    )
    parts.append(f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>")
    if len(table) > SHOWN_ROWS:
        parts.append(f"<p class='small'>The first {SHOWN_ROWS} of {len(table)} rows.</p>")
    return parts


def _cell(value: object) -> str:
    if pd.isna(value):  # type: ignore[call-overload]
        return "<td></td>"
    text = f"{value:.3g}" if isinstance(value, float) else str(value)
    wide = " class='wide'" if len(text) > 24 else ""
    return f"<td{wide}>{html.escape(text)}</td>"
