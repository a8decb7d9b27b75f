"""Copying a release, or a part of it, from the Hub."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from loopback_hub import Fault, LoopbackHub
from renamed import renamed

import cellresponse
from cellresponse.releases.hub.part import Part
from cellresponse.releases.hub.pull import pull
from cellresponse.releases.hub.push import push
from cellresponse.releases.hub.repo import HubRepo
from cellresponse.releases.hub.shared_index import edit_shared_index
from cellresponse.releases.index import RetractedRelease, Retraction
from cellresponse.releases.layout import files_of
from cellresponse.releases.release import Release
from cellresponse.schema.errors import CellResponseError, HubError, ReleaseError, StorageError

Run = Callable[..., tuple[int, str, str]]
REPO = "org/data"


@pytest.fixture
def published(hub: LoopbackHub, mini_release: Release) -> LoopbackHub:
    """A Hub that holds the tiny release."""
    hub.state.publish(REPO, mini_release.folder, "mini")
    return hub


def same(folder: Path, release: Release) -> bool:
    paths = list(files_of(release.folder))
    return list(files_of(folder)) == paths and all(
        (folder / path).read_bytes() == (release.folder / path).read_bytes() for path in paths
    )


def test_whole_release(published: LoopbackHub, mini_release: Release, tmp_path: Path) -> None:
    pulled = pull("mini", REPO, tmp_path / "mini")
    assert same(tmp_path / "mini", mini_release)
    assert (pulled.partial, pulled.files) == (False, len(list(files_of(tmp_path / "mini"))))
    assert cellresponse.verify(tmp_path / "mini").content_hash == mini_release.content_hash
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_what_is_right_is_not_fetched_again(
    published: LoopbackHub, mini_release: Release, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(mini_release.folder, tmp_path / "mini"))
    (folder / "tables" / "labels.parquet").write_bytes(b"damaged")
    (folder / "tables" / "drugs.parquet").unlink()
    (folder / "README.md").unlink()
    (folder / "README.md").symlink_to(mini_release.folder / "README.md")
    pulled = pull("mini", REPO, folder)
    assert pulled.fetched == 3
    assert same(folder, mini_release)
    got = {seen.path for seen in published.seen("^GET .*(/resolve/|/cdn/)")}
    assert len(got) == 3 + 3  # with release.json, datapackage.json and index.yaml


@pytest.mark.parametrize(
    ("options", "studies"),
    [
        (["--study", "MINI2"], {"MINI2"}),
        (["--drug", "synthetic-drug-b"], {"MINI1"}),
        (["--drug", "Synthetic Drug A", "--response", "resistant"], {"MINI1", "MINI2"}),
        (["--study", "MINI1", "--study", "MINI2"], {"MINI1", "MINI2"}),
        (["--tables-only"], set()),
    ],
)
def test_part(
    published: LoopbackHub, tmp_path: Path, run: Run, options: list[str], studies: set[str]
) -> None:
    folder = tmp_path / "part"
    code, stdout, stderr = run("pull", "mini", "--repo", REPO, "--to", folder, *options)
    assert code == 0, stderr
    assert "a part of release mini" in stdout
    there = {path.name for path in folder.glob("matrices/*")}
    assert there == {f"{study}.zarr" for study in studies}
    code, stdout, _ = run("verify", folder)
    assert (code, "part of mini was pulled" in stdout) == (0, True)


def test_part_can_be_used(published: LoopbackHub, mini_release: Release, tmp_path: Path) -> None:
    pull("mini", REPO, tmp_path / "part", Part(study=("MINI2",)))
    part = cellresponse.load(tmp_path / "part")
    assert len(part.labels()) == len(mini_release.labels())
    assert part.cells(study="MINI2").n_obs == mini_release.cells(study="MINI2").n_obs
    for ask in (part.cells, lambda: part.matrix("MINI1")):
        with pytest.raises(ReleaseError, match=r"was not pulled.*pull mini"):
            ask()


def test_part_grows(published: LoopbackHub, mini_release: Release, tmp_path: Path) -> None:
    folder = tmp_path / "part"
    pull("mini", REPO, folder, Part(tables_only=True))
    second = pull("mini", REPO, folder, Part(study=("MINI2",)))
    assert second.fetched == len(list(files_of(mini_release.folder / "matrices" / "MINI2.zarr")))
    assert cellresponse.verify(folder).partial
    assert not pull("mini", REPO, folder).partial
    assert same(folder, mini_release)
    assert not pull("mini", REPO, folder, Part(tables_only=True)).partial  # and stays whole
    assert same(folder, mini_release)


def test_part_that_lost_a_file(published: LoopbackHub, tmp_path: Path, run: Run) -> None:
    folder = tmp_path / "part"
    pull("mini", REPO, folder, Part(study=("MINI2",)))
    lost = next(path for path in folder.glob("matrices/MINI2.zarr/X/data/c/*"))
    lost.unlink()
    code, _, stderr = run("verify", folder)
    assert (code, str(lost.relative_to(folder)) in stderr) == (1, True)
    with pytest.raises(ReleaseError, match="MINI2"):
        cellresponse.load(folder).cells(study="MINI2")


def test_part_is_not_pushed(published: LoopbackHub, tmp_path: Path) -> None:
    pull("mini", REPO, tmp_path / "part", Part(tables_only=True))
    with pytest.raises(ReleaseError, match="part of a release"):
        push(tmp_path / "part", "org/other")


@pytest.mark.parametrize(
    ("part", "said"),
    [
        (Part(study=("MINI9",)), "MINI1, MINI2"),
        (Part(drug="synthetic-drug-z"), "synthetic-drug-a"),
        (Part(response="immune"), "resistant, sensitive"),
        (
            Part(study=("MINI2",), drug="synthetic-drug-b"),
            "no study of the release",
        ),
    ],
)
@pytest.mark.parametrize("tables_only", [False, True])
def test_part_that_is_not_there(
    published: LoopbackHub, tmp_path: Path, part: Part, said: str, tables_only: bool
) -> None:
    with pytest.raises(CellResponseError) as caught:
        pull("mini", REPO, tmp_path / "to" / "part", replace(part, tables_only=tables_only))
    assert said in str(caught.value)
    assert not (tmp_path / "to").exists()


def test_tables_of_a_part_are_all_tables(published: LoopbackHub, tmp_path: Path) -> None:
    part = Part(study=("MINI2",), drug="synthetic-drug-a", response="resistant", tables_only=True)
    pull("mini", REPO, tmp_path / "some", part)
    pull("mini", REPO, tmp_path / "all", Part(tables_only=True))
    assert list(files_of(tmp_path / "some")) == list(files_of(tmp_path / "all"))
    assert not (tmp_path / "some" / "matrices").exists()


def state(folder: Path) -> dict[Path, bytes | None]:
    """What is below a folder, with the bytes of its files."""
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def test_refused_pull_leaves_what_was_there(
    published: LoopbackHub, mini_release: Release, tmp_path: Path
) -> None:
    wrong = Part(drug="synthetic-drug-z")
    (tmp_path / "empty").mkdir()
    pull("mini", REPO, tmp_path / "part", Part(study=("MINI2",)))
    shutil.copytree(mini_release.folder, tmp_path / "whole")
    (tmp_path / "whole" / "tables" / "drugs.parquet").unlink()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("x")
    before = state(tmp_path)
    for name in ("empty", "part", "whole", "other"):
        with pytest.raises(CellResponseError):
            pull("mini", REPO, tmp_path / name, wrong)
        assert state(tmp_path) == before | cache(tmp_path)


def cache(folder: Path) -> dict[Path, bytes | None]:
    """What the Hub's client keeps."""
    own = folder / "hub-cache"
    return {path: held for path, held in state(folder).items() if path.is_relative_to(own)}


