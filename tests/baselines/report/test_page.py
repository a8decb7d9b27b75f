"""The report shows what the results say, and keeps the table behind each figure."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from cellresponse.baselines.benchmark.addendum import Addendum
from cellresponse.baselines.benchmark.faults import FAULTS
from cellresponse.baselines.benchmark.options import make_options
from cellresponse.baselines.benchmark.run import benchmark
from cellresponse.baselines.report.leaderboard import comparisons, leaderboard, recommendations
from cellresponse.baselines.report.maps import umap
from cellresponse.baselines.report.page import report
from cellresponse.baselines.report.published import beside_published, published_figures
from cellresponse.schema.errors import ReleaseError


@pytest.fixture(scope="module")
def results(demo_release, tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    options = make_options(
        track="pooled",
        by="source",
        category="patient_tumour",
        drug="synthetic-drug-a",
        models=("majority", "batch_only", "logistic_regression"),
        as_published=frozenset(),
    )
    return benchmark(demo_release, options, folder), folder


def test_page_and_tables(results, tmp_path):
    _, folder = results
    page = report(folder, tmp_path)
    text = page.read_text()
    assert "Which model to use" in text
    assert "src=" not in text.split("</script>")[-1]  # nothing is loaded from elsewhere
    tables = {path.stem for path in (tmp_path / "report").iterdir()}
    assert {"leaderboard", "recommendations", "comparisons", "confounding"} <= tables
    board = pd.read_csv(tmp_path / "report" / "leaderboard.csv")
    same = board[["task", "split", "cells_hash"]].drop_duplicates()
    assert not same.duplicated(["task", "split"]).any()  # whoever predicts them
    assert set(board["studies"]) <= {"SYNTHETIC-1", "SYNTHETIC-2", "SYNTHETIC-1;SYNTHETIC-2"}
    assert "| pooled | cell | logistic_regression |" in (tmp_path / "README.md").read_text()


def test_a_map_is_the_same_and_leaves_the_threads_alone():
    values = np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32)
    before = torch.get_num_threads()
    places = umap(values)
    assert torch.get_num_threads() == before
    assert places.shape == (60, 2)
    np.testing.assert_array_equal(umap(values), places)


def test_leaderboard_has_the_mean_over_folds(results):
    found, _ = results
    board = leaderboard(found)
    one = board[
        (board["contender"] == "logistic_regression")
        & (board["split"] == "cell")
        & (board["metric"] == "f1")
    ].iloc[0]
    folds = found[
        (found["model"] == "logistic_regression")
        & (found["split"] == "cell")
        & (found["metric"] == "f1")
        & (found["fold"] != "pooled")
    ]
    assert one["mean"] == pytest.approx(float(folds["value"].mean()))
    assert one["folds"] == len(folds) == 10


def test_pairs_are_tested_once(results):
    found, _ = results
    pairs = comparisons(found)
    of_cell = pairs[pairs["split"] == "cell"]
    assert len(of_cell) == 3
    assert of_cell["note"].str.contains("not independent|same difference|fewer").all()


def board(scores):
    rows = []
    for model, values in scores.items():
        for task, value in enumerate(values):
            rows += [
                {
                    "release_hash": "0" * 64,
                    "task": f"pooled/primary/human/cancer=x/{task}",
                    "track": "pooled",
                    "by": "cancer",
                    "category": "x",
                    "drug_id": str(task),
                    "basis": "time_course",
                    "split": "sample",
                    "fold": fold,
                    "unit": "cell",
                    "seed": 0,
                    "model": model,
                    "weights_hash": None,
                    "strategy": "comparator",
                    "options": "{}",
                    "metric": "auroc",
                    "value": value,
                    "low": None,
                    "high": None,
                    "n_test": 10,
                    "n_test_sensitive": 5,
                }
                for fold in ("0", "1", "pooled")
            ]
    return pd.DataFrame(rows)


def test_a_clear_winner_is_recommended():
    good, bad = [0.9, 0.91, 0.92, 0.93, 0.9], [0.6, 0.62, 0.61, 0.6, 0.6]
    (advice,) = recommendations(board({"svc": good, "batch_only": bad})).to_dict("records")
    assert advice["best"] == "svc"
    assert advice["not_worse"] == ""
    assert advice["advice"] == "Use svc."


def test_what_is_worse_by_the_same_in_every_task_is_worse():
    scores = {"svc": [0.9] * 6, "majority": [0.5] * 6}
    (advice,) = recommendations(board(scores)).to_dict("records")
    assert advice["not_worse"] == ""
    few = {name: values[:5] for name, values in scores.items()}
    assert recommendations(board(few))["not_worse"].tolist() == ["majority"]


def test_a_model_no_better_than_random_weights_is_not_recommended():
    scores = {"scgpt": [0.9, 0.91, 0.92], "scgpt@random": [0.9, 0.9, 0.92], "svc": [0.6, 0.7, 0.6]}
    (advice,) = recommendations(board(scores)).to_dict("records")
    assert "random weights is not distinguishable" in advice["advice"]
    assert "Only 3 task(s)" in advice["advice"]


def test_confounding_is_no_recommendation():
    scores = {"svc": [0.9, 0.95], "line_only": [0.9, 0.95]}
    (advice,) = recommendations(board(scores)).to_dict("records")
    assert "confounding" in advice["advice"]


def test_chance_is_no_recommendation():
    (advice,) = recommendations(board({"svc": [0.5, 0.55]})).to_dict("records")
    assert "do not predict" in advice["advice"]


def rows_beside(**other):
    ours = {
        "metric": "f1",
        "model": "scfoundation",
        "strategy": "frozen",
        "contender": "scfoundation (frozen)",
        "task": "pooled/primary/human/source=cell_line/all",
        "track": "pooled",
        "by": "source",
        "category": "cell_line",
        "split": "sample",
        "seed": 0,
        "options": make_options(track="pooled", by="source", as_published=frozenset()).recorded(
            "frozen"
        ),
        "studies": "GSE118767;GSE149214",
        "drug_id": None,
        "mean": 0.9,
        "sem": 0.01,
    }
    return beside_published(pd.DataFrame([ours | other])).to_dict("records")


def beside(**other):
    (row,) = rows_beside(**other)
    return row


def test_published_figures_stand_beside_ours():
    figures = published_figures()
    assert figures["value"].between(0, 1).all()
    assert figures["studies"].str.fullmatch(r"GSE\d+(;GSE\d+)*").all()
    row = beside()
    assert row["published"] == 0.971
    assert row["difference"] == pytest.approx(0.9 - 0.971)
    assert "sample on one side" in row["explanation"]


def test_a_difference_names_studies_and_options():
    # Data11 of the paper is GSE149214, which a release may have.
    explanation = beside()["explanation"]
    assert "not in this release" not in explanation
    assert "ours also has GSE118767, of which" in explanation
    assert "the paper also has GSE104987, GSE108397" in explanation
    assert "GSE149214" not in explanation
    assert "none of the published faults" in explanation
    theirs = published_figures().query("by == 'source' and category == 'cell_line'")
    chosen = {"track": "pooled", "by": "source", "stars": 2, "harmony": True}
    explanation = beside(
        studies=theirs["studies"].iloc[0],
        options=make_options(**chosen, as_published=frozenset({"two-logits"})).recorded("frozen"),
    )["explanation"]
    assert "also has" not in explanation
    for told in ("Harmony", "fewer than 2 stars", "faults ours has only two-logits"):
        assert told in explanation
    faulty = make_options(track="pooled", by="source", as_published=frozenset(FAULTS))
    same = {"studies": theirs["studies"].iloc[0], "split": "as-published"}
    assert beside(**same, options=faulty.recorded("frozen"))["explanation"] == (
        "nothing that is recorded differs"
    )


def told(**other):
    """The whole explanation of a row that differs from the paper's in nothing else."""
    theirs = published_figures().query("by == 'source' and category == 'cell_line'")
    faults = frozenset(FAULTS)
    plain = make_options(track="pooled", by="source", as_published=faults).recorded("frozen")
    same = {"studies": theirs["studies"].iloc[0], "split": "as-published", "options": plain}
    return beside(**(same | other))["explanation"]


