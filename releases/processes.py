"""Processes of this machine, for steps that take the studies one by one.

A forked copy of a process that has threads (Arrow, Rust codecs) can hang. Workers are forked
from a server without any, which has imported what they need: once for all of them.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import forkserver

from cellresponse.schema.errors import StorageError

__all__ = ["processes", "start_server"]


def start_server(module: str) -> None:
    """Let the server begin to import a module, beside what this process does next.

    Once it runs, it keeps what it was first started with.

    Parameters
    ----------
    module
        What the workers need, by its full name.
    """
    multiprocessing.get_context("forkserver").set_forkserver_preload([module])
    forkserver.ensure_running()


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
    with ProcessPoolExecutor(number, mp_context=context) as pool:
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
