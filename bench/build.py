"""Compare the speed of a build with anndata's own ways and with the limit of the machine.

    python bench/build.py --cells 10000 100000 1000000 --gtf genes.gtf.gz --json result.json

Every measurement is a process of its own over the same source files, read once before so
that the page cache is warm for all. See README.md beside this file for what each way does.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from inputs import CASES, Inputs, simulate
from watch import Watch
from ways import TEXT_WAYS, WAYS, folder_bytes, remove

from cellresponse.releases.processes import processes, start_server

GIB = 2**30
YARDSTICKS = ("anndata, write_zarr", "limit, zarr's codecs", "limit, our encoder")
MEMORY_SHARE = 0.85


def main() -> None:
    """Run the benchmark, or one measurement of it."""
    options = _options()
    if options.step is not None:
        _step(json.loads(options.step))
        return
    with tempfile.TemporaryDirectory(prefix="cellresponse-bench-", dir=options.folder) as made:
        results = [
            row
            for case, cells in _plan(options)
            for row in _compare(case, cells, options, Path(made))
        ]
    report = {"machine": _machine(options), "results": results}
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", "utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--cells", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--cases", nargs="+", choices=CASES, default=["sorted"])
    parser.add_argument("--studies", type=int, default=4)
    parser.add_argument(
        "--only", nargs="+", choices=WAYS, default=list(WAYS), help="ways to measure"
    )
    parser.add_argument(
        "--repeat", type=int, default=1, help="rounds; the quickest of each way counts"
    )
    parser.add_argument("--gtf", type=Path, help="gene reference; none: a synthetic one")
    parser.add_argument("--folder", type=Path, help="where to put up to 20 GB; none: TMPDIR")
    parser.add_argument("--json", type=Path, help="file for the results")
    parser.add_argument("--step", help=argparse.SUPPRESS)
    return parser.parse_args()


def _plan(options: argparse.Namespace) -> list[tuple[str, int]]:
    return [(case, cells) for case in options.cases for cells in options.cells]


def _compare(
    case: str, cells: int, options: argparse.Namespace, made: Path
) -> list[dict[str, Any]]:
    """Simulate a case and measure every way through it."""
    folder = made / f"{case}-{cells}"
    gtf = None if options.gtf is None else str(options.gtf)
    begun = time.monotonic()
    step = {"simulate": [case, cells, options.studies, str(folder), gtf]}
    inputs = Inputs.of(_run(step, made))
    print(
        f"\n{case}: {CASES[case]}\n{cells:,} cells in {options.studies} studies, "
        f"{inputs.values / cells:,.0f} non-zeros a cell, {inputs.bytes / 1e9:.2f} GB "
        f"(simulated in {time.monotonic() - begun:.0f} s)"
    )
    ways = [way for way in options.only if case != "text" or way in TEXT_WAYS]
    # Round by round: what else the machine does falls on all ways alike.
    found = [_measure(way, inputs, made) for _ in range(options.repeat) for way in ways]
    remove(folder)
    rows = [_quickest([row for row in found if row["way"] == way]) for way in ways]
    _print(rows, cells)
    return [
        {"case": case, "cells": cells, "values": inputs.values, "input_bytes": inputs.bytes, **row}
        for row in rows
    ]


def _measure(way: str, inputs: Inputs, made: Path) -> dict[str, Any]:
    _warm(inputs)
    out = inputs.folder / "out"
    out.mkdir()
    result = _run({"measure": [way, inputs.plain(), str(out)]}, made)
    remove(out)
    return {"way": way, **result}


def _quickest(rows: list[dict[str, Any]]) -> dict[str, Any]:
    done = [row for row in rows if "seconds" in row]
    return min(done, key=lambda row: row["seconds"]) if done else rows[0]


def _warm(inputs: Inputs) -> None:
    for study in inputs.studies():
        for path in inputs.files(study):
            with path.open("rb", buffering=0) as stream:
                while stream.read(2**24):
                    pass
    os.sync()  # what the measurement before wrote is not written back during this one


def _run(request: dict[str, Any], made: Path) -> dict[str, Any]:
    """Run a step in a process of its own; what it prints last is its result.

    Python keeps its compiled modules in `made`, as an installation does; where a setting of
    the environment forbids that, every worker process would compile them anew.
    """
    command = [sys.executable, __file__, "--step", json.dumps(request)]
    known = {key: os.environ[key] for key in os.environ if key != "PYTHONDONTWRITEBYTECODE"}
    environment = known | {"PYTHONPYCACHEPREFIX": str(made / "compiled")}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment)
    if done.returncode != 0:
        return {"failed": f"exit {done.returncode}"}
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _step(request: dict[str, Any]) -> None:
    if "simulate" in request:
        case, cells, studies, folder, gtf = request["simulate"]
        inputs = simulate(case, cells, studies, Path(folder), gtf and Path(gtf))
        print(json.dumps(inputs.plain()))
        return
    way, given, out = request["measure"]
    inputs = Inputs.of(given)
    _limit_memory()
    run, workers = WAYS[way]
    if workers > 1:
        _await_server()
    begun = time.perf_counter()
    try:
        with Watch() as watch:
            run(inputs, Path(out), workers)
    except MemoryError:
        print(json.dumps({"failed": "out of memory"}))
        return
    seconds = time.perf_counter() - begun
    written, files = folder_bytes(Path(out))
    print(
        json.dumps(
            {
                "seconds": seconds,
                "cpu_seconds": watch.cpu_seconds,
                "other_cores": watch.others,
                "peak_process": watch.peak_process,
                "peak_sum": watch.peak_sum,
                "bytes": written,
                "files": files,
            }
        )
    )


def _await_server() -> None:
    """Let the server of the workers import before the clock starts, as all ways do.

    The command line starts it before its own imports.
    """
    start_server("cellresponse.builders.study_worker")
    with processes(1) as pool:
        pool.submit(abs, 1).result()


def _limit_memory() -> None:
    """A way that needs more memory than there is fails by itself, not the whole machine."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    allowed = int(MEMORY_SHARE * total)
    resource.setrlimit(resource.RLIMIT_DATA, (allowed, allowed))
    Path("/proc/self/oom_score_adj").write_text("1000", "utf-8")


