"""Compare loaders: cells a second at equal batch size, block size and rows in memory.

    python bench/loader.py --gtf genes.gtf.gz --folder /scratch --block 32 64 512

Every way reads the same simulated cells in a process of its own, for `--seconds`, with a warm
page cache, and gives sparse batches on the CPU. Rounds repeat, so that what else the machine
does falls on all alike. scDataset is no dependency of this project: `pip install scdataset`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any


def main() -> None:
    """Run the benchmark, or one measurement of it."""
    options = _options()
    if options.step is not None:
        print(json.dumps(_step(**json.loads(options.step))))
        return
    from loader_ways import WAYS, prepare
    from simulated import simulated_release

    with tempfile.TemporaryDirectory(prefix="cellresponse-bench-") as made:
        folder = options.folder or Path(made)
        release = simulated_release(folder, options.cells, options.studies, options.gtf)
        prepare(release, folder)
        results = []
        for block in options.block:
            sizes = [options.batch, block, options.rows]
            rounds = [
                {way: _measure(way, release, folder, sizes, options.seconds) for way in WAYS}
                for _ in range(options.repeat + 1)
            ]
            results += [_summary(way, block, rounds[1:]) for way in WAYS]  # the first one warms
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n", "utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--cells", type=int, default=200_000)
    parser.add_argument("--studies", type=int, default=4)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--block", type=int, nargs="+", default=[64])
    parser.add_argument("--rows", type=int, default=16_384, help="rows in memory")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--repeat", type=int, default=3, help="rounds; the median counts")
    parser.add_argument("--gtf", type=Path, help="gene reference; none: a synthetic one")
    parser.add_argument("--folder", type=Path, help="keeps the stores; none: a temporary folder")
    parser.add_argument("--json", type=Path, help="file for the results")
    parser.add_argument("--step", help=argparse.SUPPRESS)
    return parser.parse_args()


def _measure(way: str, *given: Any) -> dict[str, Any]:
    release, folder, sizes, seconds = given
    step = {"way": way, "release": str(release), "folder": str(folder), "sizes": sizes}
    command = [sys.executable, __file__, "--step", json.dumps(step | {"seconds": seconds})]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        return {"failed": done.stderr.strip().splitlines()[-1]}
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _step(
    way: str, release: str, folder: str, sizes: list[int], seconds: float
) -> dict[str, float]:
    from loader_ways import WAYS, Sizes

    batches = iter(WAYS[way](Path(release), Path(folder), Sizes(*sizes)))
    cells = 0
    while cells < sizes[2]:  # imports, compiled functions and opened files are not counted
        cells += next(batches).shape[0]
    cells = 0
    begun, used = time.perf_counter(), time.process_time()
    for batch in batches:
        cells += batch.shape[0]
        if time.perf_counter() - begun > seconds:
            break
    return {
        "cells/s": cells / (time.perf_counter() - begun),
        "CPU us/cell": 1e6 * (time.process_time() - used) / cells,
        "peak GiB": _peak_memory(),
    }


def _peak_memory() -> float:
    """Most memory that this process has held; `ru_maxrss` would also be its parent's."""
    fields = Path("/proc/self/status").read_text("utf-8").split()
    return int(fields[fields.index("VmHWM:") + 1]) / 2**20


def _summary(way: str, block: int, rounds: list[dict[str, Any]]) -> dict[str, Any]:
    found = [one[way] for one in rounds]
    failed = [one["failed"] for one in found if "failed" in one]
    if failed:
        print(f"block {block:4} {way:22} not measured: {failed[0]}")
        return {"way": way, "block": block, "failed": failed[0]}
    middle = {key: median(one[key] for one in found) for key in found[0]}
    print(f"block {block:4} {way:22}" + "".join(f"{v:12,.1f} {k}" for k, v in middle.items()))
    return {"way": way, "block": block, **middle, "rounds": found}


if __name__ == "__main__":
    main()
