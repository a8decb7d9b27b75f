import shutil
import subprocess
import sys
import warnings
from collections import Counter
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from torch import distributed
from torch.utils.data import DataLoader

from cellresponse.releases.loading.fold import fold_cells
from cellresponse.releases.loading.loader import RESPONSES
from cellresponse.releases.loading.opening import Reading, open_loader
from cellresponse.releases.loading.shuffle import shuffle
from cellresponse.releases.release import load
from cellresponse.schema.errors import CellResponseError, ReleaseError

TASK = "external/both/human/drug_class=targeted/synthetic-drug-a"
"""Cells of both studies."""


@pytest.fixture(scope="module")
def copy(demo_release, tmp_path_factory):
    out = tmp_path_factory.mktemp("shuffled") / "demo.shuffled"
    shuffle(demo_release, out)
    return out


@pytest.fixture(scope="module")
def cells(demo_release):
    return fold_cells(demo_release, task=TASK)


@pytest.fixture(scope="module")
def counts(demo_release):
    """Counts of every cell, as the release gives them."""
    return demo_release.cells()


def small(**changed):
    return Reading(**({"batch_size": 64, "block_size": 16, "rows_in_memory": 512} | changed))


def told(batches):
    """Ids of each batch."""
    return [batch.cell_ids for batch in batches]


def dense(given, to, sparse):
    """The counts as an array, after a look at their kind."""
    if to == "torch":
        assert given.layout == (torch.sparse_csr if sparse else torch.strided)
        assert given.dtype == torch.int32
        return given.to_dense().numpy()
    assert sp.issparse(given) == sparse
    assert given.dtype == np.int32
    return given.toarray() if sparse else given


@pytest.mark.parametrize("shuffled", [False, True])
@pytest.mark.parametrize("to", ["numpy", "torch"])
@pytest.mark.parametrize("sparse", [True, False])
def test_batches_say_what_the_release_says(demo_release, cells, counts, copy, shuffled, to, sparse):
    options = small(to=to, sparse=sparse, shuffled=copy if shuffled else None)
    loader = open_loader(demo_release, cells, options)
    rows = {row["cell_id"]: row for row in cells.to_pylist()}
    seen = Counter()
    for batch in loader:
        seen.update(batch.cell_ids)
        assert isinstance(batch.response, torch.Tensor if to == "torch" else np.ndarray)
        expected = counts.X[counts.obs_names.get_indexer(batch.cell_ids)]
        assert np.array_equal(dense(batch.X, to, sparse), expected.toarray())
        for place, cell in enumerate(batch.cell_ids):
            row = rows[cell]
            assert RESPONSES[batch.response[place]] == row["response"]
            assert batch.stars[place] == (row["stars"] or 0)
            assert loader.drugs[batch.drug[place]] == row["drug_id"]
            assert loader.bases[batch.basis[place]] == row["basis"]
    assert seen == Counter(list(rows))
    assert loader.n_cells == len(rows)


def test_a_batch_mixes_studies(demo_release, cells):
    study = dict(zip(cells["cell_id"].to_pylist(), cells["study_id"].to_pylist(), strict=True))
    batch = next(iter(open_loader(demo_release, cells, small())))
    assert {study[cell] for cell in batch.cell_ids} == {"SYNTHETIC-1", "SYNTHETIC-2"}


def test_only_matrices_that_hold_wanted_cells_are_read(demo_release, tmp_path):
    shutil.copytree(demo_release.folder, tmp_path / "demo")
    shutil.rmtree(tmp_path / "demo" / "matrices" / "SYNTHETIC-2.zarr")
    task = "pooled/primary/human/drug_class=targeted/synthetic-drug-a"
    loader = load(tmp_path / "demo").loader(task=task, batch_size=100)
    assert sum(len(batch.cell_ids) for batch in loader) == loader.n_cells
    with pytest.raises(ReleaseError, match=r"SYNTHETIC-2\.zarr"):
        load(tmp_path / "demo").loader(task=TASK)


def test_the_last_batch_is_kept_and_the_length_is_right(demo_release, cells):
    loader = open_loader(demo_release, cells, small())
    sizes = [len(batch.cell_ids) for batch in loader]
    assert len(sizes) == len(loader)
    assert set(sizes[:-1]) == {64}
    assert sizes[-1] == len(cells) % 64


def test_seed_and_epoch_fix_the_order(demo_release, cells):
    loader = open_loader(demo_release, cells, small())
    first = told(loader)
    assert told(loader) == first
    loader.set_epoch(1)
    assert told(loader) != first
    assert told(open_loader(demo_release, cells, small(seed=1))) != first
    in_order = open_loader(demo_release, cells, small(shuffle=False))
    assert list(chain.from_iterable(told(in_order))) == cells["cell_id"].to_pylist()


def test_training_goes_on_where_a_state_was_taken(demo_release, cells):
    loader = open_loader(demo_release, cells, small())
    loader.set_epoch(2)
    whole = told(loader)
    taken = []
    for batch in loader:
        taken.append(batch.cell_ids)
        if len(taken) == 11:
            state = loader.state_dict()
            break
    again = open_loader(demo_release, cells, small())
    again.load_state_dict(state)
    assert taken + told(again) == whole
    assert again.state_dict() == state | {"batch": len(whole)}


def test_a_state_of_another_loader_is_refused(demo_release, cells):
    state = open_loader(demo_release, cells, small()).state_dict(batch=3)
    for other in (
        small(batch_size=32),
        small(block_size=8),
        small(rows_in_memory=256),
        small(seed=1),
        small(shuffle=False),
        small(rank=0, world_size=2),
    ):
        with pytest.raises(ReleaseError, match="taken from another loader"):
            open_loader(demo_release, cells, other).load_state_dict(state)
    with pytest.raises(ReleaseError, match="another loader"):
        open_loader(demo_release, cells.slice(1), small()).load_state_dict(state)


