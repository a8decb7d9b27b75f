"""Open a release on the Hub without a copy of it."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

from cellresponse.releases.canonical import file_sha256
from cellresponse.releases.hub.repo import MAIN, HubRepo
from cellresponse.releases.hub.shared_index import published
from cellresponse.releases.hub.store import HubStore
from cellresponse.releases.hub.trouble import NotThere, Unanswered, persist
from cellresponse.releases.index import ReleaseIndex, RetractedRelease, read_index
from cellresponse.releases.layout import DESCRIPTOR, INDEX, ROOT
from cellresponse.releases.release import Release
from cellresponse.releases.root import NamedFile, named_files, read_root
from cellresponse.schema.errors import CellResponseError, HubError

__all__ = ["NoAnswer", "RemoteFiles", "no_such_release", "open_release"]

AT_ONCE = 8


class NoAnswer(UserWarning):
    """The Hub could not be asked; what this machine remembers of it is used."""


def open_release(name: str, repo: str) -> Release:
    """Open a release of a repository.

    Parameters
    ----------
    name
        Name of a release, or an alias of the repository's index.
    repo
        `ORG/NAME` on the Hub.

    Returns
    -------
    Release
        Nothing but `index.yaml` and `release.json` was fetched.

    Raises
    ------
    HubError
        There is no such release, or the Hub cannot be reached and its cache on this
        machine does not have it.

    Warns
    -----
    RetractedRelease
        With the reason, and what replaces it.
    """
    hub = HubRepo(repo)
    index, tags = _published(hub)
    release = index.aliases.get(name, name)
    if release in index.retractions:
        warnings.warn(index.warning(release), RetractedRelease, stacklevel=3)
    if tags is not None and release not in tags:
        raise no_such_release(hub, name, index, tags)
    if tags is None:
        folder, root = _root(hub.cached(ROOT, release, offline=True))
    else:
        commit = tags[release]
        folder, root = persist(lambda: hub.read_cached(ROOT, release, commit, _root))
    if root["release"] != release:
        raise HubError("the tag holds another release", file=hub.name, value=release)
    return Release(folder, root, RemoteFiles(hub, folder, root))


def _root(path: Path) -> tuple[Path, dict[str, Any]]:
    """Give the folder of a `release.json`, and what it says."""
    return path.parent, read_root(path.parent)


def _published(hub: HubRepo) -> tuple[ReleaseIndex, dict[str, str] | None]:
    """Give index and tags; without an answer, the index last seen here and None."""
    try:
        index, refs = published(hub)
    except Unanswered as trouble:
        try:
            index = read_index(hub.cached(INDEX, MAIN, offline=True), name=f"{hub.name}: {INDEX}")
        except CellResponseError:
            raise trouble from None
        warnings.warn(
            f"{trouble.problem}: the releases of {hub.name} are those last seen here",
            NoAnswer,
            stacklevel=4,
        )
        return index, None
    return index, refs.tags


def no_such_release(hub: HubRepo, name: str, index: ReleaseIndex, tags: Iterable[str]) -> NotThere:
    """Say what a repository has instead of a release that it has not."""
    return NotThere(
        "the repository has no such release",
        file=hub.name,
        value=name,
        allowed=sorted({*tags, *index.aliases}) or "none is published",
    )


class RemoteFiles:
    """The files of a release on the Hub, by way of the Hub's cache on this machine.

    Parameters
    ----------
    hub
        The repository.
    folder
        Folder of the cache that mirrors the release's commit, and is named by it.
    root
        What `release.json` says.
    """

    def __init__(self, hub: HubRepo, folder: Path, root: dict[str, Any]) -> None:
        self.hub = hub
        self.folder = folder
        self._root = root
        self._right: set[str] = set()

    @property
    def commit(self) -> str:
        """Commit of the release."""
        return self.folder.name

    @cached_property
    def named(self) -> dict[str, NamedFile]:
        """Every file of the release, by path."""
        self._fetch(DESCRIPTOR, str(self._root["datapackage_sha256"]))
        return named_files(self.folder, self._root)

    def below(self, prefix: str) -> list[str]:
        """List the files whose path begins so."""
        return [path for path in self.named if path.startswith(prefix)]

    def fetch(self, path: str) -> Path:
        """Give a file on this machine, whose sha256 was checked in this process.

        Raises
        ------
        HubError
            The Hub cannot be reached, or sends another file than the release names.
        """
        return self._fetch(path, self.named[path].sha256)

    def fetch_all(self, paths: Iterable[str]) -> None:
        """Fetch several files, side by side."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(self.fetch, paths))

    def _fetch(self, path: str, sha256: str) -> Path:
        if path not in self._right:
            file = persist(lambda: self.hub.cached(path, self.commit))
            if file_sha256(file) != sha256:  # the cache was damaged, or the Hub's file changed
                file = persist(lambda: self.hub.cached(path, self.commit, again=True))
            if file_sha256(file) != sha256:
                raise HubError(
                    "the file on the Hub is not the one that the release names",
                    file=f"{self.hub.name}: {path}",
                    hint="Report it to the publisher of the release",
                )
            self._right.add(path)
        return self.folder / path

    def read(self, path: str, start: int, stop: int) -> bytes:
        """Read a part of a file; the Hub's cache does not keep it."""
        size = self.named[path].bytes
        return persist(lambda: self.hub.read(path, self.commit, start, stop, size))

    def store(self, below: str) -> HubStore:
        """Open the files below a folder as a Zarr store."""
        return HubStore(self, below)
