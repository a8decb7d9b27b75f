"""The command line: every command has help and a place in the documentation."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from collections.abc import Callable
from importlib.metadata import packages_distributions
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from mini_release import Project

from cellresponse.cli import OPTIONAL, Command, main
from cellresponse.releases.release import Release

ROOT = Path(__file__).parent.parent
Run = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize("name", sorted(main.commands))
def test_every_command_has_help_and_documentation(name: str, run: Run) -> None:
    code, stdout, _ = run(name, "--help")
    assert code == 0
    assert len(stdout.splitlines()[2].strip()) > 20
    for option in main.commands[name].params:
        assert isinstance(option, click.Argument) or option.help, f"{option.name} has no help"  # type: ignore[attr-defined]
    assert f"cli.py {name}" in (ROOT / "README.md").read_text()


def test_usage_error_exits_with_2(run: Run) -> None:
    assert run("build")[0] == 2
    assert run("nothing")[0] == 2


@pytest.mark.parametrize(
    "command", [[sys.executable, "cli.py"], [sys.executable, "-m", "cellresponse.cli"]]
)
def test_ways_to_call(command: list[str]) -> None:
    ended = subprocess.run(
        [*command, "validate", "GSE149214"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "1 resistant, 1 star" in ended.stdout


def test_console_script() -> None:
    script = Path(sys.executable).with_name("cellresponse")
    ended = subprocess.run([script, "--version"], capture_output=True, text=True, check=True)
    assert "0.1.0" in ended.stdout


WITHOUT_OPTIONAL = """\
import json, sys
from click.testing import CliRunner
from cellresponse.cli import OPTIONAL, main
sys.modules.update(dict.fromkeys(OPTIONAL))  # None: the import fails as for what is not installed
for line in sys.stdin:
    ended = CliRunner().invoke(main, line.split())
    print(json.dumps([line.split(), ended.exit_code, ended.stderr]))
