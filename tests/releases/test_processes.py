"""Processes: a worker that is killed is told in one line, and an error drops what waits."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import Future

import pytest

from cellresponse.releases.processes import processes, start_server
from cellresponse.schema.errors import StorageError


def killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_the_server_is_shared() -> None:
    start_server("json")
    with processes(1) as pool:
        one = pool.submit(os.getppid).result()
    start_server("json")
    with processes(1) as pool:
        assert pool.submit(os.getppid).result() == one != os.getpid()


def test_a_killed_worker() -> None:
    with (
        pytest.raises(StorageError, match=r"memory ran out.*fewer --workers"),
        processes(1) as pool,
    ):
        pool.submit(killed).result()


def fail(waiting: list[Future[None]]) -> None:
    with processes(1) as pool:
        first = pool.submit(int, "no number")
        waiting += [pool.submit(time.sleep, 0.1) for _ in range(20)]
        first.result()


def test_an_error_drops_what_waits() -> None:
    waiting: list[Future[None]] = []
    with pytest.raises(ValueError, match="invalid literal"):
        fail(waiting)
    assert any(task.cancelled() for task in waiting)


INTERRUPTED = """
import os, signal
from cellresponse.releases.processes import processes, start_server

start_server("pandas")
os.killpg(0, signal.SIGINT)  # the server imports
with processes(1) as pool:
    worker = pool.submit(os.getpid).result()
    try:
        os.kill(worker, signal.SIGINT)  # the worker waits
        pool.submit(os.getpid).result()
    except BaseException as error:
        print(type(error).__name__)
"""


def test_an_interrupt_prints_nothing() -> None:
    script = "import signal\nsignal.signal(signal.SIGINT, lambda *_: None)\n" + INTERRUPTED
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, start_new_session=True
    )
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "BrokenProcessPool\n")
