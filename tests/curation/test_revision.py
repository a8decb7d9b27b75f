"""A study that changed says so by its revision; a report shows which labels changed."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from studies import write_study

from cellresponse.curation.changes import validate_changes
from cellresponse.curation.revision import changed_studies, require_history
from cellresponse.schema.errors import EvidenceError

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with two studies on `main`, and a branch of its own checked out."""
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    checkout = tmp_path / "checkout"
    curation = checkout / "curation"
    curation.mkdir(parents=True)
    write_study(curation)
    write_study(curation, study_id="GSE2")
    (curation / "candidates.csv").write_text("a\n")
    git(checkout, "init", "-q", "-b", "main")
    commit(checkout)
    git(checkout, "checkout", "-q", "-b", "change")
    return curation


def git(folder: Path, *arguments: str) -> None:
    program = shutil.which("git")
    assert program
    subprocess.run([program, "-C", str(folder), *arguments], check=True, capture_output=True)


def commit(folder: Path) -> None:
    git(folder, "add", "-A")
    who = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    git(folder, *who, "commit", "-q", "-m", "change")


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def check(root: Path, ref: str = "main", *, markdown: bool = False) -> tuple[str, list[str]]:
    lines, problems = validate_changes(root, ref, markdown=markdown)
    return "\n".join(lines), [str(problem) for problem in problems]


def test_nothing_changed(root: Path) -> None:
    (root / "candidates.csv").write_text("b\n")
    (root / "__pycache__").mkdir()
    (root / "__pycache__" / "x.pyc").write_text("")
    assert check(root) == ("no study to check: none differs", [])


@pytest.mark.parametrize("committed", [False, True])
@pytest.mark.parametrize("file", ["study.yaml", "samples.csv", "README.md"])
def test_a_change_needs_a_revision(root: Path, file: str, committed: bool) -> None:
    path = root / "GSE1" / file
    path.write_text((path.read_text() if path.exists() else "# notes") + "\n")
    if committed:
        commit(root)
    assert changed_studies(root, require_history(root, "main")) == ["GSE1"]
    _, problems = check(root)
    (problem,) = problems
    assert problem.startswith("GSE1/study.yaml, row 7, column revision: the folder has changed")
    assert "Allowed: more than 1" in problem
    edit(root / "GSE1" / "study.yaml", "revision: '1'", "revision: 2")
    report, problems = check(root)
    assert problems == []
    assert "GSE1" in report
    assert "GSE2" not in report


def test_a_revision_that_shrinks(root: Path) -> None:
    edit(root / "GSE1" / "study.yaml", "revision: '1'", "revision: 3")
    commit(root)
    edit(root / "GSE1" / "study.yaml", "revision: 3", "revision: 2")
    assert check(root)[1] == []
    assert "more than 3" in check(root, "HEAD")[1][0]


def test_a_new_study_and_one_that_is_gone(root: Path) -> None:
    write_study(root, study_id="GSE3")
    shutil.rmtree(root / "GSE2")
    report, problems = check(root)
    assert "GSE3  erlotinib, resistant, stars 1, treated_vs_untreated_control: 0 -> 1" in report
    (problem,) = problems
    assert problem.startswith("GSE2/study.yaml: the study is gone")


def test_what_others_changed_since_does_not_count(root: Path) -> None:
    git(root, "checkout", "-q", "main")
    edit(root / "GSE2" / "study.yaml", "revision: '1'", "revision: 2")
    commit(root)
    git(root, "checkout", "-q", "change")
    assert check(root) == ("no study to check: none differs", [])


def test_labels_that_changed(root: Path) -> None:
    edit(root / "GSE1" / "study.yaml", "revision: '1'", "revision: 2")
    assert "no label changed" in check(root)[0]
    assert "### Labels that changed\n\nNone." in check(root, markdown=True)[0]
    edit(root / "GSE1" / "samples.csv", ",11", ",60")
    report, problems = check(root, markdown=True)
    assert problems == []
    assert (
        "| GSE1 | erlotinib, resistant, stars 1, treated_vs_untreated_control | 1 | 0 |" in report
    )
    edit(root / "GSE1" / "samples.csv", "survived", "survivd")
    report, problems = check(root)
    assert len(problems) == 1
    assert "unknown outcome 'survivd'" in problems[0]


def test_a_version_before_that_is_not_valid(root: Path) -> None:
    edit(root / "GSE1" / "samples.csv", "survived", "survivd")
    commit(root)
    edit(root / "GSE1" / "samples.csv", "survivd", "survived")
    edit(root / "GSE1" / "study.yaml", "revision: '1'", "revision: 2")
    report, problems = check(root, "HEAD")
    assert problems == []
    assert "the version before is not valid" in report


def test_a_manifest_that_is_not_yaml(root: Path) -> None:
    (root / "GSE1" / "study.yaml").write_bytes(b"{[\xff")
    _, problems = check(root)
    assert all(problem.startswith("GSE1/study.yaml") for problem in problems)
    assert problems


@pytest.mark.parametrize("ref", ["nothing", "--help", "", "main:curation", "HEAD~9"])
def test_no_such_commit(root: Path, ref: str) -> None:
    with pytest.raises(EvidenceError, match="cannot be compared with a commit"):
        require_history(root, ref)


def test_no_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(EvidenceError, match="git says"):
        require_history(tmp_path, "main")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(EvidenceError, match="needs git"):
        require_history(tmp_path, "main")


def test_command(root: Path, run: Run) -> None:
    edit(root / "GSE1" / "study.yaml", "revision: '1'", "revision: 1")
    code, stdout, stderr = run("validate", "--against", "main", "--curation", root)
    assert code == 1
    assert stdout.startswith("GSE1  ready, revision 1")
    assert "revision has not grown" in stderr
    code, stdout, _ = run("validate", "GSE2", "--against", "main", "--curation", root)
    assert (code, stdout) == (0, "no study to check: none differs\n")
