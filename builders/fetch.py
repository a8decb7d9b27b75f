"""Fetch source files: from a mirror, the cache or the network, checksums always checked.

A download goes into a part file that survives a broken connection or a killed
run and is continued from where it stopped. Only a whole file whose checksum is
right gets its place in the cache, by one rename.
"""

from __future__ import annotations

import email.utils
import fcntl
import ftplib
import hashlib
import http.client
import logging
import os
import random
import re
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO
from urllib.parse import urlsplit, urlunsplit

import pooch
import requests
import urllib3

from cellresponse.schema.errors import SourceFileError, StorageError
from cellresponse.schema.study import SourceFile

__all__ = ["fetch", "fetch_url"]

logger = logging.getLogger("cellresponse")

TIMEOUT = (20.0, 60.0)
"""Seconds to connect, and seconds without a byte."""
LONGEST_WAIT = 120.0
"""Most seconds between two attempts, whatever the server asks for."""
_PIECE_BYTES = 256 * 1024
_BUSY = {408, 425, 429}

# (path, bytes, mtime in ns, sha256) of files that this process has hashed and found right.
_verified: set[tuple[str, int, int, str]] = set()


@dataclass(frozen=True)
class _Wanted:
    """One file as it must be, and what to tell the user where it cannot be had."""

    url: str
    name: str
    sha256: str | None
    bytes: int | None
    hint: str

    def failure(self, reason: str) -> SourceFileError:
        parts = urlsplit(self.url)
        # A query may hold a token, and messages end up in public logs.
        host = parts.netloc.rpartition("@")[2]
        address = urlunsplit((parts.scheme, host, parts.path, "", ""))
        return SourceFileError(
            f"cannot be fetched from {address}: {reason}", file=self.name, hint=self.hint
        )


class _Interrupted(Exception):
    """A transfer that failed in a way that may pass; `seconds` is how long the server asks for."""

    def __init__(self, reason: str, seconds: float = 0.0) -> None:
        super().__init__(reason)
        self.seconds = seconds


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
            _require_right(place, file.sha256, file.bytes, file=place)
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
    wanted = _Wanted(url, name, sha256, bytes, hint)
    key = sha256 or hashlib.sha256(url.encode()).hexdigest()
    save_as = save_as or PurePosixPath(urlsplit(url).path).name or "file"
    place = cache / "files" / key[:2] / key / save_as
    if not _is_cached(place, wanted):
        with _writable(place.parent):
            place.parent.mkdir(parents=True, exist_ok=True)
        with _locked(place.parent / ".lock", name):
            _download(place, wanted, _Transfer(wanted, place.parent, attempts, wait, progress))
    return place


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


def _is_cached(place: Path, wanted: _Wanted) -> bool:
    try:
        _require_right(place, wanted.sha256, wanted.bytes, file=place)
    except SourceFileError:
        return False
    return True


def _require_right(path: Path, sha256: str | None, size: int | None, *, file: str | Path) -> None:
    """Compare size and checksum; a file that this process has hashed is not read again."""
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise SourceFileError("is not a file", file=file)
        if size is not None and found.st_size != size:
            raise _wrong(f"has {found.st_size:,} bytes, expected {size:,}", file)
        if sha256 is None or (str(path), found.st_size, found.st_mtime_ns, sha256) in _verified:
            return
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise SourceFileError(f"cannot be read ({error.strerror})", file=file) from None
    if digest != sha256:
        raise _wrong(f"has the sha256 {digest}, expected {sha256}", file)
    _verified.add((str(path), found.st_size, found.st_mtime_ns, sha256))


def _wrong(problem: str, file: str | Path) -> SourceFileError:
    return SourceFileError(
        problem,
        file=file,
        hint="It is damaged, or changed at its source: get the file that was pinned, "
        "or check the new one and pin it",
    )


def _download(place: Path, wanted: _Wanted, transfer: _Transfer) -> None:
    """Put the file into the cache through pooch; the caller holds the folder's lock."""
    if _is_cached(place, wanted):
        return  # another process has fetched it while this one waited for the lock
    if place.exists():
        logger.warning("%s: the cached copy is damaged; fetching it again", wanted.name)
    # pooch logs full addresses on standard error, queries included.
    pooch.get_logger().setLevel(logging.WARNING)
    with _writable(place):
        place.unlink(missing_ok=True)
        pooch.retrieve(
            wanted.url,
            known_hash=wanted.sha256,
            fname=place.name,
            path=place.parent,
            downloader=transfer,
        )
        if wanted.sha256 is not None:
            found = place.stat()
            _verified.add((str(place), found.st_size, found.st_mtime_ns, wanted.sha256))


