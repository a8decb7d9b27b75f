"""Fixtures that every test may use."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from hypothesis import settings
from loopback_hub import TOKEN, LoopbackHub, loopback_hub
from loopback_model import KEY, Endpoint, loopback_model
from mini_release import Project, make_project

from cellresponse.releases.release import Release, load

ROOT = Path(__file__).parent.parent

# Seeded: the same examples every time, on a slow machine too.
settings.register_profile("cellresponse", derandomize=True, deadline=None)
settings.load_profile("cellresponse")


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of third-party files that stand in for the network; skips where it is absent."""
    folder = Path(os.environ.get("CELLRESPONSE_SHARED", ROOT.parent / "shared"))
    if not (folder / "mirror").is_dir():
        pytest.skip(f"the shared folder is not there ({folder}); set CELLRESPONSE_SHARED")
    return folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test that asks for the shared folder."""
    for item in items:
        if "shared" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.shared)


@pytest.fixture(autouse=True, scope="module")
def threads_stay() -> Iterator[None]:
    """Tests that leave another number of threads would change the last bits of later ones."""
    before = threads_of_torch()
    yield
    assert before in (None, threads_of_torch())


def threads_of_torch() -> int | None:
    return sys.modules["torch"].get_num_threads() if "torch" in sys.modules else None


@pytest.fixture(scope="session")
def mini_release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    """Built once; tests copy it before they change it."""
    project = make_project(tmp_path_factory.mktemp("mini"))
    return project.build(tmp_path_factory.mktemp("out"))


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Give a folder that the first of the processes that run the tests has filled."""
    root = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    done = root / f"{name}.done"
    with FileLock(root / f"{name}.lock"):
        if not done.exists():
            make(root / name)
            done.touch()
    return root / name


@pytest.fixture(scope="session")
def demo_release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    """The embedded synthetic release, built once; tests copy it before they change it."""
    from cellresponse.builders.build import BuildOptions, build
    from cellresponse.releases.specs import load_spec

    def make(folder: Path) -> None:
        options = BuildOptions(out=folder, curation=ROOT / "curation", cache=folder / "cache")
        build(load_spec("demo"), options)

    return load(made_once(tmp_path_factory, "embedded", make) / "demo")


@pytest.fixture(scope="session")
def real_release(
    shared: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Release, dict[str, Any]]:
    """Release 2025-06 from the real files, built once; and what the build printed with --json."""

    def make(folder: Path) -> None:
        ended = subprocess.run(
            [
                sys.executable,
                str(ROOT / "cli.py"),
                *("build", "--release", "2025-06", "--json"),
                *("--mirror", str(shared / "mirror")),
                *("--gtf", str(shared / "reference" / "genes.homo_sapiens.gtf.gz")),
                *("--out", str(folder), "--cache", str(folder / "cache"), "--workers", "2"),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        (folder / "printed.json").write_text(ended.stdout)

    folder = made_once(tmp_path_factory, "real", make)
    return load(folder / "2025-06"), json.loads((folder / "printed.json").read_text())


@pytest.fixture(scope="session")
def curation() -> Path:
    """The package's own study folders."""
    return ROOT / "curation"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A tiny project of its own for a test that changes it."""
    return make_project(tmp_path / "project")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    """A Hub on this machine that the real client in this process speaks to, with no waiting."""
    from huggingface_hub import constants
    from huggingface_hub.utils import close_session, disable_progress_bars

    with loopback_hub() as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setattr("time.sleep", lambda seconds: None)
        disable_progress_bars()
        yield server
        close_session()


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    """A language model on this machine, and its key in the environment."""
    with loopback_model() as served:
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield served


@pytest.fixture
def run() -> Callable[..., tuple[int, str, str]]:
    """Run the command line in this process: `run("verify", folder)` gives code, stdout, stderr."""

    def invoke(*arguments: object) -> tuple[int, str, str]:
        from click.testing import CliRunner

        from cellresponse.cli import main

        result = CliRunner().invoke(main, [str(argument) for argument in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.stdout, result.stderr

    return invoke
