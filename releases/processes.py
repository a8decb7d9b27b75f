"""Processes of this machine, for steps that take the studies one by one.

A forked copy of a process that has threads (Arrow, Rust codecs) can hang. Workers are forked
from a server without any, which has imported what they need: once for all of them.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from multiprocessing import forkserver, resource_tracker

from cellresponse.schema.errors import StorageError

__all__ = ["processes", "start_server", "submit_all"]

INTERRUPTED = 130  # exit code of a program that an interrupt ended
MOMENT = 0.2  # seconds in which an interrupt that has ended a worker reaches this process too


def start_server(module: str) -> None:
    """Let the server begin to import a module, beside what this process does next.

    Once it runs, it keeps what it was first started with.

    Parameters
    ----------
    module
        What the workers need, by its full name.
    """
    multiprocessing.get_context("forkserver").set_forkserver_preload([module])
    _ensure_server()


def _ensure_server() -> None:
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

    An interrupt ends the workers too.

    Parameters
    ----------
    number
        How many.

    Raises
    ------
    StorageError
        A worker was killed.
    """
    _ensure_server()
    context = multiprocessing.get_context("forkserver")
    others = set(multiprocessing.active_children())
    with ProcessPoolExecutor(number, context, _ends) as pool:
        try:
            yield pool
        except BrokenProcessPool:
            time.sleep(MOMENT)
            raise StorageError(
                "a worker process was killed, most likely because memory ran out",
                hint="Run again with fewer --workers",
            ) from None
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                _interrupt(set(multiprocessing.active_children()) - others)
            pool.shutdown(cancel_futures=True)
            raise


def submit_all[Item, Result](
    pool: ProcessPoolExecutor, step: Callable[[Item], Result], items: Iterable[Item]
) -> list[Future[Result]]:
    """Hand a step for each item to the workers, which this starts.

    An interrupt waits until they run: one that is half started would print a traceback.

    Parameters
    ----------
    pool
        From `processes`.
    step, items
        A function that workers can import, and what each call is given.
    """
    with _interrupts_wait():
        return [pool.submit(_run, step, item) for item in items]


class _Worker:
    """What a worker process is at."""

    works = False
    ends = False


def _run[Item, Result](step: Callable[[Item], Result], item: Item) -> Result:
    try:
        _Worker.works = True
        return step(item)
    finally:
        _Worker.works = False
        if _Worker.ends:  # it is cleaned up: the pool would give this worker more to do
            os._exit(INTERRUPTED)


def _interrupt(workers: set[multiprocessing.process.BaseProcess]) -> None:
    """A notebook or `kill` interrupts one process; a terminal does not reach one yet to start."""
    for worker in workers:
        if worker.pid is not None:
            with suppress(ProcessLookupError):  # it has ended
                os.kill(worker.pid, signal.SIGINT)


@contextmanager
def _interrupts_wait() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # which alone gets them
        yield
        return
    waiting: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: waiting.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before or signal.SIG_DFL)
    if waiting:
        signal.raise_signal(signal.SIGINT)


def _ends() -> None:
    """Let an interrupt end a worker, and the end of the process that started it."""
    threading.Thread(target=_outlive_no_parent, daemon=True).start()
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # as for a job in the background
        signal.signal(signal.SIGINT, _end)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _outlive_no_parent() -> None:
    """A worker whose pool was killed would wait for more to do, forever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(INTERRUPTED)


def _end(*_: object) -> None:
    """Let a step clean up; without one end at once, because the pool may keep an exception."""
    # A second one, or the pool that ends all when one has ended, would stop the cleaning up.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _Worker.ends = True
    if not _Worker.works:
        os._exit(INTERRUPTED)
    sys.exit(INTERRUPTED)
