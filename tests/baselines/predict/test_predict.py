"""Predicting a user's cells: right for cells like the training ones, careful with others."""

from __future__ import annotations

import shutil
from dataclasses import replace

import anndata
import numpy as np
import pyarrow.parquet as pq
import pytest

import cellresponse
from cellresponse.baselines.predict import run as running
from cellresponse.baselines.predict import train as training
from cellresponse.baselines.predict.run import predict, prediction_lines
from cellresponse.baselines.predict.trained_head import load_head
from cellresponse.schema.errors import (
    CountsError,
    ModelError,
    ReleaseError,
    SourceFileError,
    StorageError,
)

DRUG = "synthetic-drug-a"


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    return tmp_path_factory.mktemp("heads")


@pytest.fixture(scope="module")
def cells(demo_release):
    found = demo_release.cells(drug=DRUG, study="SYNTHETIC-1")[::5].copy()
    found.uns.clear()
    return found


def write(cells, path, *, names="gene_name", counts=None):
    """A user's own file: symbols or ids, and nothing else of ours."""
    var = cells.var.set_index("gene_name") if names == "gene_name" else cells.var
    made = anndata.AnnData(cells.X if counts is None else counts, var=var[[]])
    made.obs_names = cells.obs_names
    made.write_h5ad(path)
    return path


def run(release, path, heads, tmp_path, **more):
    chosen = {"out": tmp_path / "predictions.parquet", "heads": heads} | more
    return predict(path, release, DRUG, **chosen)


@pytest.fixture(scope="module")
def found(demo_release, cells, heads, tmp_path_factory):
    folder = tmp_path_factory.mktemp("predicted")
    return run(demo_release, write(cells, folder / "mine.h5ad"), heads, folder), folder


def test_cells_like_the_training_ones(found, cells):
    result, folder = found
    right = result.table["call"].to_numpy() == cells.obs["response"].to_numpy()
    assert right.mean() > 0.8
    assert result.table["far"].mean() < 0.05
    assert result.table["confidence"].between(0, 1).all()
    assert (folder / "predictions.html").stat().st_size > 1000
    written = pq.read_table(folder / "predictions.parquet")
    assert written["barcode"].to_pylist() == list(cells.obs_names)
    assert b"licences" in written.schema.metadata[b"head"]


def test_the_card_says_what_the_head_rests_on(found, demo_release, heads):
    result, _ = found
    card = result.head.card
    assert card.release_hash == demo_release.content_hash
    assert card.n_sensitive > 100
    assert set(card.metrics) >= {"cell", "sample"}
    assert any("SYNTHETIC-1" in licence for licence in card.licences)
    lines = "\n".join(prediction_lines(result))
    assert "held out by sample" in lines
    again = load_head(next(heads.rglob("card.json")).parent)
    assert again.card == card


def test_a_head_of_another_version_is_not_used(
    found, demo_release, cells, heads, tmp_path, monkeypatch
):
    result, _ = found
    copy = shutil.copytree(heads, tmp_path / "heads")
    for module in (running, training):
        monkeypatch.setattr(module, "__version__", "9.9", raising=False)
    again = run(demo_release, write(cells, tmp_path / "mine.h5ad"), copy, tmp_path)
    assert again.head.card == replace(result.head.card, code_version="9.9")
    kept = {load_head(card.parent).card.code_version for card in copy.rglob("card.json")}
    assert kept == {cellresponse.__version__, "9.9"}


def test_ids_and_symbols_say_the_same(found, demo_release, cells, heads, tmp_path):
    result, _ = found
    by_id = run(demo_release, write(cells, tmp_path / "ids.h5ad", names="id"), heads, tmp_path)
    np.testing.assert_array_equal(by_id.table["probability"], result.table["probability"])


def test_strange_cells_are_far(demo_release, cells, heads, tmp_path):
    rng = np.random.default_rng(0)
    strange = rng.permuted(cells.X.toarray(), axis=1).astype(np.int32)
    path = write(cells, tmp_path / "strange.h5ad", counts=strange)
    result = run(demo_release, path, heads, tmp_path)
    assert result.table["far"].mean() > 0.3  # of the training cells it is one in a hundred
    assert any("far from the training cells" in line for line in prediction_lines(result))


def test_what_is_not_counts_is_refused(demo_release, cells, heads, tmp_path):
    path = write(cells, tmp_path / "logged.h5ad", counts=np.log1p(cells.X.toarray()))
    with pytest.raises(CountsError, match="does not hold raw counts"):
        run(demo_release, path, heads, tmp_path)
    assert not (tmp_path / "predictions.parquet").exists()


def test_other_mistakes_are_one_clear_error(demo_release, cells, heads, tmp_path):
    path = write(cells, tmp_path / "mine.h5ad")
    with pytest.raises(SourceFileError, match="no such file"):
        run(demo_release, tmp_path / "none.h5ad", heads, tmp_path)
    with pytest.raises(ModelError, match="weights of geneformer are missing"):
        run(demo_release, path, heads, tmp_path, model="geneformer")
    with pytest.raises(ReleaseError, match="no such task"):
        predict(path, demo_release, "erlotinib", out=tmp_path / "p.parquet", heads=heads)
    strangers = cells.copy()
    strangers.var["gene_name"] = [f"nothing{i}" for i in range(strangers.n_vars)]
    with pytest.raises(SourceFileError, match="no feature is a gene"):
        run(demo_release, write(strangers, tmp_path / "strangers.h5ad"), heads, tmp_path)


def test_mistakes_are_told_before_anything_is_trained(demo_release, cells, tmp_path):
    heads, lines = tmp_path / "heads", []

    def refused(error, path, **more):
        with pytest.raises(error):
            run(demo_release, path, heads, tmp_path, report=lines.append, **more)

    refused(SourceFileError, tmp_path / "none.h5ad")
    refused(CountsError, write(cells, tmp_path / "log.h5ad", counts=np.log1p(cells.X.toarray())))
    mine = write(cells, tmp_path / "mine.h5ad")
    refused(StorageError, mine, out=tmp_path)
    refused(StorageError, mine, out=tmp_path / "map.html")
    refused(StorageError, mine, out=mine / "predictions.parquet")
    assert not lines
    assert not heads.exists()


def test_a_damaged_head_is_refused(found, demo_release, cells, heads, tmp_path):
    copy = tmp_path / "heads"
    shutil.copytree(heads, copy)
    next(copy.rglob("head.safetensors")).write_bytes(b"nothing")
    with pytest.raises(ModelError, match="no trained head"):
        run(demo_release, write(cells, tmp_path / "mine.h5ad"), copy, tmp_path)