def prompted(model, **other):
    """Rows of a prompt about lung cancer, on the track that has the validation collection."""
    theirs = published_figures().query("model == 'gpt-4o-mini' and category == 'lung_cancer'")
    chosen = {"track": "zero-shot", "by": "cancer", "as_published": frozenset(FAULTS)}
    ours = {
        "model": model,
        "strategy": "prompt",
        "track": "zero-shot",
        "task": "external/both/human/cancer=lung_cancer/osimertinib",
        "by": "cancer",
        "category": "lung_cancer",
        "split": "sample",
        "studies": theirs["studies"].iloc[0],
        "options": make_options(**chosen).recorded("prompt"),
    }
    return rows_beside(**(ours | other))


OTHER_CELLS = "ours is tested on the validation collection, the paper's on the primary one"


@pytest.mark.parametrize("prompt", ["top10", "top100", "chain-of-thought"])
def test_published_figures_stand_beside_prompts(prompt):
    (row,) = prompted(f"prompt-{prompt}:gpt-4o-mini-2024-07-18")
    assert row["published"] == 0.594
    assert row["explanation"] == OTHER_CELLS


def test_another_language_model_is_told():
    (row,) = prompted("prompt-top10:gpt-4o-mini")
    assert row["explanation"] == (
        f"ours is gpt-4o-mini, the paper's gpt-4o-mini-2024-07-18; {OTHER_CELLS}"
    )
    assert prompted("prompt-top10:gpt-4-turbo") == []