"""


def test_packages_that_the_demo_does_not_install(mini_release: Release, tmp_path: Path) -> None:
    of_release = f"--release {mini_release.folder} --out {tmp_path}/out"
    commands = [
        f"benchmark {of_release} --track pooled --by regimen",
        f"embed {of_release} --model geneformer",
        f"predict {tmp_path}/mine.h5ad {of_release} --drug synthetic-drug-a",
        f"models check {tmp_path}",
        f"models golden {tmp_path}",
        f"models pretrain {of_release} --model scgpt",
    ]
    ended = subprocess.run(
        [sys.executable, "-c", WITHOUT_OPTIONAL],
        input="\n".join(commands),
        capture_output=True,
        text=True,
        check=True,
    )
    answers = [json.loads(line) for line in ended.stdout.splitlines()]
    assert len(answers) == len(commands)
    for words, code, stderr in answers:
        name = " ".join(words[: 2 if words[0] == "models" else 1])
        assert code == 1, stderr
        assert stderr.startswith(f"error: `{name}` needs "), stderr
        assert stderr.endswith("is not installed. Install it: make env.\n")


def test_other_missing_modules_are_mistakes_of_the_program() -> None:
    def broken() -> None:
        raise ModuleNotFoundError("No module named 'ours'", name="ours")

    ended = CliRunner().invoke(Command("broken", callback=broken))
    assert isinstance(ended.exception, ModuleNotFoundError)


def test_every_extra_is_known_as_optional() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    named = {
        line.partition(">")[0].partition("=")[0].lower().replace("_", "-")
        for extra in ("dask", "loader", "cohorts", "baselines")
        for line in extras[extra]
        if not line.startswith("cellresponse[")
    }
    of_module = packages_distributions()
    found = {name.lower().replace("_", "-") for module in OPTIONAL for name in of_module[module]}
    assert found == named


def test_benchmark_names_its_comparators() -> None:
    from cellresponse.baselines.benchmark.comparators import COMPARATORS
    from cellresponse.baselines.benchmark.prompting import PROMPTS

    (models,) = (one for one in main.commands["benchmark"].params if one.name == "models")
    assert isinstance(models, click.Option)
    assert models.help
    words = models.help.replace("(", " ").replace(")", " ").replace(",", " ").split()
    assert {*COMPARATORS, *PROMPTS} <= set(words)


def test_info(mini_release: Release, run: Run) -> None:
    code, stdout, _ = run("info", mini_release.folder)
    assert code == 0
    assert len(stdout.splitlines()) <= 24  # one screen
    assert "MINI1" in stdout
    code, stdout, _ = run("info", mini_release.folder, "--json")
    summary = json.loads(stdout)
    assert summary["cells"]["kept"] == 50
    assert sum(row["cells"] for row in summary["labels"]) == 61


def test_info_of_tasks(mini_release: Release, run: Run) -> None:
    code, stdout, _ = run("info", mini_release.folder, "--tasks")
    assert code == 0
    assert "pooled/primary/human/regimen=synthetic-drug-a/synthetic-drug-a" in stdout
    listed = json.loads(run("info", mini_release.folder, "--tasks", "--json")[1])
    assert len({(row["task_id"], row["split"]) for row in listed}) == len(listed)
    for row in listed:
        assert (row["not_evaluable"] is None) == bool(row["folds"])
        for fold in row["folds"]:
            assert min(fold["train_sensitive"], fold["train_resistant"]) > 0


def test_diff(mini_release: Release, project: Project, tmp_path: Path, run: Run) -> None:
    code, stdout, _ = run("diff", mini_release.folder, mini_release.folder)
    assert (code, "the content is the same" in stdout) == (0, True)
    samples = project.curation / "MINI1" / "samples.csv"
    samples.write_text(samples.read_text().replace("drug-b,60", "drug-b,20"))
    changed = project.build(tmp_path / "out")
    code, stdout, _ = run("diff", mini_release.folder, changed.folder)
    assert code == 0
    assert "~ MINI1 (labels, samples)" in stdout
    assert "MINI2" not in stdout
    found = json.loads(run("diff", mini_release.folder, changed.folder, "--json")[1])
    assert found["studies_changed"]["MINI1"]["parts"] == ["labels", "samples"]
    assert found["counts"]["cells"] == {"old": 50, "new": 50, "added": 0, "gone": 0, "changed": 0}


def test_validate(run: Run, project: Project) -> None:
    code, stdout, _ = run("validate")
    assert code == 0
    assert "GSE118767" in stdout
    code, stdout, _ = run("validate", "GSE149214", "--report", "markdown")
    assert "| erlotinib | resistant | 1 |" in stdout
    code, _, stderr = run("validate", "GSE0")
    assert (code, "GSE149214" in stderr) == (1, True)
    for study in ("MINI1", "MINI2"):
        path = project.curation / study / "samples.csv"
        path.write_text(path.read_text().replace("survived", "survivd").replace("died", "dead"))
    code, stdout, stderr = run("validate", "--curation", project.curation)
    assert code == 1
    assert "MINI1/samples.csv, row 3, column outcome: unknown outcome 'survivd'" in stderr
    assert "MINI2/samples.csv, row 3, column control_outcome" in stderr


def test_studies(run: Run) -> None:
    code, stdout, _ = run("studies", "--json")
    assert code == 0
    found = json.loads(stdout)
    listed = {study["study_id"]: study for study in found["studies"]}
    assert listed["GSE118767"]["samples"] == 21
    assert listed["GSE149214"]["drugs"] == ["erlotinib"]
    assert found["totals"]["not_excluded"] >= 100
    code, stdout, _ = run("studies", "--drug", "Tarceva", "--status", "ready")
    assert code == 0
    assert [line.split()[0] for line in stdout.splitlines()[:-1]] == ["GSE118767", "GSE149214"]
    code, _, stderr = run("studies", "--cancer", "lung canser")
    assert (code, "lung_cancer" in stderr) == (1, True)


def test_dask_cluster(project: Project, tmp_path: Path, mini_release: Release, run: Run) -> None:
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        code, _, stderr = run(
            *project.arguments(tmp_path / "out", "--scheduler", cluster.scheduler_address)
        )
        assert code == 0, stderr
        (project.mirror / "MINI2" / "parental.tsv").write_text("changed")
        code, _, stderr = run(
            *project.arguments(tmp_path / "other", "--scheduler", cluster.scheduler_address)
        )
    assert code == 1
    assert "MINI2/parental.tsv" in stderr
    built = json.loads((tmp_path / "out" / "mini" / "release.json").read_bytes())
    assert built["content"]["hash"] == mini_release.content_hash


def test_no_dask_scheduler(project: Project, tmp_path: Path, run: Run) -> None:
    code, _, stderr = run(*project.arguments(tmp_path / "out", "--scheduler", "nowhere"))
    assert code == 1
    assert "tcp://HOST:PORT" in stderr
