"""CellPLM: a cell alone, beside fixed others, and as published."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_models import (
    assert_batch_is_irrelevant,
    assert_layout_of_record,
    assert_tokens_are_each_cells_own,
    cells,
    save,
    tiny,
)

from cellresponse.baselines.models.cellplm import CHECKPOINT, TINY, VOCABULARY, CellPLM
from cellresponse.baselines.models.interface import Batch, Counts, Genes
from cellresponse.schema.errors import ModelError


@pytest.fixture
def model(tmp_path: Path) -> CellPLM:
    found = tiny("cellplm", tmp_path)
    assert isinstance(found, CellPLM)
    return found


@pytest.fixture
def batch(model: CellPLM) -> Batch:
    return model.tokenise(*cells())


@pytest.mark.parametrize("layout", ["CellPLM", "CellPLM_pretrain_full"])
def test_layouts_of_record(shared: Path, tmp_path: Path, layout: str) -> None:
    record = shared / f"facts/models/{layout}_state_dict.json"
    assert_layout_of_record("cellplm", record, tmp_path, genes=19_374)


def test_tokens_are_log1p_of_raw_counts(model: CellPLM) -> None:
    # An Ensembl version is not looked at; an id the vocabulary lacks is left out.
    ids = np.array(["ENSG00000000009.4", "ENSG99999999999", "ENSG00000000004"])
    counts = Counts(
        np.array([7, 2, 1, 3]),
        np.array([0, 1, 2, 2], np.int32),
        np.array([0, 3, 4, 4]),
        np.zeros(3, np.uint64),
    )
    batch = model.tokenise(counts, Genes(ids, ids))
    assert batch.offsets.tolist() == [0, 2, 3, 3]
    assert batch.fields["gene"].tolist() == [9, 4, 4]
    assert batch.fields["value"].tolist() == pytest.approx(np.log([8, 2, 4]))
    assert batch.coverage is not None
    assert batch.coverage.counts.tolist() == [0.8, 1, 0]


def test_tokens_and_embeddings_are_each_cells_own(model: CellPLM, batch: Batch) -> None:
    assert_tokens_are_each_cells_own(model)
    assert_batch_is_irrelevant(model, batch)


def test_fixed_cells_beside_every_cell(model: CellPLM, batch: Batch) -> None:
    alone = model.embed(batch)
    model.context = batch.take([1, 2])
    assert_batch_is_irrelevant(model, batch)
    beside = model.embed(batch.take([0]))
    assert (beside - alone[:1]).abs().max() > 1e-3
    # The same cells as one published sequence, without its noise.
    model.as_published = True
    with torch.inference_mode():
        together = model.network(model.encode(batch), noise=False)
    torch.testing.assert_close(beside, together[:1])


def test_as_published_batch_mates_and_noise_change_an_embedding(
    model: CellPLM, batch: Batch
) -> None:
    model.as_published = True

    def embed(rows: list[int], seed: int) -> torch.Tensor:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return model.embed(batch.take(rows))

    assert torch.equal(embed([0, 1, 2], 0), embed([0, 1, 2], 0))
    assert (embed([0, 1], 0)[0] - embed([0], 0)[0]).abs().max() > 1e-3
    seeds = [embed([0, 1, 2], seed) for seed in range(20)]
    assert any((seeds[0] - other).abs().max() > 1e-3 for other in seeds)


def test_query_and_key_of_a_cell_alone_are_not_heard(model: CellPLM, batch: Batch) -> None:
    before = model.embed(batch)
    for name in ("query_projection", "key_projection", "value_projection"):
        for key, value in model.network.named_parameters():
            if name in key:
                torch.nn.init.normal_(value)
        change = (model.embed(batch) - before).norm() / before.norm()
        assert (change > 1e-2) == (name == "value_projection"), (name, change)


def test_loads_a_pretraining_checkpoint(tmp_path: Path, model: CellPLM, batch: Batch) -> None:
    (tmp_path / "config.json").write_text(json.dumps(TINY))
    state = {**model.network.state_dict(), "decoder.layers.0.0.bias": torch.zeros(3)}
    wrapped = {f"module.{key}": value for key, value in state.items()}
    torch.save({"model_state_dict": wrapped}, tmp_path / CHECKPOINT)
    loaded = CellPLM.load(tmp_path, as_published=False)
    assert asdict(loaded.config) == asdict(model.config)
    assert torch.equal(loaded.embed(batch), model.embed(batch))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mask_model.weight": torch.zeros(1)}, r"1 too many \(mask_model.weight\)"),
        ({"embedder.feat_enc.emb": torch.zeros(3, 32)}, r"emb \[3, 32\] for \[270, 32\]"),
        ({"embedder.feat_enc.emb": None}, r"1 missing \(embedder.feat_enc.emb\)"),
    ],
)
def test_other_keys_are_refused(
    tmp_path: Path, model: CellPLM, change: dict[str, torch.Tensor | None], message: str
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(TINY))
    state = {**model.network.state_dict(), **change}
    torch.save({key: value for key, value in state.items() if value is not None}, tmp_path / "w")
    with pytest.raises(ModelError, match=message):
        CellPLM.load(tmp_path / "w", as_published=False)


@pytest.mark.parametrize("content", [None, "no json", "[]", '{"gene_list": []}'])
def test_its_configuration_is_needed(tmp_path: Path, model: CellPLM, content: str | None) -> None:
    save(model, tmp_path / CHECKPOINT)
    (tmp_path / VOCABULARY).unlink()
    if content is not None:
        (tmp_path / VOCABULARY).write_text(content)
    with pytest.raises(ModelError, match=r"lacks 2023|is no configuration of CellPLM"):
        CellPLM.load(tmp_path, as_published=False)
