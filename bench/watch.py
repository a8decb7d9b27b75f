"""What a measured way costs, its worker processes included, and what others took meanwhile."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

INTERVAL = 0.25  # looking costs: at 0.05 s it took a tenth of the CPU seconds that it counted
TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass
class Watch:
    """Follows this process and all below it while its block runs.

    Workers may be children of a server process that nobody waits for, so what the system
    adds up for children misses them; they are looked at four times a second instead.

    Attributes
    ----------
    cpu_seconds
        Of all these processes, user and system.
    peak_process, peak_sum
        Bytes resident: the most that one process had, and that all had together.
    others
        Cores that everything else on the machine kept busy, on average.
    """

    cpu_seconds: float = 0.0
    peak_process: int = 0
    peak_sum: int = 0
    others: float = 0.0
    _seen: dict[int, float] = field(default_factory=dict)

    def __enter__(self) -> Self:
        """Start to follow."""
        self._look()
        self._before = sum(self._seen.values())
        self._machine, self._uptime = _machine_seconds(), _uptime()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop, and add up."""
        self._ended.set()
        self._thread.join()
        self._look()
        self.cpu_seconds = sum(self._seen.values()) - self._before
        passed = _uptime() - self._uptime
        self.others = max(0.0, (_machine_seconds() - self._machine - self.cpu_seconds) / passed)

    def _follow(self) -> None:
        while not self._ended.wait(INTERVAL):
            self._look()

    def _look(self) -> None:
        resident = 0
        for process in _tree(os.getpid()):
            try:
                fields = Path(f"/proc/{process}/stat").read_text("utf-8").rpartition(")")[2].split()
            except OSError:  # it has ended meanwhile
                continue
            self._seen[process] = (int(fields[11]) + int(fields[12])) / TICKS
            resident += int(fields[21]) * PAGE
            self.peak_process = max(self.peak_process, _peak(process))
        self.peak_sum = max(self.peak_sum, resident)


def _peak(process: int) -> int:
    """Bytes that a process had resident at most; the system remembers."""
    try:
        lines = Path(f"/proc/{process}/status").read_text("utf-8").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)


def _tree(process: int) -> list[int]:
    found = [process]
    for parent in found:
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                found += map(int, children.read_text("utf-8").split())
            except OSError:
                continue
    return found


def _machine_seconds() -> float:
    """Seconds that all cores were busy since the machine started, without waiting for disks."""
    user, nice, system, _, _, irq, softirq = map(
        int, Path("/proc/stat").read_text("utf-8").split()[1:8]
    )
    return (user + nice + system + irq + softirq) / TICKS


def _uptime() -> float:
    return float(Path("/proc/uptime").read_text("utf-8").split()[0])
