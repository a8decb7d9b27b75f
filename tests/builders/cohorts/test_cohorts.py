"""A small cohort from evidence to a verified release, and what stands against one."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import zarr
from mini_release import Project, make_project

from cellresponse.builders.cohorts import packages
from cellresponse.builders.cohorts.integrate import integrate, require_cells
from cellresponse.builders.cohorts.scores import score
from cellresponse.releases.cohorts import load_cohort
from cellresponse.releases.release import Release
from cellresponse.releases.verify import verify
from cellresponse.releases.verify_cohorts import verify_cohorts
from cellresponse.schema.errors import CellResponseError, EvidenceError, ReleaseError
from cellresponse.schema.spec import CohortSpec

COHORT = """cohorts:
  - name: both
    cancer_type: synthetic-cancer
    drug: synthetic-drug-a
    studies: [MINI1, MINI2]
    batch: study
    n_top_genes: 20
    n_pcs: 5
    seed: 1
"""
SPEC = CohortSpec(
    name="two",
    cancer_type="synthetic-cancer",
    drug="synthetic-drug-a",
    studies=["A"],
    batch="batch",
    n_top_genes=200,
    n_pcs=10,
)


def with_cohort(folder: Path) -> Project:
    """The tiny project, whose samples now have a cancer type."""
    project = make_project(folder)
    for path in project.curation.glob("*/samples.csv"):
        head, *rows = path.read_text().splitlines()
        rows = [f"{row},synthetic-cancer" for row in rows]
        path.write_text("\n".join([f"{head},cancer_type", *rows]) + "\n")
    with project.spec.open("a") as stream:
        stream.write(COHORT)
    return project


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    folder = tmp_path_factory.mktemp("cohorts")
    return with_cohort(folder / "project").build(folder / "out")


@pytest.fixture
def store(release: Release, tmp_path: Path) -> Path:
    """The cohort's store in a copy of the release, to change."""
    folder = shutil.copytree(release.folder, tmp_path / "mini")
    return Path(folder) / "cohorts" / "both.zarr"


def test_cells_and_labels_are_those_of_the_tables(release: Release) -> None:
    cohort = load_cohort(release, "both")
    cells = release.cells(drug="synthetic-drug-a")
    assert set(cohort.obs_names) == set(cells.obs_names)
    said = cells.obs.loc[cohort.obs_names]
    for column in ("study_id", "sample_id", "cell_line", "response", "basis"):
        assert cohort.obs[column].astype(str).tolist() == said[column].astype(str).tolist()
    np.testing.assert_array_equal(cohort.obs["stars"], said["stars"])
    assert cohort.obs["integration_batch"].tolist() == cohort.obs["study_id"].tolist()


def test_values_are_log_normalised_counts(release: Release) -> None:
    cohort = load_cohort(release, "both")
    cells = release.cells(drug="synthetic-drug-a")[cohort.obs_names]
    counts = cells.X.toarray().astype(float)
    expected = np.log1p(10_000 * counts / counts.sum(axis=1, keepdims=True))
    columns = cells.var_names.get_indexer(cohort.var_names)
    np.testing.assert_allclose(cohort.X.toarray(), expected[:, columns], rtol=1e-5)
    assert (cohort.X.dtype, cohort.n_vars) == (np.dtype("float32"), 20)


def test_coordinates_graph_and_scores(release: Release) -> None:
    cohort = load_cohort(release, "both")
    for name in ("X_pca", "X_harmony"):
        assert cohort.obsm[name].shape == (cohort.n_obs, 5)
    batches = cohort.obs["integration_batch"].to_numpy()
    rows, columns = cohort.obsp["distances"].nonzero()
    for cell in range(cohort.n_obs):
        near = batches[columns[rows == cell]]
        # BBKNN takes three of each batch; the cell itself may be one of its own batch.
        assert (near == "MINI1").sum() in (2, 3)
        assert (near == "MINI2").sum() in (2, 3)
    described = release.root["cohorts"]["both"]
    assert described["cells"] == cohort.n_obs == sum(described["batches"].values())
    for step in ("pca", "harmony"):
        for name, value in described["scores"][step].items():
            assert 0 <= value <= 1
            assert cohort.uns["scores"][step][name] == value


def test_verify_reads_the_cohort(release: Release) -> None:
    assert verify(release.folder).content_hash == release.content_hash
    assert list(release.root["content"]["cohorts"]) == ["both"]


def test_no_such_cohort(release: Release) -> None:
    with pytest.raises(ReleaseError, match="no such cohort") as caught:
        load_cohort(release, "none")
    assert caught.value.allowed == ["both"]


def test_the_same_spec_gives_the_same_hash_and_coordinates(
    release: Release, tmp_path: Path
) -> None:
    again = with_cohort(tmp_path / "project").build(tmp_path / "out")
    assert again.content_hash == release.content_hash
    found = [load_cohort(each, "both").obsm["X_harmony"] for each in (release, again)]
    np.testing.assert_array_equal(*found)


