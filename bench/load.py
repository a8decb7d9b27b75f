"""Measure what a user waits for: import, load, labels, and the cells of one drug.

    python bench/load.py --gtf genes.gtf.gz --folder /scratch

Simulates and builds a release of 1 M cells in 50 studies of ten drugs, unless `--folder` has
it from before. Every figure is of a process of its own, with a warm page cache. Bytes are
those that the process asked the system for (`rchar` in /proc/self/io).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any


def main() -> None:
    """Run the benchmark, or one measurement of it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--cells", type=int, default=1_000_000)
    parser.add_argument("--studies", type=int, default=50)
    parser.add_argument("--gtf", type=Path, help="gene reference; none: a synthetic one")
    parser.add_argument("--folder", type=Path, help="keeps the release; none: a temporary folder")
    parser.add_argument("--repeat", type=int, default=5, help="the median counts")
    parser.add_argument("--json", type=Path, help="file for the results")
    parser.add_argument("--step", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step is not None:
        print(json.dumps(_step(*options.step)))
        return
    from simulated import DRUGS, simulated_release  # imports what a step is to be timed for

    with tempfile.TemporaryDirectory(prefix="cellresponse-bench-") as made:
        folder = options.folder or Path(made)
        release = simulated_release(folder, options.cells, options.studies, options.gtf)
        found = [_measure(release, DRUGS[-1]) for _ in range(options.repeat + 1)][
            1:
        ]  # the first one warms
    results = {key: median(run[key] for run in found) for key in found[0]}
    for key, value in results.items():
        print(f"{key:44}{value:14,.2f}")
    if options.json:
        options.json.write_text(json.dumps({"runs": found, "median": results}, indent=1) + "\n")


def _measure(release: Path, drug: str) -> dict[str, float]:
    command = [sys.executable, __file__, "--step", str(release), drug]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _step(folder: str, drug: str) -> dict[str, float]:
    found: dict[str, float] = {}

    def timed(name: str, action: Callable[[], Any]) -> Any:
        begun, used, read = time.perf_counter(), time.process_time(), _bytes_read()
        result = action()
        found[f"{name}, ms"] = 1000 * (time.perf_counter() - begun)
        found[f"{name}, CPU ms"] = 1000 * (time.process_time() - used)
        found[f"{name}, MB read"] = (_bytes_read() - read) / 1e6
        return result

    def imported() -> Any:
        import cellresponse

        return cellresponse

    cellresponse = timed("import cellresponse", imported)
    release = timed("load", lambda: cellresponse.load(folder))
    timed("labels, first (imports pandas)", lambda: release.labels(drug=drug))
    again = cellresponse.load(folder)
    timed("labels, libraries imported", lambda: again.labels(drug=drug))
    _import_the_rest()
    cells = timed("cells of a drug", lambda: again.cells(drug=drug))
    needed = _encoded_bytes(Path(folder), cells)
    found["cells"] = cells.n_obs
    found["cells of a drug, MB needed"] = needed / 1e6
    found["read / needed"] = found["cells of a drug, MB read"] * 1e6 / needed
    return found


def _import_the_rest() -> None:
    """Import what `cells` needs, so that reading modules is not counted."""
    import zarrs  # noqa: F401

    from cellresponse.releases import matrix_store, selection  # noqa: F401


def _bytes_read() -> int:
    fields = Path("/proc/self/io").read_text("utf-8").split()
    return int(fields[fields.index("rchar:") + 1])


def _encoded_bytes(folder: Path, cells: Any) -> float:
    """Bytes on disk of the counts of these cells: their share of the studies' arrays."""
    import zarr

    total = 0.0
    counts = cells.X.getnnz(axis=1)
    for study, rows in cells.obs.groupby("study_id", observed=True).indices.items():
        store = folder / "matrices" / f"{study}.zarr" / "X"
        encoded = sum(file.stat().st_size for file in store.rglob("*") if file.is_file())
        total += encoded * counts[rows].sum() / zarr.open_array(store / "data", mode="r").shape[0]
    return total


if __name__ == "__main__":
    main()
