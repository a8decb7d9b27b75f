"""Case studies: the declared recipes hold, run on real and on a user's cells, and say why not."""

from __future__ import annotations

from types import SimpleNamespace

import anndata
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import scipy.sparse as sp

from cellresponse.baselines.benchmark.cells import TaskCells
from cellresponse.baselines.cases import run
from cellresponse.baselines.cases.recipe import Recipe, recipes
from cellresponse.baselines.cases.run import case_lines, run_case
from cellresponse.schema.errors import ReleaseError, SourceFileError
from cellresponse.schema.vocabulary import treatment_id


def test_every_recipe_is_sound(curation):
    for name, recipe in recipes().items():
        assert treatment_id(recipe.drug) == recipe.drug, name
        for accession in recipe.studies:
            assert (curation / accession / "study.yaml").is_file()


def test_two_ways_to_test_are_refused():
    with pytest.raises(ValueError, match="either"):
        Recipe(title="x", drug="x", train={"a": ["b"]}, test={"a": ["c"]}, leave_out="batch")


def test_an_excluded_study_is_named_with_its_reason(demo_release, curation, tmp_path):
    with pytest.raises(ReleaseError, match="excluded from the gold set"):
        run_case("hnscc-cetuximab", demo_release, tmp_path / "out", curation=curation)
    assert not (tmp_path / "out").exists()


@pytest.fixture
def own_cells(demo_release, tmp_path):
    found = demo_release.cells(drug="synthetic-drug-a", study="SYNTHETIC-1")[::4]
    made = anndata.AnnData(found.X, var=found.var[[]])
    line = np.where(np.arange(found.n_obs) % 3 == 0, "SCC6", "SCC1")
    made.obs = found.obs[[]].assign(cell_line=line, response=found.obs["response"].astype(str))
    return made, tmp_path / "own.h5ad"


def test_a_users_file_takes_the_place_of_missing_studies(
    own_cells, demo_release, curation, tmp_path
):
    made, path = own_cells
    made.write_h5ad(path)
    result = run_case(
        "hnscc-cetuximab", demo_release, tmp_path / "out", cells=path, curation=curation
    )
    lines = "\n".join(case_lines(result))
    assert "excluded from the gold set" in lines
    assert "0.942" in lines  # the published figure stands beside ours
    auroc = result.scores[result.scores["metric"] == "auroc"].set_index(["model", "features"])
    assert auroc.loc[("logistic_regression", "as measured"), "value"] > 0.8
    assert len(result.genes) == 20
    assert {"scores.csv", "genes.csv", "case.json", "case.html"} == {
        path.name for path in (tmp_path / "out").iterdir()
    }


def test_a_file_without_responses_is_refused(own_cells, demo_release, curation, tmp_path):
    made, path = own_cells
    made.obs["response"] = "yes"
    made.write_h5ad(path)
    with pytest.raises(SourceFileError, match="is no response 'yes'"):
        run_case("hnscc-cetuximab", demo_release, tmp_path / "o", cells=path, curation=curation)


def made_up(cells=120):
    """Cells of three lines; ten genes are higher in sensitive cells, ten in resistant ones."""
    rng = np.random.default_rng(0)
    sensitive = np.arange(cells) % 2 == 0
    counts = rng.poisson(2.0, (cells, 60))
    counts[sensitive, :10] += 6
    counts[~sensitive, 10:20] += 6
    obs = pd.DataFrame(
        {
            "study_id": "S",
            "batch": "one",
            "cell_line": np.repeat(["A", "B", "C"], cells // 3),
            "n_counts": counts.sum(axis=1),
        }
    )
    return TaskCells(obs, sensitive, sp.csr_matrix(counts))


def recipe(**more):
    return Recipe(title="x", drug="x", **({"train": {"study_id": ["S"]}} | more))


def test_a_left_out_line_is_tested_and_not_trained_on():
    cells = made_up()
    folds = list(run._folds(recipe(leave_out="cell_line"), cells))
    lines = cells.obs["cell_line"].to_numpy()
    assert [(set(lines[train]), set(lines[test])) for train, test in folds] == [
        ({"B", "C"}, {"A"}),
        ({"A", "C"}, {"B"}),
        ({"A", "B"}, {"C"}),
    ]
    assert all(len(train) + len(test) == 120 for train, test in folds)


def test_sides_that_share_cells_or_hold_one_response_are_refused():
    cells = made_up()
    with pytest.raises(ReleaseError, match="both sides of the case"):
        list(run._folds(recipe(test={"cell_line": ["A"]}), cells))
    one = cells.take(np.flatnonzero(cells.sensitive | (cells.obs["cell_line"] == "C")))
    sides = {"train": {"cell_line": ["A", "B"]}, "test": {"cell_line": ["C"]}}
    with pytest.raises(ReleaseError, match="one response only"):
        list(run._folds(recipe(**sides), one))


def test_scores_of_a_case_are_of_cells_that_were_not_trained_on(monkeypatch):
    monkeypatch.setattr(run, "CLASSIFIERS", ("naive_bayes",))
    monkeypatch.setattr(run, "BESIDE", ("majority",))
    fitted = []
    fit = run.ExpressionFeatures.fit
    monkeypatch.setattr(
        run.ExpressionFeatures,
        "fit",
        lambda train, seed: fitted.append(train.shape[0]) or fit(train, seed),
    )
    cells = made_up()
    # A fold is of one response: what class sizes alone say must rank nothing.
    rows = np.arange(120)
    folds = [(rows[cells.sensitive | (rows % 3 > 0)], rows[~cells.sensitive & (rows % 3 == 0)])]
    folds += [(rows[~cells.sensitive | (rows % 3 > 0)], rows[cells.sensitive & (rows % 3 == 0)])]
    scores = run._scores(recipe(leave_out="cell_line"), cells, folds, 0)
    value = scores.set_index(["model", "features", "metric"])["value"]
    assert value["majority", "as measured", "auroc"] == 0.5
    assert value["naive_bayes", "as measured", "accuracy"] > 0.9
    assert fitted == [100] * 4


def test_top_genes_speak_for_sensitive_where_positive():
    table = pd.DataFrame({"gene_id": [f"g{i}" for i in range(60)], "position": range(60)})
    table = table.assign(gene_name=table["gene_id"], organism="human")
    release = SimpleNamespace(tables={"genes": pa.Table.from_pandas(table)})
    found = run._genes(release, made_up(), "human", 0).set_index("gene_id")["weight"]
    up, down = (set(found.index[found > 0]), set(found.index[found < 0]))
    assert up == {f"g{i}" for i in range(10)}
    assert down == {f"g{i}" for i in range(10, 20)}


def test_top_genes_are_of_training_cells(own_cells, demo_release, curation, tmp_path, monkeypatch):
    made, path = own_cells
    made.write_h5ad(path)
    taken = []
    scores = pd.DataFrame({"metric": ["auroc"], "model": "m", "features": "f", "value": 0.5})
    monkeypatch.setattr(run, "_scores", lambda *_: scores)
    monkeypatch.setattr(run, "_write", lambda *_: None)
    monkeypatch.setattr(run, "_genes", lambda _release, train, *_: taken.append(train))
    run_case("hnscc-cetuximab", demo_release, tmp_path / "out", cells=path, curation=curation)
    assert set(taken[0].obs["cell_line"]) == {"SCC1"}
