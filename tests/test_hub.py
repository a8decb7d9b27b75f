"""The Hub from end to end: a real release, the real clients, a push that is killed and killed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from loopback_hub import TOKEN, Fault, LoopbackHub

import cellresponse
from cellresponse.releases.hub.part import Part
from cellresponse.releases.hub.pull import pull
from cellresponse.releases.hub.push import push
from cellresponse.releases.matrix_store import CHUNK
from cellresponse.releases.release import Release
from cellresponse.releases.verify import Verified

REPO = "org/data"
SUPPORT = Path(__file__).parent / "support"
NOT_PARTIAL = Verified("2025-06", "", 0, 0, 2, 0, 0)

# Where the push is killed: before the Hub carries a request out, or after, and unanswered.
PLACES = [
    ("GET .*/refs", 0, "before"),
    ("POST .*/repos/create", 0, "before"),
    ("POST .*/repos/create", 0, "after"),
    ("POST .*/branch/", 0, "before"),
    ("POST .*/branch/", 0, "after"),
    ("GET .*/tree/", 0, "before"),
    ("POST .*/preupload/", 0, "before"),
    ("POST .*/objects/batch", 0, "before"),
    ("PUT /store/", 0, "before"),
    ("PUT /store/", 0, "after"),
    ("PUT /store/", 4, "after"),
    ("PUT /store/", 9, "before"),
    ("POST /verify/", 3, "after"),
    ("POST .*/commit/incoming", 0, "before"),
    ("POST .*/commit/incoming", 0, "after"),
    ("GET .*/tree/", 0, "after"),
    ("POST .*/tag/", 0, "before"),
    ("POST .*/tag/", 0, "after"),
    ("DELETE .*/branch/", 0, "before"),
    ("DELETE .*/branch/", 0, "after"),
    ("POST .*/commit/main", 0, "before"),
    ("POST .*/commit/main", 0, "after"),
]


@dataclass
class Pusher:
    """A process whose children push, and can be killed."""

    process: subprocess.Popen[str]
    said: list[str]

    def start(self) -> int:
        """Make a child that waits; give its number."""
        self._send()
        return int(self._line().removeprefix("pid "))

    def go(self) -> int:
        """Let the child push; give its exit code, below zero where it was killed."""
        self._send()
        while not (line := self._line()).startswith("end "):
            pass
        return int(line.removeprefix("end "))

    def _send(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(".")
        self.process.stdin.flush()

    def _line(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        assert line or self.process.poll() is None, "".join(self.said)
        self.said.append(line)
        return line


@pytest.fixture
def pusher(
    hub: LoopbackHub, tmp_path: Path, real_release: tuple[Release, dict]
) -> Iterator[Pusher]:
    command = [sys.executable, str(SUPPORT / "push_worker.py")]
    with (
        (tmp_path / "log").open("w") as log,
        subprocess.Popen(
            [*command, str(real_release[0].folder), REPO],
            env={**os.environ, **hub.environment(tmp_path / "home")},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        ) as process,
    ):
        yield Pusher(process, [])
        assert process.stdin is not None
        process.stdin.close()
    assert TOKEN[3:] not in (tmp_path / "log").read_text()


def test_killed_pushes_end_as_one_release(
    hub: LoopbackHub,
    pusher: Pusher,
    real_release: tuple[Release, dict],
    tmp_path: Path,
) -> None:
    release, _ = real_release
    assert pusher._line() == "ready"
    for number, (where, skip, moment) in enumerate(PLACES):
        pid = pusher.start()
        kill = lambda pid=pid: os.kill(pid, signal.SIGKILL)  # noqa: E731
        trap = {"act": kill, "cut": 0} if moment == "before" else {"then": kill, "lost": True}
        hub.faults[:] = [Fault(where, skip=skip, times=1, **trap)]  # type: ignore[arg-type]
        assert pusher.go() == -signal.SIGKILL, (number, where)
        visible = {tag for repo in hub.state.repos.values() for tag in repo.tags}
        assert visible == ({release.name} if number >= 17 else set())  # whole, or not at all
    hub.faults.clear()
    pusher.start()
    assert pusher.go() == 0
    assert "published already" in pusher.said[-2]

    stored = [seen.path for seen in hub.seen("^PUT /store/")]
    assert len(stored) <= len(set(stored)) + len(PLACES)  # but for what a kill tore
    part = pull("2025-06", REPO, tmp_path / "part", Part(drug="erlotinib", response="resistant"))
    assert part.partial
    mine = cellresponse.load(tmp_path / "part").cells(drug="erlotinib", response="resistant")
    right = release.cells(drug="erlotinib", response="resistant")
    assert mine.n_obs == right.n_obs > 800
    assert (mine.X != right.X).nnz == 0
    pull("2025-06", REPO, tmp_path / "whole")
    assert cellresponse.verify(tmp_path / "whole").content_hash == release.content_hash
    assert cellresponse.load("2025-06", repo=REPO).content_hash == release.content_hash
    streamed = load_dataset_in_a_new_process(hub, tmp_path)
    assert streamed == {
        "labels": len(release.tables["labels"]),
        "streamed": len(release.tables["labels"]),
        "drugs": sorted(set(release.tables["labels"]["drug_id"].to_pylist())),
        "splits": len(release.tables["splits"]),
        "configs": list(release.tables),
    }


def test_cells_over_the_hub_take_their_chunks_only(
    hub: LoopbackHub, real_release: tuple[Release, dict], monkeypatch: pytest.MonkeyPatch
) -> None:
    release, _ = real_release
    monkeypatch.setattr("cellresponse.releases.hub.push.verify", lambda folder: NOT_PARTIAL)
    push(release.folder, REPO)
    remote = cellresponse.load("2025-06", repo=REPO)
    wanted = {"drug": "erlotinib", "response": "sensitive", "basis": "cell_line_ic50"}
    remote.labels(**wanted)
    hub.requests.clear()
    found = remote.cells(**wanted)
    right = release.cells(**wanted)
    assert (found.X != right.X).nnz == 0
    needed = chunk_bytes(release, found.obs_names)
    store = release.folder / "matrices" / "GSE118767.zarr" / "X"
    whole = sum((store / part / "c" / "0").stat().st_size for part in ("indices", "data"))
    sent = sum(seen.sent for seen in hub.seen("^GET /cdn/") if seen.range)
    assert needed <= sent <= 1.1 * needed
    assert sent < 0.5 * whole


def chunk_bytes(release: Release, cells: pd.Index) -> int:
    """Bytes of the chunks that hold the values of cells of GSE118767, by the shards' indexes."""
    table = release.tables["cells"].to_pandas()
    rows = table.set_index("cell_id").loc[cells, "row"].to_numpy()
    indptr = release.matrix_store("GSE118767").indptr
    chunks = np.unique(
        np.concatenate(
            [np.arange(indptr[row] // CHUNK, (indptr[row + 1] - 1) // CHUNK + 1) for row in rows]
        )
    )
    store = release.folder / "matrices" / "GSE118767.zarr" / "X"
    total = 0
    for part in ("indices", "data"):
        shard = (store / part / "c" / "0").read_bytes()
        described = json.loads((store / part / "zarr.json").read_bytes())
        count = described["chunk_grid"]["configuration"]["chunk_shape"][0] // CHUNK
        lengths = np.frombuffer(shard[-count * 16 - 4 : -4], "<u8").reshape(count, 2)[:, 1]
        total += int(lengths[chunks].sum())
    return total


def load_dataset_in_a_new_process(hub: LoopbackHub, tmp_path: Path) -> dict:
    """What `datasets` makes of the published release, after the README's own examples."""
    readme = (Path(__file__).parent.parent / "README.md").read_text()
    examples = [
        block for block in re.findall("```python\n(.*?)```", readme, re.S) if "ORG/NAME" in block
    ]
    assert len(examples) == 2
    code = "".join(examples).replace("ORG/NAME", REPO)
    code += f"""
assert cells.n_obs > 800 and len(labels) > 1
assert next(iter(rows))["study_id"]
import json, datasets
where = dict(path={REPO!r}, revision="2025-06")
labels = datasets.load_dataset(**where, split="train")
rows = list(datasets.load_dataset(**where, name="labels", split="train", streaming=True))
print(json.dumps(dict(
    labels=labels.num_rows,
    streamed=len(rows),
    drugs=sorted({{row["drug_id"] for row in rows}}),
    splits=datasets.load_dataset(**where, name="splits", split="train").num_rows,
    configs=sorted(datasets.get_dataset_config_names({REPO!r}, revision="2025-06")),
)))
"""
    ended = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **hub.environment(tmp_path / "reader")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert TOKEN[3:] not in ended.stderr
    return json.loads(ended.stdout)


def test_push_with_xet(hub: LoopbackHub, mini_release: Release, tmp_path: Path) -> None:
    """With Xet the contents go to another store; the Hub is told the same checksums."""
    hub.xet = tmp_path / "xet"
    hub.xet.mkdir()
    root = Path(__file__).parent.parent
    command = [sys.executable, str(root / "cli.py"), "push", str(mini_release.folder)]
    ended = subprocess.run(
        [*command, "--repo", REPO],
        env={**os.environ, **hub.environment(tmp_path / "home", xet=True)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert not hub.seen("^PUT /store/")
    repo = hub.state.repo(REPO)
    held = repo.commits[repo.tags["mini"]]
    package = json.loads((mini_release.folder / "datapackage.json").read_bytes())
    hashes = {one["path"]: one["hash"] for one in package["resources"] if "hash" in one}
    outside = {path: f"sha256:{file.sha256}" for path, file in held.items() if file.sha256}
    assert len(outside) > 20
    assert outside.items() <= hashes.items()
    assert held.keys() == hashes.keys() | {"release.json", "datapackage.json", ".gitattributes"}
