"""What is added, gone and changed between two releases, and the reasons."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from mini_release import Project

from cellresponse.builders.build import build
from cellresponse.releases.diff import compare, diff_lines
from cellresponse.releases.release import Release
from cellresponse.releases.specs import load_spec
from cellresponse.schema.errors import CellResponseError, Problems

Run = Callable[..., tuple[int, str, str]]


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def next_spec(project: Project, *more: str) -> Path:
    """A spec that is compared with the release `mini`."""
    spec = project.folder / "next.yaml"
    lines = project.spec.read_text().replace("release: mini", "release: next\nprevious: mini")
    spec.write_text(lines + "".join(f"{line}\n" for line in more))
    return spec


def stricter(project: Project) -> None:
    """More cells fail quality control."""
    edit(project.folder / "next.yaml", "max_pct_mito: 10", "max_pct_mito: 2")


def rebuilt(project: Project, out: Path) -> Release:
    return build(load_spec(str(project.folder / "next.yaml")), project.options(out))


def test_labels_that_changed(mini_release: Release, project: Project, tmp_path: Path) -> None:
    samples = project.curation / "MINI1" / "samples.csv"
    edit(samples, "drug-b,60", "drug-b,20")
    edit(project.curation / "MINI1" / "study.yaml", "revision: 1", "revision: 2")
    edit(project.spec, "  MINI1:\n    revision: 1", "  MINI1:\n    revision: 2")
    found = compare(mini_release, project.build(tmp_path / "out"))
    changes = found["studies_changed"]["MINI1"]
    assert list(found["studies_changed"]) == ["MINI1"]
    assert changes["samples"] == {"added": [], "gone": [], "changed": ["MINI1:drug_b"]}
    assert changes["labels"] == {"added": 0, "gone": 0, "changed": 1}
    assert changes["cells"] == {"added": 0, "gone": 0, "changed": 0}
    assert changes["reasons"] == ["revision 1 -> 2 of its evidence"]
    assert found["counts"]["labels"] == {"old": 6, "new": 6, "added": 0, "gone": 0, "changed": 1}
    assert found["counts"]["studies"]["changed"] == 1
    text = "\n".join(diff_lines(found))
    assert "~ MINI1 (labels, samples, study): revision 1 -> 2 of its evidence" in text
    assert "samples changed: MINI1:drug_b" in text
    (said,) = changes["said"]
    assert said == {
        "sample_id": "MINI1:drug_b",
        "drug_id": "synthetic-drug-b",
        "basis": said["basis"],
        "before": {"resistant, 2 stars": 1},
        "after": {"resistant, 1 star": 1},
    }
    assert "1 resistant, 2 stars -> 1 resistant, 1 star" in text
    json.dumps(found)


def test_cells_that_are_gone_need_a_reason(
    mini_release: Release, project: Project, tmp_path: Path
) -> None:
    project.build(tmp_path)
    next_spec(project)
    stricter(project)
    with pytest.raises(CellResponseError, match="cells of MINI1 in mini are gone") as caught:
        rebuilt(project, tmp_path)
    assert "explained_losses: {MINI" in str(caught.value)
    next_spec(project, "explained_losses:", "  labels: a reason for something else")
    stricter(project)
    with pytest.raises(CellResponseError, match="cells of MINI1 in mini are gone"):
        rebuilt(project, tmp_path)
    next_spec(project, "explained_losses:", "  cells: fewer mitochondrial counts are let through")
    stricter(project)
    found = rebuilt(project, tmp_path).root["diff"]
    gone = found["counts"]["cells"]["gone"]
    assert gone == 50 - found["counts"]["cells"]["new"] > 0
    assert found["counts"]["cells"]["added"] == 0
    assert "other quality thresholds" in found["studies_changed"]["MINI1"]["reasons"]
    assert found["reasons"] == {"cells": "fewer mitochondrial counts are let through"}
    assert "reason for cells" in "\n".join(diff_lines(found))


def test_a_loss_is_one_however_much_is_added(project: Project, tmp_path: Path) -> None:
    """A study that is gone is no less gone because another one has more cells."""
    whole = project.spec.read_text()
    first = whole[whole.index("  MINI1:") : whole.index("  MINI2:")]
    project.spec.write_text(whole.replace(first, ""))
    project.build(tmp_path)
    second = whole[whole.index("  MINI2:") :]
    project.spec.write_text(whole.replace(second, ""))
    next_spec(project)
    with pytest.raises(CellResponseError, match="the study MINI2 of mini is gone"):
        rebuilt(project, tmp_path)
    next_spec(project, "explained_losses:", "  MINI2: its authors took it back")
    found = rebuilt(project, tmp_path).root["diff"]
    assert found["studies_gone"] == {"MINI2": "its authors took it back"}
    assert found["studies_added"] == ["MINI1"]
    assert found["counts"]["cells"] == {"old": 16, "new": 34, "added": 34, "gone": 16, "changed": 0}
    assert "- MINI2: its authors took it back" in "\n".join(diff_lines(found))


def test_one_reason_for_all_studies_that_are_gone(project: Project, tmp_path: Path) -> None:
    project.build(tmp_path)
    whole = project.spec.read_text()
    project.spec.write_text(whole[: whole.index("  MINI2:")])
    next_spec(project, "explained_losses:", "  studies: taken back by their authors")
    found = rebuilt(project, tmp_path).root["diff"]
    assert found["studies_gone"] == {"MINI2": "taken back by their authors"}


def test_samples_that_are_gone(mini_release: Release, project: Project, tmp_path: Path) -> None:
    project.build(tmp_path)
    samples = project.curation / "MINI1" / "samples.csv"
    samples.write_text(
        "".join(line for line in samples.read_text().splitlines(True) if "drug_b" not in line)
    )
    next_spec(project)
    with pytest.raises(Problems) as caught:
        rebuilt(project, tmp_path)
    kinds = [str(problem.problem).split()[1] for problem in caught.value.problems]
    assert kinds == ["samples", "cells", "labels"]
    next_spec(project, "explained_losses:", "  MINI1: the arm was taken out")
    found = rebuilt(project, tmp_path).root["diff"]
    changes = found["studies_changed"]["MINI1"]
    assert changes["samples"]["gone"] == ["MINI1:drug_b"]
    assert changes["labels"]["gone"] == 2  # its own, and the one of its controls
    assert {label["sample_id"] for label in changes["said"]} == {"MINI1:drug_b", "MINI1:untreated"}
    assert all(label["after"] == {} for label in changes["said"])
    assert "-> no label" in "\n".join(diff_lines(found))
    assert changes["cells"]["gone"] == found["counts"]["cells"]["gone"] > 0
    assert changes["reasons"] == ["the arm was taken out"]


def test_splits_that_changed(mini_release: Release, project: Project, tmp_path: Path) -> None:
    """Only the spec's tasks differ, so no study does."""
    with project.spec.open("a") as stream:
        stream.write(
            "tasks:\n  - name: one\n    labels:\n      - study: MINI2\n"
            "        drug: synthetic-drug-a\n        basis: resistant_line_vs_parental\n"
        )
    found = compare(mini_release, project.build(tmp_path / "out"))
    assert (found["studies_changed"], found["other_parts_changed"]) == ({}, ["splits"])
    assert not found["same_content"]
    assert "~ splits" in "\n".join(diff_lines(found))


def test_the_same_content(mini_release: Release) -> None:
    found = compare(mini_release, mini_release)
    assert found["same_content"]
    assert diff_lines(found) == ["mini -> mini", "the content is the same"]
