"""A head is measured on cells that it did not see, calibrated on them, and says how far is far."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from cellresponse.baselines.benchmark.metrics import log_odds
from cellresponse.baselines.benchmark.plan import Job
from cellresponse.baselines.predict import run, train
from cellresponse.baselines.predict.trained_head import TrainedHead
from cellresponse.baselines.predict.user_cells import UserCells
from cellresponse.builders.progress import silent
from cellresponse.releases.release import Release


def test_held_out_cells_are_predicted_by_heads_that_did_not_see_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[Any] = []

    def fit_head(values: NDArray[np.float32], sensitive: NDArray[np.bool_], *, seed: int) -> Any:
        seen.append((values[:, 0].tolist(), sensitive.tolist()))
        return None

    monkeypatch.setattr(train, "fit_head", fit_head)
    monkeypatch.setattr(train, "predict_head", lambda _, values: (values[:, 0] + 1) / 10)
    asked: list[list[int]] = []

    def features(rows: NDArray[np.int64]) -> Any:
        asked.append(rows.tolist())
        return np.arange(6, dtype=np.float32)[:, None], {}

    sensitive = np.arange(6) % 2 == 0
    rows = np.arange(6)
    folds = {"0": (rows[2:], rows[:2]), "1": (rows[:4], rows[4:])}
    tasks: Any = [SimpleNamespace(split="sample")]
    job = Job(pd.DataFrame(), sensitive, folds, tasks)
    truth, probability, ranks = train._held_out(job, features, 0, silent)
    assert asked == [[2, 3, 4, 5], [0, 1, 2, 3]]
    assert [values for values, _ in seen] == asked
    assert [labels for _, labels in seen] == [sensitive[one].tolist() for one in asked]
    assert truth.tolist() == [True, False, True, False]
    np.testing.assert_allclose(probability, [0.1, 0.2, 0.5, 0.6])
    means = np.repeat([0.45, 0.25], 2)
    np.testing.assert_allclose(ranks, log_odds(probability) - log_odds(means), atol=1e-8)


def test_a_head_that_runs_the_wrong_way_gives_the_share() -> None:
    truth = np.array([True, True, True, False])
    wrong = np.array([-1.0, -2.0, -1.5, 3.0])
    slope, intercept = train._calibration((truth, truth * 1.0, wrong), 0.3)
    assert (slope, intercept) == (0.0, pytest.approx(np.log(3)))


def test_calibration_is_on_the_scale_of_the_head_that_is_kept() -> None:
    rng = np.random.default_rng(0)
    ranks = rng.normal(size=4000)
    truth = rng.random(4000) < 1 / (1 + np.exp(-2 * ranks - 0.5))
    slope, intercept = train._calibration((truth, ranks, ranks), 0.8)
    assert slope == pytest.approx(2, rel=0.1)
    assert intercept + slope * np.log(4) == pytest.approx(0.5, abs=0.15)


def head(reference: NDArray[np.float64], far: float = 0.0) -> TrainedHead:
    arrays = {
        "reference": reference,
        "mean": reference.mean(axis=0),
        "scale": reference.std(axis=0),
        "calibration": np.array([0.5, 1.0]),
    }
    card: Any = SimpleNamespace(far=far, drug_id="d", model="m", organism="human")
    return TrainedHead(card, arrays)


def test_far_is_beyond_all_but_one_in_a_hundred_training_cells() -> None:
    reference = np.random.default_rng(0).normal(size=(300, 4)) * [1, 10, 100, 1000]
    scaled = reference / reference.std(axis=0)
    apart = np.linalg.norm(scaled[:, None] - scaled[None], axis=2)
    others = np.sort(apart, axis=1)[:, 1:10].mean(axis=1)
    assert train._far(head(reference)) == pytest.approx(np.quantile(others, 0.99))


def test_a_call_is_the_heads_own_and_confidence_is_calibrated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said = np.array([0.3, 0.5, 0.9])
    monkeypatch.setattr(TrainedHead, "probability", lambda *_: said)
    monkeypatch.setattr(TrainedHead, "distance", lambda *_: np.array([1.0, 2.0, 3.0]))
    read = UserCells(list("abc"), None, np.array([1.0, 0.5, 0.2]), 1, 2)  # type: ignore[arg-type]
    table = run._table(head(np.ones((2, 1)), far=2.0), read, np.zeros((3, 1), np.float32))
    assert table["call"].tolist() == ["resistant", "sensitive", "sensitive"]
    assert table["far"].tolist() == [False, False, True]
    expected = 1 / (1 + np.exp(-(0.5 * np.log(said / (1 - said)) + 1)))
    np.testing.assert_allclose(table["confidence"], expected)
    assert table["counts_mapped"].tolist() == [1.0, 0.5, 0.2]


def test_a_head_is_of_the_primary_collection(demo_release: Release) -> None:
    found = train.training_task(demo_release, "synthetic-drug-a")
    assert found.name.startswith("pooled/primary/")
    assert {"cell", "sample"} <= set(found.splits)
    assert train.HARDEST_FIRST == ("study", "patient", "sample", "line", "cell")


def test_a_head_is_kept_by_all_that_it_depends_on(
    demo_release: Release, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[Any] = []
    monkeypatch.setattr(run, "training_task", lambda *_, **__: SimpleNamespace(organism="human"))
    monkeypatch.setattr(run, "train_head", lambda *_, **__: None)
    monkeypatch.setattr(run, "save_head", lambda folder, _: kept.append(folder))

    def embedder(digest: str) -> Any:
        return SimpleNamespace(name="scgpt", weights_hash=digest * 64)

    for drug, model, seed in (
        ("a", None, 0),
        ("b", None, 0),
        ("a", None, 1),
        ("a", embedder("1"), 0),
        ("a", embedder("2"), 0),
    ):
        run._head(demo_release, drug, model, tmp_path, seed, silent)[1]()
    assert len(set(kept)) == 5
