"""The workflows parse, can only read, and are safe on the pull request of a fork."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from cellresponse.cli import main

ROOT = Path(__file__).parent.parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
READ_ONLY = {"contents": "read"}


def parsed(path: Path) -> dict[str, Any]:
    # YAML 1.1 reads a bare `on` as true; the base loader leaves every text as it is.
    document = yaml.load(path.read_text("utf-8"), Loader=yaml.BaseLoader)  # noqa: S506
    assert isinstance(document, dict)
    return document


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_safe_on_forks(path: Path) -> None:
    workflow, text = parsed(path), path.read_text("utf-8")
    body = "\n".join(line.split("#")[0] for line in text.splitlines())
    assert workflow["permissions"] == READ_ONLY
    assert all("permissions" not in job for job in workflow["jobs"].values())
    for word in ("pull_request_target", "workflow_run", "secrets", "GITHUB_TOKEN"):
        assert word not in body
    for job in workflow["jobs"].values():
        assert int(job["timeout-minutes"]) <= 30
        for step in job["steps"]:
            # What others type (titles, branch names) must not become part of a script.
            assert "${{" not in step.get("run", "")
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] == "false"
    used = [step.split("@") for step in re.findall(r"uses: (\S+)", body)]
    assert {action for action, _ in used} <= {"actions/checkout", "actions/setup-python"}
    for _, commit in used:  # a tag can be moved to other code
        assert re.fullmatch("[0-9a-f]{40}", commit)


def test_validates_changed_studies_into_the_summary() -> None:
    workflow = parsed(ROOT / ".github" / "workflows" / "validate.yml")
    assert set(workflow["on"]) == {"pull_request"}
    steps = workflow["jobs"]["studies"]["steps"]
    checkout = next(step for step in steps if "checkout" in step.get("uses", ""))
    assert checkout["with"]["fetch-depth"] == "0"
    (step,) = (step for step in steps if "cli.py" in step.get("run", ""))
    command = step["run"].replace("\\\n", " ").split("cli.py ")[1].split(">")[0]
    arguments = shlex.split(command.replace('"$BASE"', "main"))
    assert arguments == ["validate", "--against", "main", "--report", "markdown"]
    options = {name for option in main.commands["validate"].params for name in option.opts}
    assert {"--against", "--report"} <= options
    assert "GITHUB_STEP_SUMMARY" in step["run"]
    assert 'exit "$code"' in step["run"]


def test_template_names_commands_that_exist() -> None:
    text = (ROOT / ".github" / "PULL_REQUEST_TEMPLATE.md").read_text("utf-8")
    for words in re.findall(r"cli\.py ([a-z]+)", text):
        assert words in main.commands
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert set(re.findall(r"`make (\w+)`", text)) <= targets