def test_refused_pull_keeps_what_a_cut_one_has_fetched(
    published: LoopbackHub, mini_release: Release, tmp_path: Path
) -> None:
    folder = tmp_path / "mini"
    published.faults.append(Fault("GET .*MINI2.zarr", status=403))
    with pytest.raises(HubError, match="forbids"):
        pull("mini", REPO, folder)
    published.faults.clear()
    done = [path for path in files_of(folder) if path != "partial.json"]
    assert (tmp_path / ".mini.pull").is_dir()
    with pytest.raises(ReleaseError, match="no such study"):
        pull("mini", REPO, folder, Part(study=("MINI9",)))
    pulled = pull("mini", REPO, folder)
    assert pulled.fetched == pulled.files - 2 - len(done)
    assert same(folder, mini_release)


def test_release_that_is_not_there(published: LoopbackHub, tmp_path: Path) -> None:
    for name in ("2031-01", "latest", "main", "incoming-mini"):
        with pytest.raises(HubError, match=r"no such release.*mini"):
            pull(name, REPO, tmp_path / "x")
    with pytest.raises(HubError, match="no such repository"):
        pull("mini", "org/other", tmp_path / "x")


def test_alias_and_retraction(published: LoopbackHub, tmp_path: Path) -> None:
    hub = HubRepo(REPO)
    edit_shared_index(hub, lambda index: index.with_alias("latest", "mini"), "alias")
    gone = Retraction(date="2025-07-01", reason="labels of MINI1 are swapped")
    edit_shared_index(hub, lambda index: index.with_retraction("mini", gone), "retract")
    with pytest.warns(RetractedRelease, match="labels of MINI1 are swapped"):
        assert pull("latest", REPO, tmp_path / "x", Part(tables_only=True)).release == "mini"


