from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_models import (
    assert_batch_is_irrelevant,
    assert_half_precision_is_near,
    assert_layout_of_record,
    assert_tokens_are_each_cells_own,
    cells,
    save,
    tiny,
)

from cellresponse.baselines.models.interface import Counts, Genes
from cellresponse.baselines.models.scbert import TINY, ScBERT
from cellresponse.schema.errors import ModelError


@pytest.fixture
def model(tmp_path) -> ScBERT:
    return tiny("scbert", tmp_path)


def test_layout_of_record(shared, tmp_path):
    record = shared / "facts/models/scBERT_state_dict.json"
    assert_layout_of_record("scbert", record, tmp_path, genes=16906)


def test_every_gene_is_a_token(model):
    genes = Genes(np.array(["a", "b", "c"]), np.array(["GENE2", "unknown", "GENE0"]))
    counts = Counts(
        np.array([1, 50, 9999, 7, 7]),
        np.array([0, 1, 2, 0, 2], np.int32),
        np.array([0, 3, 5, 5]),
        np.zeros(3, np.uint64),
    )
    batch = model.tokenise(counts, genes)
    assert batch.lengths.tolist() == [271, 271, 271]  # 270 genes and the end
    first, _, empty = batch.fields["token"].reshape(3, -1)
    # Of 10,000 known counts: log2(1 + 1) = 1; log2(1 + 9999) is cut at 5.
    assert {place: int(first[place]) for place in np.flatnonzero(first)} == {0: 5, 2: 1}
    assert not empty.any()
    assert batch.coverage.counts[0] == pytest.approx(10_000 / 10_050)


def test_tokens_and_embeddings_are_each_cells_own(model):
    assert_tokens_are_each_cells_own(model)
    assert_batch_is_irrelevant(model, model.tokenise(*cells()))


def test_half_precision_is_near(model):
    assert_half_precision_is_near(model, model.tokenise(*cells()))


def test_as_published_the_batch_matters(tmp_path):
    model = tiny("scbert", tmp_path, as_published=True)
    batch = model.tokenise(*cells())
    together, alone = model.embed(batch)[:1], model.embed(batch.take([0]))
    assert (together - alone).abs().max() > 1e-5
    model.network.performer.share_maximum(False)
    torch.testing.assert_close(model.embed(batch)[:1], alone)


def test_fine_tuning_sees_all_or_the_first_genes(tmp_path, monkeypatch):
    monkeypatch.setattr("cellresponse.baselines.models.scbert.FINE_TUNING", 100)
    for as_published, length in ((False, 271), (True, 101)):
        model = tiny("scbert", tmp_path, as_published=as_published)
        whole = model.tokenise(*cells())
        cut = model.fine_tuning(whole)
        assert cut.lengths.tolist() == [length] * 3
        found, tokens = (batch.fields["token"].reshape(3, -1) for batch in (cut, whole))
        np.testing.assert_array_equal(found[:, : length - 1], tokens[:, : length - 1])
        assert not found[:, -1].any()
        assert model.embed(cut).shape == (3, model.dimension)


def test_loads_the_nested_checkpoint(tmp_path, model, monkeypatch):
    monkeypatch.setattr("cellresponse.baselines.models.scbert.CONFIG", TINY)
    save(model, tmp_path / "panglao_pretrain.pth", "model_state_dict")
    loaded = ScBERT.load(tmp_path, as_published=False)
    batch = model.tokenise(*cells())
    torch.testing.assert_close(loaded.embed(batch), model.embed(batch), rtol=0, atol=0)


def test_a_checkpoint_of_another_shape_is_refused(tmp_path, model):
    save(model, tmp_path / "panglao_pretrain.pth", "model_state_dict")
    with pytest.raises(ModelError, match="does not fit the model"):
        ScBERT.load(tmp_path, as_published=False)


def test_a_vocabulary_that_is_no_h5ad_is_refused(tmp_path: Path):
    (tmp_path / "panglao_10000.h5ad").write_text("genes")
    with pytest.raises(ModelError, match="is no h5ad file"):
        ScBERT.create(tmp_path, size="tiny", as_published=False, seed=0)


def test_other_organisms_are_refused(model):
    counts, genes = cells()
    with pytest.raises(ModelError, match="orthologs"):
        model.tokenise(counts, Genes(genes.ids, genes.symbols, "mouse"))
