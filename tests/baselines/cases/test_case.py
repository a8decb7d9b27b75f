"""Case studies: the declared recipes hold, run on real and on a user's cells, and say why not."""

from __future__ import annotations

import anndata
import numpy as np
import pytest

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
