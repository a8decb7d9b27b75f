"""Reading a release on the Hub without a copy of it."""

from __future__ import annotations

import warnings
from pathlib import Path

import anndata
import numpy as np
import pytest
from loopback_hub import Fault, LoopbackHub

import cellresponse
from cellresponse.releases.hub.part import Part
from cellresponse.releases.hub.pull import pull
from cellresponse.releases.hub.remote import NoAnswer
from cellresponse.releases.hub.repo import HubRepo
from cellresponse.releases.hub.shared_index import edit_shared_index
from cellresponse.releases.index import RetractedRelease, Retraction
from cellresponse.releases.release import Release
from cellresponse.schema.errors import HubError, ReleaseError

REPO = "org/data"


@pytest.fixture
def published(hub: LoopbackHub, mini_release: Release) -> LoopbackHub:
    hub.state.publish(REPO, mini_release.folder, "mini")
    edit_shared_index(HubRepo(REPO), lambda index: index.with_alias("latest", "mini"), "alias")
    hub.requests.clear()
    return hub


def equal(one: anndata.AnnData, other: anndata.AnnData) -> bool:
    return bool((one.X != other.X).nnz == 0) and one.obs.equals(other.obs)


def test_labels_and_cells(published: LoopbackHub, mini_release: Release) -> None:
    remote = cellresponse.load("mini", repo=REPO)
    assert remote.content_hash == mini_release.content_hash
    assert REPO in repr(remote)
    assert list(remote.tables) == list(mini_release.tables)
    assert remote.labels(stars=2).equals(mini_release.labels(stars=2))
    found = remote.cells(drug="synthetic-drug-a", stars=2)
    assert equal(found, mini_release.cells(drug="synthetic-drug-a", stars=2))


def test_load_fetches_nothing_but_the_root(published: LoopbackHub) -> None:
    cellresponse.load("latest", repo=REPO)
    got = {seen.path.rpartition("/")[2] for seen in published.seen("^GET .*/resolve/")}
    assert got == {"index.yaml", "release.json"}


def test_matrix_is_read_in_part(published: LoopbackHub, mini_release: Release) -> None:
    """Parts of shards come by range, and no file of another study."""
    remote = cellresponse.load("mini", repo=REPO)
    remote.cells(study="MINI2")
    asked = published.seen("resolve/[0-9a-f]+/matrices/")
    assert asked
    assert not [seen for seen in asked if "MINI1" in seen.path]
    shards = [seen for seen in asked if "/X/data/c/" in seen.path or "/X/indices/c/" in seen.path]
    assert all(seen.range for seen in shards if seen.method == "GET")


def test_second_reading_asks_for_no_table(published: LoopbackHub) -> None:
    cellresponse.load("mini", repo=REPO).labels()
    published.requests.clear()
    cellresponse.load("mini", repo=REPO).labels()
    assert not published.seen("^GET .*/resolve/")


def test_whole_matrix(published: LoopbackHub, mini_release: Release) -> None:
    path = cellresponse.load("mini", repo=REPO).matrix("MINI1")
    stored, right = anndata.read_zarr(path), anndata.read_zarr(mini_release.matrix("MINI1"))
    assert np.array_equal(stored.X.toarray(), right.X.toarray())


def test_token_stays_with_the_hub(published: LoopbackHub) -> None:
    cellresponse.load("mini", repo=REPO).cells(study="MINI1")
    elsewhere = published.seen("GET /cdn/")
    assert elsewhere
    assert {seen.token for seen in elsewhere} == {None}


