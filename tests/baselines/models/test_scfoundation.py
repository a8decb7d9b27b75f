from __future__ import annotations

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

from cellresponse.baselines.models import scfoundation
from cellresponse.baselines.models.interface import Counts, Genes
from cellresponse.baselines.models.scfoundation import ScFoundation
from cellresponse.schema.errors import ModelError


@pytest.fixture
def model(tmp_path) -> ScFoundation:
    return tiny("scfoundation", tmp_path)


def test_layout_of_record(shared, tmp_path):
    record = shared / "facts/models/scFoundation_state_dict.json"
    assert_layout_of_record("scfoundation", record, tmp_path, genes=19264)


def test_values_in_the_vocabularys_order_then_depth(model):
    symbols = np.array(["GENE9", "unknown", "GENE4"])
    counts = Counts(
        np.array([30, 50, 70, 10]),
        np.array([0, 1, 2, 0], np.int32),
        np.array([0, 3, 4, 4]),
        np.zeros(3, np.uint64),
    )
    batch = model.tokenise(counts, Genes(symbols, symbols))
    assert batch.offsets.tolist() == [0, 4, 7, 9]
    assert batch.fields["position"].tolist() == [4, 9, 270, 271, 9, 270, 271, 270, 271]
    expected = [np.log1p(7000), np.log1p(3000), 4, 2, np.log1p(10_000), 4, 1, 4, 0]
    np.testing.assert_allclose(batch.fields["value"], expected, rtol=1e-6)
    assert model.embed(batch).isfinite().all()  # of a cell without known genes too


def test_tokens_and_embeddings_are_each_cells_own(model):
    assert_tokens_are_each_cells_own(model)
    assert_batch_is_irrelevant(model, model.tokenise(*cells()))


def test_half_precision_is_near(model):
    assert_half_precision_is_near(model, model.tokenise(*cells()))


def test_values_are_read_in_float32(model):
    values = torch.tensor([[7.984423, 7.99]])  # one number in bfloat16
    with torch.autocast("cpu", torch.bfloat16):
        first, second = model.network.token_emb(values)[0]
    assert (first - second).abs().max() > 0
    read = []
    model.network.token_emb.mlp.register_forward_hook(lambda *call: read.append(call[2].dtype))
    with torch.autocast("cpu", torch.bfloat16):
        model.embed(model.tokenise(*cells()))
    assert read == [torch.float32]


def test_pools_depth_maximum_and_mean_where_they_stand(model):
    batch = model.tokenise(*cells())
    with torch.inference_mode():
        hidden, real = model.hidden(batch)
    for row, embedding in enumerate(model.embed(batch)):
        state = hidden[row, real[row]]
        genes = state[:-2]
        expected = torch.cat([state[-1], state[-2], genes.amax(0), genes.mean(0)])
        torch.testing.assert_close(embedding, expected)


def test_as_published_reads_the_ends_of_the_padded_batch(tmp_path):
    model = tiny("scfoundation", tmp_path, as_published=True)
    batch = model.tokenise(*cells())
    with torch.inference_mode():
        hidden, _ = model.hidden(batch)
    genes = hidden[:, :-2]
    expected = torch.cat([hidden[:, -1], hidden[:, -2], genes.amax(1), genes.mean(1)], 1)
    torch.testing.assert_close(model.embed(batch), expected)
    alone = model.embed(batch.take([2]))
    assert (model.embed(batch)[2:] - alone).abs().max() > 1e-3
    model.as_published = False
    torch.testing.assert_close(model.embed(batch)[2:], alone)  # one cell: no difference


@pytest.mark.parametrize(
    ("as_published", "lengths"), [(False, [57, 136, 20]), (True, [57, 100, 20])]
)
def test_fine_tuning_sees_all_or_the_first_tokens(tmp_path, as_published, lengths):
    model = tiny("scfoundation", tmp_path, as_published=as_published)
    whole = model.tokenise(*cells())
    cut = model.fine_tuning(whole)
    assert cut.lengths.tolist() == lengths
    for name, values in cut.fields.items():
        for row, length in enumerate(lengths):
            start = whole.offsets[row]
            found = values[cut.offsets[row] : cut.offsets[row + 1]]
            np.testing.assert_array_equal(found, whole.fields[name][start : start + length])


@pytest.mark.parametrize("prefix", ["model.", "module.model.", ""])
def test_loads_the_nested_checkpoint(tmp_path, model, monkeypatch, prefix):
    monkeypatch.setattr(scfoundation, "CONFIG", scfoundation.TINY)
    state = {prefix + key: value for key, value in model.network.state_dict().items()}
    other = {"config": {}, "state_dict": {"model.a": torch.zeros(1)}}
    nested = {"cell": {"config": {"depth": 12}, "state_dict": state}, "rde": other, "gene": other}
    torch.save(nested, tmp_path / "models.ckpt")
    loaded = ScFoundation.load(tmp_path, as_published=False)
    batch = model.tokenise(*cells())
    torch.testing.assert_close(loaded.embed(batch), model.embed(batch), rtol=0, atol=0)


def test_a_checkpoint_of_another_shape_is_refused(tmp_path, model):
    save(model, tmp_path / "models.ckpt", "cell", "state_dict")
    with pytest.raises(ModelError, match="does not fit the model"):
        ScFoundation.load(tmp_path, as_published=False)


@pytest.mark.parametrize("content", ["gene\tplace\nA\t0\n", "gene_name\tindex\nA\tfirst\n"])
def test_a_table_of_genes_that_is_none_is_refused(tmp_path, content):
    (tmp_path / scfoundation.VOCABULARY).write_text(content)
    with pytest.raises(ModelError, match="is no table of genes"):
        ScFoundation.create(tmp_path, size="tiny", as_published=False, seed=0)
