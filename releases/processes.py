"""Processes of this machine, for steps that take the studies one by one.

A forked copy of a process that has threads (Arrow, Rust codecs) can hang. Workers are forked
from a server without any, which has imported what they need: once for all of them.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import forkserver, resource_tracker

from cellresponse.schema.errors import StorageError

__all__ = ["processes", "start_server"]

INTERRUPTED = 130  # exit code of a program that an interrupt ended


def start_server(module: str) -> None:
    """Let the server begin to import a module, beside what this process does next.

    Once it runs, it keeps what it was first started with.

    Parameters
    ----------
    module
        What the workers need, by its full name.
    """
    multiprocessing.get_context("forkserver").set_forkserver_preload([module])
    # Interrupted while it imports, the server would print a traceback; it ends with this process.
    # The tracker, which the server needs, unblocks the signal when it starts.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def processes(number: int) -> Iterator[ProcessPoolExecutor]:
    """Give an executor of worker processes; an error drops what has not begun.

    Parameters
    ----------
    number
        How many.

    Raises
    ------
    StorageError
        A worker was killed.
    """
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(number, context, _end_quietly) as pool:
        try:
            yield pool
        except BrokenProcessPool:
            raise StorageError(
                "a worker process was killed, most likely because memory ran out",
                hint="Run again with fewer --workers",
            ) from None
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _end_quietly() -> None:
    """Let an interrupt end a worker: what it is at cleans up, and no traceback is printed."""
    if signal.SIGINT in signal.sigpending():
        os._exit(INTERRUPTED)
    signal.signal(signal.SIGINT, lambda *_: sys.exit(INTERRUPTED))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
