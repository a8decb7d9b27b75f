"""The card of an addendum: its leaderboard, for the Hub."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from cellresponse.baselines.benchmark.experiments import over_seeds

__all__ = ["write_card"]


def write_card(
    path: Path, manifest: Mapping[str, Any], board: pd.DataFrame, advice: pd.DataFrame
) -> None:
    """Write README.md of a results folder.

    Parameters
    ----------
    path
        The file.
    manifest
        Of the results.
    board, advice
        As `leaderboard` and `recommendations` give them.
    """
    path.write_text("\n".join(_lines(manifest, board, advice)) + "\n", encoding="utf-8")


def _lines(manifest: Mapping[str, Any], board: pd.DataFrame, advice: pd.DataFrame) -> Iterator[str]:
    yield "---"
    yield f"pretty_name: cellresponse {manifest['release']}, benchmark"
    yield "tags: [single-cell, drug-response, benchmark]"
    yield "configs:"
    yield "- config_name: results"
    yield "  default: true"
    yield "  data_files: results.parquet"
    yield "---"
    yield f"# Benchmark on cellresponse {manifest['release']}"
    yield ""
    yield (
        f"Addendum of the release with content hash `{manifest['release_hash']}`, made by "
        f"cellresponse {manifest['code_version']}; manifest `{manifest['sha256']}`. The release "
        "stays as it was."
    )
    yield ""
    yield "## Leaderboard"
    yield ""
    yield (
        "Mean over tasks of the AUROC over pooled predictions. Compare within a split only. Seeds "
        "are averaged first; tasks with the same cells, labels and folds count once."
    )
    yield ""
    yield "| track | split | model | tasks | AUROC | F1 |"
    yield "|---|---|---|---|---|---|"
    yield from _ranks(board)
    yield ""
    yield "## Which model to use"
    yield ""
    for row in advice.to_dict("records"):
        named = [str(row[name]) for name in ("track", "situation", "setting") if row[name]]
        copies = f"; {row['copies']} copies of them not counted" if row["copies"] else ""
        yield f"- **{', '.join(named)}** ({row['tasks']} tasks{copies}): {row['advice']}"


def _ranks(board: pd.DataFrame) -> Iterator[str]:
    keys = ["track", "split", "contender"]
    shown = board[board["metric"].isin(["auroc", "f1"])]
    wide = over_seeds(shown, "pooled", [*keys, "metric"]).pivot_table(
        index=[*keys, "experiment"], columns="metric", values="pooled"
    )
    for name in ("auroc", "f1"):
        if name not in wide:
            wide[name] = float("nan")
    grouped = wide.groupby(level=keys)
    means = grouped.mean().assign(tasks=grouped.size()).reset_index()
    order = means.sort_values(["track", "split", "auroc"], ascending=[True, True, False])
    for row in order.to_dict("records"):
        values = [
            f"{row[name]:.3f}" if pd.notna(row[name]) else "undefined" for name in ("auroc", "f1")
        ]
        yield f"| {row['track']} | {row['split']} | {row['contender']} | {row['tasks']} | " + (
            " | ".join(values) + " |"
        )
