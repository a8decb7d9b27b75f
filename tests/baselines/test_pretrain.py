"""A really trained small model: it learns, it is kept in the published layout, it can be used."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from cellresponse.baselines.benchmark.head import HeadOptions, fit_head, predict_head
from cellresponse.baselines.embed.cells import counts_of_rows
from cellresponse.baselines.lora import TuningOptions, adapt, fine_tune
from cellresponse.baselines.models.interface import Batch, Counts, Genes
from cellresponse.baselines.pretrain.cells import TrainingCells, medians, training_cells
from cellresponse.baselines.pretrain.objectives import MaskedGenes, MaskedValues, shortened
from cellresponse.baselines.pretrain.run import PretrainOptions, pretrain
from cellresponse.baselines.pretrain.vocabularies import write_vocabulary
from cellresponse.baselines.weights import check_weights, open_model
from cellresponse.releases.release import Release
from cellresponse.schema.errors import ModelError

Run = Callable[..., tuple[int, str, str]]
FEW = PretrainOptions(cells=100, steps=20, batch_size=8, learning_rate=0.01)


@pytest.fixture(scope="module", params=["geneformer", "scgpt"])
def trained(
    request: pytest.FixtureRequest,
    demo_release: Release,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    folder = tmp_path_factory.mktemp("trained") / request.param
    assert pretrain(request.param, demo_release.folder, folder, FEW) == folder
    return folder


def test_it_learns_and_says_what_it_is(trained: Path, demo_release: Release) -> None:
    card = json.loads((trained / "card.json").read_text())
    loss = card["loss"]
    assert loss["held_out_after"] < 0.99 * loss["held_out_before"]
    assert [point[0] for point in loss["curve"]] == list(range(1, 21))
    assert card["cells"] == {"trained": 90, "held_out": 10}
    assert card["content_hash"] == demo_release.content_hash
    assert card["options"]["steps"] == 20
    assert set(card["licences_of_the_data"]) == set(
        demo_release.tables["studies"]["study_id"].to_pylist()
    )
    assert len({path.stat().st_mode for path in trained.iterdir()}) == 1  # others can read it
    readme = (trained / "README.md").read_text()
    assert f"{loss['held_out_after']:.3f} after" in readme
    assert "not by its authors" in readme


def test_it_is_in_the_published_layout(trained: Path, shared: Path) -> None:
    record, optional = {
        "geneformer": ("Geneformer_V1_6L", {"cls.predictions.decoder.weight"}),
        "scgpt": ("scGPT_human_torch", {"flag_encoder.weight"}),
    }[trained.name]
    layout = json.loads((shared / f"facts/models/{record}_state_dict.json").read_text())
    ours = set(load_file(trained / "model.safetensors"))

    def layerless(keys: set[str]) -> set[str]:
        return {key for key in keys if not any(f".{n}." in key for n in range(2, 12))}

    missing = layerless(set(layout["state_dict"])) - ours
    assert not ours - set(layout["state_dict"])
    assert all(key in optional or key.startswith(("cls_decoder", "cls.")) for key in missing)
    assert check_weights(trained).startswith(f"{trained.name}: fits")


def test_the_whole_way_to_a_prediction(trained: Path, demo_release: Release) -> None:
    cells = demo_release.cells(drug="synthetic-drug-a", stars=2)[::80]
    assert 10 < cells.n_obs < 30
    genes = Genes(
        cells.var_names.to_numpy().astype(str), cells.var["gene_name"].to_numpy().astype(str)
    )
    model = open_model(trained.name, trained).model
    batch = model.tokenise(counts_of_rows(cells.X, cells.obs_names), genes)
    sensitive = (cells.obs["response"] == "sensitive").to_numpy()
    features = model.embed(batch).numpy()
    assert features.shape == (cells.n_obs, model.dimension)
    head = fit_head(features, sensitive, seed=0, options=HeadOptions(epochs=2, batch_size=8))
    frozen = predict_head(head, features)
    options = TuningOptions(epochs=1, batch_size=8)
    tuned = fine_tune(adapt(model), batch, sensitive, seed=0, options=options).predict(batch)
    for found in (frozen, tuned):
        assert found.shape == (cells.n_obs,)
        assert ((found > 0) & (found < 1)).all()


def test_the_same_seed_gives_the_same_files(demo_release: Release, tmp_path: Path) -> None:
    options = PretrainOptions(cells=60, steps=2, batch_size=4)
    one, two = (
        pretrain("scgpt", demo_release.folder, tmp_path / name, options) for name in ("a", "b")
    )
    names = sorted(path.name for path in one.iterdir())
    assert names == ["README.md", "args.json", "card.json", "model.safetensors", "vocab.json"]
    for name in names:
        assert (one / name).read_bytes() == (two / name).read_bytes()
    other = PretrainOptions(cells=60, steps=2, batch_size=4, seed=1)
    three = pretrain("scgpt", demo_release.folder, tmp_path / "c", other)
    assert (three / "model.safetensors").read_bytes() != (one / "model.safetensors").read_bytes()


def test_command(demo_release: Release, tmp_path: Path, run: Run) -> None:
    out = tmp_path / "made"
    arguments = ("--release", demo_release.folder, "--out", out, "--cells", 40, "--steps", 1)
    code, stdout, stderr = run("models", "pretrain", "--model", "scgpt", *arguments)
    assert code == 0
    assert stdout == (out / "README.md").read_text()
    assert "step 1: loss" in stderr
    code, _, stderr = run("models", "pretrain", "--model", "scgpt", *arguments)
    assert (code, stderr) == (
        1,
        f"error: {out}: is there already. Name another folder, or remove it.\n",
    )
    out = tmp_path / "other"
    code, _, stderr = run(
        "models", "pretrain", "--model", "uce", "--release", demo_release.folder, "--out", out
    )
    assert code == 1
    assert "cannot be pretrained here 'uce'. Allowed: geneformer, scgpt." in stderr
    assert not out.exists()


def test_cells_are_no_choice_and_genes_are_seen(demo_release: Release) -> None:
    cells = training_cells(demo_release, 50)
    ids = demo_release.tables["cells"]["cell_id"].to_pylist()
    assert sorted(cells.cell_ids) == sorted(ids)[:50]
    seen = np.zeros(len(cells.genes.ids), int)
    for row in range(50):
        seen[cells.counts.cell(row)[0]] += 1
    np.testing.assert_array_equal(cells.seen, seen >= 10)
    with pytest.raises(ModelError, match=r"too few human cells to train on"):
        training_cells(demo_release, 19)


def test_medians_are_of_scaled_counts_that_are_not_zero() -> None:
    counts = Counts(
        np.array([1, 3, 2, 2, 5, 10, 4]),
        np.array([0, 1, 0, 1, 2, 0, 1], np.int32),
        np.array([0, 2, 5, 6, 7]),
        np.zeros(4, np.uint64),
    )
    genes = Genes(np.array(["A", "B", "C"]), np.array(["a", "b", "c"]))
    cells = TrainingCells(("1", "2", "3", "4"), counts, genes, np.array([True, True, False]))
    a = [1 / 4, 2 / 9, 1]
    b = [3 / 4, 2 / 9, 1]
    assert medians(cells) == pytest.approx({"A": np.median(a) * 1e4, "B": np.median(b) * 1e4})


def test_a_part_of_every_cell() -> None:
    batch = Batch({"tokens": np.arange(7)}, np.array([0, 4, 4, 7]))
    cut = shortened(batch, 2, np.array([3.0, 0, 2, 1, 5, 9, 7]))
    assert cut.offsets.tolist() == [0, 2, 2, 4]
    assert cut.fields["tokens"].tolist() == [1, 3, 4, 6]


def test_hidden_genes_are_scored_and_nothing_else(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = open_model(trained.name, trained).model
    rng = np.random.default_rng(0)
    many, length = 20, 100
    offsets = np.arange(many + 1) * length
    shown: list[torch.Tensor] = []
    if trained.name == "geneformer":
        tokens = rng.integers(2, 100, many * length)
        batch = Batch({"tokens": tokens}, offsets)
        objective: MaskedGenes | MaskedValues = MaskedGenes(model)  # type: ignore[arg-type]
        model.network.bert.register_forward_pre_hook(  # type: ignore[union-attr,operator]
            lambda _, args: shown.append(args[0])
        )
        before = torch.from_numpy(tokens).view(many, length)
    else:
        values = rng.integers(1, 51, many * length).astype(np.float32)
        values[offsets[:-1]] = -2
        genes = rng.integers(0, 100, many * length)
        genes[offsets[:-1]] = model.cls  # type: ignore[attr-defined]
        batch = Batch({"gene": genes, "value": values}, offsets)
        objective = MaskedValues(model)  # type: ignore[arg-type]
        model.network.register_forward_pre_hook(lambda _, args: shown.append(args[1]))
        before = torch.from_numpy(values).view(many, length)
    objective.loss(batch, torch.Generator().manual_seed(0))
    changed = (shown[0] != before).float().mean().item()
    # Of the genes 90 % of 15 % look different; of the values 40 %, but never <cls>.
    expected = 0.9 * 0.15 if trained.name == "geneformer" else 0.4 * 0.99
    assert changed == pytest.approx(expected, abs=0.03)
    if trained.name == "scgpt":
        assert (shown[0][:, 0] == -2).all()
        assert set(shown[0][shown[0] != before].tolist()) == {-1.0}


def test_vocabulary_of_a_model_without_genes_is_refused(tmp_path: Path) -> None:
    genes = Genes(np.array(["", ""]), np.array(["", ""]))
    with pytest.raises(ModelError, match="has no vocabulary of genes 'minilm'"):
        write_vocabulary("minilm", genes, tmp_path)
    with pytest.raises(ModelError, match="no gene has a name that uce reads"):
        write_vocabulary("uce", genes, tmp_path)


@pytest.mark.parametrize("rate", ["nan", "inf", "-1", "0"])
def test_a_learning_rate_that_is_none(tmp_path: Path, run: Run, rate: str) -> None:
    given = ("--model", "scgpt", "--release", tmp_path, "--out", tmp_path / "out")
    code, _, stderr = run("models", "pretrain", *given, "--learning-rate", rate)
    assert code == 1
    assert "is no learning rate" in stderr
