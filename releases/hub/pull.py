"""Copy a release, or a part of it, from the Hub."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cellresponse.releases.canonical import canonical_json, file_sha256
from cellresponse.releases.hub.remote import no_such_release
from cellresponse.releases.hub.repo import HubRepo
from cellresponse.releases.hub.shared_index import shared_index
from cellresponse.releases.hub.trouble import LOGIN, NotThere, Report, persist, silent
from cellresponse.releases.index import RetractedRelease
from cellresponse.releases.layout import DESCRIPTOR, PARTIAL, ROOT, files_of, study_of
from cellresponse.releases.release import Release
from cellresponse.releases.root import (
    NamedFile,
    named_files,
    pulled_files,
    read_root,
    wrong_bytes,
)
from cellresponse.schema.errors import HubError, ReleaseError
from cellresponse.schema.storage import storage_errors

__all__ = ["Part", "Pulled", "pull", "pull_lines"]

AT_ONCE = 8


@dataclass(frozen=True)
class Part:
    """What is wanted of a release; nothing said: all of it.

    Attributes
    ----------
    study
        Studies by id, with their matrices.
    drug, response
        The studies that have labels of this treatment, with this response.
    tables_only
        No matrix.
    """

    study: tuple[str, ...] = ()
    drug: str | None = None
    response: str | None = None
    tables_only: bool = False

    @property
    def everything(self) -> bool:
        """Whether the whole release is wanted."""
        return self == Part()

    def studies(self, release: Release) -> set[str]:
        """Name the studies that are wanted, by the tables of the release.

        Raises
        ------
        ReleaseError
            The release has no such study, drug or response: with those that it has.
        """
        if self.tables_only:
            return set()
        found = set()
        for study in self.study or (None,):
            labels = release.labels(study=study, drug=self.drug, response=self.response)
            found |= (
                {study} if study and not (self.drug or self.response) else set(labels["study_id"])
            )
        return found


@dataclass(frozen=True)
class Pulled:
    """What a pull did.

    Attributes
    ----------
    release, folder
        What was pulled, and where to.
    files, bytes
        All that was wanted.
    fetched, fetched_bytes
        What had to be fetched; the rest was there, and right.
    partial
        The folder holds a part of the release.
    """

    release: str
    folder: str
    files: int
    bytes: int
    fetched: int
    fetched_bytes: int
    partial: bool


def pull(
    release: str,
    repo: str,
    to: str | Path,
    part: Part = Part(),
    report: Report = silent,
) -> Pulled:
    """Copy a release, or a part of it, into a folder.

    What is there and right is not fetched again; every file is checked against its
    sha256; a pull that was cut goes on when it is run again. A part holds every table,
    and `partial.json`, which says what was pulled.

    Parameters
    ----------
    release
        Name, or alias of the repository's index.
    repo
        `ORG/NAME` on the Hub.
    to
        Folder that becomes the release's folder.
    part
        What is wanted.
    report
        Receives progress, line by line.

    Returns
    -------
    Pulled

    Raises
    ------
    HubError
        The Hub has no such release, cannot be reached, or sends other files than the
        release names.
    ReleaseError
        The folder holds something else, or the release has no such part.
    StorageError
        The folder cannot be written.

    Warns
    -----
    RetractedRelease
        With the reason, and what replaces it.
    """
    hub = HubRepo(repo)
    name, commit = _find(hub, release, report)
    transfer = _Transfer(hub, commit, Path(to), report)
    with storage_errors(transfer.to):
        pulled = _pull(transfer, name, part)
        shutil.rmtree(transfer.staging, ignore_errors=True)
    return pulled


def _find(hub: HubRepo, release: str, report: Report) -> tuple[str, str]:
    """Give name and commit of what is asked for."""
    refs = persist(hub.refs, report)
    if refs is None:
        raise NotThere("the Hub has no such repository", file=hub.name, hint=LOGIN)
    index = shared_index(hub)
    name = index.aliases.get(release, release)
    if name in index.retractions:
        warnings.warn(index.retractions[name].says(name), RetractedRelease, stacklevel=3)
    if name not in refs.tags:
        raise no_such_release(hub, release, index, refs.tags)
    return name, refs.tags[name]


def _pull(transfer: _Transfer, name: str, part: Part) -> Pulled:
    root, named = transfer.descriptors(name)
    to = transfer.to
    _require_own(to, root, named)
    whole_before = (to / ROOT).exists() and not (to / PARTIAL).exists()
    tables = [file for file in named.values() if not _of_one_study(file)]
    first = [file for file in tables if _goes_along(file)]
    fetched = transfer.fetch(first)
    if part.everything:
        wanted = list(named.values())
    else:
        studies = part.studies(Release(to, root))
        wanted = first + [file for file in named.values() if study_of(file.path) in studies]
    if not whole_before:
        _note(to, {file.path for file in wanted})
    fetched += transfer.fetch(file for file in wanted if file not in first)
    transfer.place_descriptors()
    if part.everything:
        (to / PARTIAL).unlink(missing_ok=True)
    return Pulled(
        release=name,
        folder=str(to),
        files=len(wanted) + 2,
        bytes=sum(file.bytes for file in wanted),
        fetched=len(fetched),
        fetched_bytes=sum(file.bytes for file in fetched),
        partial=(to / PARTIAL).exists(),
    )


def _of_one_study(file: NamedFile) -> bool:
    return study_of(file.path) is not None and not file.path.startswith("tables/labels/")


def _goes_along(file: NamedFile) -> bool:
    """Whether a file comes with every part: tables and descriptors, no cohort."""
    return file.path.startswith("tables/") or "/" not in file.path


def _require_own(to: Path, root: dict[str, Any], named: dict[str, NamedFile]) -> None:
    """Refuse a folder that holds another release, or anything that is not of this one."""
    if (to / ROOT).exists() and read_root(to) != root:
        raise ReleaseError(
            "holds another release", file=to, hint="Name another folder, or remove this one"
        )
    if to.is_dir():
        strangers = set(files_of(to)) - named.keys() - {ROOT, DESCRIPTOR, PARTIAL}
        if strangers:
            raise ReleaseError(
                "the folder holds a file that is not of the release",
                file=to,
                value=min(strangers),
                hint="Name another folder",
            )


def _note(to: Path, wanted: set[str]) -> None:
    """Write down what the folder is to hold, with what it holds already."""
    files = sorted(wanted | (pulled_files(to) or set()))
    beside = to / f".{PARTIAL}.new"
    beside.write_bytes(canonical_json({"files": files}))
    os.replace(beside, to / PARTIAL)


class _Transfer:
    """Fetches the files of one commit into a folder, by way of a hidden folder beside it."""

    def __init__(self, hub: HubRepo, commit: str, to: Path, report: Report) -> None:
        self.hub = hub
        self.commit = commit
        self.to = to
        self.report = report
        self.staging = to.absolute().parent / f".{to.absolute().name}.pull"

    def descriptors(self, name: str) -> tuple[dict[str, Any], dict[str, NamedFile]]:
        """Fetch `release.json` and `datapackage.json`; give what they say."""
        self.staging.mkdir(parents=True, exist_ok=True)
        persist(lambda: self.hub.download(ROOT, self.commit, self.staging, again=True), self.report)
        root = read_root(self.staging)
        if root["release"] != name:
            raise HubError("the tag holds another release", file=self.hub.name, value=name)
        self._download(DESCRIPTOR, root["datapackage_sha256"])
        return root, named_files(self.staging, root)

    def place_descriptors(self) -> None:
        """Put them in place: the folder becomes a release."""
        for name in (DESCRIPTOR, ROOT):
            os.replace(self.staging / name, self.to / name)

    def fetch(self, files: Iterable[NamedFile]) -> list[NamedFile]:
        """Fetch those files that are not there, or not right; give them."""
        files = list(files)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            missing = [
                file
                for file, right in zip(files, pool.map(self._is_right, files), strict=True)
                if not right
            ]
        if missing:
            size = sum(file.bytes for file in missing)
            self.report(f"fetching {len(missing)} files, {size:,} bytes")
        with ThreadPoolExecutor(AT_ONCE) as pool:
            running = [pool.submit(self._fetch_one, file) for file in missing]
            try:
                for done in running:
                    done.result()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        return missing

    def _is_right(self, file: NamedFile) -> bool:
        return (self.to / file.path).is_file() and wrong_bytes(self.to, file) is None

    def _fetch_one(self, file: NamedFile) -> None:
        path = self._download(file.path, file.sha256)
        place = self.to / file.path
        place.parent.mkdir(parents=True, exist_ok=True)
        os.replace(path, place)

    def _download(self, path: str, sha256: str) -> Path:
        """Fetch one file into the hidden folder, and check it; a wrong one is fetched again."""
        for again in (False, True):
            with storage_errors(self.to):
                got = persist(
                    lambda again=again: self.hub.download(  # type: ignore[misc]
                        path, self.commit, self.staging, again=again
                    ),
                    self.report,
                )
            if file_sha256(got) == sha256:
                return got
        raise HubError(
            "the file on the Hub is not the one that the release names",
            file=f"{self.hub.name}: {path}",
            hint="Report it to the publisher of the release",
        )


def pull_lines(pulled: Pulled) -> list[str]:
    """Write what a pull did as text."""
    what = "a part of release" if pulled.partial else "release"
    return [
        f"{pulled.folder} holds {what} {pulled.release}: {pulled.files:,} files, "
        f"{pulled.bytes:,} bytes, {pulled.fetched:,} of them fetched "
        f"({pulled.fetched_bytes:,} bytes)"
    ]