@contextmanager
def _locked(path: Path, name: str) -> Iterator[None]:
    """Let one process at a time fetch a file; the system frees the lock of one that dies."""
    with _writable(path):
        stream = path.open("ab")
    with stream:
        with _writable(path):
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                logger.info("%s: waiting for another process that fetches it", name)
                fcntl.flock(stream, fcntl.LOCK_EX)
        yield


@contextmanager
def _writable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"the cache cannot be written ({error.strerror or error})",
            file=path,
            hint="Free some space or choose another cache folder",
        ) from None


class _Part:
    """What has come of a file so far, and which state of the remote file it belongs to."""

    def __init__(
        self, folder: Path, wanted: _Wanted, progress: Callable[[int], None] | None
    ) -> None:
        self.path = folder / ".part"
        self.wanted = wanted
        self.progress = progress
        self._note = folder / ".part.validator"
        self._stream: BinaryIO
        self._size = 0

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def validator(self) -> str:
        """ETag or date of the remote file; empty where the server gives none."""
        return self._note.read_text("latin-1") if self._note.exists() else ""

    def drop(self) -> None:
        """Forget what has come."""
        self.path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)

    @contextmanager
    def opened(self, start: int, validator: str = "") -> Iterator[None]:
        """Open for `write`, to go on at `start`; 0 forgets what was there."""
        with self.path.open("ab" if start else "wb") as self._stream:
            self._size = start
            if start == 0:
                self._note.write_text(validator, "latin-1")
            yield

    def write(self, data: bytes) -> None:
        """Append a piece; stop where the file grows larger than it was pinned."""
        self._size += len(data)
        if self.wanted.bytes is not None and self._size > self.wanted.bytes:
            raise self.wanted.failure(f"it has more than {self.wanted.bytes:,} bytes")
        with _writable(self.path):  # here already: for FTP an OSError would be the network's
            self._stream.write(data)
        if self.progress is not None:
            self.progress(len(data))


