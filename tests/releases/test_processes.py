"""Processes: a worker that is killed is told in one line, and an error drops what waits."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import Future
from pathlib import Path

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
import os, pathlib, signal, time
from cellresponse.releases.processes import processes, start_server

start_server("pandas")
os.killpg(0, signal.SIGINT)  # the server imports
with processes(1) as pool:
    worker = pool.submit(os.getpid).result()
    os.kill(worker, signal.SIGINT)  # the worker waits
    while pathlib.Path(f"/proc/{worker}").exists():
        time.sleep(0.01)
    try:
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


STOPPED = """
import os, pathlib, signal, sys, threading, time
from cellresponse.releases.processes import processes, start_server, submit_all

def step(name):
    try:
        pathlib.Path(name).write_text(str(os.getpid()))
        time.sleep(300)
    finally:
        time.sleep(0.3)
        pathlib.Path(name).rename(name + " cleaned up")

def running():
    return [path for path in pathlib.Path().glob("step*") if path.stat().st_size]

def interrupt(when, whom):
    while when == "workers-run" and len(running()) < 2:
        time.sleep(0.01)
    if whom == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    elif whom == "terminal":
        os.killpg(0, signal.SIGINT)
    else:
        os.kill(os.getpid(), signal.SIGINT)

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # tests may run in the background
    start_server("pandas")
    threading.Timer(0.1, interrupt, sys.argv[1:]).start()
    try:
        with processes(2) as pool:
            submit_all(pool, step, ["step 1", "step 2", "step 3"])[0].result()
    except KeyboardInterrupt:
        print("stopped")
"""


def stopped(when: str, whom: str, folder: Path) -> subprocess.CompletedProcess[str]:
    script = folder / "stopped.py"
    script.write_text(STOPPED)
    return subprocess.run(
        [sys.executable, script, when, whom],
        capture_output=True,
        text=True,
        cwd=folder,
        start_new_session=True,
        timeout=200,
    )


@pytest.mark.parametrize("when", ["server-imports", "workers-run"])
@pytest.mark.parametrize("whom", ["terminal", "this-process"])
def test_an_interrupt_ends_the_workers_and_prints_nothing(
    when: str, whom: str, tmp_path: Path
) -> None:
    done = stopped(when, whom, tmp_path)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "stopped\n")
    left = sorted(path.name for path in tmp_path.glob("step*"))
    assert all(name.endswith("cleaned up") for name in left)
    if when == "workers-run":
        assert left == ["step 1 cleaned up", "step 2 cleaned up"]


def test_workers_end_with_a_build_that_was_killed(tmp_path: Path) -> None:
    assert stopped("workers-run", "killed", tmp_path).returncode == -signal.SIGKILL
    workers = [int(path.read_text()) for path in tmp_path.glob("step*")]
    assert len(workers) == 2
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{worker}").exists() for worker in workers):
        assert time.monotonic() < deadline
        time.sleep(0.01)
