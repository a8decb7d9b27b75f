"""Golden folders: ours, others of the same format, and what is wrong with one."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from cellresponse.baselines.golden.run import golden_files, run_file
from cellresponse.schema.errors import ModelError

Run = Callable[..., tuple[int, str, str]]
SEED = 7
SYMBOLS = ["A", "B", "C-1", "D", "E", "F"]
RULES = [(r"\.ln_\w+\.weight$", 1.0, 0.02), (r"c_(attn|proj|fc)\.weight$", 0.0, 0.1)]
CONFIG = {"vocab_size": 10, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64}


def draw(key: str, shape: tuple[int, ...]) -> torch.Tensor:
    """The rule of the golden files, written from its description."""
    mean, scale = next((rule[1:] for rule in RULES if re.search(rule[0], key)), (0.0, 0.02))
    rng = np.random.Generator(np.random.PCG64([SEED, zlib.crc32(key.encode())]))
    z = rng.standard_normal(shape, dtype=np.float32)
    return torch.from_numpy(np.float32(mean) + np.float32(scale) * z)


def make_folder(folder: Path) -> Path:
    """Golden numbers of a small tGPT by the plain procedure, one cell at a time."""
    network = GPT2LMHeadModel(GPT2Config(**CONFIG)).eval()
    state = {key: draw(key, tuple(value.shape)) for key, value in network.state_dict().items()}
    state["lm_head.weight"] = state["transformer.wte.weight"]
    network.load_state_dict(state)
    counts = np.random.default_rng(1).permutation(np.arange(36)).reshape(6, 6).astype(np.int32)
    counts[5, 1:] = 0
    ids = np.zeros((6, 64), np.int32)
    mask = np.zeros((6, 64), np.int8)
    alone = np.zeros((6, 16), np.float32)
    padded = np.zeros((6, 16), np.float32)
    hidden = np.zeros((2, 6, 8, 16), np.float32)
    for row, values in enumerate(counts):
        order = [gene for gene in np.argsort(-values) if values[gene]]
        tokens = [1, *(4 + gene for gene in order), 2]
        ids[row, : len(tokens)], mask[row, : len(tokens)] = tokens, 1
        with torch.inference_mode():
            states = network.transformer(torch.tensor([tokens])).last_hidden_state[0]
            full = network.transformer(
                torch.from_numpy(ids[row : row + 1]).long(), attention_mask=torch.ones(1, 64)
            )
        alone[row] = states[1:-1].mean(0).numpy()
        padded[row] = full.last_hidden_state[0].mean(0).numpy()
        if len(states) >= 8:
            hidden[:, row] = states[:8].numpy(), states[-8:].numpy()
    folder.mkdir()
    np.savez(
        folder / "tgpt.npz",
        input_ids=ids,
        attention_mask=mask,
        input_ids_vocabulary_first=ids,
        attention_mask_vocabulary_first=mask,
        embedding=alone,
        embedding_vocabulary_first=alone,
        embedding_as_published=padded,
        hidden_first8=hidden[0],
        hidden_last8=hidden[1],
    )
    np.savez(
        folder / "inputs.npz",
        cell_ids=np.array([f"cell{row}" for row in range(6)]),
        gene_ids=np.array([f"ENSG{gene}" for gene in range(6)]),
        gene_symbols=np.array(SYMBOLS),
        counts=counts,
    )
    write_facts(folder, state)
    return folder


def write_facts(folder: Path, state: dict[str, torch.Tensor]) -> None:
    key = "transformer.h.1.attn.c_attn.weight"
    facts: dict[str, Any] = {
        "model": "tgpt",
        "weight_seed": SEED,
        "weight_rules": [
            dict(zip(("regex", "mean", "scale"), rule, strict=True)) for rule in RULES
        ],
        "config": CONFIG,
        "tolerance": {"max_abs": 2e-5, "rel_l2": 5e-6},
        "weight_check_first4": {key: state[key].flatten()[:4].tolist()},
    }
    (folder / "tgpt.json").write_text(json.dumps(facts))


def write_vocabulary(folder: Path) -> Path:
    folder.mkdir()
    words = ["<pad>", "</b>", "</s>", "<unk>", *(name.replace("-", "_") for name in SYMBOLS)]
    vocab = {word: number for number, word in enumerate(words)}
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"vocab": vocab}}))
    return folder


def test_another_folder_of_the_format(tmp_path: Path, run: Run) -> None:
    folder = make_folder(tmp_path / "golden")
    code, stdout, _ = run(
        "models", "golden", folder, "--files", write_vocabulary(tmp_path / "files")
    )
    assert code == 0, stdout
    assert re.match(r"tgpt +ok +(\d+) of \1 checks; largest difference \S+ absolute", stdout)
    assert len(stdout.splitlines()) == 1


def test_without_vocabularies_it_says_that_tokens_are_not_compared(
    tmp_path: Path, run: Run
) -> None:
    code, stdout, _ = run("models", "golden", make_folder(tmp_path / "golden"))
    assert code == 0
    assert stdout.splitlines()[1] == "  note: tokens: not compared: no --files"


@pytest.mark.parametrize(
    ("name", "failing"),
    [
        ("embedding", "embedding, one by one"),
        ("embedding_as_published", "embedding_as_published"),
        ("hidden_last8", "hidden_last8"),
        ("input_ids", "tokens"),
        ("weights", "weights transformer.h.1.attn.c_attn.weight"),
    ],
)
def test_every_difference_is_found(tmp_path: Path, run: Run, name: str, failing: str) -> None:
    folder, files = make_folder(tmp_path / "golden"), write_vocabulary(tmp_path / "files")
    if name == "weights":
        facts = json.loads((folder / "tgpt.json").read_text())
        facts["weight_check_first4"]["transformer.h.1.attn.c_attn.weight"][2] += 1e-6
        (folder / "tgpt.json").write_text(json.dumps(facts))
    else:
        arrays = dict(np.load(folder / "tgpt.npz"))
        if name == "input_ids":
            arrays[name][0, [1, 2]] = arrays[name][0, [2, 1]]
        else:
            arrays[name][0] += 1e-3
        np.savez(folder / "tgpt.npz", **arrays)
    code, stdout, _ = run("models", "golden", folder, "--files", files)
    assert code == 1
    assert stdout.startswith("tgpt           FAILED")
    assert f"  over: {failing}: " in stdout


def test_what_is_no_golden_folder_is_one_clear_line(tmp_path: Path, run: Run) -> None:
    code, _, stderr = run("models", "golden", tmp_path)
    assert (code, "holds no golden files" in stderr) == (1, True)
    folder = make_folder(tmp_path / "golden")
    facts = json.loads((folder / "tgpt.json").read_text())
    (folder / "tgpt.json").write_text(json.dumps({**facts, "model": "unheard_of"}))
    code, stdout, _ = run("models", "golden", folder)
    assert (code, "there is no such model here" in stdout) == (1, True)
    del facts["tolerance"]
    (folder / "tgpt.json").write_text(json.dumps(facts))
    with pytest.raises(ModelError, match="is no golden file: it lacks tolerance"):
        run_file(folder / "tgpt.json")
    (folder / "tgpt.npz").write_bytes(b"cut off")
    (folder / "tgpt.json").write_text(json.dumps({**facts, "tolerance": {}}))
    with pytest.raises(ModelError, match=r"tgpt.npz: cannot be read"):
        run_file(folder / "tgpt.json")


MODELS = [
    "cellm",
    "cellplm",
    "geneformer_6l",
    "scbert",
    "scfoundation",
    "scgpt",
    "tgpt",
    "uce_4l",
]


@pytest.mark.parametrize("name", MODELS)
def test_models_equal_their_official_code(shared: Path, name: str) -> None:
    # All cells take minutes: `models golden` does that.
    found = run_file(shared / f"facts/models/golden/{name}.json", shared / "artefacts", cells=2)
    assert found.passed, "\n".join(found.lines())


def test_every_golden_file_is_compared(shared: Path) -> None:
    files = golden_files(shared / "facts/models/golden")
    assert [path.stem for path in files] == MODELS
