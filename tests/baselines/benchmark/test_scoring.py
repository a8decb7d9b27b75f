"""Over pooled folds of one class a model that knows nothing ranks nothing, whatever its prior."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cellresponse.baselines.benchmark.addendum import Addendum, FoldPrediction, Identity
from cellresponse.baselines.benchmark.cells import TaskCells
from cellresponse.baselines.benchmark.contenders import Contender
from cellresponse.baselines.benchmark.options import BenchmarkOptions, make_options
from cellresponse.baselines.benchmark.run import _predict
from cellresponse.baselines.benchmark.scoring import score_addendum
from cellresponse.schema.errors import ReleaseError

SAMPLES = 6  # three of each response; each is a fold, whose test cells are of one class
RELEASE = "0" * 64

type Predict = Callable[[str, TaskCells, tuple[np.ndarray, np.ndarray]], FoldPrediction]


def noise(seed: int, cells: int = 50) -> TaskCells:
    rng = np.random.default_rng(seed)
    sample = np.repeat(np.arange(SAMPLES), cells)
    sensitive = sample < SAMPLES // 2
    obs = pd.DataFrame(
        {
            "cell_id": [f"c{row}" for row in range(len(sample))],
            "sample_id": [f"s{one}" for one in sample],
            "response": np.where(sensitive, "sensitive", "resistant"),
        }
    )
    values = rng.normal(size=(len(sample), 256)).astype(np.float32)
    return TaskCells(obs, sensitive, features={"m": values, "expression": values[:, :50]})


def pooled_auroc(cells: TaskCells, predict: Predict, folder: Path, strategy: str) -> float:
    sample = cells.obs["sample_id"].to_numpy()
    sides = {
        name: (np.flatnonzero(sample != name), np.flatnonzero(sample == name))
        for name in np.unique(sample)
    }
    options = BenchmarkOptions("pooled", "regimen").recorded(strategy)
    identity = Identity(
        *("t", "pooled", "regimen", "x", "x", "b", "sample", 0, "m", None, strategy, options)
    )
    addendum = Addendum(folder, "r", RELEASE)
    addendum.write(identity, [predict(fold, cells, rows) for fold, rows in sides.items()])
    (found,) = (
        row["value"]
        for row in score_addendum(addendum)
        if (row["fold"], row["unit"], row["metric"]) == ("pooled", "cell", "auroc")
    )
    return float(found)


def trained(contender: Contender, options: BenchmarkOptions) -> Predict:
    return lambda fold, cells, rows: _predict(
        contender, fold, cells, cells.take(rows[0]), rows, options
    )


def chosen(*, class_weight: bool) -> BenchmarkOptions:
    return make_options(
        track="pooled", by="regimen", as_published=frozenset(), class_weight=class_weight
    )


@pytest.mark.parametrize("class_weight", [False, True])
def test_a_head_on_noise_scores_as_chance(tmp_path: Path, class_weight: bool) -> None:
    predict = trained(Contender("m", "frozen"), chosen(class_weight=class_weight))
    found = pooled_auroc(noise(0), predict, tmp_path, "frozen")
    assert found == pytest.approx(0.5, abs=0.1)


def test_class_sizes_alone_are_exactly_a_half(tmp_path: Path) -> None:
    predict = trained(Contender("majority", "comparator"), chosen(class_weight=False))
    assert pooled_auroc(noise(0, 37), predict, tmp_path, "comparator") == 0.5


def test_a_submitted_constant_is_exactly_a_half(tmp_path: Path) -> None:
    def submitted(
        fold: str, cells: TaskCells, rows: tuple[np.ndarray, np.ndarray]
    ) -> FoldPrediction:
        train, test = rows
        known = int(cells.sensitive[train].sum())
        return FoldPrediction(
            fold, cells.obs.iloc[test], np.full(len(test), 0.5), len(train), known
        )

    assert pooled_auroc(noise(0), submitted, tmp_path, "submitted") == 0.5


def test_a_folder_of_the_older_format_is_refused(tmp_path: Path) -> None:
    from cellresponse.releases.canonical import canonical_json, read_json

    Addendum(tmp_path, "r", RELEASE).begin()
    manifest = read_json(tmp_path / "manifest.json")
    del manifest["format"]
    (tmp_path / "manifest.json").write_bytes(canonical_json(manifest))
    with pytest.raises(ReleaseError, match="older format"):
        Addendum(tmp_path, "r", RELEASE)
