"""What a name stands for on this machine."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import cellresponse
from cellresponse.releases import resolve
from cellresponse.releases.index import ReleaseIndex
from cellresponse.releases.release import Release
from cellresponse.schema.errors import ReleaseError


@pytest.fixture
def here(mini_release: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the tiny release under dist/, and an index where `latest` is that."""
    index = ReleaseIndex(releases=["mini"], aliases={"latest": "mini"})
    index.write(tmp_path / "index.yaml")
    (tmp_path / "dist").symlink_to(mini_release.folder.parent)
    monkeypatch.setattr(resolve, "OWN_INDEX", tmp_path / "index.yaml")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_name_folder_and_alias(here: Path, mini_release: Release) -> None:
    for name in ("mini", "latest", "dist/mini", Path("dist/mini"), mini_release.folder):
        assert cellresponse.load(name).content_hash == mini_release.content_hash


def test_a_folder_goes_before_a_name(here: Path, mini_release: Release) -> None:
    (here / "latest").symlink_to(mini_release.folder)
    assert cellresponse.load("latest").folder == here / "latest"


def test_the_folder_above_has_its_name(
    here: Path, mini_release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(here / "dist" / "mini" / "tables")
    assert cellresponse.load("..").folder == mini_release.folder
    monkeypatch.chdir(here / "dist" / "mini")
    assert cellresponse.load(".").folder == mini_release.folder


def test_messages_name_files_from_here(
    here: Path, mini_release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "dist").unlink()
    shutil.copytree(mini_release.folder, here / "dist" / "mini")
    opened = cellresponse.load("mini")
    (here / "dist" / "mini" / "matrices" / "MINI1.zarr" / "zarr.json").unlink()
    with pytest.raises(ReleaseError) as caught:
        opened.matrix("MINI1")
    assert str(caught.value) == (
        "dist/mini/matrices/MINI1.zarr/zarr.json: is not the file that datapackage.json names. "
        "Build or pull the release again."
    )


@pytest.mark.parametrize("name", ["2031-01", "stable"])
def test_name_that_stands_for_nothing(here: Path, name: str) -> None:
    with pytest.raises(ReleaseError, match=rf"{name}.*repo="):
        cellresponse.load(name)


def test_what_may_be_meant(here: Path, run: Callable[..., tuple[int, str, str]]) -> None:
    for command in (["verify", "mini"], ["push", "mini", "--repo", "org/data"]):
        code, _, stderr = run(*command)
        assert (code, "no such folder. Perhaps dist/mini is meant" in stderr) == (1, True), stderr
    with pytest.raises(ReleaseError, match=r"no release\.json.*Perhaps dist/mini is meant"):
        cellresponse.load("dist")
    with pytest.raises(ReleaseError, match=r"this is a file.*Perhaps dist/mini is meant"):
        cellresponse.load("dist/mini/release.json")


def test_folder_that_holds_none(here: Path) -> None:
    (here / "empty").mkdir()
    with pytest.raises(ReleaseError, match=r"no release\.json"):
        cellresponse.load("empty")
    with pytest.raises(ReleaseError, match="no such folder"):
        cellresponse.load("dist/other")
