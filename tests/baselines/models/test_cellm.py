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

from cellresponse.baselines.models import cellm
from cellresponse.baselines.models.cellm import CLS, PAD, CellLM
from cellresponse.baselines.models.interface import Counts, Genes
from cellresponse.schema.errors import ModelError


@pytest.fixture
def model(tmp_path) -> CellLM:
    return tiny("cellm", tmp_path)


def test_layout_of_record(shared, tmp_path):
    record = shared / "facts/models/CellLM_state_dict.json"
    assert_layout_of_record("cellm", record, tmp_path, genes=19379)


def test_genes_stand_in_the_vocabularys_order(model):
    symbols = np.array(["GENE9", "unknown", "GENE4", "GENE7"])
    counts = Counts(
        np.array([1, 50, 9996, 3, 7]),
        np.array([0, 1, 2, 3, 2], np.int32),
        np.array([0, 4, 5, 5]),
        np.zeros(3, np.uint64),
    )
    batch = model.tokenise(counts, Genes(symbols, symbols))
    assert batch.offsets.tolist() == [0, 4, 6, 7]
    assert batch.fields["position"].tolist() == [270, 4, 7, 9, 270, 4, 270]
    # Of 10,000 known counts: log2(1 + 3) = 2 and log2(1 + 1) = 1.
    assert batch.fields["token"].tolist() == [CLS, 5, 2, 1, CLS, 5, CLS]


def test_tokens_and_embeddings_are_each_cells_own(model):
    assert_tokens_are_each_cells_own(model)
    assert_batch_is_irrelevant(model, model.tokenise(*cells()))


def test_half_precision_is_near(model):
    assert_half_precision_is_near(model, model.tokenise(*cells()))


def test_the_longest_cells_are_cut(model, monkeypatch):
    monkeypatch.setattr(cellm, "LENGTH", 50)
    batch = model.tokenise(*cells())
    assert batch.lengths.tolist() == [50, 50, 19]
    assert (np.diff(batch.fields["position"][1:50]) > 0).all()
    assert_batch_is_irrelevant(model, batch)


@pytest.mark.parametrize("length", [80, 136])  # the longest cell has 136 tokens
def test_one_position_stands_for_all_padding(model, monkeypatch, length):
    monkeypatch.setattr(cellm, "LENGTH", length)
    batch = model.tokenise(*cells())
    rows = len(batch)
    tokens = torch.full((rows, length), PAD)
    positions = torch.full((rows, length), 271)
    real = torch.arange(length) < torch.from_numpy(batch.lengths)[:, None]
    tokens[real] = torch.from_numpy(batch.fields["token"]).long()
    positions[real] = torch.from_numpy(batch.fields["position"]).long()
    with torch.inference_mode():
        padded = model.network(tokens, positions, None, real.float())
        hidden, known = model.hidden(batch)
    torch.testing.assert_close(hidden[known], padded[real])


def test_as_published_the_mean_is_over_6000(tmp_path):
    model = tiny("cellm", tmp_path)
    batch = model.tokenise(*cells()).take([1])
    mean = model.embed(batch)
    model.as_published = True
    torch.testing.assert_close(model.embed(batch) * 6000, mean * int(batch.lengths[0]))


def test_as_published_the_batch_matters(tmp_path):
    model = tiny("cellm", tmp_path, as_published=True)
    batch = model.tokenise(*cells())
    together = model.embed(batch)
    alone = torch.cat([model.embed(batch.take([row])) for row in range(3)])
    assert (together - alone).norm() > 1e-5 * alone.norm()


def test_the_table_of_positions_ends_with_ones_and_zeros(model):
    table = model.network.pos_emb.emb.weight
    assert table.shape[0] == 272
    assert (table[-2] == 1).all()
    assert (table[-1] == 0).all()


@pytest.mark.parametrize("prefix", ["", "encoder."])
def test_loads_the_nested_checkpoint(tmp_path, model, monkeypatch, prefix):
    monkeypatch.setattr(cellm, "CONFIG", cellm.TINY)
    state = {prefix + key: value for key, value in model.network.state_dict().items()}
    torch.save({"model_state_dict": state}, tmp_path / "checkpoint4_fixed.pth")
    loaded = CellLM.load(tmp_path, as_published=False)
    batch = model.tokenise(*cells())
    torch.testing.assert_close(loaded.embed(batch), model.embed(batch), rtol=0, atol=0)


def test_a_checkpoint_of_another_shape_is_refused(tmp_path, model):
    save(model, tmp_path / "checkpoint4_fixed.pth", "model_state_dict")
    with pytest.raises(ModelError, match="does not fit the model"):
        CellLM.load(tmp_path, as_published=False)


@pytest.mark.parametrize("content", [b"", b"A\nB\nA\n", b"\xff\xfe\x00A"])
def test_a_list_of_genes_that_is_none_is_refused(tmp_path, content):
    (tmp_path / "genes.txt").write_bytes(content)
    with pytest.raises(ModelError, match="one a line"):
        CellLM.create(tmp_path, size="tiny", as_published=False, seed=0)