def test_a_state_of_another_release_is_refused(demo_release, cells, monkeypatch):
    state = open_loader(demo_release, cells, small()).state_dict(batch=3)
    monkeypatch.setattr(demo_release, "content_hash", "0" * 64)
    with pytest.raises(ReleaseError, match="another loader"):
        open_loader(demo_release, cells, small()).load_state_dict(state)


def test_an_epoch_that_is_set_begins_with_its_first_batch(demo_release, cells):
    loader = open_loader(demo_release, cells, small())
    whole = told(loader)
    loader.load_state_dict(loader.state_dict(batch=len(whole) - 1))
    assert told(loader) == whole[-1:]
    loader.set_epoch(0)
    assert told(loader) == whole


def test_a_state_that_nobody_counted_is_an_error(demo_release, cells):
    with pytest.raises(ReleaseError, match=r"state_dict\(batch=\.\.\.\)"):
        open_loader(demo_release, cells, small()).state_dict()


def test_ranks_share_the_cells(demo_release, cells):
    ranks = [open_loader(demo_release, cells, small(rank=rank, world_size=3)) for rank in range(3)]
    given = [told(rank) for rank in ranks]
    assert {len(batches) for batches in given} == {len(ranks[0])}
    seen = Counter(cell for batches in given for batch in batches for cell in batch)
    assert seen == Counter(cells["cell_id"].to_pylist())


def test_torch_distributed_tells_the_rank(demo_release, cells, tmp_path):
    path = f"file://{tmp_path}/rendezvous"
    distributed.init_process_group("gloo", init_method=path, rank=0, world_size=1)
    try:
        loader = open_loader(demo_release, cells, small())
        assert sum(map(len, told(loader))) == len(cells)
    finally:
        distributed.destroy_process_group()


def with_workers(loader, method, workers):
    with warnings.catch_warnings():
        # Python warns of every fork beside threads; here the child is to cope with it. torch
        # warns where it rebuilds a sparse tensor from another process.
        warnings.filterwarnings("ignore", ".*multi-threaded.*fork", DeprecationWarning)
        warnings.filterwarnings("ignore", "Sparse invariant checks", UserWarning)
        options = {"batch_size": None, "multiprocessing_context": method, "timeout": 300}
        return told(DataLoader(loader, num_workers=workers, **options))


def test_forked_workers_give_the_same_batches_and_go_on(demo_release, cells):
    loader = open_loader(demo_release, cells, small(to="torch"))
    alone = told(loader)  # uses the Rust codecs, whose threads a fork does not copy
    whole = with_workers(loader, "fork", 2)
    assert sorted(whole) == sorted(alone)
    assert whole != alone
    loader.load_state_dict(loader.state_dict(batch=7))
    assert with_workers(loader, "fork", 2) == whole[7:]


def test_a_spawned_worker_gives_the_same_batches(demo_release, cells):
    loader = open_loader(demo_release, cells, small())
    assert with_workers(loader, "spawn", 1) == told(loader)


@pytest.mark.parametrize(
    ("reading", "said"),
    [
        ({"batch_size": 0}, "batch_size is too small 0. Allowed: 1 or more"),
        ({"batch_size": 1, "rank": 0, "world_size": 2}, "batch_size is too small 1"),
        ({"block_size": 0}, "block_size is too small 0"),
        ({"rank": 2, "world_size": 2}, "no such rank 2. Allowed: 0 to 1"),
        ({"rank": 1}, "rank and world_size are given together"),
        ({"world_size": 2}, "rank and world_size are given together"),
        ({"seed": -1}, "seed is too small -1. Allowed: 0 or more"),
        ({"rows_in_memory": 0}, "rows_in_memory is too small 0"),
        ({"rank": 0, "world_size": 10_000}, "cells cannot be shared by 10000 ranks"),
        ({"to": "jax"}, "no such arrays 'jax'"),
        ({"shuffled": "nowhere"}, "nowhere: is no shuffled copy"),
    ],
)
def test_a_wrong_setting_is_one_clear_error(demo_release, cells, reading, said):
    with pytest.raises(ReleaseError, match=said.replace(".", r"\.")):
        open_loader(demo_release, cells, small(**reading))


def test_a_missing_library_is_named_with_what_to_install(demo_release, cells, monkeypatch):
    monkeypatch.setattr("cellresponse.releases.loading.opening.find_spec", lambda name: None)
    with pytest.raises(CellResponseError, match=r"needs annbatch.*make env"):
        open_loader(demo_release, cells, small())


def test_the_example_of_the_docs_runs(demo_release, tmp_path, monkeypatch):
    page = Path(__file__).parents[3] / "docs" / "training.md"
    example = page.read_text("utf-8").split("```python\n")[1].split("```")[0]
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist" / "demo").symlink_to(demo_release.folder)
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(example, str(page), "exec"), names)  # noqa: S102 - our own page
    assert set(names["labels"].tolist()) == {0, 1}
    assert names["counts"].layout == torch.sparse_csr


def test_it_works_without_torch(demo_release):
    code = f"""
import sys
sys.modules["torch"] = None
import importlib.util
known = importlib.util.find_spec
importlib.util.find_spec = lambda name, *more: None if name == "torch" else known(name, *more)
import cellresponse
release = cellresponse.load({str(demo_release.folder)!r})
loader = release.loader(task={TASK!r}, batch_size=100)
print(sum(batch.X.shape[0] for batch in loader), loader.n_cells)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    given, expected = done.stdout.split()
    assert given == expected
