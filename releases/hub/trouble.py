"""What can go wrong with the Hub, as errors of this package.

The clients' own messages quote addresses, which may be signed; none of them is passed on.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from cellresponse.schema.errors import CellResponseError, HubError, shorten
from cellresponse.schema.storage import storage_error

__all__ = [
    "NotThere",
    "PassingTrouble",
    "Report",
    "Unanswered",
    "hide_secrets",
    "hub_errors",
    "persist",
    "silent",
]

type Report = Callable[[str], Any]
"""Receives progress, line by line."""

logger = logging.getLogger("cellresponse")

AGAIN = "Run the same command again later; it goes on where it stopped"
LOGIN = "Check the name, and log in: `hf auth login`, or HF_TOKEN set to a valid token"
ATTEMPTS = 5
SECRETS = re.compile(r"hf_\w+|\?\S+")
"""Tokens, and the part of an address that can hold a signature."""


def silent(line: str) -> None:
    """Report nothing."""


class PassingTrouble(HubError):
    """Trouble that may pass by itself: worth another attempt."""


class Unanswered(HubError):
    """Nobody answers, or nobody may be asked."""


class NoConnection(PassingTrouble, Unanswered):
    """No answer came; one may come later."""


class NotThere(HubError):
    """The repository, revision or file does not exist, or is hidden from this login."""


@contextmanager
def hub_errors(repo: str, what: str = "") -> Iterator[None]:
    """Raise `HubError` for what goes wrong with the Hub inside.

    Parameters
    ----------
    repo
        Name of the repository.
    what
        File or revision that is asked for.
    """
    try:
        yield
    except CellResponseError:
        raise
    except (httpx2.HTTPError, OSError, RuntimeError, ValueError, KeyError) as error:
        where = f"{repo}: {what}" if what else repo
        told = _translated(error, where)
        if told is None:
            raise
        logger.debug("%s: %s", where, SECRETS.sub("...", repr(error)))
        raise told from None


def _translated(error: BaseException, where: str) -> CellResponseError | None:
    """Say what is behind an error of the clients; None: a mistake of a program."""
    chain = list(_causes(error))
    for link in chain:
        if isinstance(link, HfHubHTTPError):
            return _answered(link, where)
        if isinstance(link, OfflineModeIsEnabled):
            hint = "Unset it, or name a folder of a release that was pulled"
            return Unanswered("HF_HUB_OFFLINE forbids to ask the Hub", file=where, hint=hint)
        if isinstance(link, httpx2.TimeoutException):
            return NoConnection("the Hub does not answer in time", file=where, hint=AGAIN)
        if isinstance(link, httpx2.HTTPError):
            return NoConnection("there is no connection to the Hub", file=where, hint=AGAIN)
    for link in chain:
        full = storage_error(link, Path(where)) if isinstance(link, OSError) else None
        if full is not None:
            return full
    if isinstance(error, EntryNotFoundError):
        hint = "Try again with a connection"
        return HubError("is not on this machine, and the Hub is not asked", file=where, hint=hint)
    if _speaks_of_transfer(error):
        name = type(error).__name__
        return PassingTrouble(f"the transfer went wrong ({name})", file=where, hint=AGAIN)
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and those that it was made from."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _speaks_of_transfer(error: BaseException) -> bool:
    """Tell the clients' bare errors about an answer from mistakes of a program."""
    if isinstance(error, ValueError | KeyError) or type(error).__module__.startswith("hf_xet"):
        return True  # an answer that is no JSON, or lacks a key
    return any(word in str(error) for word in ("Consistency check", "uploading", "Xet", "CAS"))


def _answered(error: HfHubHTTPError, where: str) -> HubError:
    status = error.response.status_code
    said = SECRETS.sub("...", error.server_message or "").strip()
    if status == 401 and not isinstance(error, RevisionNotFoundError):
        return HubError(
            "the Hub does not accept the login, or there is none", file=where, hint=LOGIN
        )
    if status == 403:
        hint = "Use a token that may do this in this repository"
        return HubError("the Hub forbids this to the present login", file=where, hint=hint)
    if status == 404:
        return NotThere(f"the Hub has no such {_missing(error)}", file=where, hint=LOGIN)
    if status in (409, 412):
        return PassingTrouble("the repository was changed at the same time", file=where, hint=AGAIN)
    if status == 416:
        return HubError("the file on the Hub is shorter than the release says", file=where)
    if status == 429:
        return PassingTrouble("the Hub asks for fewer requests", file=where, hint=AGAIN)
    if status in (408, 425) or status >= 500:
        return PassingTrouble(f"the Hub has trouble (status {status})", file=where, hint=AGAIN)
    return HubError(f"the Hub refuses (status {status})", file=where, value=said and shorten(said))


def _missing(error: HfHubHTTPError) -> str:
    if isinstance(error, RepositoryNotFoundError):
        return "repository"
    return "revision" if isinstance(error, RevisionNotFoundError) else "file"


def persist[Result](
    work: Callable[[], Result],
    report: Report = silent,
) -> Result:
    """Do something with the Hub, and again where the trouble may pass.

    Parameters
    ----------
    work
        What to do; it must be right to do it again after it was cut anywhere.
    report
        Receives a line for each failed attempt.
    """
    for attempt in range(1, ATTEMPTS):
        try:
            return work()
        except PassingTrouble as trouble:
            seconds = 2.0 ** (attempt - 1)
            report(f"{trouble.file}: {trouble.problem}; next attempt in {seconds:.0f} s")
            time.sleep(seconds)
    return work()


class _NoSecrets(logging.Filter):
    """Takes tokens and signatures out of the clients' log lines."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = SECRETS.sub("...", record.getMessage()), ()
        return True


def hide_secrets() -> None:
    """Keep tokens and signed addresses out of what the clients log."""
    # A filter of a logger does not see the records of the loggers below it; its handlers do.
    for place in (*logging.getLogger("huggingface_hub").handlers, logging.getLogger("httpx2")):
        if not any(isinstance(one, _NoSecrets) for one in place.filters):
            place.addFilter(_NoSecrets())
