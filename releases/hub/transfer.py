"""Fetch files of a release into a folder, and check every one."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from cellresponse.releases.canonical import file_sha256
from cellresponse.releases.hub.lock import locked
from cellresponse.releases.hub.repo import HubRepo
from cellresponse.releases.hub.trouble import Report, persist
from cellresponse.releases.layout import DESCRIPTOR, ROOT
from cellresponse.releases.root import NamedFile, named_files, read_root, wrong_bytes
from cellresponse.schema.errors import HubError
from cellresponse.schema.storage import storage_errors

__all__ = ["CROSSING", "Transfer"]

AT_ONCE = 8
CROSSING = ".pull"
"""Folder within the destination for files on their way, where none can be beside it."""
NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS)


class Transfer:
    """Fetches the files of one commit into a folder, by way of a hidden folder.

    The hidden folder lies beside the destination. Where its parent cannot be written, as
    that of a mounted disk, it lies within; the folder is a release all the same only when
    `place_descriptors` has moved the last file to its place.
    """

    def __init__(self, hub: HubRepo, commit: str, to: Path, report: Report) -> None:
        self.hub = hub
        self.commit = commit
        self.to = to
        self.report = report
        real = Path(os.path.realpath(to))  # beside what a link points to: mostly one file system
        self.staging = real.parent / f".{real.name}.pull"

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Let other pulls into the folder wait; leave no empty folder that was made for this."""
        lock = self._lock()
        missing = [folder for folder in lock.parents if not folder.exists()]
        try:
            with locked(lock, str(self.to), self.report):
                yield
        finally:
            with suppress(OSError):  # it holds something, and so do those above it
                for folder in missing:
                    folder.rmdir()

    def _lock(self) -> Path:
        """Name the lock file: beside the hidden folder, or in the one within."""
        beside = self.staging.with_name(f"{self.staging.name}.lock")
        writable = os.access(beside.parent, os.W_OK) or not self.to.is_dir()
        return beside if writable else self.to / CROSSING / "lock"

    def there(self) -> set[Path]:
        """Give everything that is in the folder and in the hidden one, and these."""
        return {
            path
            for folder in (self.to, self.staging)
            for path in (folder, *folder.rglob("*"))
            if os.path.lexists(path)
        }

    def undo(self, before: set[Path]) -> None:
        """Remove what was not there before."""
        for path in sorted(self.there() - before, reverse=True):
            if path.is_dir() and not path.is_symlink():
                path.rmdir()
            else:
                path.unlink()

    def descriptors(self, name: str) -> tuple[dict[str, Any], dict[str, NamedFile]]:
        """Fetch `release.json` and `datapackage.json`; give what they say."""
        self._make_staging()
        persist(lambda: self.hub.download(ROOT, self.commit, self.staging, again=True), self.report)
        root = read_root(self.staging)
        if root["release"] != name:
            raise HubError("the tag holds another release", file=self.hub.name, value=name)
        self._download(DESCRIPTOR, root["datapackage_sha256"])
        return root, named_files(self.staging, root)

    def _make_staging(self) -> None:
        try:
            self.staging.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            if error.errno not in NOT_ALLOWED or not self.to.is_dir():
                raise
            # A level deeper than CROSSING, which may receive files from it.
            self.staging = self.to / CROSSING / "fetched"
            self.staging.mkdir(parents=True, exist_ok=True)

    def place_descriptors(self) -> None:
        """Put them in place: the folder becomes a release."""
        for name in (DESCRIPTOR, ROOT):
            self.place(name)

    def place(self, path: str) -> None:
        """Move a file from the hidden folder to its place, in one step."""
        staged, place = self.staging / path, self.to / path
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.replace(staged, place)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            near = self.to / CROSSING / path
            near.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(staged, near)
            os.replace(near, place)
            staged.unlink()

    def clear(self) -> None:
        """Remove the hidden folders."""
        for folder in (self.staging, self.to / CROSSING):
            shutil.rmtree(folder, ignore_errors=True)

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
        self._download(file.path, file.sha256)
        self.place(file.path)

    def _download(self, path: str, sha256: str) -> None:
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
                return
        raise HubError(
            "the file on the Hub is not the one that the release names",
            file=f"{self.hub.name}: {path}",
            hint="Report it to the publisher of the release",
        )