@pytest.mark.parametrize("place", ["tables/labels.parquet", "datapackage.json", "indptr/c/0"])
def test_file_that_was_changed_on_the_server(published: LoopbackHub, place: str) -> None:
    for path, file in (
        published.state.repo(REPO).commits[published.state.repo(REPO).tags["mini"]].items()
    ):
        if path.endswith(place):
            data = bytearray(published.state.contents[file.etag])
            data[len(data) // 2] ^= 1
            published.state.contents[file.etag] = bytes(data)
    with pytest.raises(HubError, match="is not the one that the release names"):
        cellresponse.load("mini", repo=REPO).cells(study="MINI1")


def test_shard_of_another_size(published: LoopbackHub) -> None:
    remote = cellresponse.load("mini", repo=REPO)
    shard = remote.remote.named["matrices/MINI1.zarr/X/data/c/0"]
    published.faults.append(Fault(f"GET /cdn/{shard.sha256}", change=lambda body: body + b"more"))
    with pytest.raises(HubError, match="is not the one that the release names"):
        remote.cells(study="MINI1")


def test_damaged_cache_is_mended(published: LoopbackHub) -> None:
    first = cellresponse.load("mini", repo=REPO)
    labels = first.labels()
    blob = (first.folder / "tables" / "labels.parquet").resolve()
    blob.write_bytes(b"\0" * blob.stat().st_size)
    assert cellresponse.load("mini", repo=REPO).labels().equals(labels)


@pytest.mark.parametrize("path", ["index.yaml", "release.json"])
def test_damaged_description_is_mended(
    published: LoopbackHub, mini_release: Release, tmp_path: Path, path: str
) -> None:
    folder = cellresponse.load("latest", repo=REPO).folder
    kept = HubRepo(REPO).cached("index.yaml", "main", offline=True).parent / path
    kept = kept if kept.exists() else folder / path
    for ask in (
        lambda: pull("latest", REPO, tmp_path / "got", Part(tables_only=True)),
        lambda: cellresponse.load("latest", repo=REPO),
    ):
        kept.resolve().write_bytes(b"\0" * 100)
        ask()
    published.faults.append(Fault("", cut=0))
    with pytest.warns(NoAnswer):
        assert cellresponse.load("latest", repo=REPO).content_hash == mini_release.content_hash


PASSING = {429: "fewer requests", 500: "status 500", 503: "status 503"}
REFUSED = {401: "does not accept the login", 403: "forbids"}


@pytest.mark.parametrize("where", ["/refs", "index.yaml"])
@pytest.mark.parametrize(("status", "said"), [*PASSING.items(), *REFUSED.items()])
def test_old_index_is_not_used_when_the_hub_answers(
    published: LoopbackHub, tmp_path: Path, status: int, said: str, where: str
) -> None:
    """An error of the Hub must not hide a retraction that was made since the last reading."""
    cellresponse.load("latest", repo=REPO)
    retraction = Retraction(date="2025-07-01", reason="swapped")
    edit_shared_index(HubRepo(REPO), lambda index: index.with_retraction("mini", retraction), "-")
    fault = Fault(where, status=status, headers={"Retry-After": "0"})
    published.faults.append(fault)
    for ask in (
        lambda: cellresponse.load("latest", repo=REPO),
        lambda: pull("latest", REPO, tmp_path / "got", Part(tables_only=True)),
    ):
        with pytest.raises(HubError, match=said):
            ask()
    fault.times = 1
    if status in REFUSED:
        with pytest.raises(HubError, match=said):
            cellresponse.load("latest", repo=REPO)
    else:
        with pytest.warns(RetractedRelease, match="swapped"):
            cellresponse.load("latest", repo=REPO)


def test_index_last_seen_is_the_one_of_the_last_reading(published: LoopbackHub) -> None:
    cellresponse.load("latest", repo=REPO)
    retraction = Retraction(date="2025-07-01", reason="swapped")
    edit_shared_index(HubRepo(REPO), lambda index: index.with_retraction("mini", retraction), "-")
    with pytest.warns(RetractedRelease):
        cellresponse.load("latest", repo=REPO)
    published.faults.append(Fault("", cut=0))
    with pytest.warns(RetractedRelease), pytest.warns(NoAnswer):
        cellresponse.load("latest", repo=REPO)


def test_retracted_release_warns(published: LoopbackHub, mini_release: Release) -> None:
    retraction = Retraction(date="2025-07-01", reason="two samples were swapped")
    edit_shared_index(
        HubRepo(REPO), lambda index: index.with_retraction("mini", retraction), "retract"
    )
    with pytest.warns(RetractedRelease, match="2025-07-01: two samples were swapped"):
        cellresponse.load("latest", repo=REPO)


def test_without_a_connection(
    published: LoopbackHub, monkeypatch: pytest.MonkeyPatch, mini_release: Release
) -> None:
    published.faults.append(Fault("", cut=0))
    with pytest.raises(HubError, match="no connection"):
        cellresponse.load("latest", repo=REPO)
    published.faults.clear()
    labels = cellresponse.load("latest", repo=REPO).labels()
    published.faults.append(Fault("", cut=0))
    with pytest.warns(NoAnswer, match="last seen here"):
        again = cellresponse.load("latest", repo=REPO)
    assert again.labels().equals(labels)
    with pytest.raises(HubError, match="no connection"):
        again.cells(study="MINI1")


def test_offline_by_wish(published: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    cellresponse.load("mini", repo=REPO).labels()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    from huggingface_hub.utils import close_session

    close_session()  # the setting is looked at when a session begins
    with pytest.warns(NoAnswer, match="HF_HUB_OFFLINE"):
        again = cellresponse.load("mini", repo=REPO)
    assert len(again.labels()) == 6
    published.requests.clear()
    with pytest.raises(HubError, match="HF_HUB_OFFLINE"):
        again.cells(study="MINI1")
    assert published.requests == []


def test_names_that_stand_for_nothing(published: LoopbackHub) -> None:
    for name in ("2031-01", "stable", "main", "incoming-mini"):
        with pytest.raises(HubError, match=r"no such release.*latest, mini"):
            cellresponse.load(name, repo=REPO)
    with pytest.raises(HubError, match="no such repository"):
        cellresponse.load("mini", repo="org/nothing")


def test_repository_of_the_spec(
    published: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name is looked for on the Hub where its spec says; an alias by way of its release."""
    from cellresponse.releases import resolve, specs
    from cellresponse.releases.index import ReleaseIndex

    specs_folder = tmp_path / "specs"
    specs_folder.mkdir()
    text = (specs.specs_folder() / "demo.yaml").read_text()
    (specs_folder / "mini.yaml").write_text(
        text.replace("release: demo", f"release: mini\nrepo: {REPO}", 1)
    )
    ReleaseIndex(releases=["mini"], aliases={"latest": "mini"}).write(specs_folder / "index.yaml")
    monkeypatch.setattr(specs, "specs_folder", lambda: specs_folder)
    monkeypatch.setattr(resolve, "OWN_INDEX", specs_folder / "index.yaml")
    monkeypatch.chdir(tmp_path)
    for name in ("mini", "latest"):
        assert cellresponse.load(name).name == "mini"
    assert published.seen("resolve/")
    with pytest.raises(ReleaseError, match="repo="):
        cellresponse.load("2031-01")


def test_local_release_that_was_retracted(
    mini_release: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cellresponse.releases import resolve
    from cellresponse.releases.index import ReleaseIndex

    retraction = Retraction(date="2025-07-01", reason="swapped", replaced_by="2025-08")
    index = ReleaseIndex(releases=["mini"], retractions={"mini": retraction})
    index.write(tmp_path / "index.yaml")
    monkeypatch.setattr(resolve, "OWN_INDEX", tmp_path / "index.yaml")
    with pytest.warns(RetractedRelease, match="Use 2025-08 instead"):
        cellresponse.load(mini_release.folder)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        monkeypatch.setattr(resolve, "OWN_INDEX", Path(resolve.__file__).with_name("index.yaml"))
        cellresponse.load(mini_release.folder)
