"""Fetch source files: from a mirror, the cache or the network, checksums always checked.

A download goes into a part file that survives a broken connection or a killed
run and is continued from where it stopped. Only a whole file whose checksum is
right gets its place in the cache, by one rename.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import pooch

from cellresponse.builders.sources.file_check import remember_right, require_right, writable
from cellresponse.builders.sources.part_file import Wanted
from cellresponse.builders.sources.transfer import Transfer
from cellresponse.schema.errors import SourceFileError
from cellresponse.schema.study import SourceFile

__all__ = ["fetch", "fetch_url", "keep"]

logger = logging.getLogger("cellresponse")


def fetch(
    file: SourceFile,
    *,
    study_id: str,
    cache: Path,
    mirror: Path | None = None,
    attempts: int = 5,
    wait: Callable[[float], None] = time.sleep,
    progress: Callable[[int], None] | None = None,
) -> Path:
    """Give the local path of a pinned source file, whose checksum has been checked.

    Parameters
    ----------
    file
        From the study's manifest.
    study_id
        The study's accession: the file's folder in the mirror.
    cache
        Folder to keep downloads in, by checksum; made where it is missing.
    mirror
        Folder to look for `<study>/<file name>` before the network. A file
        found there is used in place, and an error where it is not the pinned one.
    attempts, wait, progress
        As in `fetch_url`.

    Raises
    ------
    SourceFileError
        The file is not pinned, not to be had, or not the one that was pinned.
    StorageError
        The cache cannot be written.
    """
    name = f"{study_id}/{file.name}"
    if file.sha256 is None:
        raise SourceFileError(
            "is not pinned", file=name, hint=f"Run `python cli.py study pin {study_id}`"
        )
    if mirror is not None:
        place = mirror / study_id / file.name
        if _is_there(place, mirror):
            require_right(place, file.sha256, file.bytes, file=place)
            return place
    return fetch_url(
        file.url,
        name=name,
        sha256=file.sha256,
        bytes=file.bytes,
        cache=cache,
        save_as=PurePosixPath(file.name).name,
        hint=f"Download it by hand to DIR/{name} and give `--mirror DIR`",
        attempts=attempts,
        wait=wait,
        progress=progress,
    )


def fetch_url(
    url: str,
    *,
    name: str,
    sha256: str | None,
    bytes: int | None,  # noqa: A002  # named as in the manifest
    cache: Path,
    save_as: str | None = None,
    hint: str = "Check the address and the network, and run again",
    attempts: int = 5,
    wait: Callable[[float], None] = time.sleep,
    progress: Callable[[int], None] | None = None,
) -> Path:
    """Give the local path of a file of the web, from the cache or freshly downloaded.

    Parameters
    ----------
    url
        http, https or ftp.
    name
        What to call the file in messages.
    sha256
        Hex digest; a cached file is hashed again once a process. None: the
        caller checks the content, and a cached file is taken as it is.
    bytes
        Size; None: unknown.
    cache
        Folder of the cache; made where it is missing.
    save_as
        File name within the cache; None: as in the address.
    hint
        What a user can do where the file cannot be had.
    attempts
        Transfers to try where the trouble may pass: a failed or cut
        connection, a timeout, status 408, 425, 429 or 5xx.
    wait
        Sleeps for that many seconds between attempts; replaceable for tests.
    progress
        Called with the number of bytes of each piece received. Pieces that
        must be fetched again count again.

    Raises
    ------
    SourceFileError
        The file is not to be had, or is not the one that was pinned.
    StorageError
        The cache cannot be written.
    """
    wanted = Wanted(url, name, sha256, bytes, hint)
    key = sha256 or hashlib.sha256(url.encode()).hexdigest()
    save_as = save_as or PurePosixPath(urlsplit(url).path).name or "file"
    place = _place(cache, key, save_as)
    if not _is_cached(place, wanted):
        with writable(place.parent):
            place.parent.mkdir(parents=True, exist_ok=True)
        with _locked(place.parent / ".lock", name):
            _download(place, wanted, Transfer(wanted, place.parent, attempts, wait, progress))
    return place


def keep(path: Path, *, name: str, sha256: str, cache: Path) -> Path:
    """Move a file that came before its checksum was known to where `fetch` looks for it.

    Parameters
    ----------
    path
        The file, on the disk of the cache; its checksum has just been taken.
    name
        Its name in the study's manifest.
    sha256
        Hex digest of the file.
    cache
        As in `fetch`.

    Raises
    ------
    StorageError
        The cache cannot be written.
    """
    place = _place(cache, sha256, PurePosixPath(name).name)
    with writable(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        os.replace(path, place)
    remember_right(place, sha256)
    return place


def _place(cache: Path, key: str, save_as: str) -> Path:
    return cache / "files" / key[:2] / key / save_as


def _is_there(place: Path, mirror: Path) -> bool:
    if not mirror.is_dir():
        raise SourceFileError("there is no such mirror folder", file=mirror)
    try:
        place.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise SourceFileError(f"cannot be read ({error.strerror})", file=place) from None
    return True


def _is_cached(place: Path, wanted: Wanted) -> bool:
    try:
        require_right(place, wanted.sha256, wanted.bytes, file=place)
    except SourceFileError:
        return False
    return True


def _download(place: Path, wanted: Wanted, transfer: Transfer) -> None:
    """Put the file into the cache through pooch; the caller holds the folder's lock."""
    if _is_cached(place, wanted):
        return  # another process has fetched it while this one waited for the lock
    if place.exists():
        logger.warning("%s: the cached copy is damaged; fetching it again", wanted.name)
    # pooch logs full addresses on standard error, queries included.
    pooch.get_logger().setLevel(logging.WARNING)
    with writable(place):
        place.unlink(missing_ok=True)
        pooch.retrieve(
            wanted.url,
            known_hash=wanted.sha256,
            fname=place.name,
            path=place.parent,
            downloader=transfer,
        )
        if wanted.sha256 is not None:
            remember_right(place, wanted.sha256)


@contextmanager
def _locked(path: Path, name: str) -> Iterator[None]:
    """Let one process at a time fetch a file; the system frees the lock of one that dies."""
    with writable(path):
        stream = path.open("ab")
    with stream:
        with writable(path):
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                logger.info("%s: waiting for another process that fetches it", name)
                fcntl.flock(stream, fcntl.LOCK_EX)
        yield