def test_another_server_is_told():
    chosen = {"track": "zero-shot", "by": "cancer", "as_published": frozenset(FAULTS)}
    elsewhere = make_options(**chosen, prompt_url="http://localhost:8000/v1").recorded("prompt")
    (row,) = prompted("prompt-top10:gpt-4o-mini-2024-07-18", options=elsewhere)
    assert row["explanation"] == f"{OTHER_CELLS}; ours was asked at http://localhost:8000/v1"


def test_other_tracks_keep_the_collection():
    row = beside(task="pooled/validation/human/source=cell_line/all")
    assert row["published"] == 0.901


@pytest.mark.parametrize(
    ("model", "difference"),
    [
        ("geneformer", "ours is geneformer, the paper's geneformer-cardiomyopathies"),
        ("geneformer-12l", "ours is geneformer-12l, the paper's geneformer-cardiomyopathies"),
        ("geneformer-cardiomyopathies", "nothing that is recorded differs"),
    ],
)
def test_another_checkpoint_is_told(model, difference):
    figure = published_figures().query("model == 'geneformer' and by == 'drug_class'").iloc[0]
    where = {name: figure[name] for name in ("by", "category", "studies")}
    task = f"pooled/primary/human/{figure['by']}={figure['category']}/all"
    assert told(model=model, task=task, **where) == difference


def test_other_training_is_told():
    chosen = {"track": "pooled", "by": "source", "as_published": frozenset(FAULTS)}
    trained = make_options(**chosen, class_weight=True, patience=3).recorded("frozen")
    assert told(options=trained) == (
        "ours is trained with class weight, the paper's without; "
        "ours is trained with patience 3, the paper's without"
    )
    plain = make_options(**chosen)
    shorter = replace(plain, head=replace(plain.head, epochs=2)).recorded("frozen")
    assert told(options=shorter) == "ours is trained with epochs 2, the paper's with 10"
    ranked = make_options(**chosen, rank=4).recorded("lora")
    assert told(strategy="lora", options=ranked) == (
        "ours is trained with rank 4, the paper's with 8"
    )


def test_no_results_is_one_clear_error(tmp_path: Path):
    with pytest.raises(ReleaseError, match="no benchmark results"):
        report(tmp_path)
    Addendum(tmp_path, "demo", "0" * 64).finish([])
    with pytest.raises(ReleaseError, match=r"results\.parquet: there are no results to report"):
        report(tmp_path)
