"""The benchmark on the demo's planted truth: finds it, repeats itself, refuses what is wrong."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from cellresponse.baselines.benchmark import comparators
from cellresponse.baselines.benchmark.addendum import read_results
from cellresponse.baselines.benchmark.options import make_options
from cellresponse.baselines.benchmark.run import benchmark
from cellresponse.baselines.benchmark.submit import submit
from cellresponse.baselines.embed.cells import genes_of
from cellresponse.baselines.pretrain.vocabularies import write_vocabulary
from cellresponse.releases.release import Release
from cellresponse.schema.errors import ModelError, Problems, ReleaseError

FAST = ("majority", "batch_only", "line_only", "logistic_regression")


def options(**more):
    chosen = {
        "track": "pooled",
        "by": "regimen",
        "drug": "synthetic-drug-a",
        "models": FAST,
        "splits": ("cell", "sample"),
        "as_published": frozenset(),
    }
    return make_options(**(chosen | more))


@pytest.fixture(scope="module")
def results(demo_release: Release, tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("results")
    return benchmark(demo_release, options(), folder), folder


def value(results, model, split, metric, task="pooled/primary/human"):
    rows = results[
        (results["model"] == model)
        & (results["split"] == split)
        & (results["metric"] == metric)
        & (results["fold"] == "pooled")
        & (results["unit"] == "cell")
        & results["task"].str.startswith(task)
    ]
    assert len(rows) == 1
    return rows.iloc[0]


def test_planted_truth_is_found(results):
    found, _ = results
    assert value(found, "logistic_regression", "cell", "auroc")["value"] > 0.9
    assert abs(value(found, "majority", "cell", "auroc")["value"] - 0.5) < 0.1


def test_batch_alone_fails_on_groups(results):
    found, _ = results
    assert value(found, "batch_only", "sample", "auroc")["value"] < 0.6


def test_what_cannot_be_split_is_named(results):
    _, folder = results
    named = pd.read_csv(folder / "not_evaluable.csv")
    assert not named.duplicated().any()
    assert set(named["split"]) <= {"cell", "sample"}


def test_a_model_that_a_fold_is_too_small_for_is_named(demo_release, tmp_path, monkeypatch):
    monkeypatch.setattr(comparators, "CALIBRATION_FOLDS", 10**6)
    chosen = options(models=("svc", "majority"), splits=("cell",))
    found = benchmark(demo_release, chosen, tmp_path / "two")
    assert set(found["model"]) == {"majority"}
    named = pd.read_csv(tmp_path / "two" / "not_evaluable.csv")
    reasons = named.loc[named["task"].isin(found["task"]), "reason"]
    assert reasons.str.match(r"svc cannot be calibrated: .*to train on \(\d+\)$").all()
    assert set(named["task"]) >= set(found["task"])
    with pytest.raises(ReleaseError, match="svc cannot be calibrated"):
        benchmark(demo_release, options(models=("svc",), splits=("cell",)), tmp_path / "one")


def test_the_folder_says_what_it_is(results, demo_release):
    found, folder = results
    manifest, again = read_results(folder)
    assert manifest["release_hash"] == demo_release.content_hash
    pd.testing.assert_frame_equal(found, again)
    one = value(found, "logistic_regression", "cell", "f1")
    assert one["low"] < one["value"] < one["high"]
    assert one["n_test_sensitive"] < one["n_test"]


def test_a_changed_result_is_noticed(results, tmp_path):
    import shutil

    _, folder = results
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    path = next((copy / "predictions").iterdir())
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(ReleaseError, match="was changed"):
        read_results(copy)


def test_same_seed_same_bits_with_any_number_of_workers(results, demo_release, tmp_path):
    found, _ = results
    again = benchmark(demo_release, options(workers=2), tmp_path / "again")
    pd.testing.assert_frame_equal(found, again, check_exact=True)


def test_a_killed_run_goes_on(results, demo_release, tmp_path):
    found, _ = results
    lines = []

    def stop(line, *, done=0, total=0):
        lines.append(line)
        if done == 3:
            raise KeyboardInterrupt

    folder = tmp_path / "killed"
    with pytest.raises(KeyboardInterrupt):
        benchmark(demo_release, options(), folder, stop)
    with pytest.raises(ReleaseError, match="not finished"):
        read_results(folder)
    totals = []
    resumed = benchmark(
        demo_release, options(), folder, lambda line, *, done=0, total=0: totals.append(total)
    )
    pd.testing.assert_frame_equal(found, resumed, check_exact=True)
    assert totals[0] == len(FAST) * 4 - 3  # two collections, two splits each


def test_shuffled_labels_teach_nothing(demo_release, monkeypatch, tmp_path):
    from cellresponse.baselines.benchmark import run

    def shuffled(release, chosen):
        jobs, problems = original(release, chosen)
        rng = np.random.default_rng(0)
        for job in jobs:
            job.sensitive = rng.permutation(job.sensitive)
            job.cells["response"] = np.where(job.sensitive, "sensitive", "resistant")
        return jobs, problems

    original = run.plan
    monkeypatch.setattr(run, "plan", shuffled)
    write_vocabulary("geneformer", genes_of(demo_release, "human"), tmp_path / "geneformer")
    models = ("logistic_regression", "random_forest", "naive_bayes", "depth_only", "svc", "mlp")
    chosen = options(models=(*models, "geneformer@random"), splits=("cell",), weights=tmp_path)
    found = benchmark(demo_release, chosen, tmp_path / "shuffled")
    for model in chosen.models:
        assert abs(value(found, model, "cell", "auroc")["value"] - 0.5) < 0.06


def test_another_seed_is_within_the_standard_error(demo_release, tmp_path):
    means = []
    for seed in (0, 1):
        chosen = options(models=("random_forest",), splits=("cell",), seed=seed)
        found = benchmark(demo_release, chosen, tmp_path / str(seed))
        rows = found[
            (found["fold"] != "pooled")
            & (found["metric"] == "auroc")
            & found["task"].str.startswith("pooled/primary/human")
        ]
        values = rows["value"].astype(float)
        means.append((values.mean(), values.sem()))
    (first, error), (second, _) = means
    assert first != second
    assert abs(first - second) <= error


def test_copied_controls_raise_published_scores_and_leave_ours(results, demo_release, tmp_path):
    task = "pooled/primary/human/source=cell_line/all"
    scores = {}
    for name, faults in {"once": {"random-split"}, "copied": {"copied-controls"}}.items():
        chosen = options(
            by="source",
            category="cell_line",
            drug=None,
            models=("random_forest",),
            as_published=frozenset(faults),
        )
        found = benchmark(demo_release, chosen, tmp_path / name)
        scores[name] = value(found, "random_forest", "as-published", "auroc", task)
    assert scores["copied"]["n_test"] > scores["once"]["n_test"]
    assert scores["copied"]["value"] > scores["once"]["value"] + 0.01
    # Ours takes a physical cell once, or says why it cannot.
    with pytest.raises(ReleaseError, match="labels of several drugs"):
        benchmark(
            demo_release,
            options(by="source", category="cell_line", drug=None, splits=("study",)),
            tmp_path / "ours",
        )
    _, folder = results
    for path in (folder / "predictions").iterdir():
        assert not pq.read_table(path).to_pandas()["cell_id"].duplicated().any()


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"by": "tissue", "category": "nowhere"}, ReleaseError, "no such task"),
        ({"splits": ("study",)}, ReleaseError, "one study"),
        ({"models": ("nonesuch",)}, ModelError, "no such model"),
        ({"models": ("majorty",)}, ModelError, "Allowed: majority, .*svc, .*prompt-top10, .*scgpt"),
        ({"models": ("majority@random",)}, ModelError, "no such model"),
        ({"models": ("geneformer",)}, ModelError, "weights of geneformer are missing"),
        ({"shots": 3}, ReleaseError, "few-shot"),
        ({"strategy": "lora", "patience": 5}, ReleaseError, "fixed number of epochs.*--patience 5"),
        ({"strategy": "lora", "harmony": True}, ReleaseError, "tokens of counts.*--harmony"),
    ],
)
def test_what_cannot_be_run_is_one_clear_error(demo_release, tmp_path, wrong, error, message):
    with pytest.raises(error, match=message):
        benchmark(demo_release, options(**wrong), tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_refused_run_leaves_finished_results_as_they_are(results, demo_release):
    _, folder = results
    before = (folder / "manifest.json").read_bytes()
    for wrong in ("majorty", "geneformer"):
        with pytest.raises(ModelError):
            benchmark(demo_release, options(models=("majority", wrong)), folder)
    assert (folder / "manifest.json").read_bytes() == before
    read_results(folder)


def test_a_track_without_tasks_names_both_tracks(mini_release, tmp_path):
    with pytest.raises(
        ReleaseError, match=r"track zero-shot uses the tasks of the track external.* no such task"
    ):
        benchmark(mini_release, options(track="zero-shot", drug=None), tmp_path / "none")


def test_results_of_another_release_are_refused(results, mini_release, demo_release):
    _, folder = results
    other = Release(demo_release.folder, {**demo_release.root, "content": {"hash": "0" * 64}})
    with pytest.raises(ReleaseError, match="another release"):
        benchmark(other, options(), folder)


@pytest.fixture
def submission(results, tmp_path):
    _, folder = results
    parts = [pq.read_table(path).to_pandas() for path in (folder / "predictions").iterdir()]
    rows = pd.concat(parts)
    rows = rows[(rows["model"] == "logistic_regression") & (rows["split"] == "cell")]
    rows = rows.assign(model="their-model").reset_index(drop=True)
    return rows[["model", "task", "split", "fold", "cell_id", "probability"]]


def send(release, rows, tmp_path):
    file = tmp_path / "sent.parquet"
    rows.to_parquet(file)
    return submit(release, options(), file, tmp_path / "theirs")


def test_a_submission_scores_as_the_same_predictions_do(
    results, submission, demo_release, tmp_path
):
    found, _ = results
    theirs = send(demo_release, submission, tmp_path)
    # Pooled ranks differ: what the model predicts on its training cells is not sent.
    for metric in ("f1", "brier", "ece"):
        ours = value(found, "logistic_regression", "cell", metric)["value"]
        assert value(theirs, "their-model", "cell", metric)["value"] == ours


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda rows: rows.assign(probability=np.nan), "row 2.*not a probability"),
        (lambda rows: rows.iloc[1:], "not predicted"),
        (lambda rows: pd.concat([rows, rows.iloc[:1]]), "predicted twice"),
        (lambda rows: rows.assign(cell_id="f" * 24), "no test cell"),
        (lambda rows: rows.assign(task="pooled/none"), "no such task and split"),
        (lambda rows: rows.assign(fold="77"), "no such fold"),
        (lambda rows: rows.drop(columns="fold"), "column is missing"),
        (lambda rows: rows.iloc[:0], "no predictions"),
    ],
)
def test_a_wrong_submission_is_refused_whole(submission, demo_release, tmp_path, spoil, message):
    with pytest.raises((ReleaseError, Problems), match=message):
        send(demo_release, spoil(submission), tmp_path)
    assert not (tmp_path / "theirs").exists()
