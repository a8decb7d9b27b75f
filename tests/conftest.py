"""Fixtures that every test may use."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings
from mini_release import Project, make_project

from cellresponse.releases.release import Release

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


@pytest.fixture(scope="session")
def mini_release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    """Built once; tests copy it before they change it."""
    project = make_project(tmp_path_factory.mktemp("mini"))
    return project.build(tmp_path_factory.mktemp("out"))


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A tiny project of its own for a test that changes it."""
    return make_project(tmp_path / "project")


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
