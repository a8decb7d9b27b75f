import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
from annbatch import DatasetCollection, Loader

from cellresponse.releases.layout import files_of
from cellresponse.releases.loading import shuffle as module
from cellresponse.releases.loading.fold import fold_cells
from cellresponse.releases.loading.shuffle import shuffle
from cellresponse.releases.loading.shuffled import shuffled_places
from cellresponse.releases.strata import buckets
from cellresponse.schema.errors import ReleaseError, StorageError

TASK = "pooled/primary/human/drug_class=targeted/synthetic-drug-a"


@pytest.fixture(scope="module")
def copy(demo_release, tmp_path_factory):
    """A copy in several parts."""
    out = tmp_path_factory.mktemp("shuffle") / "copy"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "PART", 1_000_000)
        patch.setattr(module, "SLICE", 100)
        shuffle(demo_release, out)
    return out


def test_annbatch_reads_it_and_finds_every_cell_once(demo_release, copy):
    collection = DatasetCollection(str(copy / "human.zarr"), mode="r")
    cells = demo_release.cells()
    obs = collection.obs()
    assert sorted(obs.index) == sorted(cells.obs_names)
    assert (obs["sample_id"] == cells.obs["sample_id"].astype(str)[obs.index]).all()
    loader = Loader(batch_size=256, chunk_size=64, preload_nchunks=8, preload_to_gpu=False)
    loader.use_collection(collection)
    ids = []
    for batch in loader:
        ids += list(batch["obs"].index)
        expected = cells.X[cells.obs_names.get_indexer(batch["obs"].index)]
        assert (batch["X"] != expected).nnz == 0
        assert batch["X"].indices.dtype == np.int32
    assert sorted(ids) == sorted(cells.obs_names)


def test_it_has_several_parts_and_mixes_the_samples(demo_release, copy):
    collection = DatasetCollection(str(copy / "human.zarr"), mode="r")
    assert len(list(collection)) > 2
    samples = collection.obs()["sample_id"].astype(str).to_numpy()
    stays = (samples[1:] == samples[:-1]).mean()
    in_order = demo_release.cells().obs["sample_id"].astype(str).to_numpy()
    assert stays < 0.6 < 0.95 < (in_order[1:] == in_order[:-1]).mean()


def test_places_lead_to_the_cells(demo_release, copy):
    cells = fold_cells(demo_release, task=TASK)
    stores, places = shuffled_places(copy, demo_release, cells)
    ids = DatasetCollection(str(copy / "human.zarr"), mode="r").obs().index
    assert list(ids[places]) == cells["cell_id"].to_pylist()
    assert [store.name for store in stores] == [f"dataset_{n}" for n in range(len(stores))]


def test_a_fold_lies_together(demo_release, tmp_path):
    shuffle(demo_release, tmp_path / "copy")
    test = fold_cells(demo_release, task=TASK, split="cell", fold=4, part="test")
    assert set(buckets(test["cell_id"])) == {4}

    def runs(rows):
        return 1 + np.count_nonzero(np.diff(np.sort(rows)) > 1)

    _, places = shuffled_places(tmp_path / "copy", demo_release, test)
    assert runs(places) <= 2  # treated, and untreated
    assert runs(test["row"].to_numpy()) > len(test) / 2


