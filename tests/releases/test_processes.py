"""Processes: a worker that is killed is told in one line, and an error drops what waits."""

from __future__ import annotations

import os
import signal
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
