"""Studies one after the other: one ends while the counts of the next are read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest

from cellresponse.builders import schedule
from cellresponse.schema.errors import SourceFileError

WAIT = 30.0


class Studies:
    """Stands in for `begin_study`; keeps what happened, in order."""

    def __init__(self, tmp_path: Path, names: str) -> None:
        self.jobs: list[Any] = [
            SimpleNamespace(folder=Path(name), part=tmp_path / name) for name in names
        ]
        self.happened: list[str] = []
        self.begun = {name: Event() for name in names}
        self.wait_for: dict[str, str] = {}
        self.broken: set[str] = set()

    def begin(self, job: Any) -> Callable[[], Path]:
        name = job.folder.name
        self.happened.append(f"begin {name}")
        self.begun[name].set()
        if f"begin {name}" in self.broken:
            raise SourceFileError("is broken", file=name)

        def end() -> Path:
            if name in self.wait_for:
                assert self.begun[self.wait_for[name]].wait(WAIT)
            self.happened.append(f"end {name}")
            if f"end {name}" in self.broken:
                raise SourceFileError("is broken", file=name)
            return Path(job.part)

        return end

    def run(self, monkeypatch: pytest.MonkeyPatch) -> tuple[list[Path], list[str]]:
        monkeypatch.setattr(schedule, "begin_study", self.begin)
        lines: list[str] = []
        parts = schedule.run_jobs(self.jobs, 1, None, lambda line, **_: lines.append(line))
        return parts, lines


def test_one_ends_while_the_next_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    studies = Studies(tmp_path, "ABC")
    studies.wait_for = {"A": "B", "B": "C"}
    parts, lines = studies.run(monkeypatch)
    assert parts == [job.part for job in studies.jobs]
    assert lines == ["A: built", "B: built", "C: built"]
    place = studies.happened.index
    assert place("begin B") < place("end A") < place("begin C") < place("end B")


def test_a_study_that_cannot_end_stops_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    studies = Studies(tmp_path, "ABC")
    studies.broken = {"end A"}
    with pytest.raises(SourceFileError, match="is broken"):
        studies.run(monkeypatch)
    # The study that had begun is not lost; no other begins.
    assert studies.happened[-1] == "end B"
    assert "begin C" not in studies.happened


def test_a_study_that_cannot_begin_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    studies = Studies(tmp_path, "ABC")
    studies.broken = {"begin B"}
    with pytest.raises(SourceFileError, match="is broken"):
        studies.run(monkeypatch)
    assert studies.happened == ["begin A", "begin B", "end A"] or studies.happened == [
        "begin A",
        "end A",
        "begin B",
    ]