def _print(rows: list[dict[str, Any]], cells: int) -> None:
    """Print a row a way.

    `others` is what else ran on the machine, in cores; the last columns are the way's time
    divided by that of other ways.
    """
    seconds = {row["way"]: row["seconds"] for row in rows if "seconds" in row}
    titles = (
        "seconds",
        "cells/s",
        "CPU s",
        "others",
        "peak GiB",
        "sum GiB",
        "GB",
        "files",
        "/anndata",
        "/limit z",
        "/limit o",
    )
    print(f"{'':24}" + "".join(f"{title:>10}" for title in titles))
    for row in rows:
        if "failed" in row:
            print(f"{row['way']:24}{row['failed']:>10}")
            continue
        ratios = [
            row["seconds"] / seconds[way] if way in seconds else float("nan") for way in YARDSTICKS
        ]
        values = (
            f"{row['seconds']:.2f}",
            f"{cells / row['seconds']:,.0f}",
            f"{row['cpu_seconds']:.1f}",
            f"{row['other_cores']:.1f}",
            f"{row['peak_process'] / GIB:.2f}",
            f"{row['peak_sum'] / GIB:.2f}",
            f"{row['bytes'] / 1e9:.3f}",
            str(row["files"]),
            *(f"{ratio:.2f}" for ratio in ratios),
        )
        print(f"{row['way']:24}" + "".join(f"{value:>10}" for value in values), flush=True)


def _machine(options: argparse.Namespace) -> dict[str, Any]:
    return {
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "genes": "synthetic" if options.gtf is None else options.gtf.name,
    }


if __name__ == "__main__":
    main()
