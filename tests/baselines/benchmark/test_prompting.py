"""Language models in the benchmark: asked, kept, scored, and with the published faults."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from loopback_model import Endpoint

from cellresponse.baselines.benchmark.naming import with_names
from cellresponse.baselines.benchmark.options import make_options
from cellresponse.baselines.benchmark.run import benchmark
from cellresponse.releases.release import Release
from cellresponse.schema.errors import ModelError

Run = Callable[..., tuple[int, str, str]]


def chosen(endpoint: Endpoint, *faults: str, **more: Any) -> Any:
    given = {
        "track": "pooled",
        "by": "source",
        "category": "patient_tumour",
        "drug": "synthetic-drug-a",
        "models": ("prompt-top10", "majority"),
        "splits": ("cell",),
        "as_published": frozenset(faults),
        "prompt_url": endpoint.url,
    }
    return make_options(**(given | more))


def pooled(found: pd.DataFrame, metric: str, unit: str = "cell") -> Any:
    rows = found[
        (found["strategy"] == "prompt")
        & (found["fold"] == "pooled")
        & (found["unit"] == unit)
        & (found["metric"] == metric)
    ]
    assert len(rows) == 1
    return rows.iloc[0]


def predictions(folder: Path) -> pd.DataFrame:
    tables = [pd.read_parquet(path) for path in (folder / "predictions").iterdir()]
    return pd.concat(table for table in tables if (table["strategy"] == "prompt").all())


def test_every_test_cell_is_asked_about_once(
    endpoint: Endpoint, demo_release: Release, tmp_path: Path
) -> None:
    lines: list[str] = []

    def report(line: str, *, done: int = 0, total: int = 0) -> None:
        lines.append(line)

    found = benchmark(demo_release, chosen(endpoint), tmp_path, report)
    rows = predictions(tmp_path)
    assert rows["cell_id"].is_unique
    assert set(rows["model"]) == {"prompt-top10:gpt-4o-mini-2024-07-18"}
    assert len(endpoint.bodies) == -(-len(rows) // 10)
    assert f"{len(rows):,} cells in {len(endpoint.bodies):,} requests" in lines[0]
    assert "about $" in lines[0]
    called = (rows["probability"] >= 0.5) == (rows["response"] == "sensitive")
    assert pooled(found, "accuracy")["value"] == pytest.approx(called.mean())
    assert (pooled(found, "accuracy")["n_train"], pooled(found, "accuracy")["n_test"]) == (
        0,
        len(rows),
    )
    for metric in ("auroc", "auprc", "brier", "ece"):
        assert pd.isna(pooled(found, metric)["value"])
        assert "no probability" in pooled(found, metric)["undefined"]
    asked = len(endpoint.bodies)
    again = benchmark(demo_release, chosen(endpoint), tmp_path)
    assert len(endpoint.bodies) == asked
    pd.testing.assert_frame_equal(found, again, check_exact=True)


def test_another_task_asks_about_its_own_cells_only(
    endpoint: Endpoint, demo_release: Release, tmp_path: Path
) -> None:
    benchmark(demo_release, chosen(endpoint), tmp_path)
    first, known = len(endpoint.bodies), len(predictions(tmp_path))
    benchmark(demo_release, chosen(endpoint, category=None), tmp_path)
    new = predictions(tmp_path)["cell_id"].nunique() - known
    assert new > 0
    assert len(endpoint.bodies) - first == -(-new // 10)


@pytest.mark.parametrize(
    "given",
    [
        {"track": "zero-shot", "by": "cancer", "category": None, "drug": None, "splits": ()},
        {"as_published": frozenset({"split-per-model"})},
    ],
    ids=["zero-shot", "own split"],
)
def test_no_training_cell_is_asked_about(
    endpoint: Endpoint, demo_release: Release, tmp_path: Path, given: dict[str, Any]
) -> None:
    options = chosen(endpoint, models=("prompt-top10",), **given)
    benchmark(demo_release, options, tmp_path)
    (said,) = (tmp_path / "prompts").glob("*.csv")
    assert set(pd.read_csv(said)["cell_id"]) == set(predictions(tmp_path)["cell_id"])


def test_a_cell_without_an_answer_counts_as_wrong(
    endpoint: Endpoint, demo_release: Release, tmp_path: Path
) -> None:
    endpoint.reply = lambda body, numbers: json.dumps(
        {"cells": [{"cell": n, "response": "sensitive"} for n in numbers if n != 3]}
    )
    found = benchmark(demo_release, chosen(endpoint), tmp_path)
    rows = predictions(tmp_path)
    wrong = ((rows["probability"] >= 0.5) != (rows["response"] == "sensitive")).mean()
    assert pooled(found, "accuracy")["value"] == pytest.approx(1 - wrong)
    (said,) = (tmp_path / "prompts").glob("*.csv")
    table = pd.read_csv(said).set_index("cell_id")
    silent = table[table["response"].isna()]
    assert 0 < len(silent) < len(table)
    assert silent["note"].str.startswith("no answer in 3 replies").all()
    own = rows[rows["cell_id"].isin(silent.index)]
    assert len(own) == len(silent)
    assert ((own["probability"] >= 0.5) != (own["response"] == "sensitive")).all()
    # A run that goes on finds everything done: the silent cells are not asked about again.
    asked = len(endpoint.bodies)
    again = benchmark(demo_release, chosen(endpoint), tmp_path)
    assert len(endpoint.bodies) == asked
    pd.testing.assert_frame_equal(found, again, check_exact=True)


def test_published_faults(endpoint: Endpoint, demo_release: Release, tmp_path: Path) -> None:
    def partly(body: dict[str, Any], numbers: list[int]) -> str:
        said = [{"cell": n, "response": "sensitive" if n % 3 else "resistant"} for n in numbers]
        return json.dumps({"cells": [one for one in said if one["cell"] != 4]})

    endpoint.reply = partly
    right = benchmark(demo_release, chosen(endpoint, "dropped-cells"), tmp_path / "dropped")
    rows = predictions(tmp_path / "dropped")
    everything = predictions_of_all(demo_release, endpoint, tmp_path / "all")
    requests = len(everything) // 10
    assert len(rows) == requests * 9
    faults = ("dropped-cells", "swapped-precision-recall", "hard-label-auroc")
    found = benchmark(demo_release, chosen(endpoint, *faults), tmp_path / "faults")
    for one, other in (("precision", "recall"), ("recall", "precision")):
        assert pooled(found, one)["value"] == pooled(right, other)["value"]
    assert pooled(right, "precision")["value"] != pooled(right, "recall")["value"]
    truth = (rows["response"] == "sensitive").to_numpy()
    called = (rows["probability"] >= 0.5).to_numpy()
    expected = (called[truth].mean() + (~called)[~truth].mean()) / 2
    assert pooled(found, "auroc")["value"] == pytest.approx(float(expected))


def test_a_run_whose_cells_are_all_dropped(
    endpoint: Endpoint, demo_release: Release, tmp_path: Path
) -> None:
    endpoint.reply = lambda *_: "sorry"
    found = benchmark(demo_release, chosen(endpoint, "dropped-cells"), tmp_path)
    assert set(found["model"]) == {"majority"}
    named = pd.read_csv(tmp_path / "not_evaluable.csv")
    assert named["reason"].tolist() == ["every cell was dropped, as published"]
    assert set(benchmark(demo_release, chosen(endpoint), tmp_path)["strategy"]) >= {"prompt"}


def predictions_of_all(release: Release, endpoint: Endpoint, folder: Path) -> pd.DataFrame:
    benchmark(release, chosen(endpoint), folder)
    return predictions(folder)


def test_nothing_is_asked_above_the_limit(
    endpoint: Endpoint, demo_release: Release, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match="would cost about"):
        benchmark(demo_release, chosen(endpoint, most_dollars=0.0), tmp_path)
    assert endpoint.bodies == []
    assert np.all([path.name != "results.parquet" for path in tmp_path.iterdir()])


def test_the_command(endpoint: Endpoint, demo_release: Release, tmp_path: Path, run: Run) -> None:
    code, stdout, stderr = run(
        *("benchmark", "--release", demo_release.folder, "--track", "pooled", "--by", "source"),
        *("--category", "patient_tumour", "--drug", "synthetic-drug-a", "--split", "cell"),
        *("--models", "prompt-top100", "--prompt-url", endpoint.url, "--prompt-model", "own"),
        *("--out", tmp_path, "--workers", "1"),
    )
    assert code == 0, stderr
    assert "prompt-top100:own" in stdout
    assert "unknown cost" in stderr


def everything_sensitive(body: dict[str, Any], numbers: list[int]) -> str:
    return json.dumps({"cells": [{"cell": n, "response": "sensitive"} for n in numbers]})


def accuracies(found: pd.DataFrame) -> dict[str, float]:
    rows = with_names(found[found["strategy"] == "prompt"])
    rows = rows[(rows["fold"] == "pooled") & (rows["unit"] == "cell")]
    rows = rows[rows["metric"] == "recall"]
    assert rows["contender"].is_unique
    return dict(zip(rows["contender"], rows["value"].astype(float), strict=True))


def test_other_answers_are_a_run_of_their_own(
    endpoint: Endpoint, demo_release: Release, tmp_path: Path
) -> None:
    options = chosen(endpoint, models=("prompt-top10",))
    (first,) = accuracies(benchmark(demo_release, options, tmp_path)).values()
    assert first < 1
    for path in (tmp_path / "prompts").iterdir():
        path.unlink()
    endpoint.reply = everything_sensitive
    both = accuracies(benchmark(demo_release, options, tmp_path))
    assert sorted(both.values()) == [first, 1.0]
    assert all(", answers " in name for name in both)
    # Another seed is asked about the same cells, and is averaged with its like.
    benchmark(demo_release, chosen(endpoint, models=("prompt-top10",), seed=1), tmp_path / "b")
    names = with_names(benchmark(demo_release, options, tmp_path / "b"))
    assert len(set(names["contender"])) == 1


def test_another_server_is_a_run_of_its_own(
    endpoint: Endpoint,
    demo_release: Release,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = chosen(endpoint, models=("prompt-top10",), prompt_url=None)
    monkeypatch.setenv("OPENAI_BASE_URL", endpoint.url.replace("//", "//user:secret@"))
    (first,) = accuracies(benchmark(demo_release, options, tmp_path)).values()
    there = endpoint.url.replace("127.0.0.1", "localhost")
    monkeypatch.setenv("OPENAI_BASE_URL", there)
    endpoint.reply = everything_sensitive
    name = "prompt-top10:gpt-4o-mini-2024-07-18 (prompt, server {})"
    expected = {name.format(endpoint.url): first, name.format(there): 1.0}
    assert accuracies(benchmark(demo_release, options, tmp_path)) == expected
    asked = len(endpoint.bodies)
    # What is there is not asked again, whatever the password is now.
    other = chosen(
        endpoint, models=("prompt-top10",), prompt_url=there.replace("//", "//u:secret@")
    )
    assert accuracies(benchmark(demo_release, other, tmp_path)) == expected
    assert len(endpoint.bodies) == asked
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(b"secret" in path.read_bytes() for path in kept)
