"""Foundation models in the benchmark: frozen and adapted; every published fault has an effect."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from cellresponse.baselines.benchmark import run
from cellresponse.baselines.benchmark.addendum import Addendum
from cellresponse.baselines.benchmark.cells import counts_of
from cellresponse.baselines.benchmark.contenders import Contender, contenders
from cellresponse.baselines.benchmark.faults import FAULTS
from cellresponse.baselines.benchmark.options import make_options
from cellresponse.baselines.benchmark.run import benchmark
from cellresponse.baselines.embed.cells import genes_of
from cellresponse.baselines.pretrain.vocabularies import write_vocabulary
from cellresponse.builders.progress import silent
from cellresponse.releases.release import Release
from cellresponse.schema.errors import ModelError

MODELS = ("geneformer", "uce", "scgpt")
OF_PROMPTS = {"hard-label-auroc", "swapped-precision-recall", "dropped-cells"}


@pytest.fixture(scope="module")
def weights(demo_release: Release, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Vocabularies of the demo's genes; the networks have random weights."""
    folder = tmp_path_factory.mktemp("weights")
    for name in MODELS:
        write_vocabulary(name, genes_of(demo_release, "human"), folder / name)
    return folder


def chosen(weights: Path, model: str, *faults: str, **more: Any) -> Any:
    given = {
        "track": "pooled",
        "by": "source",
        "category": "patient_tumour",
        "drug": "synthetic-drug-a",
        "models": (f"{model}@random",),
        "weights": weights,
        "as_published": frozenset({"random-split", *faults}),
    }
    return make_options(**(given | more))


def predictions(release: Release, folder: Path, options: Any) -> pd.Series:
    found = benchmark(release, options, folder)
    assert found["value"].notna().any()
    (path,) = (folder / "predictions").iterdir()
    rows = pd.read_parquet(path).set_index("cell_id")["probability"].sort_index()
    assert rows.between(0, 1).all()
    return rows


@pytest.fixture(scope="module")
def few(demo_release: Release) -> Any:
    """Every fortieth cell of each response: adapters are trained on a handful."""
    whole = run.plan

    def planned(release: Release, options: Any) -> Any:
        jobs, problems = whole(release, options)
        for job in jobs:
            rows = np.r_[np.flatnonzero(job.sensitive)[::40], np.flatnonzero(~job.sensitive)[::40]]
            job.cells = job.cells.iloc[rows].reset_index(drop=True)
            job.sensitive = job.sensitive[rows]
        return jobs, problems

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "plan", planned)
        yield


@pytest.fixture(scope="module")
def lora(
    demo_release: Release, weights: Path, few: None, tmp_path_factory: pytest.TempPathFactory
) -> Any:
    """Predictions with adapters, by model and faults; each is made once."""
    made: dict[tuple[str, ...], pd.Series] = {}

    def give(model: str, *faults: str) -> pd.Series:
        key = (model, *faults)
        if key not in made:
            options = chosen(weights, model, *faults, strategy="lora")
            made[key] = predictions(demo_release, tmp_path_factory.mktemp("lora"), options)
        return made[key]

    return give


def test_adapters_are_trained_and_repeat_themselves(
    lora: Any, demo_release: Release, weights: Path, tmp_path: Path
) -> None:
    first = lora("geneformer")
    again = predictions(demo_release, tmp_path, chosen(weights, "geneformer", strategy="lora"))
    pd.testing.assert_series_equal(first, again, check_exact=True)
    other = chosen(weights, "geneformer", strategy="lora", rank=4)
    assert not predictions(demo_release, tmp_path / "other", other).equals(first)
    assert {"lora"} == set(pd.read_csv(tmp_path / "runtime.csv")["strategy"])


