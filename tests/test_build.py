"""The whole way on a tiny project: right content, the same however it is built."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pytest
from mini_release import GENES, MANIFEST, Project, counts, dense_csv

import cellresponse.builders.build as build_module
from cellresponse.builders.build import build
from cellresponse.builders.contribute.pin import pin_study
from cellresponse.releases.doubts import doubts
from cellresponse.releases.info import summarise, summary_lines
from cellresponse.releases.release import Release, load
from cellresponse.releases.specs import load_spec
from cellresponse.releases.verify import verify
from cellresponse.schema.errors import (
    CellResponseError,
    EvidenceError,
    ReleaseError,
    StorageError,
)

CLI = Path(__file__).parent.parent / "cli.py"

WAIT_IN_THE_SECOND_STUDY = """
import sys, time
import cellresponse.builders.schedule as schedule
from cellresponse.cli import main

begin_study = schedule.begin_study
schedule.begin_study = lambda job: (
    time.sleep(600) if job.folder.name == "MINI2" else begin_study(job)
)
main(sys.argv[1:])
"""


def test_cells_and_counts_are_those_of_the_files(mini_release: Release) -> None:
    cells = mini_release.tables["cells"].to_pandas()
    first = anndata.read_zarr(mini_release.matrix("MINI1"))
    source = counts(1, 36)
    source[:5, 0] = 1
    assert first.shape == (34, len(GENES))  # one cell has too few genes, one too much mitochondrial
    assert list(first.var_names) == sorted(gene for gene, _, _ in GENES)
    for barcode, row in zip(first.obs["barcode"], first.X.toarray(), strict=True):
        assert row.tolist() == source[:, int(barcode[2:])].tolist()
    ordered = cells[cells["study_id"] == "MINI1"]
    assert ordered[["sample_id", "barcode"]].apply(tuple, axis=1).is_monotonic_increasing
    assert ordered["n_counts"].tolist() == np.asarray(first.X.sum(axis=1)).ravel().tolist()


def test_quality_control_is_counted_by_reason(mini_release: Release) -> None:
    counted = mini_release.root["studies"]["MINI1"]["cells"]
    assert counted == {
        "in_files": 36,
        "matched": 36,
        "too_few_genes": 1,
        "too_much_mitochondrial": 1,
        "kept": 34,
    }
    features = mini_release.root["studies"]["MINI2"]["files"][0]["features_by_reason"]
    assert features == {"by_id_without_version": len(GENES)}


def test_counts_are_those_of_the_kept_cells(mini_release: Release) -> None:
    cells = mini_release.tables["cells"].to_pandas()
    for study in ("MINI1", "MINI2"):
        recorded = mini_release.root["studies"][study]["counts"]
        assert recorded["of_kept_cells"] == cells.loc[cells["study_id"] == study, "n_counts"].sum()
        assert recorded["on_axis"] == anndata.read_zarr(mini_release.matrix(study)).X.sum()


def test_removed_cells_of_all_files_are_counted(project: Project, tmp_path: Path) -> None:
    for name, number in (("parental", 1), ("resistant", 2)):
        table = project.mirror / "MINI2" / f"{name}.tsv"
        header, *rows = (line.split("\t") for line in table.read_text().splitlines())
        rows[:number] = [[*row[:5], *("0" for _ in row[5:])] for row in rows[:number]]
        table.write_text("\n".join("\t".join(row) for row in [header, *rows]) + "\n")
    project.pin("MINI2")
    assert project.build(tmp_path / "out").root["studies"]["MINI2"]["cells"] == {
        "in_files": 16,
        "matched": 16,
        "too_few_genes": 3,
        "too_much_mitochondrial": 0,
        "kept": 13,
    }


def test_labels_follow_from_evidence(mini_release: Release) -> None:
    labels = mini_release.labels()
    found = {
        (row["sample_id"], row["drug_id"], row["response"], row["basis"])
        for row in labels.to_dict(orient="records")
    }
    treated = "treated_vs_untreated_control"
    assert found == {
        ("MINI1:untreated", "synthetic-drug-a", "sensitive", treated),
        ("MINI1:untreated", "synthetic-drug-b", "sensitive", treated),
        ("MINI1:drug_a", "synthetic-drug-a", "resistant", treated),
        ("MINI1:drug_b", "synthetic-drug-b", "resistant", treated),
        ("MINI2:parental", "synthetic-drug-a", "sensitive", "resistant_line_vs_parental"),
        ("MINI2:resistant", "synthetic-drug-a", "resistant", "resistant_line_vs_parental"),
    }
    stars = dict(zip(labels["sample_id"], labels["stars"], strict=True))
    assert stars["MINI1:drug_a"] == 1
    assert stars["MINI1:drug_b"] == 2
    assert stars["MINI2:resistant"] == 3


def test_the_evidence_is_recorded_by_checksum(project: Project, tmp_path: Path) -> None:
    recorded = project.build(tmp_path).root["studies"]
    for study in ("MINI1", "MINI2"):
        files = (project.curation / study).iterdir()
        assert recorded[study]["evidence"] == {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files
        }


def test_evidence_that_changes_during_a_build_is_refused(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch_all = build_module.fetch_all
    manifest = project.curation / "MINI2" / "study.yaml"

    def fetched_while_someone_edits(*given: Any, **options: Any) -> Any:
        manifest.write_text(manifest.read_text() + "# a second thought\n")
        return fetch_all(*given, **options)

    monkeypatch.setattr(build_module, "fetch_all", fetched_while_someone_edits)
    with pytest.raises(EvidenceError, match=r"MINI2.* changed while it was built.* Build again"):
        project.build(tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())
    monkeypatch.undo()
    recorded = project.build(tmp_path / "out").root["studies"]["MINI2"]["evidence"]
    assert recorded["study.yaml"] == hashlib.sha256(manifest.read_bytes()).hexdigest()


def test_one_content_hash_whatever_the_workers(project: Project, tmp_path: Path) -> None:
    first = project.build(tmp_path / "one", workers=1)
    second = project.build(tmp_path / "two", workers=2)
    assert first.content_hash == second.content_hash
    assert (tmp_path / "one/mini/release.json").read_bytes() == (
        tmp_path / "two/mini/release.json"
    ).read_bytes()


def test_content_hash_does_not_depend_on_the_order_in_a_file(
    project: Project, tmp_path: Path, mini_release: Release
) -> None:
    path = project.mirror / "MINI2" / "parental.tsv"
    header, *rows = path.read_text().splitlines()
    path.write_text("\n".join([header, *reversed(rows)]) + "\n")
    project.pin("MINI2")
    turned = project.build(tmp_path / "out")
    assert turned.content_hash == mini_release.content_hash


def test_killed_build_goes_on_from_its_finished_studies(
    project: Project, tmp_path: Path, mini_release: Release
) -> None:
    arguments = project.arguments(tmp_path / "out", "--workers", "1")
    command = [sys.executable, "-c", WAIT_IN_THE_SECOND_STUDY, *arguments]
    finished = project.folder / "cache" / "studies"
    with subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 60
        while not list(finished.glob("MINI1-*")) and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)
    assert not list((tmp_path / "out").iterdir())
    (finished / ".MINI2-unfinished").mkdir()  # as a process leaves it that is killed within a study
    again = subprocess.run(
        [sys.executable, str(CLI), *arguments], capture_output=True, text=True, check=True
    )
    assert "1 studies finished by an earlier build" in again.stderr
    assert load(tmp_path / "out" / "mini").content_hash == mini_release.content_hash
    assert not list(finished.iterdir())


def test_samples_without_kept_cells_are_told(project: Project, tmp_path: Path) -> None:
    table = project.mirror / "MINI2" / "resistant.tsv"
    header, *rows = (line.split("\t") for line in table.read_text().splitlines())
    poor = [[*row[:5], *("0" for _ in row[5:])] for row in rows]
    table.write_text("\n".join("\t".join(row) for row in [header, *poor]) + "\n")
    project.pin("MINI2")
    lines: list[str] = []
    spec = load_spec(str(project.spec))
    built = build(spec, project.options(tmp_path / "out"), lambda line, **_: lines.append(line))
    warning = "warning: MINI2: quality control leaves no cell of resistant"
    assert warning in lines
    assert warning in summary_lines(summarise(built))


def test_files_with_few_known_features_are_told(project: Project, tmp_path: Path) -> None:
    names = [f"unheard-of-{i}" if i > 10 else name for i, (_, name, _) in enumerate(GENES)]
    barcodes = [f"{'UAB'[i % 3]}_{i:03d}" for i in range(36)]
    data = dense_csv(counts(1, 36), names, barcodes)
    (project.mirror / "MINI1" / "counts.csv.gz").write_bytes(data)
    project.pin("MINI1")
    built = project.build(tmp_path / "out")
    assert list(doubts(built.root)) == [
        "MINI1/counts.csv.gz: 11 of 30 features are genes of the reference; the others count in "
        "quality control only",
        "MINI1/counts.csv.gz: no feature is a mitochondrial gene; pct_mito is null, and no "
        "threshold is applied to it",
    ]


def test_barcodes_of_no_sample_are_told(project: Project, tmp_path: Path) -> None:
    samples = project.curation / "MINI1" / "samples.csv"
    rows = samples.read_text().splitlines(keepends=True)
    samples.write_text("".join(row for row in rows if not row.startswith("drug_b")))
    lines: list[str] = []
    pin_study(
        "MINI1",
        project.curation,
        cache=tmp_path / "cache",
        mirror=project.mirror,
        report=lambda line, **_: lines.append(line),
    )
    assert "MINI1/counts.csv.gz: 12 barcodes are left out: no sample has the key B" in lines
    assert list(doubts(project.build(tmp_path / "out").root)) == [
        "MINI1/counts.csv.gz: 12 barcodes are left out, because no sample has their key (B)"
    ]


def test_a_declared_task_without_labels(project: Project, tmp_path: Path) -> None:
    task = "tasks: [{name: own, labels: [{study: MINI2, drug: erlotinib, basis: time_course}]}]\n"
    project.spec.write_text(project.spec.read_text() + task)
    with pytest.raises(ReleaseError) as error:
        project.build(tmp_path / "out")
    told = error.value
    assert (told.file, told.column) == (str(project.spec), "tasks")
    assert told.problem == "the task own takes labels that the release does not have"
    assert told.value == "MINI2, erlotinib, time_course"
    assert told.allowed
    assert all(line.startswith("MINI2, ") for line in told.allowed)
    assert not list((tmp_path / "out").iterdir())


def test_a_list_of_controls_may_end_in_its_separator(
    project: Project, tmp_path: Path, mini_release: Release
) -> None:
    table = project.curation / "MINI1" / "samples.csv"
    text = table.read_text()
    assert ",untreated," in text
    table.write_text(text.replace(",untreated,", ",untreated;,"))
    built = project.build(tmp_path / "out")
    assert built.tables["samples"].equals(mini_release.tables["samples"])


def test_archives_with_equal_names_of_members_keep_their_own_lists(
    project: Project, tmp_path: Path
) -> None:
    files, rows = "", ["sample_id,file,source_type,collection,arm,treatment,outcome,fact_sources"]
    for seed, name in enumerate("ab", start=1):
        values = counts(seed, 8)
        entries = [f"{g + 1} {c + 1} {values[g, c]}" for g, c in np.argwhere(values)]
        banner = "%%MatrixMarket matrix coordinate integer general"
        _write_archive(
            project.mirror / "MINI2" / f"{name}.tar",
            {
                "matrix.mtx": "\n".join([banner, f"30 8 {len(entries)}", *entries]),
                "barcodes.tsv": "\n".join(f"{name.upper()}{i}" for i in range(8)),
                "features.tsv": "\n".join(gene for gene, _, _ in GENES),
            },
        )
        files += ARCHIVE.format(name=name)
        rows.append(
            f"{name},{name}.tar/matrix.mtx,cell_line,primary,treated,synthetic-drug-a,survived,"
            "*=synthetic"
        )
    folder = project.curation / "MINI2"
    (folder / "study.yaml").write_text(MANIFEST.format(study="MINI2") + files)
    (folder / "samples.csv").write_text("\n".join(rows) + "\n")
    project.pin("MINI2")
    cells = project.build(tmp_path / "out").tables["cells"].to_pandas()
    cells = cells[cells["study_id"] == "MINI2"]
    found = cells.groupby("sample_id")["barcode"].agg(lambda b: {text[0] for text in b})
    assert found.to_dict() == {"MINI2:a": {"A"}, "MINI2:b": {"B"}}


ARCHIVE = """  - name: {name}.tar
    url: https://synthetic.invalid/MINI2/{name}.tar
    sha256: null
    bytes: null
    reader: archive
    members: [
      {{name: matrix.mtx, reader: 10x_mtx,
        options: {{barcodes: barcodes.tsv, features: features.tsv}}}},
      {{name: barcodes.tsv, reader: companion}},
      {{name: features.tsv, reader: companion}},
    ]
