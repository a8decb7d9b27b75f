"""Results are only averaged and weighed where they are of one contender and one experiment."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from cellresponse.baselines.benchmark.experiments import over_seeds
from cellresponse.baselines.benchmark.options import BenchmarkOptions
from cellresponse.baselines.benchmark.summary import summary_lines
from cellresponse.baselines.report.card import write_card
from cellresponse.baselines.report.figures import (
    _bars,
    _confounding,
    _mean_over_tasks,
    _runtime,
)
from cellresponse.baselines.report.leaderboard import comparisons, leaderboard, recommendations

FOLDS = 5
HIGH = [0.80, 0.81, 0.79, 0.82, 0.80]
LOW = [0.70, 0.73, 0.71, 0.70, 0.72]


def run(model, values, *, metric="auroc", **other):
    """Rows of one model on one task, a value a fold."""
    chosen = {
        "task": "pooled/primary/human/regimen=x/x",
        "track": "pooled",
        "by": "regimen",
        "category": "x",
        "drug_id": "x",
        "basis": "time_course",
        "split": "cell",
        "seed": 0,
        "weights_hash": None,
        "strategy": "comparator",
        "options": BenchmarkOptions(track="pooled", by="regimen").recorded("comparator"),
        "unit": "cell",
        "n_train": 80,
        "n_test": 20,
        "n_test_sensitive": 10,
        "low": None,
        "high": None,
        **other,
    }
    pooled = None if values[0] is None else float(np.mean(values))
    return pd.DataFrame(
        [
            {**chosen, "model": model, "metric": metric, "fold": fold, "value": value}
            for fold, value in [*enumerate(values), ("pooled", pooled)]
        ]
    ).astype({"fold": str})


def options(**chosen):
    return BenchmarkOptions(track="pooled", by="regimen", **chosen).recorded("comparator")


def of_tasks(model, scores, **other):
    return pd.concat([run(model, [v] * FOLDS, task=f"t{i}", **other) for i, v in enumerate(scores)])


def advice_of(*runs):
    return recommendations(pd.concat(runs)).to_dict("records")


def test_models_without_a_task_in_common_are_not_weighed(tmp_path):
    results = pd.concat(
        [
            pd.concat([run("svc", [0.9] * FOLDS, task=task) for task in ("t0", "t1")]),
            pd.concat([run("mlp", [0.6] * FOLDS, task=task) for task in ("t2", "t3")]),
        ]
    )
    (row,) = recommendations(results).to_dict("records")
    assert (row["tasks"], row["copies"], row["best"]) == (0, 0, None)
    assert row["advice"].startswith("No task has a score of all these models")
    manifest = dict.fromkeys(("release", "release_hash", "code_version", "sha256"), "x")
    write_card(tmp_path / "card", manifest, leaderboard(results), recommendations(results))
    assert "cannot be weighed" in (tmp_path / "card").read_text()


DIFFERENT = [
    {"options": options(harmony=True)},
    {"options": options(stars=2)},
    {"options": options(as_published=frozenset({"two-logits"}))},
    {"track": "cross"},
]


@pytest.mark.parametrize("other", DIFFERENT)
@pytest.mark.parametrize("first", [True, False])
def test_results_of_other_options_or_tracks_are_not_mixed(other, first):
    plain = [run("svc", HIGH), run("mlp", LOW)]
    beside = [run("svc", [0.5] * FOLDS, **other)]
    results = pd.concat([*beside, *plain] if first else [*plain, *beside])
    means = leaderboard(results)
    one = means[(means["contender"] == "svc") & (means["track"] == "pooled")]
    assert one["mean"].tolist() == [pytest.approx(np.mean(HIGH))]
    (advice,) = (
        row
        for row in recommendations(results).to_dict("records")
        if (row["track"], row["setting"]) == ("pooled", "")
    )
    assert (advice["best"], advice["mean"]) == ("svc", pytest.approx(np.mean(HIGH)))
    pairs = comparisons(results)
    named = (pairs["track"] == "pooled") & (pairs["first"] == "mlp") & (pairs["second"] == "svc")
    assert pairs[named]["difference"].tolist() == [pytest.approx(np.mean(LOW) - np.mean(HIGH))]
    lines = list(summary_lines(results))
    assert len(lines) == 5
    assert sum("0.804" in line for line in lines) == 1


def test_names_tell_options_and_weights_apart():
    lora = json.loads(BenchmarkOptions(track="pooled", by="x", rank=16).recorded("lora"))
    lora["head"]["class_weight"] = True
    results = pd.concat(
        [
            run("svc", HIGH, options=options(harmony=True, stars=2)),
            run("scgpt", HIGH, strategy="lora", options=json.dumps(lora), weights_hash="a" * 64),
            run("uce", HIGH, strategy="frozen", weights_hash="a" * 64),
            run("uce", LOW, strategy="frozen", weights_hash="b" * 64),
            run("theirs", HIGH, strategy="submitted", weights_hash="c" * 64),
            run("theirs", HIGH, strategy="submitted", weights_hash="d" * 64, task="other"),
        ]
    )
    assert set(leaderboard(results)["contender"]) == {
        "svc (harmony, stars 2)",
        "scgpt (lora, class weight, rank 16)",
        "uce (frozen, weights aaaaaaaa)",
        "uce (frozen, weights bbbbbbbb)",
        "theirs",
    }


def test_published_faults_give_no_advice():
    faulty = {"options": options(as_published=frozenset({"two-logits"}))}
    (advice,) = advice_of(run("svc", HIGH, **faulty), run("mlp", LOW, **faulty))
    assert advice["setting"] == "as published: two-logits"
    assert advice["advice"].startswith("No advice follows")


def test_seeds_are_not_tasks():
    seeds = [run("svc", HIGH, seed=seed) for seed in range(6)]
    worse = [run("mlp", LOW, seed=seed) for seed in range(6)]
    (advice,) = advice_of(*seeds, *worse)
    assert (advice["tasks"], advice["copies"], advice["not_worse"]) == (1, 0, "mlp")
    assert "Only 1 task(s)" in advice["advice"]


def test_models_with_other_seeds_are_weighed():
    (advice,) = advice_of(run("svc", HIGH, seed=0), run("mlp", LOW, seed=1))
    assert (advice["tasks"], advice["best"], advice["not_worse"]) == (1, "svc", "mlp")


def test_copies_of_an_experiment_count_once(tmp_path):
    scores = pd.concat([of_tasks("svc", [0.9] * 6), of_tasks("mlp", [0.8] * 6)])
    copied = scores.assign(cells_hash="one", studies="s")
    (advice,) = advice_of(copied)
    assert (advice["tasks"], advice["copies"], advice["not_worse"]) == (1, 5, "mlp")
    assert "Only 1 task(s)" in advice["advice"]
    manifest = dict.fromkeys(("release", "release_hash", "code_version", "sha256"), "x")
    board = leaderboard(copied)
    write_card(tmp_path / "card", manifest, board, recommendations(copied))
    card = (tmp_path / "card").read_text()
    assert "(1 tasks; 5 copies of them not counted)" in card
    assert "| pooled | cell | svc | 1 | 0.900 | undefined |" in card
    (drawn,) = _bars(board.assign(metric="f1"))
    assert drawn.table["tasks"].tolist() == [1, 1]
    apart = scores.assign(cells_hash=scores["task"], studies="s")
    (advice,) = advice_of(apart)
    assert (advice["tasks"], advice["copies"], advice["not_worse"]) == (6, 0, "")


def test_comparators_without_expression_are_known_under_any_option():
    harmony = {"options": options(harmony=True)}
    results = pd.concat([run("svc", LOW, **harmony), run("line_only", HIGH, **harmony)])
    (drawn,) = _confounding(leaderboard(results))
    assert drawn.table["without_expression"].tolist() == [pytest.approx(np.mean(HIGH))]
    assert drawn.table["contender"].tolist() == ["svc (harmony)"]
    (advice,) = advice_of(results)
    assert "confounding" in advice["advice"]


def test_one_contender_has_no_pairs():
    pairs = comparisons(run("svc", HIGH))
    assert pairs.empty
    assert {"track", "first", "second", "p_corrected"} <= set(pairs)


def test_a_third_model_does_not_change_the_test_of_two():
    two = pd.concat([run("svc", HIGH), run("mlp", LOW)])
    prompt = run("prompt-top10:x", [None] * FOLDS, strategy="prompt", n_train=0)
    three = comparisons(pd.concat([two, prompt]))
    (alone,) = comparisons(two)["p"]
    beside = three[(three["first"] == "mlp") & (three["second"] == "svc")]
    assert beside["p"].tolist() == [alone]


def test_pairs_are_corrected_together():
    pairs = comparisons(pd.concat([run("svc", HIGH), run("mlp", LOW), run("majority", LOW[::-1])]))
    tested = pairs.dropna(subset=["p"]).sort_values("p")
    assert len(tested) == 3
    assert tested["p_corrected"].iloc[0] == pytest.approx(3 * tested["p"].iloc[0])


def test_pairs_are_of_the_same_cells():
    here = run("svc", HIGH).assign(cells_hash="one", studies="s")
    there = run("mlp", LOW).assign(cells_hash="two", studies="s")
    assert comparisons(pd.concat([here, there])).empty


def test_the_best_of_those_without_expression_counts():
    results = pd.concat(
        [run("batch_only", LOW), run("line_only", HIGH), run("depth_only", LOW), run("svc", HIGH)]
    )
    (drawn,) = _confounding(leaderboard(results))
    assert drawn.table["without_expression"].tolist() == [pytest.approx(np.mean(HIGH))]
    (advice,) = advice_of(results)
    assert advice["confounded"] == pytest.approx(np.mean(HIGH))


@pytest.mark.parametrize(("blind", "confounded"), [(0.87, False), (0.89, True)])
def test_confounding_is_what_comes_within_two_hundredths(blind, confounded):
    (advice,) = advice_of(of_tasks("svc", [0.9] * 6), of_tasks("line_only", [blind] * 6))
    assert ("show confounding" in advice["advice"]) == confounded


def test_a_pair_is_tested_with_the_variance_of_shared_training():
    (pair,) = comparisons(pd.concat([run("svc", HIGH), run("mlp", LOW)])).to_dict("records")
    apart = np.array(LOW) - np.array(HIGH)
    t = apart.mean() / np.sqrt((1 / FOLDS + 20 / 80) * apart.var(ddof=1))
    assert (pair["first"], pair["folds"]) == ("mlp", FOLDS)
    assert pair["p"] == pytest.approx(2 * stats.t.sf(abs(t), FOLDS - 1))


def test_a_task_with_more_seeds_counts_once():
    often = [run("svc", [0.9] * FOLDS, task="a", seed=seed) for seed in range(4)]
    (advice,) = advice_of(*often, run("svc", [0.5] * FOLDS, task="b"))
    assert (advice["tasks"], advice["mean"]) == (2, pytest.approx(0.7))
    assert advice["sem"] == pytest.approx(0.2)


def test_splits_of_the_same_cells_are_not_one_experiment():
    both = pd.concat(
        run("svc", values, split=split, task=split).assign(cells_hash="one", studies="s")
        for split, values in (("cell", HIGH), ("sample", LOW))
    )
    found = {row["split"]: row["mean"] for row in advice_of(both)}
    assert found == {"cell": pytest.approx(np.mean(HIGH)), "sample": pytest.approx(np.mean(LOW))}
    assert set(leaderboard(both)["experiment"]) == {"cell", "sample"}


def test_speed_is_cells_in_a_second():
    runtime = pd.DataFrame({"model": ["m"], "step": ["embed"], "cells": [300], "seconds": [2.0]})
    (drawn,) = _runtime(runtime)
    assert drawn.table["cells_per_s"].tolist() == [150.0]


def test_a_seed_with_more_copies_counts_once():
    rows = pd.DataFrame({"experiment": "a", "seed": [0, 0, 1], "pooled": [0.9, 0.9, 0.6]})
    assert over_seeds(rows, "pooled", [])["pooled"].tolist() == [pytest.approx(0.75)]


def test_means_are_of_cells_not_of_samples():
    cells, samples = run("svc", HIGH), run("svc", LOW, unit="sample")
    (row,) = leaderboard(pd.concat([cells, samples[samples["fold"] == "pooled"]])).to_dict(
        "records"
    )
    assert (row["mean"], row["folds"]) == (pytest.approx(np.mean(HIGH)), FOLDS)
    assert row["pooled"] == pytest.approx(np.mean(HIGH))


def test_the_pooled_score_stands_in_where_no_fold_has_one():
    pooled = run("svc", [None] * FOLDS, task="b")
    pooled.loc[pooled["fold"] == "pooled", "value"] = 0.5
    board = leaderboard(pd.concat([run("svc", [0.9] * FOLDS, task="a"), pooled]))
    (row,) = _mean_over_tasks(board, "auroc", ["contender"]).to_dict("records")
    assert (row["mean"], row["sem"], row["tasks"]) == (
        pytest.approx(0.7),
        pytest.approx(0.2),
        2,
    )


def test_the_card_lists_the_best_first(tmp_path):
    results = pd.concat([run("a", LOW), run("b", HIGH)])
    manifest = dict.fromkeys(("release", "release_hash", "code_version", "sha256"), "x")
    write_card(tmp_path / "card", manifest, leaderboard(results), recommendations(results))
    lines = [line for line in (tmp_path / "card").read_text().splitlines() if "| cell |" in line]
    assert [line.split(" | ")[2] for line in lines] == ["b", "a"]