def change_obs(store: Path, column: str, value: object) -> None:
    group = zarr.open_group(store, mode="r+")
    obs: Any = anndata.io.read_elem(group["obs"])
    obs[column] = obs[column].astype(object)
    obs.iloc[0, obs.columns.get_loc(column)] = value
    with anndata.settings.override(allow_write_nullable_strings=False):
        anndata.io.write_elem(group, "obs", obs)


def refused(store: Path, release: Release, message: str) -> None:
    with pytest.raises(CellResponseError, match=message) as caught:
        verify_cohorts(store.parent.parent, release.root["spec"])
    assert "cohorts" in str(caught.value)


@pytest.mark.parametrize(
    ("column", "value"),
    [("response", "immune"), ("stars", 1.0), ("integration_batch", "MINI9"), ("sample_id", "x")],
)
def test_a_label_that_was_touched(
    release: Release, store: Path, column: str, value: object
) -> None:
    change_obs(store, column, value)
    refused(store, release, f"another {column} than the tables")


def test_other_cells(release: Release, store: Path) -> None:
    group = zarr.open_group(store, mode="r+")
    obs: Any = anndata.io.read_elem(group["obs"])
    obs.index = [*obs.index[1:], "0" * 24]
    obs.index.name = "cell_id"
    with anndata.settings.override(allow_write_nullable_strings=False):
        anndata.io.write_elem(group, "obs", obs)
    refused(store, release, "other cells than the tables give")


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("obsm/X_harmony", np.nan, "not finite"),
        ("obsp/connectivities/data", np.inf, "not finite"),
        ("X/data", -1.0, "negative"),
    ],
)
def test_a_number_that_cannot_be(
    release: Release, store: Path, place: str, value: float, message: str
) -> None:
    array: Any = zarr.open_group(store, mode="r+")[place]
    array[0] = value
    refused(store, release, message)


def test_a_missing_part(release: Release, store: Path) -> None:
    shutil.rmtree(store / "obsm" / "X_harmony")
    refused(store, release, "has no obsm/X_harmony")


def test_stores_and_spec(release: Release, store: Path) -> None:
    shutil.copytree(store, store.with_name("third.zarr"))
    refused(store, release, "other stores than the cohorts")
    shutil.rmtree(store.parent)
    refused(store, release, "other stores than the cohorts")


def test_batches_mix_and_lines_stay_apart() -> None:
    """A planted difference between batches goes, a planted one between lines stays."""
    rng = np.random.default_rng(5)
    size, genes = 600, 400
    line, batch = rng.integers(0, 2, size), rng.integers(0, 2, size)
    rate = np.full((size, genes), 1.0)
    rate[np.ix_(line == 1, range(40))] = 6
    rate[np.ix_(batch == 1, range(40, 80))] = 3
    obs = pd.DataFrame(
        {
            "integration_batch": pd.Categorical(batch.astype(str)),
            "cell_line": pd.Categorical(line.astype(str)),
            "response": "resistant",
        },
        index=[f"cell{place}" for place in range(size)],
    )
    var = pd.DataFrame({"gene_name": "g", "contig": "1"}, index=[f"g{i}" for i in range(genes)])
    counts = sp.csr_matrix(rng.poisson(rate).astype(np.int32))
    made = integrate(anndata.AnnData(X=counts, obs=obs, var=var), SPEC)
    before, after = (score(made.obsm[f"X_{step}"], made.obs) for step in ("pca", "harmony"))
    for name in ("ilisi_batch", "kbet_batch"):
        assert after[name] > before[name] + 0.2  # type: ignore[operator]
    assert min(before["clisi_cell_line"], after["clisi_cell_line"]) > 0.9  # type: ignore[type-var]
    assert before["clisi_response"] is after["silhouette_response"] is None  # one response only


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        (["a"] * 5 + ["b"] * 5, "10 labelled cells, and more are needed"),
        ([], "0 labelled cells"),
        (["a"] * 20, "one batch, a, so there is nothing to integrate"),
        (["a"] * 20 + ["b"] * 2, "2 cells in the batch b"),
    ],
)
def test_cells_that_cannot_be_integrated(batches: list[str], message: str) -> None:
    with pytest.raises(EvidenceError, match=message) as caught:
        require_cells(batches, SPEC, "releases/x.yaml")
    assert "releases/x.yaml" in str(caught.value)


def test_missing_packages_are_named_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = with_cohort(tmp_path / "project")
    monkeypatch.setattr(
        packages, "find_spec", lambda name: None if name == "bbknn" else find_spec(name)
    )
    with pytest.raises(EvidenceError, match=r"make env") as caught:
        project.build(tmp_path / "out")
    assert "bbknn" in str(caught.value)
    assert not (tmp_path / "out").exists()
    assert not (project.folder / "cache").exists()


def test_no_cohorts_need_no_packages(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages, "find_spec", lambda name: None)
    assert project.build(tmp_path / "out").root["cohorts"] == {}