"""


def _write_archive(path: Path, members: dict[str, str]) -> None:
    with tarfile.open(path, "w") as archive:
        for name, text in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text) + 1
            archive.addfile(entry, io.BytesIO(f"{text}\n".encode()))


def test_existing_release_is_never_overwritten(project: Project, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = project.build(out)
    before = (first.folder / "release.json").stat().st_mtime_ns
    project.build(out)  # the same content: left as it is
    assert (first.folder / "release.json").stat().st_mtime_ns == before
    samples = project.curation / "MINI1" / "samples.csv"
    samples.write_text(samples.read_text().replace("drug_a,counts", "drug_1,counts"))
    with pytest.raises(ReleaseError, match="never overwritten"):
        project.build(out)
    assert verify(out / "mini").content_hash == first.content_hash
    assert sorted(path.name for path in out.iterdir()) == ["mini"]


def test_renaming_a_sample_moves_no_cell_id(
    project: Project, tmp_path: Path, mini_release: Release
) -> None:
    samples = project.curation / "MINI1" / "samples.csv"
    samples.write_text(samples.read_text().replace("drug_a,counts", "zz,counts"))
    renamed = project.build(tmp_path / "out")
    ids = set(mini_release.tables["cells"]["cell_id"].to_pylist())
    assert set(renamed.tables["cells"]["cell_id"].to_pylist()) == ids


def test_equal_count_vectors_of_two_studies_are_flagged(project: Project, tmp_path: Path) -> None:
    first = (project.mirror / "MINI2" / "parental.tsv").read_text().splitlines()
    columns = np.array([line.split("\t") for line in first])
    rows = [",".join(f"U_{b}" for b in columns[1:, 0])]
    names = [name for _, name, _ in GENES]
    rows += [
        f"{name}," + ",".join(column) for name, column in zip(names, columns[1:, 1:].T, strict=True)
    ]
    _replace_first_study(project, "\n".join(rows) + "\n")
    built = project.build(tmp_path / "out")
    assert built.root["equal_count_vectors"] == [{"studies": ["MINI1", "MINI2"], "cells": 8}]


def test_cells_that_quality_control_removes_are_no_copies(project: Project, tmp_path: Path) -> None:
    """Two cells of both studies, one of which has too few genes."""
    ids, *rows = (project.mirror / "MINI2" / "parental.tsv").read_text().splitlines()
    good, poor = (row.split("\t") for row in rows[:2])
    poor[5:] = ["0"] * len(poor[5:])
    table = "\n".join([ids, *("\t".join(row) for row in (good, poor)), *rows[2:]]) + "\n"
    (project.mirror / "MINI2" / "parental.tsv").write_text(table)
    project.pin("MINI2")
    names = [name for _, name, _ in GENES]
    lines = [f"{name},{a},{b}" for name, a, b in zip(names, good[1:], poor[1:], strict=True)]
    _replace_first_study(project, "\n".join(["U_good,U_poor", *lines]) + "\n")
    built = project.build(tmp_path / "out")
    assert built.root["studies"]["MINI1"]["cells"]["kept"] == 1
    assert built.root["equal_count_vectors"] == [{"studies": ["MINI1", "MINI2"], "cells": 1}]


def _replace_first_study(project: Project, text: str) -> None:
    (project.mirror / "MINI1" / "counts.csv.gz").write_bytes(gzip.compress(text.encode(), mtime=0))
    samples = project.curation / "MINI1" / "samples.csv"
    samples.write_text(
        "sample_id,file,barcode_key,source_type,collection,arm,treatment,outcome,fact_sources\n"
        "only,counts.csv.gz,U,cell_line,primary,treated,synthetic-drug-b,survived,*=synthetic\n"
    )
    project.pin("MINI1")


def test_unexplained_loss_fails_the_build(project: Project, tmp_path: Path) -> None:
    out = tmp_path / "out"
    project.build(out)
    spec = project.folder / "next.yaml"
    text = project.spec.read_text().replace("release: mini", "release: next\nprevious: mini")
    spec.write_text(text[: text.index("  MINI2:")])
    arguments = project.options(out)
    with pytest.raises(CellResponseError, match="the study MINI2 of mini is gone") as caught:
        build(load_spec(str(spec)), arguments)
    assert "explained_losses" in str(caught.value)
    assert sorted(path.name for path in out.iterdir()) == ["mini"]
    spec.write_text(spec.read_text() + "explained_losses:\n  MINI2: tested\n")
    built = build(load_spec(str(spec)), arguments)
    assert built.root["diff"]["studies_gone"] == {"MINI2": "tested"}


def test_build_takes_ready_studies_only(project: Project, tmp_path: Path) -> None:
    manifest = project.curation / "MINI2" / "study.yaml"
    manifest.write_text(
        manifest.read_text().replace("status: ready", "status: excluded\nreason: a test")
    )
    with pytest.raises(EvidenceError, match="ready only"):
        project.build(tmp_path / "out")


def test_two_builds_of_one_release_at_once_are_refused(project: Project, tmp_path: Path) -> None:
    (project.folder / "cache").mkdir()
    with (
        build_module._lock(project.folder / "cache"),
        pytest.raises(StorageError, match="another build"),
    ):
        project.build(tmp_path / "out")


def test_units_need_the_batch_of_every_sample(project: Project, tmp_path: Path) -> None:
    text = project.spec.read_text()
    project.spec.write_text(text.replace("  MINI2:\n", "  MINI2:\n    units: batch\n"))
    with pytest.raises(EvidenceError, match="a sample names none") as caught:
        project.build(tmp_path / "out")
    assert "MINI2/samples.csv, column batch" in str(caught.value)
