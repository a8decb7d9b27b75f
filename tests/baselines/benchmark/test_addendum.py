"""A results folder holds each run once, made by one version of the code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cellresponse.baselines.benchmark import addendum as module
from cellresponse.baselines.benchmark.addendum import (
    Addendum,
    FoldPrediction,
    Identity,
    read_results,
)
from cellresponse.baselines.benchmark.options import BenchmarkOptions
from cellresponse.baselines.benchmark.scoring import score_addendum
from cellresponse.baselines.benchmark.summary import summary_lines
from cellresponse.baselines.benchmark.tested_cells import with_tested_cells
from cellresponse.baselines.report.card import write_card
from cellresponse.baselines.report.leaderboard import leaderboard, recommendations
from cellresponse.baselines.report.page import report
from cellresponse.schema.errors import ReleaseError

RELEASE = "0" * 64
CELLS = pd.DataFrame(
    {
        "cell_id": [f"c{n}" for n in range(8)],
        "sample_id": [f"S:s{n % 4}" for n in range(8)],
        "response": ["sensitive", "resistant"] * 4,
    }
)


def identity(task: str, model: str = "svc") -> Identity:
    options = BenchmarkOptions("pooled", "regimen").recorded("comparator")
    return Identity(
        *(task, "pooled", "regimen", "x", task, "b", "cell", 0, model, None, "comparator", options)
    )


def write(folder: Path, *tasks: str, wrong: int = 1, shift: int = 0) -> pd.DataFrame:
    """Run a model that is wrong about some cells of each task; `shift` gives other cells."""
    addendum = Addendum(folder, "r", RELEASE)
    cells = CELLS.assign(cell_id=CELLS["cell_id"] + str(shift))
    truth = (CELLS["response"] == "sensitive").to_numpy()
    called = np.where(np.arange(len(truth)) < wrong, ~truth, truth).astype(np.float64)
    for task in tasks:
        addendum.write(identity(task), [FoldPrediction("0", cells, called, 8, 4)])
    return addendum.finish(score_addendum(addendum))


def version(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(module, "__version__", name)


def test_results_of_another_version_are_not_added(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version(monkeypatch, "0.0.1")
    write(tmp_path, "t")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    version(monkeypatch, "0.0.2")
    with pytest.raises(
        ReleaseError, match=r"code_version: .*another version.*'0.0.1'.*0.0.2.*Name another folder"
    ):
        write(tmp_path, "t", wrong=3)
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    manifest, results = read_results(tmp_path)  # another version still reads them
    assert manifest["code_version"] == "0.0.1"
    assert not results.empty
    version(monkeypatch, "0.0.1")
    write(tmp_path, "t", "u")


def mixed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write one run under two versions, as earlier code allowed."""
    monkeypatch.setattr(Addendum, "_refuse_others", lambda self: None)
    for name, wrong in (("0.0.1", 1), ("0.0.2", 3)):
        version(monkeypatch, name)
        write(folder, "t", wrong=wrong)
    monkeypatch.undo()
    version(monkeypatch, "0.0.2")


def test_one_run_of_two_versions_is_not_averaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mixed(tmp_path, monkeypatch)
    with pytest.raises(ReleaseError, match=r"parquet: .*another version.*'svc, t, cell'"):
        write(tmp_path, "u")
    with pytest.raises(
        ReleaseError, match=r"results.parquet.*there twice.*'svc, t, cell'.*another folder"
    ):
        report(tmp_path)


def test_the_summary_counts_what_the_report_counts(tmp_path: Path) -> None:
    write(tmp_path / "r", "a", "b", "c", wrong=0)
    results = write(tmp_path / "r", "d", wrong=4, shift=1)
    *_, line = summary_lines(results, tmp_path / "r")
    assert line.split() == ["pooled", "cell", "svc", "2", "0.750", "0.750", "0.750"]
    told = with_tested_cells(results, tmp_path / "r")
    (advice,) = recommendations(told).to_dict("records")
    assert (advice["tasks"], advice["copies"]) == (2, 2)
    manifest: dict[str, Any] = dict.fromkeys(
        ("release", "release_hash", "code_version", "sha256"), "x"
    )
    write_card(tmp_path / "card", manifest, leaderboard(told), recommendations(told))
    assert "| pooled | cell | svc | 2 | 0.750 | 0.750 |" in (tmp_path / "card").read_text()


def test_a_release_is_no_folder_for_results(tmp_path: Path) -> None:
    (tmp_path / "release.json").write_text("{}")
    with pytest.raises(ReleaseError, match="is a release, which stays as it is"):
        write(tmp_path, "t")
    assert [path.name for path in tmp_path.iterdir()] == ["release.json"]


def test_other_labels_or_folds_are_no_copies(tmp_path: Path) -> None:
    addendum = Addendum(tmp_path, "r", RELEASE)
    other = CELLS.assign(response=["resistant", "sensitive"] * 4)
    probability = np.linspace(0, 1, 8)
    for task, fold, cells in (("a", "0", CELLS), ("b", "0", CELLS[::-1]), ("c", "0", other)):
        addendum.write(identity(task), [FoldPrediction(fold, cells, probability, 8, 4)])
    parts = [FoldPrediction(str(n), CELLS[n::2], probability[n::2], 4, 2) for n in (0, 1)]
    addendum.write(identity("d"), parts)
    told = with_tested_cells(addendum.finish(score_addendum(addendum)), tmp_path)
    hashes = told.drop_duplicates("task").set_index("task")["cells_hash"]
    assert hashes["a"] == hashes["b"]  # in any order
    assert hashes.nunique() == 3
    assert set(told["studies"]) == {"S"}
