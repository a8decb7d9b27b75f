"""A release of the same name stands already: equal, or refused as early as it can be known."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mini_release import Project

import cellresponse.builders.build as build_module
from cellresponse.builders.build import build
from cellresponse.releases.content_diff import content_differences, known_differences
from cellresponse.releases.release import Release
from cellresponse.releases.specs import load_spec
from cellresponse.schema.errors import ReleaseError


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.fixture
def out(project: Project, mini_release: Release, tmp_path: Path) -> Path:
    """A folder of releases that holds one of the project, as it was before it changes."""
    shutil.copytree(mini_release.folder, tmp_path / "out" / "mini")
    return tmp_path / "out"


@pytest.fixture
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a build that begins its work fail the test."""

    def begun(*_: object, **__: object) -> None:
        raise AssertionError("the build begins, and it was known that it cannot end")

    for name in ("_axes", "_studies", "fetch_all", "run_jobs"):
        monkeypatch.setattr(build_module, name, begun)


def one_study_less(project: Project) -> None:
    text = project.spec.read_text()
    project.spec.write_text(text[: text.index("  MINI2:")])


def next_revision(project: Project) -> None:
    edit(project.spec, "  MINI2:\n    revision: 1", "  MINI2:\n    revision: 2")


def other_genes(project: Project) -> None:
    lines = project.spec.read_text().splitlines()
    place = next(i for i, line in enumerate(lines) if "table_sha256" in line)
    lines[place] = f"      table_sha256: {'0' * 64}"
    project.spec.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (one_study_less, "it has study MINI2, which the spec does not name"),
        (next_revision, "it has revision 1 of study MINI2, the spec names 2"),
        (other_genes, "other human genes"),
    ],
)
@pytest.mark.usefixtures("no_work")
def test_what_the_spec_shows_is_told_before_the_build(
    project: Project, out: Path, change: Callable[[Project], None], said: str
) -> None:
    before = (out / "mini" / "release.json").read_bytes()
    change(project)
    with pytest.raises(ReleaseError, match="never overwritten") as caught:
        project.build(out)
    assert said in str(caught.value)
    assert "--out" in str(caught.value)
    assert (out / "mini" / "release.json").read_bytes() == before
    assert [path.name for path in out.iterdir()] == ["mini"]


@pytest.mark.usefixtures("no_work")
def test_what_is_no_release_is_told_before_the_build(project: Project, tmp_path: Path) -> None:
    (tmp_path / "out" / "mini").mkdir(parents=True)
    (tmp_path / "out" / "mini" / "notes.txt").write_text("mine")
    with pytest.raises(ReleaseError, match=r"never overwritten.*there is no release\.json"):
        project.build(tmp_path / "out")
    assert (tmp_path / "out" / "mini" / "notes.txt").read_text() == "mine"


def test_what_only_the_build_shows_is_told_by_part(project: Project, out: Path) -> None:
    edit(project.curation / "MINI1" / "samples.csv", "drug_a,counts", "drug_1,counts")
    told: list[str] = []
    with pytest.raises(ReleaseError, match="never overwritten") as caught:
        build(
            load_spec(str(project.spec)),
            project.options(out),
            lambda line, **_: told.append(line),
        )
    said = str(caught.value)
    assert "study MINI1 differs (cells, labels, samples" in said
    assert "MINI2" not in said
    assert "other code" not in said
    assert not any(len(word) >= 16 and word.isalnum() for word in said.split())  # no hash
    assert "stands already" in told[0]
    kept = sorted(path.name[:5] for path in (project.folder / "cache" / "studies").iterdir())
    assert kept == ["MINI1", "MINI2"]  # another --out goes on from them
    assert [path.name for path in out.iterdir()] == ["mini"]


def test_equal_content_is_never_refused(project: Project, out: Path, mini_release: Release) -> None:
    edit(project.spec, "title: Tiny", "title: Other")
    edit(project.spec, "min_genes: 10", "min_genes: 9")  # no cell lies between
    assert project.build(out).root["title"] == mini_release.root["title"]


def test_parts_that_differ() -> None:
    studies = {"A": {"cells": "1", "labels": "1", "study": "1"}, "B": {"cells": "1"}}
    before: dict[str, Any] = {
        "studies": studies,
        "genes": {"human": "1", "mouse": "1"},
        "drugs": "1",
        "splits": "1",
        "cohorts": {"lung": "1", "skin": "1"},
        "hash": "1",
    }
    assert list(content_differences(before, before)) == []
    after = before | {
        "studies": {"A": {"cells": "2", "labels": "1", "study": "2"}, "C": {"cells": "1"}},
        "genes": {"human": "2", "mouse": "1"},
        "splits": "2",
        "cohorts": {"lung": "2", "blood": "1"},
        "hash": "2",
    }
    assert list(content_differences(before, after)) == [
        "study A differs (cells, facts of study.yaml)",
        "study B is in it alone",
        "study C is in the new one alone",
        "genes of human differ",
        "the splits differ",
        "cohort blood is in the new one alone",
        "cohort lung differs",
        "cohort skin is in it alone",
    ]


def test_what_a_spec_shows(project: Project, mini_release: Release) -> None:
    spec = load_spec(str(project.spec))
    assert list(known_differences(mini_release.root, spec)) == []
    mouse = spec.model_copy(
        update={
            "organisms": {"mouse": spec.organisms["human"]},
            "studies": spec.studies | {"MINI3": spec.studies["MINI1"]},
        }
    )
    assert list(known_differences(mini_release.root, mouse)) == [
        "the spec names study MINI3, which it has not",
        "it has human genes, and the spec names none",
    ]


def test_of_many_differences_some_are_told(
    project: Project, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cellresponse.releases.standing.MOST_SHOWN", 1)
    next_revision(project)
    edit(project.spec, "  MINI1:\n    revision: 1", "  MINI1:\n    revision: 3")
    with pytest.raises(ReleaseError, match=r"MINI1, the spec names 3; and 1 more differences\."):
        project.build(out)
