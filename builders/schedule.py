"""Run the studies of a build: one after the other, in processes, or on a Dask cluster."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from cellresponse.builders.progress import Report
from cellresponse.builders.study_part import StudyJob, begin_study, build_study
from cellresponse.releases.processes import processes, submit_all
from cellresponse.schema.errors import StorageError

__all__ = ["cluster", "run_jobs"]


def run_jobs(
    jobs: list[StudyJob],
    workers: int,
    scheduler: str | None,
    report: Report,
) -> list[Path]:
    """Build every study; the first error stops the rest.

    Parameters
    ----------
    jobs
        One a study.
    workers
        Processes on this machine; 1: this process.
    scheduler
        Address of a Dask scheduler; None: this machine. Its workers must see the same
        folders as this machine.
    report
        Receives a line a study.

    Returns
    -------
    list of Path
        Finished folders, in the order of the jobs, whatever order they ended in.
    """
    waiting = [job for job in jobs if not job.part.exists()]
    done = len(jobs) - len(waiting)
    if done:
        report(f"{done} studies finished by an earlier build", done=done, total=len(jobs))
    if scheduler is not None:
        finished = _on_cluster(waiting, scheduler)
    elif workers == 1 or len(waiting) <= 1:
        finished = _one_by_one(waiting)
    else:
        finished = _in_processes(waiting, workers)
    for number, name in enumerate(finished, start=done + 1):
        report(f"{name}: built", done=number, total=len(jobs))
    return [job.part for job in jobs]


def _one_by_one(jobs: list[StudyJob]) -> Iterator[str]:
    # While one study ends, the counts of the next are read; no more are in memory at a time.
    with ThreadPoolExecutor(1) as ends:
        running: deque[tuple[str, Future[Path]]] = deque()
        for job in jobs:
            running.append((job.folder.name, ends.submit(begin_study(job))))
            if len(running) == 2:
                yield _ended(*running.popleft())
        while running:
            yield _ended(*running.popleft())


def _ended(name: str, future: Future[Path]) -> str:
    future.result()
    return name


def _in_processes(jobs: list[StudyJob], workers: int) -> Iterator[str]:
    with processes(min(workers, len(jobs))) as pool:
        ordered = _largest_first(jobs)
        futures = submit_all(pool, build_study, ordered)
        yield from _finished(dict(zip(futures, ordered, strict=True)))


def _largest_first(jobs: list[StudyJob]) -> list[StudyJob]:
    """Start the long ones first, so that none is left to run alone at the end."""

    def size(job: StudyJob) -> int:
        return sum(path.stat().st_size for path in job.files.values())

    return sorted(jobs, key=size, reverse=True)


def _finished(futures: dict[Future[Path], StudyJob]) -> Iterator[str]:
    for future in as_completed(futures):
        future.result()
        yield futures[future].folder.name


def cluster(address: str) -> Any:
    """Connect to a Dask cluster; the result is a context manager, a `distributed.Client`.

    Raises
    ------
    StorageError
        No scheduler answers, or the package is not installed.
    """
    try:
        from distributed import Client
    except ImportError:
        raise StorageError(
            "a Dask cluster needs the package distributed",
            hint="Install it: make env",
        ) from None
    try:
        return Client(address, timeout="10s")
    except (OSError, TimeoutError, ValueError) as error:
        raise StorageError(
            f"no Dask scheduler answers: {error}", value=address, allowed="tcp://HOST:PORT"
        ) from None


def _on_cluster(jobs: list[StudyJob], address: str) -> Iterator[str]:
    with cluster(address) as client:
        from distributed import as_completed as ended

        names = {job.part.name: job.folder.name for job in jobs}
        futures = [client.submit(build_study, job, key=job.part.name, pure=False) for job in jobs]
        try:
            for future in ended(futures):
                future.result()
                yield names[future.key]
        except BaseException:
            client.cancel(futures)
            raise
