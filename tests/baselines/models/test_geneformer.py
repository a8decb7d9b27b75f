"""Geneformer: layouts, tokens, embeddings."""

from __future__ import annotations

import json
import pickle
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

from cellresponse.baselines.models.geneformer import (
    Geneformer,
    GeneformerCardiomyopathies,
    Vocabulary,
    make_network,
)
from cellresponse.baselines.models.interface import Counts, Genes
from cellresponse.baselines.models.parts.genes import LowCoverageWarning
from cellresponse.baselines.models.parts.pickled_dictionary import read_dictionary
from cellresponse.schema.errors import ModelError


@pytest.mark.parametrize(
    ("name", "record"),
    [
        ("geneformer", "Geneformer_V1_6L"),
        ("geneformer-12l", "Geneformer_V1_12L"),
        ("geneformer-cardiomyopathies", "Geneformer_6L_CellClassifier_cardiomyopathies"),
    ],
)
def test_layouts_of_record(shared: Path, tmp_path: Path, name: str, record: str) -> None:
    path = shared / f"facts/models/{record}_state_dict.json"
    assert_layout_of_record(name, path, tmp_path, genes=25426 - 2)


def make(medians: dict[str, float], length: int = 4) -> Geneformer:
    tokens = {"<pad>": 0, "<mask>": 1} | {gene: 2 + place for place, gene in enumerate(medians)}
    with torch.device("meta"):
        network = make_network({"hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1})
    network.config.max_position_embeddings = length
    return Geneformer(network, Vocabulary(tokens, medians), as_published=False)


def test_genes_are_ranked_by_count_against_their_median() -> None:
    model = make({"G1": 1.0, "G2": 4.0, "G3": 2.0, "G4": 1.0, "G5": 0.5})
    genes = Genes(np.array(["G1", "G2", "X", "G3", "G4", "G5"]), np.array([""] * 6))
    counts = Counts(
        np.array([2, 8, 50, 6, 1, 1, 3]),
        np.array([0, 1, 2, 3, 4, 5, 1], np.int32),
        np.array([0, 6, 7]),
        np.zeros(2, np.uint64),
    )
    batch = model.tokenise(counts, genes)
    # 3 for G3; 2 for G1, G2 and G5, in the order of the columns; G4 is cut off.
    assert batch.fields["tokens"].tolist() == [4, 2, 3, 6, 3]
    assert batch.lengths.tolist() == [4, 1]
    assert batch.coverage is not None
    assert batch.coverage.counts.tolist() == [18 / 68, 1.0]


def test_the_total_is_over_all_genes_of_the_cell_and_changes_no_order(tmp_path: Path) -> None:
    model = tiny("geneformer", tmp_path)
    assert_tokens_are_each_cells_own(model)


@pytest.mark.parametrize("name", ["geneformer", "geneformer-12l", "geneformer-cardiomyopathies"])
def test_an_embedding_does_not_depend_on_its_batch(tmp_path: Path, name: str) -> None:
    model = tiny(name, tmp_path)
    assert_batch_is_irrelevant(model, model.tokenise(*cells()))


def test_as_published_padding_is_attended_to_and_averaged(tmp_path: Path) -> None:
    model = tiny("geneformer", tmp_path)
    assert isinstance(model, Geneformer)
    batch = model.tokenise(*cells()).take([2, 0])
    tokens = np.zeros((2, model.length), np.int64)
    for row in range(2):
        own = batch.take([row]).fields["tokens"]
        tokens[row, : len(own)] = own
    with torch.inference_mode():
        output = model.network.bert(torch.from_numpy(tokens), output_hidden_states=True)
    model.as_published = True
    expected = output.hidden_states[-1].mean(1)
    torch.testing.assert_close(model.embed(batch), expected)
    model.as_published = False
    assert (model.embed(batch) - expected).abs().max() > 1e-3


@pytest.mark.parametrize("kind", [Geneformer, GeneformerCardiomyopathies])
def test_weights_load_and_old_ones_with_position_numbers_too(
    tmp_path: Path, kind: type[Geneformer]
) -> None:
    model = tiny(kind.card.name, tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(model.network.config.to_dict()))  # type: ignore[union-attr,operator]
    batch = model.tokenise(*cells())
    expected = model.embed(batch)
    save(model, tmp_path / "pytorch_model.bin")
    torch.testing.assert_close(kind.load(tmp_path, as_published=False).embed(batch), expected)
    old = {**model.network.state_dict(), "bert.embeddings.position_ids": torch.arange(5)}
    torch.save(old, tmp_path / "pytorch_model.bin")
    torch.testing.assert_close(kind.load(tmp_path, as_published=False).embed(batch), expected)
    other = Geneformer if kind is GeneformerCardiomyopathies else GeneformerCardiomyopathies
    with pytest.raises(ModelError, match=r"does not fit the model: \d missing"):
        other.load(tmp_path, as_published=False)


def test_a_dictionary_that_lacks_is_named(tmp_path: Path) -> None:
    tiny("geneformer", tmp_path)
    (tmp_path / "gene_median_dictionary.pkl").unlink()
    with pytest.raises(ModelError, match=r"lacks gene_median_dictionary.pkl.*https://hugging"):
        Geneformer.create(tmp_path, size="tiny", as_published=False, seed=0)


@pytest.mark.parametrize("name", ["geneformer", "geneformer-12l", "geneformer-cardiomyopathies"])
def test_a_cell_without_known_genes_is_zeros_alone_and_in_a_batch(
    tmp_path: Path, name: str
) -> None:
    model = tiny(name, tmp_path)
    counts, genes = cells()
    unknown = Counts(
        np.append(counts.values[: counts.offsets[1]], 3),
        np.append(counts.genes[: counts.offsets[1]], np.int32(len(genes.ids) - 1)),
        np.append(counts.offsets[:2], counts.offsets[1] + 1),
        counts.seeds[:2],
    )
    with pytest.warns(LowCoverageWarning):
        batch = model.tokenise(unknown, genes)
    assert batch.lengths[1] == 0
    assert not model.embed(batch.take([1])).any()
    both = model.embed(batch)
    assert both[0].any()
    assert not both[1].any()


def kept(folder: Path) -> dict[str, object]:
    """Keep a tiny Geneformer in a folder; give its configuration."""
    model = tiny("geneformer", folder)
    config: dict[str, object] = model.network.config.to_dict()  # type: ignore[union-attr,operator,assignment]
    (folder / "config.json").write_text(json.dumps(config))
    save(model, folder / "pytorch_model.bin")
    return config


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("token_dictionary.pkl", 10_000, r"does not fit the model.*10000. Allowed: 0 to 2\d\d\."),
        ("token_dictionary.pkl", -1, "has a token under 0 'ENSG.*: -1'"),
        ("gene_median_dictionary.pkl", 0.0, "has a median that no gene can have 'ENSG.*: 0.0'"),
        ("gene_median_dictionary.pkl", float("nan"), "has a median .*: nan'"),
    ],
)
def test_a_vocabulary_that_cannot_be_is_refused(
    tmp_path: Path, name: str, value: float, message: str
) -> None:
    kept(tmp_path)
    words = read_dictionary(tmp_path / name, type(value))
    gene = next(word for word in words if word.startswith("ENSG"))
    (tmp_path / name).write_bytes(pickle.dumps({**words, gene: value}))
    with pytest.raises(ModelError, match=f"{name}: {message}"):
        Geneformer.load(tmp_path, as_published=False)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("hidden_size", "256", "column hidden_size: is no value of a configuration"),
        ("num_hidden_layers", True, "column num_hidden_layers: is no value of a configuration"),
        ("hidden_act", "nope", "describes a network that cannot be made .*nope"),
        ("num_attention_heads", 5, "describes a network that cannot be made .*multiple"),
    ],
)
def test_a_configuration_that_cannot_be_is_one_clear_line(
    tmp_path: Path, key: str, value: object, message: str
) -> None:
    config = kept(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({**config, key: value}))
    with pytest.raises(ModelError, match=f"config.json[:,] {message}") as caught:
        Geneformer.load(tmp_path, as_published=False)
    assert "\n" not in str(caught.value)
