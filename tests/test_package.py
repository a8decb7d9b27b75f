"""The package is whole: every folder listed, every data file shipped, docs current."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from frictionless import Package

from cellresponse.curation.descriptor import describe_curation

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES = ("schema", "curation", "builders", "releases", "baselines")


def test_every_package_folder_is_listed() -> None:
    found = {"cellresponse"}
    for package in PACKAGES:
        for path in (ROOT / package).rglob("__init__.py"):
            found.add(".".join(["cellresponse", *path.parent.relative_to(ROOT).parts]))
    assert found == set(PROJECT["tool"]["setuptools"]["packages"])


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Names of the files in a wheel of the checkout."""
    source = tmp_path_factory.mktemp("source")
    tracked = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],  # noqa: S607
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in tracked.stdout.splitlines():
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    out = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "--no-deps",
            "--no-build-isolation",
            "-q",
            "--wheel-dir",
            str(out),
            str(source),
        ],
        check=True,
        capture_output=True,
    )
    (path,) = out.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        return set(archive.namelist())


def test_wheel_holds_code_and_data(wheel: set[str]) -> None:
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            assert f"cellresponse/{path.relative_to(ROOT).as_posix()}" in wheel
    for name in (
        "py.typed",
        "schema/vocabularies/drugs.csv",
        "releases/2025-06.yaml",
        "releases/demo.yaml",
        "releases/demo_genes.csv",
        "releases/index.yaml",
        "curation/GSE118767/study.yaml",
        "curation/GSE118767/dose_response.csv",
    ):
        assert f"cellresponse/{name}" in wheel
    assert not [name for name in wheel if "/tests/" in name or "/bench/" in name]


def test_descriptor_is_current_and_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    path = ROOT / "datapackage.json"
    assert json.loads(path.read_text()) == describe_curation(ROOT), "run `make docs`"
    monkeypatch.chdir(ROOT)
    report = Package("datapackage.json").validate()
    assert report.valid, report.to_summary()


def test_hints_to_install_work_in_a_checkout() -> None:
    """The package is on no index: what is missing comes from the Makefile."""
    assert "\nenv: .venv/all.installed" in (ROOT / "Makefile").read_text()
    sources = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    for path in [*sources, ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        assert "cellresponse[" not in path.read_text(), path


def test_generated_documentation_is_current() -> None:
    written = runpy.run_path(str(ROOT / "docs" / "write_tables.py"))
    for name, text in written["generated"]().items():
        assert (ROOT / "docs" / name).read_text() == text, f"{name}: run `make docs`"


def test_examples_of_the_readme_run(tmp_path: Path) -> None:
    """The Python block of the README is the example that `make demo` runs, on a built demo."""
    readme = (ROOT / "README.md").read_text()
    example = (ROOT / "docs" / "examples" / "open_demo.py").read_text()
    block = example.split('"""\n\n', 1)[1]
    assert block in readme
    subprocess.run(
        [
            sys.executable,
            str(ROOT / "cli.py"),
            "build",
            "--release",
            "demo",
            "--workers",
            "1",
            "--cache",
            str(tmp_path / "cache"),
        ],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    ended = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "examples" / "open_demo.py")],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    )
    printed = ended.stdout.strip()
    assert printed in readme