@pytest.mark.parametrize(
    ("fault", "model", "strategy"),
    [
        ("two-logits", "geneformer", "lora"),
        ("dropout-at-test", "geneformer", "lora"),
        ("no-op-lora", "scgpt", "lora"),
        ("uce-trains-all", "uce", "lora"),
        ("model-inputs", "geneformer", "frozen"),
        ("two-logits", "geneformer", "frozen"),
        ("split-per-model", "geneformer", "frozen"),
    ],
)
def test_every_fault_changes_predictions(
    fault: str,
    model: str,
    strategy: str,
    lora: Any,
    demo_release: Release,
    weights: Path,
    tmp_path: Path,
) -> None:
    if strategy == "lora":
        with pytest.warns() if fault == "no-op-lora" else nullcontext():
            wrong = lora(model, fault)
        right = lora(model)
    else:
        right = predictions(demo_release, tmp_path / "right", chosen(weights, model))
        wrong = predictions(demo_release, tmp_path / "wrong", chosen(weights, model, fault))
    assert not wrong.equals(right)


@pytest.mark.parametrize("strategy", ["frozen", "lora"])
def test_a_gpu_that_is_not_there_is_one_clear_line(
    demo_release: Release,
    weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    strategy: str,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    options = chosen(weights, "geneformer", strategy=strategy, device="cuda")
    with pytest.raises(ModelError, match="there is no GPU that torch can use"):
        benchmark(demo_release, options, tmp_path)


def test_every_fault_is_tested_somewhere() -> None:
    here = {"two-logits", "dropout-at-test", "no-op-lora", "uce-trains-all", "model-inputs"}
    splits = {"random-split", "split-per-model", "copied-controls"}
    assert here | splits | OF_PROMPTS == set(FAULTS)


def test_embeddings_are_kept_for_the_cells_and_inputs_they_are_of(
    demo_release: Release, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[Path, bool]] = []

    def embed_release(*given: Any, options: Any, **_: Any) -> None:
        given[3].touch()
        made.append((given[3], options.as_published))

    monkeypatch.setattr("cellresponse.baselines.embed.run.embed_release", embed_release)
    addendum = Addendum(tmp_path, "r", "0" * 64)
    plain = chosen(weights, "geneformer")
    published = chosen(weights, "geneformer", "model-inputs")
    for cells, options in (("a", plain), ("a", published), ("ab", plain), ("a", plain)):
        contenders(demo_release, cells, (), options, addendum, silent)
    assert [as_published for _, as_published in made] == [False, True, False]
    assert len({path for path, _ in made}) == 3


def test_every_row_has_the_embedding_of_its_own_cell(tmp_path: Path) -> None:
    kept = pa.table(
        {
            "cell_id": [f"c{n}" for n in range(5)],
            "embedding": pa.array([[n, -n] for n in range(5)], pa.list_(pa.float32())),
        }
    )
    pq.write_table(kept, tmp_path / "e.parquet")
    contender = Contender("m", "frozen", embeddings=tmp_path / "e.parquet")
    rows = pd.DataFrame({"cell_id": ["c3", "c0#a", "c4", "c0#b"]})  # a copied control
    assert contender.embedding(rows).tolist() == [[3, -3], [0, 0], [4, -4], [0, 0]]


def test_every_row_has_the_counts_of_its_own_cell(demo_release: Release) -> None:
    table = demo_release.tables["cells"].select(["cell_id", "study_id", "row", "n_counts"])
    cells = table.to_pandas().query("study_id == 'SYNTHETIC-1'").sample(20, random_state=0)
    cells = pd.concat([cells, cells[:3]], ignore_index=True)
    found = run._totals(demo_release, cells[["cell_id"]])
    np.testing.assert_array_equal(found, cells["n_counts"])
    counts = counts_of(demo_release, cells)
    assert counts.shape[0] == 23
    np.testing.assert_array_equal(counts[-3:].toarray(), counts[:3].toarray())
    by_row = cells["row"].to_numpy().argsort(kind="stable")
    sorted_counts = counts_of(demo_release, cells.iloc[by_row])
    np.testing.assert_array_equal(counts[by_row].toarray(), sorted_counts.toarray())