class _Transfer:
    """Downloader for pooch: fills the part file, and hands it over when it is right."""

    def __init__(
        self,
        wanted: _Wanted,
        folder: Path,
        attempts: int,
        wait: Callable[[float], None],
        progress: Callable[[int], None] | None,
    ) -> None:
        self.wanted = wanted
        self.part = _Part(folder, wanted, progress)
        self.attempts = attempts
        self.wait = wait
        self.resumed = False

    def __call__(self, _url: str, output_file: str, _pooch: object) -> None:
        self.resumed = self.part.size > 0
        self._receive()
        try:
            self._check()
        except SourceFileError:
            if not self.resumed:
                raise
            # Without an ETag a part can be of an earlier state of the remote file.
            logger.warning("%s: the resumed download is wrong; starting again", self.wanted.name)
            self._receive()
            self._check()
        os.replace(self.part.path, output_file)
        self.part.drop()

    def _check(self) -> None:
        try:
            _require_right(
                self.part.path, self.wanted.sha256, self.wanted.bytes, file=self.wanted.name
            )
        except SourceFileError:
            self.part.drop()
            raise

    def _receive(self) -> None:
        """Try until the part file is whole."""
        once = self._ftp if urlsplit(self.wanted.url).scheme == "ftp" else self._http
        attempt = 1
        while self.part.size != self.wanted.bytes:
            try:
                once()
                if self.wanted.bytes is None:
                    return
                if self.part.size < self.wanted.bytes:
                    raise _Interrupted(f"it ends after {self.part.size:,} bytes")
            except _Interrupted as trouble:
                if attempt >= self.attempts:
                    times = f"{attempt} attempts" if attempt > 1 else "1 attempt"
                    raise self.wanted.failure(f"{trouble} ({times})") from None
                seconds = min(max(_back_off(attempt), trouble.seconds), LONGEST_WAIT)
                logger.warning("%s: %s; next attempt in %.0f s", self.wanted.name, trouble, seconds)
                self.wait(seconds)
                attempt += 1

    def _http(self) -> None:
        """One request: for the rest where there is a part of the same file, or for all."""
        have, validator = self.part.size, self.part.validator
        if not (validator or self.wanted.sha256) or have > (self.wanted.bytes or have):
            have = 0  # nothing could tell whether the rest belongs to this part, or it is too long
        # The file as it lies on the server: a transport compression would hide its size.
        headers = {"Accept-Encoding": "identity", "User-Agent": "cellresponse"}
        if have:
            headers["Range"] = f"bytes={have}-"
            if validator:
                headers["If-Range"] = validator
        try:
            with requests.get(
                self.wanted.url, headers=headers, stream=True, timeout=TIMEOUT
            ) as response:
                self._require_success(response)
                start = self._start(response, have, validator)
                self._require_length(response, start)
                with self.part.opened(start, _validator(response)):
                    for piece in response.raw.stream(_PIECE_BYTES, decode_content=False):
                        self.part.write(piece)
        except requests.exceptions.SSLError:
            raise self.wanted.failure("the secure connection (TLS) fails") from None
        except (requests.Timeout, urllib3.exceptions.TimeoutError):
            raise _Interrupted("the server does not answer in time") from None
        except requests.ConnectionError:
            raise _Interrupted("there is no connection to the server") from None
        except urllib3.exceptions.HTTPError:
            raise _Interrupted(f"the connection broke after {self.part.size:,} bytes") from None
        except requests.RequestException as error:
            raise self.wanted.failure(f"the request fails ({type(error).__name__})") from None

    def _require_success(self, response: requests.Response) -> None:
        status = response.status_code
        if status in (200, 206):
            return
        reason = f"the server answers {status} {http.client.responses.get(status, '')}".rstrip()
        if status in _BUSY or status >= 500:
            raise _Interrupted(reason, _retry_after(response.headers.get("Retry-After")))
        if status == 416 and self.part.size:
            self.part.drop()  # longer than the remote file: of another state of it
            raise _Interrupted("the file changed at its source")
        raise self.wanted.failure(reason)

    def _start(self, response: requests.Response, have: int, validator: str) -> int:
        """At which byte the answer begins: a server may ignore the request for the rest."""
        if response.status_code == 200:
            self.resumed = False
            return 0
        begin = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
        now = _validator(response)
        if not have or begin is None or int(begin[1]) != have or (validator and now != validator):
            self.part.drop()
            raise _Interrupted("the file changed at its source")
        self.resumed = True
        return have

    def _require_length(self, response: requests.Response, start: int) -> None:
        length = response.headers.get("Content-Length", "")
        expected = self.wanted.bytes
        if expected is not None and length.isdecimal() and start + int(length) != expected:
            self.part.drop()
            raise self.wanted.failure(
                f"it has {start + int(length):,} bytes there, expected {expected:,}"
            )

    def _ftp(self) -> None:
        """One transfer of the whole file."""
        # Not pooch's FTPDownloader: it takes no port, its farewell hides what went wrong, and
        # it leaves the connection open when that farewell fails.
        parts = urlsplit(self.wanted.url)
        self.resumed = False
        connection = ftplib.FTP(timeout=TIMEOUT[1])  # noqa: S321  # public files, checksums
        with self.part.opened(0), closing(connection):
            try:
                connection.connect(parts.hostname or "", parts.port or ftplib.FTP_PORT)
                connection.login()
                connection.retrbinary(f"RETR {parts.path}", self.part.write, _PIECE_BYTES)
            except ftplib.error_perm as error:
                raise self.wanted.failure(f"the server answers {error}") from None
            except ftplib.Error as error:
                raise _Interrupted(f"the server answers {error}") from None
            except (OSError, EOFError):
                raise _Interrupted("the connection failed") from None


def _validator(response: requests.Response) -> str:
    """What tells one state of a remote file from another; a weak ETag does not."""
    etag: str = response.headers.get("ETag", "")
    strong = "" if etag.startswith("W/") else etag
    return strong or response.headers.get("Last-Modified", "")


def _back_off(attempt: int) -> float:
    """Seconds to wait after an attempt; half is random, lest many workers return at once."""
    # The system's generator: a fork copies the state of others, and seeds are the user's.
    return 2.0 ** (attempt - 1) * random.SystemRandom().uniform(0.5, 1.0)


def _retry_after(header: str | None) -> float:
    """Seconds that a server asks to wait; 0 where it does not say."""
    if header is None:
        return 0.0
    if header.strip().isdecimal():
        return float(header)
    try:
        moment = email.utils.parsedate_to_datetime(header)
    except ValueError:
        return 0.0
    return max(0.0, moment.timestamp() - time.time())
