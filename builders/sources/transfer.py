"""Transfer one file over http, https or ftp: resumed, and tried again where that may help."""

from __future__ import annotations

import email.utils
import ftplib
import http.client
import logging
import os
import random
import re
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import requests
import urllib3

from cellresponse.builders.sources.file_check import require_right
from cellresponse.builders.sources.part_file import Part, Wanted
from cellresponse.schema.errors import SourceFileError

__all__ = ["LONGEST_WAIT", "TIMEOUT", "Transfer"]

logger = logging.getLogger("cellresponse")

TIMEOUT = (20.0, 60.0)
"""Seconds to connect, and seconds without a byte."""
LONGEST_WAIT = 120.0
"""Most seconds between two attempts, whatever the server asks for."""
_PIECE_BYTES = 256 * 1024
_BUSY = {408, 425, 429}


class _Interrupted(Exception):
    """A transfer that failed in a way that may pass; `seconds` is how long the server asks for."""

    def __init__(self, reason: str, seconds: float = 0.0) -> None:
        super().__init__(reason)
        self.seconds = seconds


class Transfer:
    """Downloader for pooch: fills the part file, and hands it over when it is right.

    Parameters
    ----------
    wanted
        The file.
    folder
        Where its part file lies.
    attempts, wait, progress
        As in `cellresponse.builders.sources.fetch.fetch_url`.

    Raises
    ------
    SourceFileError
        When called: the file is not to be had, or is not the one that was pinned.
    StorageError
        When called: the part file cannot be written.
    """

    def __init__(
        self,
        wanted: Wanted,
        folder: Path,
        attempts: int,
        wait: Callable[[float], None],
        progress: Callable[[int], None] | None,
    ) -> None:
        self.wanted = wanted
        self.part = Part(folder, wanted, progress)
        self.attempts = attempts
        self.wait = wait
        self.resumed = False

    def __call__(self, _url: str, output_file: str, _pooch: object) -> None:
        """Fetch the file to `output_file`, as pooch asks its downloaders to."""
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
            require_right(
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
