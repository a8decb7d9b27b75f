"""Over pooled folds of one class a model that knows nothing ranks nothing, whatever its prior."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from cellresponse.baselines.benchmark.addendum import (
    Addendum,
    FoldPrediction,
    Identity,
    Trained,
)
from cellresponse.baselines.benchmark.cells import TaskCells
from cellresponse.baselines.benchmark.contenders import Contender
from cellresponse.baselines.benchmark.expression import log_normalise
from cellresponse.baselines.benchmark.options import BenchmarkOptions, make_options
from cellresponse.baselines.benchmark.run import _laid_out, _predict
from cellresponse.baselines.benchmark.scoring import score_addendum, score_predictions
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


def test_pooled_ranks_reach_intervals_and_samples(tmp_path: Path) -> None:
    """Within each fold all is right; the folds' models predict different shares."""
    rows = pd.DataFrame(
        {
            "fold": np.repeat(["0", "1", "2", "3"], 2),
            "sample_id": [f"s{row}" for row in range(8)],
            "response": ["sensitive", "resistant"] * 4,
            "probability": [0.25, 0.15, 0.45, 0.35, 0.65, 0.55, 0.85, 0.75],
        }
    )
    trained = {str(fold): Trained(90, 45, 0.2 + 0.2 * fold) for fold in range(4)}
    options = BenchmarkOptions("pooled", "regimen").recorded("comparator")
    identity = Identity(
        *("t", "pooled", "regimen", "x", "x", "b", "cell", 0, "m", None, "comparator", options)
    )
    found = pd.DataFrame(score_predictions(identity, trained, rows, release_hash=RELEASE))
    auroc = found[(found["fold"] == "pooled") & (found["metric"] == "auroc")].set_index("unit")
    assert auroc["value"].tolist() == [1.0, 1.0]
    assert auroc.loc["cell", ["low", "high"]].tolist() == [1.0, 1.0]
    assert set(found["n_train"]) == {90}


def test_what_a_model_predicts_on_average_is_of_its_training_cells(tmp_path: Path) -> None:
    cells = noise(1)
    rows = np.arange(len(cells.sensitive))
    sides = (rows[:270], rows[270:])  # tested: of one response
    contender = Contender("naive_bayes", "comparator")
    found = trained(contender, chosen(class_weight=False))("0", cells, sides)
    training = cells.take(sides[0])
    expected = contender.predict(training, training, chosen(class_weight=False)).mean()
    assert found.train_mean == pytest.approx(expected)
    assert (found.n_train, found.n_train_sensitive) == (270, 150)
    assert len(found.probability) == 30


def test_a_head_takes_seed_and_options_of_the_run() -> None:
    cells = noise(2, cells=10)
    contender = Contender("m", "frozen")
    plain = chosen(class_weight=False)
    few = cells.take(np.arange(20, 60))  # one half as many sensitive cells
    first, again, other, weighted = (
        contender.predict(few, cells, one)
        for one in (plain, plain, replace(plain, seed=1), chosen(class_weight=True))
    )
    np.testing.assert_array_equal(first, again)
    assert np.abs(other - first).max() > 1e-4
    assert weighted.mean() > first.mean() + 1e-4


def test_components_are_fitted_on_training_cells() -> None:
    rng = np.random.default_rng(0)
    counts = rng.poisson(1.0, (80, 60))
    strange = counts.copy()
    strange[40:] = rng.poisson(20.0, (40, 60)) * (rng.random(60) < 0.2)
    train = np.arange(40)
    sides = []
    for one in (counts, strange):
        cells = TaskCells(pd.DataFrame(index=range(80)), np.arange(80) % 2 == 0)
        logged = log_normalise(sp.csr_matrix(one))
        _, known = _laid_out(cells, logged, train, chosen(class_weight=False))
        sides.append(known.features["expression"])
    np.testing.assert_array_equal(*sides)


@pytest.mark.parametrize("column", ["study_id", "batch"])
def test_harmony_brings_studies_and_batches_together(column: str) -> None:
    rng = np.random.default_rng(0)
    second = np.arange(200) % 100 >= 50
    obs = pd.DataFrame({"study_id": "a", "batch": "a"}, index=range(200))
    obs[column] = np.where(second, "b", "a")
    values = rng.normal(size=(200, 5)).astype(np.float32)
    values[:, 0] += 6 * second
    cells = TaskCells(obs, np.arange(200) % 2 == 0, features={"m": values})
    gaps = []
    for harmony in (False, True):
        given = replace(chosen(class_weight=False), harmony=harmony)
        whole, _ = _laid_out(cells, None, np.arange(100), given)
        found = whole.features["m"]
        gaps.append(np.linalg.norm(found[second].mean(0) - found[~second].mean(0)))
    assert gaps[1] < 0.8 * gaps[0]
