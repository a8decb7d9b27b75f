"""What a user gets from `cellresponse.load`."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import anndata
import duckdb
import numpy as np
import pytest

import cellresponse
from cellresponse.baselines.benchmark.threads import one_thread
from cellresponse.releases.release import Release
from cellresponse.releases.stars import NoResistantCells
from cellresponse.schema.errors import EvidenceError, ReleaseError


def test_load_by_folder_and_by_name(
    mini_release: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cellresponse.load(mini_release.folder).content_hash == mini_release.content_hash
    (tmp_path / "dist").symlink_to(mini_release.folder.parent)
    monkeypatch.chdir(tmp_path)
    assert cellresponse.load("mini").content_hash == mini_release.content_hash
    assert "mini" in repr(mini_release)


def test_a_release_is_found_from_another_folder(
    mini_release: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dist").symlink_to(mini_release.folder.parent)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    opened = cellresponse.load("mini")
    assert repr(opened).startswith("Release('mini', folder='dist/mini', ")
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert opened.folder == tmp_path / "dist" / "mini"
    assert opened.cells().n_obs == 50
    assert f"folder='{tmp_path}/dist/mini'" in repr(opened)


def test_load_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match="no such folder"):
        cellresponse.load(tmp_path / "nothing")


def test_labels_are_selected(mini_release: Release) -> None:
    everything = mini_release.labels()
    assert len(everything) == 6
    drug = mini_release.labels(drug="Synthetic Drug A")
    assert set(drug["drug_id"]) == {"synthetic-drug-a"}
    assert len(drug) == 4
    assert set(mini_release.labels(response="resistant")["stars"]) == {1, 2, 3}
    assert len(mini_release.labels(study="MINI2", basis="resistant_line_vs_parental")) == 2


def test_stars_that_leave_no_resistant_cell_are_told(mini_release: Release) -> None:
    with pytest.warns(NoResistantCells, match="treated_vs_untreated_control") as told:
        labels = mini_release.labels(drug="synthetic-drug-b", stars=3)
    assert set(labels["response"]) == {"sensitive"}
    assert told[0].filename == __file__
    with pytest.warns(NoResistantCells):
        mini_release.cells(drug="synthetic-drug-b", stars=3)


@pytest.mark.parametrize(("stars", "resistant"), [(1, 3), (2, 2), (3, 1)])
def test_stars_keep_every_sensitive_label(
    mini_release: Release, stars: int, resistant: int
) -> None:
    labels = mini_release.labels(stars=stars)
    assert (labels["response"] == "resistant").sum() == resistant
    assert (labels["response"] == "sensitive").sum() == 3
    assert (labels["stars"].dropna() >= stars).all()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"drug": "synthetic-drug-z"}, "synthetic-drug-a"),
        ({"drug": "erlotinib"}, "has no label for it"),
        ({"drug": ["erlotinib"]}, "a drug is one name"),
        ({"study": "GSE1"}, "MINI1"),
        ({"response": "immune"}, "resistant, sensitive"),
        ({"stars": 4}, "1, 2, 3"),
    ],
)
def test_labels_that_are_not_there(
    mini_release: Release, wrong: dict[str, object], said: str
) -> None:
    with pytest.raises((ReleaseError, EvidenceError)) as caught:
        mini_release.labels(**wrong)  # type: ignore[arg-type]
    assert said in str(caught.value)


def test_cells_of_a_drug(mini_release: Release) -> None:
    found = mini_release.cells(drug="synthetic-drug-a", stars=2)
    assert set(found.obs["response"]) == {"sensitive", "resistant"}
    assert set(found.obs.loc[found.obs["response"] == "resistant", "stars"]) == {3.0}
    assert set(found.obs["study_id"]) == {"MINI1", "MINI2"}
    for study in ("MINI1", "MINI2"):
        stored = anndata.read_zarr(mini_release.matrix(study))
        chosen = found[found.obs["study_id"] == study]
        assert (chosen.X != stored[chosen.obs_names].X).nnz == 0
    assert list(found.var["gene_name"][:2]) == ["GENE1", "GENE2"]
    assert found.X.dtype == np.int32


def test_labels_that_are_not_there_together(mini_release: Release) -> None:
    labels = mini_release.labels()
    one = labels[labels["study_id"] == "MINI1"]
    basis = next(iter(set(labels["basis"]) - set(one["basis"])))
    with pytest.raises(ReleaseError) as caught:
        mini_release.labels(study="MINI1", basis=basis)
    assert caught.value.problem == (
        "no label of the release mini with study_id MINI1 has this basis"
    )
    assert caught.value.allowed == sorted(set(one["basis"]))


def test_cells_with_several_labels_each(mini_release: Release) -> None:
    found = mini_release.cells(study="MINI1", response="sensitive")
    labels = found.uns["labels"]
    assert "response" not in found.obs
    assert list(labels.index) == [str(row) for row in range(2 * found.n_obs)]
    # The shared control is sensitive to both drugs.
    for drug in ("synthetic-drug-a", "synthetic-drug-b"):
        of_drug = labels[labels["drug_id"] == drug]
        assert sorted(of_drug["cell_id"]) == sorted(found.obs_names)
        (said,) = mini_release.labels(study="MINI1", response="sensitive", drug=drug).to_dict(
            "records"
        )
        for column in ("response", "basis", "rule_id"):
            assert set(of_drug[column]) == {said[column]}
    assert labels["stars"].isna().all()  # as of every sensitive cell
    assert labels.drop(columns="stars").notna().all(axis=None)


def test_all_cells(mini_release: Release) -> None:
    found = mini_release.cells()
    assert found.n_obs == 50
    assert found.obs_names.is_unique


def test_no_cell_matches(mini_release: Release) -> None:
    with pytest.raises(ReleaseError, match="has this basis"):
        mini_release.cells(study="MINI2", basis="treated_vs_untreated_control")
    with pytest.raises(ReleaseError, match="no cell matches"):
        mini_release.cells(study="MINI1", response="resistant", drug="synthetic-drug-a", stars=3)


def test_tables(mini_release: Release) -> None:
    names = ["cells", "drugs", "genes", "labels", "samples", "splits", "studies"]
    assert list(mini_release.tables) == names
    assert len(mini_release.tables) == 7
    assert mini_release.tables["studies"]["synthetic"].to_pylist() == [True, True]
    with pytest.raises(ReleaseError, match="no such table"):
        mini_release.tables["nothing"]


def test_selection_round_trips_through_h5ad(mini_release: Release, tmp_path: Path) -> None:
    found = mini_release.cells(drug="synthetic-drug-a")
    found.write_h5ad(tmp_path / "cells.h5ad")
    again = anndata.read_h5ad(tmp_path / "cells.h5ad")
    assert (again.X != found.X).nnz == 0


def test_duckdb_counts_labelled_cells(mini_release: Release) -> None:
    tables = mini_release.folder / "tables"
    found = duckdb.sql(
        f"""
        select l.drug_id, l.response, l.stars, l.basis, count(*) as cells
        from '{tables}/labels.parquet' l
        join '{tables}/cells.parquet' c
          on c.sample_id = l.sample_id and (l.cell_id is null or l.cell_id = c.cell_id)
        group by all order by all
        """  # noqa: S608 - a path of this test
    ).fetchall()
    from cellresponse.releases.info import summarise

    expected = [tuple(row.values()) for row in summarise(mini_release)["labels"]]
    assert sorted(found, key=str) == sorted(expected, key=str)
    assert len(found) == 6


@pytest.mark.parametrize("page", ["README.md", "docs/splits.md"])
def test_sql_of_the_documentation_runs(mini_release: Release, page: str) -> None:
    text = (Path(__file__).parent.parent / page).read_text()
    (sql,) = re.findall(r"```sql\n(.*?)```", text, re.DOTALL)
    sql = sql.replace("dist/2025-06", str(mini_release.folder))
    assert duckdb.sql(sql.replace("osimertinib", "synthetic-drug-a")).fetchall()


def test_scanpy_opens_a_matrix(mini_release: Release) -> None:
    import scanpy

    cells = anndata.read_zarr(mini_release.matrix("MINI1"))
    cells.X = cells.X.astype(np.float32)
    with one_thread():  # numba, in scanpy, gives torch another number of threads
        scanpy.pp.normalize_total(cells, target_sum=1e4)
    scanpy.pp.log1p(cells)
    assert np.allclose(np.expm1(cells.X).sum(axis=1), 1e4, rtol=1e-4)


def test_import_is_light() -> None:
    """`import cellresponse` loads none of the heavy packages; `load` no pandera."""
    code = "import sys, cellresponse; print(sorted({m.split('.')[0] for m in sys.modules}))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    for package in ("numpy", "pandas", "pandera", "zarr", "anndata", "pyarrow", "pydantic"):
        assert f"'{package}'" not in loaded