def test_folder_with_something_else(
    published: LoopbackHub, mini_release: Release, tmp_path: Path
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("x")
    with pytest.raises(ReleaseError, match=r"thesis\.tex"):
        pull("mini", REPO, tmp_path / "full")
    other = renamed(mini_release.folder, tmp_path / "other", release="other")
    with pytest.raises(ReleaseError, match="another release"):
        pull("mini", REPO, other)
    namesake = renamed(mini_release.folder, tmp_path / "mini", title="another")
    with pytest.raises(ReleaseError, match="another release"):
        pull("mini", REPO, namesake)


def test_parts_add_up(published: LoopbackHub, tmp_path: Path) -> None:
    folder = tmp_path / "part"
    for study in ("MINI1", "MINI2"):
        pull("mini", REPO, folder, Part(study=(study,)))
        assert cellresponse.verify(folder).partial
    assert cellresponse.load(folder).cells().n_obs == 50


def test_tag_of_another_release(hub: LoopbackHub, mini_release: Release, tmp_path: Path) -> None:
    hub.state.publish(REPO, mini_release.folder, "other")
    with pytest.raises(HubError, match="the tag holds another release 'other'"):
        pull("other", REPO, tmp_path / "other")
    with pytest.raises(HubError, match="the tag holds another release 'other'"):
        cellresponse.load("other", repo=REPO)


def test_cut_pull_goes_on(published: LoopbackHub, mini_release: Release, tmp_path: Path) -> None:
    folder = tmp_path / "mini"
    stop = Fault("GET .*MINI2.zarr", status=403)
    published.faults.append(stop)
    with pytest.raises(HubError, match="forbids"):
        pull("mini", REPO, folder)
    assert not (folder / "release.json").exists()  # no release yet
    with pytest.raises(ReleaseError):
        cellresponse.load(folder)
    published.faults.clear()
    done = [path for path in files_of(folder) if path != "partial.json"]
    pulled = pull("mini", REPO, folder)
    assert same(folder, mini_release)
    assert pulled.fetched == pulled.files - 2 - len(done)


def before_replace(monkeypatch: pytest.MonkeyPatch, look: Callable[[Path, Path], object]) -> None:
    """Let a test look at every file that is about to take another's place."""
    replace = os.replace

    def looked_at(source: str | Path, place: str | Path) -> None:
        look(Path(source), Path(place))
        replace(source, place)

    monkeypatch.setattr(os, "replace", looked_at)


def test_pull_cut_at_its_note_goes_on(
    published: LoopbackHub,
    mini_release: Release,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def cut(source: Path, place: Path) -> None:
        if place.name == "partial.json":
            raise KeyboardInterrupt

    folder = tmp_path / "mini"
    with monkeypatch.context() as patched:
        before_replace(patched, cut)
        with pytest.raises(KeyboardInterrupt):
            pull("mini", REPO, folder)
    pull("mini", REPO, folder)
    assert same(folder, mini_release)


@pytest.mark.parametrize("within", [False, True])
def test_pulls_into_one_folder_wait_for_each_other(
    published: LoopbackHub,
    mini_release: Release,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    within: bool,
) -> None:
    """Three at once; with the lock beside the folder, or within where it cannot be beside."""
    folder = tmp_path / "parent" / "mini"
    folder.mkdir(parents=True)
    if within:
        monkeypatch.setattr(os, "access", lambda path, _: Path(path) != folder.parent)
        refuse_folders_in(monkeypatch, folder.parent, errno.EACCES)
    lines: list[str] = []
    begun, waits = threading.Event(), threading.Semaphore(0)

    def report(line: str, *, done: int = 0, total: int = 0) -> None:
        lines.append(line)
        if "waiting" in line:
            waits.release()

    def wait_for_the_others(source: Path, place: Path) -> None:
        if place.name == "labels.parquet" and not begun.is_set():
            begun.set()
            assert waits.acquire(timeout=30)
            assert waits.acquire(timeout=30)

    before_replace(monkeypatch, wait_for_the_others)
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(pull, "mini", REPO, folder)
        assert begun.wait(30)
        others = [pool.submit(pull, "mini", REPO, folder, report=report) for _ in range(2)]
        assert first.result(60).fetched == len(list(files_of(mini_release.folder))) - 2
        assert [other.result(60).fetched for other in others] == [0, 0]
    assert lines == [f"{folder}: waiting for another process that pulls into it"] * 2
    assert same(folder, mini_release)
    assert [path.name for path in folder.parent.iterdir()] == ["mini"]
    assert cellresponse.verify(folder).content_hash == mini_release.content_hash


def test_lock_of_a_pull_that_was_killed(
    published: LoopbackHub, mini_release: Release, tmp_path: Path
) -> None:
    (tmp_path / ".mini.pull.lock").touch()
    pull("mini", REPO, tmp_path / "mini")
    assert same(tmp_path / "mini", mini_release)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_disk_that_knows_no_locks(
    published: LoopbackHub,
    mini_release: Release,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    locks = SimpleNamespace(flock=refuse, LOCK_EX=fcntl.LOCK_EX, LOCK_NB=fcntl.LOCK_NB)
    monkeypatch.setattr("cellresponse.releases.hub.lock.fcntl", locks)
    number = errno.EIO
    with pytest.raises(StorageError, match="Input/output error"):
        pull("mini", REPO, tmp_path / "mini")
    number = errno.ENOSYS
    pull("mini", REPO, tmp_path / "mini")
    assert same(tmp_path / "mini", mini_release)


def disk(monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    """Let a folder be another file system: nothing can be renamed into it or out of it."""

    def refuse(source: Path, place: Path) -> None:
        if source.resolve().is_relative_to(root) != place.resolve().is_relative_to(root):
            raise OSError(errno.EXDEV, "Invalid cross-device link")

    before_replace(monkeypatch, refuse)


def test_link_to_another_disk(
    published: LoopbackHub,
    mini_release: Release,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "disk" / "folder").mkdir(parents=True)
    (tmp_path / "mini").symlink_to(tmp_path / "disk" / "folder")
    disk(monkeypatch, tmp_path / "disk")
    pulled = pull("mini", REPO, tmp_path / "mini")
    assert pulled.folder == str(tmp_path / "mini")
    assert same(tmp_path / "disk" / "folder", mini_release)
    assert [path.name for path in (tmp_path / "disk").iterdir()] == ["folder"]


def test_folder_that_is_a_disk(
    published: LoopbackHub,
    mini_release: Release,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def cut(source: Path, place: Path) -> None:
        if source.name == "labels.parquet" and source.is_relative_to(folder):
            raise KeyboardInterrupt

    folder = tmp_path / "mini"
    folder.mkdir()
    disk(monkeypatch, folder)
    with monkeypatch.context() as patched:
        before_replace(patched, cut)
        with pytest.raises(KeyboardInterrupt):
            pull("mini", REPO, folder)
    assert (folder / ".pull" / "tables" / "labels.parquet").exists()
    pull("mini", REPO, folder, Part(tables_only=True))
    assert cellresponse.verify(folder).partial
    pull("mini", REPO, folder)
    assert same(folder, mini_release)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def refuse_folders_in(monkeypatch: pytest.MonkeyPatch, parent: Path, number: int) -> None:
    """Let nothing be made in a folder, as where it belongs to somebody else."""
    mkdir = os.mkdir

    def refused(path: str | Path, *arguments: int, **more: int) -> None:
        if Path(path).parent == parent and not Path(path).exists():
            raise OSError(number, os.strerror(number), str(path))
        mkdir(path, *arguments, **more)

    monkeypatch.setattr(os, "mkdir", refused)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EROFS])
def test_folder_whose_parent_cannot_be_written(
    published: LoopbackHub,
    mini_release: Release,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
) -> None:
    folder = tmp_path / "parent" / "mini"
    folder.mkdir(parents=True)
    published.faults.append(Fault("GET .*MINI2.zarr", status=403))
    refuse_folders_in(monkeypatch, tmp_path / "parent", number)
    with pytest.raises(HubError, match="forbids"):
        pull("mini", REPO, folder)
    with pytest.raises(ReleaseError, match=r"no release\.json.*Name a release folder"):
        cellresponse.load(folder)  # cut: not a release, and nothing in it is called one
    published.faults.clear()
    done = [path for path in files_of(folder) if not path.startswith((".pull/", "partial"))]
    assert done
    pulled = pull("mini", REPO, folder)
    assert pulled.fetched == pulled.files - 2 - len(done)
    assert same(folder, mini_release)
    assert cellresponse.verify(folder).content_hash == mini_release.content_hash
    assert [path.name for path in folder.parent.iterdir()] == ["mini"]


def test_folder_that_cannot_be_made(
    published: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_folders_in(monkeypatch, tmp_path, errno.EACCES)
    with pytest.raises(StorageError, match="no permission to write"):
        pull("mini", REPO, tmp_path / "mini")


def test_file_that_names_a_place_outside(
    hub: LoopbackHub, mini_release: Release, tmp_path: Path
) -> None:
    from cellresponse.releases.canonical import canonical_json
    from cellresponse.releases.datapackage import write_root

    hub.state.publish(REPO, mini_release.folder, "mini")
    state = hub.state
    files = state.repo(REPO).commits[state.repo(REPO).tags["mini"]]
    package = json.loads(state.contents[files["datapackage.json"].etag])
    package["resources"][0]["path"] = "../outside"
    import hashlib

    text = canonical_json(package)
    root = {
        key: value
        for key, value in mini_release.root.items()
        if key not in ("sha256", "datapackage_sha256")
    }
    write_root(tmp_path, root, hashlib.sha256(text).hexdigest())
    files["datapackage.json"] = state.store(text)
    files["release.json"] = state.store((tmp_path / "release.json").read_bytes())
    with pytest.raises(ReleaseError, match="outside the release"):
        pull("mini", REPO, tmp_path / "a" / "b")
    assert not (tmp_path / "a" / "outside").exists()