def test_the_seed_fixes_the_order(demo_release, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        shuffle(demo_release, tmp_path / name, seed=seed)
    tables = [pq.read_table(tmp_path / name / "human.parquet") for name in "abc"]
    assert tables[0].equals(tables[1])
    assert not tables[0].equals(tables[2])


def test_a_copy_of_another_release_is_refused(demo_release, mini_release, copy):
    cells = mini_release.tables["cells"]
    with pytest.raises(ReleaseError, match=r"copy of demo with another content hash.*Shuffle mini"):
        shuffled_places(copy, mini_release, cells)


def damaged(copy, tmp_path):
    return shutil.copytree(copy, tmp_path / "damaged")


def refusal(folder, release):
    with pytest.raises(ReleaseError) as caught:
        release.loader(task=TASK, fold=0, shuffled=folder)
    return str(caught.value).removeprefix(f"{folder}: ")


def test_every_file_is_named_with_its_size(copy):
    named = json.loads((copy / "shuffle.json").read_text())["files"]
    there = [path for path in files_of(copy) if path != "shuffle.json"]
    assert named == {path: (copy / path).stat().st_size for path in there}
    assert "human.parquet" in named
    assert "human.zarr/dataset_0/X/data/c/0" in named


@pytest.mark.parametrize("path", ["human.zarr/dataset_0/X/data/c/0", "human.parquet"])
def test_a_copy_that_lost_a_file_is_refused(demo_release, copy, tmp_path, path):
    folder = damaged(copy, tmp_path)
    (folder / path).unlink()
    said = f"is not whole '{path}'. Remove it, and shuffle demo again."
    assert refusal(folder, demo_release) == said
    shutil.copyfile(copy / path, folder / path)
    assert demo_release.loader(task=TASK, fold=0, shuffled=folder).n_cells > 0
    with (folder / path).open("r+b") as stream:
        stream.truncate(10)
    assert refusal(folder, demo_release) == said


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"release": "demo", ', '"demo"', "\udcff"])
def test_a_copy_with_a_damaged_description_is_refused(demo_release, copy, tmp_path, text):
    folder = damaged(copy, tmp_path)
    (folder / "shuffle.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    said = "is not whole 'shuffle.json'. Remove it, and shuffle demo again."
    assert refusal(folder, demo_release) == said


def test_a_copy_that_does_not_name_its_files_is_refused(demo_release, copy, tmp_path):
    folder = damaged(copy, tmp_path)
    about = json.loads((folder / "shuffle.json").read_text())
    del about["files"]
    (folder / "shuffle.json").write_text(json.dumps(about))
    assert refusal(folder, demo_release) == (
        "is a shuffled copy by an earlier version, which does not name its files. "
        "Remove it, and shuffle demo again."
    )
    (folder / "shuffle.json").write_text(json.dumps(about | {"files": ["human.parquet"]}))
    assert "is not whole 'shuffle.json'" in refusal(folder, demo_release)


def test_a_failed_copy_leaves_nothing(demo_release, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "_write", full)
    with pytest.raises(StorageError, match="the disk is full"):
        shuffle(demo_release, tmp_path / "copy")
    assert list(tmp_path.iterdir()) == []


def test_the_command_makes_it_beside_the_release(run, mini_release, tmp_path):
    folder = shutil.copytree(mini_release.folder, tmp_path / "mini")
    code, out, _ = run("shuffle", folder)
    cells = len(mini_release.tables["cells"])
    assert (code, out) == (0, f"shuffled {cells} cells into {tmp_path}/mini.shuffled\n")
    code, _, said = run("shuffle", folder)
    assert code == 1
    assert "mini.shuffled: the folder exists. Remove it, or name another one." in said


@pytest.mark.parametrize(("here", "folder"), [(".", "."), ("tables", ".."), ("..", "mini")])
def test_the_command_knows_where_a_relative_folder_is(
    run, mini_release, tmp_path, monkeypatch, here, folder
):
    release = shutil.copytree(mini_release.folder, tmp_path / "mini")
    monkeypatch.chdir(release / here)
    code, out, _ = run("shuffle", folder)
    shown = "mini.shuffled" if here == ".." else f"{tmp_path}/mini.shuffled"
    assert (code, out) == (0, f"shuffled 50 cells into {shown}\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mini", "mini.shuffled"]
    assert list(files_of(release)) == list(files_of(mini_release.folder))


@pytest.mark.parametrize("out", ["mini", "mini/copy", "link/a/copy", "mini/../mini/copy"])
def test_a_copy_inside_the_release_is_refused(run, mini_release, tmp_path, monkeypatch, out):
    release = shutil.copytree(mini_release.folder, tmp_path / "mini")
    (tmp_path / "link").symlink_to(release)
    monkeypatch.chdir(tmp_path)
    code, _, said = run("shuffle", "mini", "--out", out)
    assert code == 1
    assert said == (
        f"error: {out}: the folder would lie inside the release, which never changes. "
        "Name a folder outside of it.\n"
    )
    assert list(files_of(release)) == list(files_of(mini_release.folder))


def test_others_can_read_a_copy(mini_release, tmp_path):
    (tmp_path / "seen").mkdir()
    shuffle(mini_release, tmp_path / "copy")
    assert (tmp_path / "copy").stat().st_mode == (tmp_path / "seen").stat().st_mode
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy", "seen"]
