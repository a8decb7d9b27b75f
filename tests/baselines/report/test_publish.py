"""Results become an addendum beside their release, once, and only beside it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from loopback_hub import Fault, LoopbackHub

from cellresponse.baselines.benchmark.addendum import Addendum
from cellresponse.baselines.benchmark.options import make_options
from cellresponse.baselines.benchmark.run import benchmark
from cellresponse.baselines.report.page import report
from cellresponse.baselines.report.publish import publish
from cellresponse.releases.hub.push import push
from cellresponse.releases.release import Release
from cellresponse.schema.errors import HubError, ReleaseError

Run = Callable[..., tuple[int, str, str]]
REPO = "org/data"


@pytest.fixture(scope="module")
def made(demo_release: Release, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    options = make_options(
        track="pooled",
        by="source",
        category="patient_tumour",
        drug="synthetic-drug-a",
        models=("majority", "depth_only"),
        as_published=frozenset(),
    )
    benchmark(demo_release, options, folder)
    report(folder)
    return folder


@pytest.fixture
def results(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "results")


@pytest.fixture
def published(hub: LoopbackHub, demo_release: Release, monkeypatch: pytest.MonkeyPatch) -> None:
    push(demo_release.folder, REPO)


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_tag_holds_the_results(
    hub: LoopbackHub, published: None, results: Path, demo_release: Release, run: Run
) -> None:
    before = hub.files(REPO, "demo")
    code, stdout, stderr = run("push", results, "--repo", REPO, "--json")
    assert code == 0, stderr
    pushed = json.loads(stdout)
    assert pushed["release"] == "demo-bench.1"
    there = hub.files(REPO, "demo-bench.1")
    mine = files(results)
    assert {name: there[name] for name in mine} == mine
    assert set(there) - set(mine) == {".gitattributes"}
    assert hub.files(REPO, "demo") == before
    assert set(hub.state.repo(REPO).branches) == {"main"}
    assert "demo-bench.1" not in there["README.md"].decode()
    assert demo_release.content_hash in there["README.md"].decode()


def test_dry_run_sends_nothing(hub: LoopbackHub, published: None, results: Path) -> None:
    counted = publish(results, REPO, dry_run=True)
    assert (counted.files, counted.dry) == (len(files(results)), True)
    assert "demo-bench.1" not in hub.state.repo(REPO).tags
    assert publish(results, REPO).bytes == counted.bytes


def test_dry_run_without_a_connection(hub: LoopbackHub, results: Path) -> None:
    hub.faults.append(Fault("refs", cut=0))
    said: list[str] = []
    counted = publish(results, REPO, dry_run=True, report=lambda line, **_: said.append(line))
    assert (counted.release, counted.files) == ("demo-bench.1", len(files(results)))
    assert said == [
        "there is no connection to the Hub: counted as if org/data held demo and no results of it"
    ]


def test_same_results_get_one_tag_and_others_the_next(
    hub: LoopbackHub, published: None, results: Path, demo_release: Release
) -> None:
    assert publish(results, REPO).release == "demo-bench.1"
    again = publish(results, REPO)
    assert (again.release, again.published, again.files) == ("demo-bench.1", True, 0)
    (results / "not_evaluable.csv").write_text("task,split,reason\na,b,c\n")
    rows = json.loads((results / "manifest.json").read_text())
    Addendum(results, rows["release"], rows["release_hash"])._write_manifest(complete=True)
    with pytest.raises(ReleaseError, match="no report of these results"):
        publish(results, REPO)
    report(results)
    assert publish(results, REPO).release == "demo-bench.2"


def test_report_may_be_drawn_again(results: Path) -> None:
    rows = json.loads((results / "manifest.json").read_text())
    Addendum(results, rows["release"], rows["release_hash"])._write_manifest(complete=True)
    (results / "report" / "leaderboard.csv").write_text("changed\n")
    report(results)
    assert "changed" not in (results / "report" / "leaderboard.csv").read_text()


def test_cut_push_goes_on(hub: LoopbackHub, published: None, results: Path) -> None:
    hub.faults.append(Fault(r"POST .*/tag/", cut=0, times=2))
    assert publish(results, REPO).release == "demo-bench.1"
    assert set(hub.files(REPO, "demo-bench.1")) >= {"manifest.json", "results.parquet"}


def test_results_without_their_release_are_refused(
    hub: LoopbackHub, results: Path, demo_release: Release, run: Run
) -> None:
    code, _, stderr = run("push", results, "--repo", REPO)
    assert code == 1
    assert "does not hold the release that the results are about 'demo'" in stderr
    push(demo_release.folder, REPO)
    manifest = json.loads((results / "manifest.json").read_text())
    other = Addendum.__new__(Addendum)
    other.folder, other.release, other.release_hash = results, manifest["release"], "0" * 64
    other._write_manifest(complete=True)
    report(results)
    with pytest.raises(HubError, match="another content of the release"):
        publish(results, REPO)
    assert set(hub.state.repo(REPO).tags) == {"demo"}


def test_changed_results_are_refused(published: None, results: Path) -> None:
    with (results / "results.parquet").open("ab") as file:
        file.write(b"x")
    with pytest.raises(ReleaseError, match=r"results\.parquet.*was changed"):
        publish(results, REPO)
