"""A submission is refused where it would be mistaken for, or mixed with, other results."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from cellresponse.baselines.benchmark.options import make_options
from cellresponse.baselines.benchmark.plan import plan
from cellresponse.baselines.benchmark.submit import submit
from cellresponse.baselines.report.leaderboard import leaderboard
from cellresponse.baselines.report.page import report
from cellresponse.baselines.report.publish import publish
from cellresponse.releases.hub.push import push
from cellresponse.releases.release import Release
from cellresponse.schema.errors import Problems, ReleaseError


def options(**more):
    chosen = {
        "track": "pooled",
        "by": "regimen",
        "drug": "synthetic-drug-a",
        "splits": ("line",),
        "as_published": frozenset(),
    }
    return make_options(**(chosen | more))


@pytest.fixture(scope="module")
def rows(demo_release: Release) -> pd.DataFrame:
    jobs, _ = plan(demo_release, options())
    job = jobs[0]
    parts = [
        pd.DataFrame({"fold": fold, "cell_id": job.cells["cell_id"].iloc[test]})
        for fold, (_, test) in job.folds.items()
    ]
    made = pd.concat(parts, ignore_index=True)
    probability = (made.index % 10 + 0.5) / 10
    return made.assign(
        model="theirs", task=job.tasks[0].task, split="line", probability=probability
    )


def send(release: Release, rows: pd.DataFrame, out: Path, name: str = "sent", **more):
    file = out.parent / f"{name}.parquet"
    rows.to_parquet(file)
    return submit(release, options(**more), file, out)


@pytest.mark.parametrize("column", ["model", "task", "split", "fold", "cell_id"])
def test_an_empty_value_is_refused(demo_release, rows, tmp_path, column):
    one = rows.astype({column: object})
    one.loc[3, column] = None
    with pytest.raises(ReleaseError, match=rf"sent\.parquet, row 5, column {column}: is empty"):
        send(demo_release, one, tmp_path / "out")
    with pytest.raises(ReleaseError, match=rf"row 2, column {column}: is empty"):
        send(demo_release, one.assign(**{column: None}), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["random_forest", "SVC", "prompt-top10", "scgpt"])
def test_a_name_of_ours_is_refused(demo_release, rows, tmp_path, name):
    with pytest.raises(ReleaseError, match=f"row 2, column model: .*of ours '{name}'"):
        send(demo_release, rows.assign(model=name), tmp_path / "out")


def test_a_second_submission_is_refused_and_the_first_stays(demo_release, rows, tmp_path):
    out = tmp_path / "out"
    first = send(demo_release, rows, out)
    other = rows.assign(probability=1 - rows["probability"])
    for more in ({}, {"seed": 1}):
        with pytest.raises(ReleaseError, match=r"row 2.*another submission.*'theirs, "):
            send(demo_release, other, out, **more)
    pd.testing.assert_frame_equal(send(demo_release, rows, out), first)
    both = send(demo_release, other.assign(model="other"), out)
    assert set(leaderboard(both)["contender"]) == {"theirs", "other"}


def test_a_submission_alone_is_published(hub, demo_release, rows, tmp_path):
    send(demo_release, rows, tmp_path / "out")
    text = report(tmp_path / "out").read_text()
    assert "theirs" in text
    tables = tmp_path / "out" / "report"
    assert pd.read_csv(tables / "comparisons.csv").empty
    assert pd.read_csv(tables / "leaderboard.csv")["studies"].unique().tolist() == ["SYNTHETIC-1"]
    push(demo_release.folder, "org/data")
    assert publish(tmp_path / "out", "org/data").release == "demo-bench.1"


@pytest.mark.parametrize("faults", [{"random-split"}, {"two-logits"}])
def test_a_submission_is_never_as_published(demo_release, rows, tmp_path, faults):
    with pytest.raises(ReleaseError, match=r"--submit, --as-published.*Leave out"):
        send(demo_release, rows, tmp_path / "out", as_published=frozenset(faults))


def test_rows_are_counted_whatever_index_the_file_has(demo_release, rows, tmp_path):
    wrong = rows.assign(split=rows["split"].where(rows.index != 3, "nowhere"))
    wrong.index = wrong["cell_id"].rename("barcode")
    with pytest.raises(Problems, match=r"row 5, .*no such task and split"):
        send(demo_release, wrong, tmp_path / "out")


def test_an_index_of_the_file_may_be_a_column(demo_release, rows, tmp_path):
    found = send(demo_release, rows.set_index("cell_id"), tmp_path / "out")
    assert set(found["model"]) == {"theirs"}


def test_rows_may_come_in_any_order(demo_release, rows, tmp_path):
    first = send(demo_release, rows, tmp_path / "out")
    mixed = rows.sample(frac=1, random_state=0).reset_index(drop=True)
    again = send(demo_release, mixed, tmp_path / "again", "mixed")
    same = ["fold", "unit", "metric", "value", "n_train", "n_train_sensitive"]
    pd.testing.assert_frame_equal(again[same], first[same])
