"""Every mistake of a user: one clear error, exit code 1, nothing left behind."""

from __future__ import annotations

import gzip
import io
import os
import resource
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from mini_release import GENES, Project, counts, dense_csv

CLI = Path(__file__).parent.parent / "cli.py"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def fails(project: Project, tmp_path: Path, run: Run) -> Callable[..., str]:
    """Build, expect one clear error that says all of `words`, and nothing in the output."""

    def expect(*words: str) -> str:
        out = tmp_path / "out"
        code, stdout, stderr = run(*project.arguments(out, "--workers", "1"))
        said = stderr[stderr.index("error: ") :]
        assert code == 1
        assert stdout == ""
        assert "Traceback" not in stderr
        assert len(said.strip().splitlines()) == 1
        for word in words:
            assert word in said
        assert not out.exists() or not list(out.iterdir())
        assert not list((project.folder / "cache").glob(".simulated-*"))
        return said

    return expect


def edit(project: Project, file: str, old: str, new: str) -> None:
    path = project.curation / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def replace_counts(project: Project, data: bytes, *, pin: bool = True) -> None:
    (project.mirror / "MINI1" / "counts.csv.gz").write_bytes(data)
    if pin:
        project.pin("MINI1")


def test_wrong_checksum(project: Project, fails: Callable[..., str]) -> None:
    data = (project.mirror / "MINI1" / "counts.csv.gz").read_bytes()
    replace_counts(project, data[:-1] + bytes([data[-1] ^ 1]), pin=False)
    fails("MINI1/counts.csv.gz", "sha256")


def test_truncated_gzip(project: Project, fails: Callable[..., str]) -> None:
    data = (project.mirror / "MINI1" / "counts.csv.gz").read_bytes()
    replace_counts(project, data[: len(data) // 2])
    fails("MINI1/counts.csv.gz", "truncated")


def test_a_file_of_another_organism(project: Project, fails: Callable[..., str]) -> None:
    names = [f"ENSMUSG{i:011d}" for i in range(30)]
    replace_counts(project, dense_csv(counts(1, 36), names, barcodes()))
    fails("MINI1/counts.csv.gz", "none of its 30 features", "'ENSMUSG00000000000", "human")


def test_a_file_read_the_wrong_way_round(project: Project, fails: Callable[..., str]) -> None:
    edit(project, "MINI2/study.yaml", "cells_by_features", "features_by_cells")
    fails("MINI2/parental.tsv", "none of its 8 features", "'p0, p1, p2'", "orientation")


def test_no_cell_passes_quality_control(project: Project, fails: Callable[..., str]) -> None:
    text = project.spec.read_text()
    project.spec.write_text(text.replace("min_genes: 10", "min_genes: 31"))
    fails("MINI1", "none of 36 cells passes", "36 too_few_genes", "min_genes 31")


def test_a_key_that_no_barcode_has(project: Project, fails: Callable[..., str]) -> None:
    edit(project, "MINI1/samples.csv", "counts.csv.gz,U,", "counts.csv.gz,X,")
    fails("MINI1/samples.csv", "row 2", "no barcode", "'X'", "Allowed: U", "no sample has them")


def barcodes() -> list[str]:
    return [f"{'UAB'[i % 3]}_{i:03d}" for i in range(36)]


@pytest.mark.parametrize("end", ["\r", '\n"x\n",'])
def test_a_line_break_that_ends_no_line(
    project: Project, fails: Callable[..., str], end: str
) -> None:
    path = project.mirror / "MINI2" / "parental.tsv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:3]) + end + "\n".join(lines[3:]) + "\n")
    project.pin("MINI2")
    fails("MINI2/parental.tsv, row", "the line cannot be split")


def test_a_file_without_cells(project: Project, fails: Callable[..., str]) -> None:
    obs, var = pd.DataFrame(index=pd.Index([], dtype=str)), pd.DataFrame(index=["GENE1"])
    path = project.mirror / "MINI2" / "resistant.h5ad"
    anndata.AnnData(np.zeros((0, 1)), obs=obs, var=var).write_h5ad(path)
    for file in ("study.yaml", "samples.csv"):
        edit(project, f"MINI2/{file}", "resistant.tsv", "resistant.h5ad")
    manifest = project.curation / "MINI2" / "study.yaml"
    head, _, _ = manifest.read_text().rpartition("    reader: dense_text")
    manifest.write_text(f"{head}    reader: h5ad\n")
    project.pin("MINI2")
    fails("MINI2/resistant.h5ad: the file holds no cells.")


def test_counts_that_sum_beyond_int32(project: Project, fails: Callable[..., str]) -> None:
    values = counts(1, 36)
    values[:2, 7] = 2**30
    names = ["GENE1", "GENE1", *(name for _, name, _ in GENES[2:])]
    replace_counts(project, dense_csv(values, names, barcodes()))
    fails("MINI1/counts.csv.gz", "the 2 features that are gene 'ENSG00000000001'", "2147483648")


@pytest.mark.parametrize(
    ("change", "called"),
    [
        (lambda x: (x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True), "z-scored"),
        (lambda x: np.log1p(1e4 * x / x.sum(0)), "log"),
        (lambda x: 1e6 * x / x.sum(0), "total"),
        (lambda x: x - 5, "negative"),
    ],
)
def test_values_that_are_no_raw_counts(
    project: Project, fails: Callable[..., str], change: Callable[..., object], called: str
) -> None:
    values = change(counts(1, 36).astype(float))
    barcodes = [f"{'UAB'[i % 3]}_{i:03d}" for i in range(36)]
    replace_counts(project, dense_csv(values, [g for _, g, _ in GENES], barcodes))  # type: ignore[arg-type]
    fails("MINI1/counts.csv.gz", "does not hold raw counts", called, "barcode", "feature")


def test_matrix_of_z_scores_as_found_in_the_wild(
    project: Project, fails: Callable[..., str], shared: Path
) -> None:
    found = shared / "mirror" / "not_counts" / "Target_expr_resp_z.PLX4720_tp4k.tsv"
    shutil.copy(found, project.mirror / "MINI2" / "parental.tsv")
    project.pin("MINI2")
    fails("MINI2/parental.tsv", "does not hold raw counts", "z-scored", "A375_sc_br_cell_21")


def test_duplicate_barcodes_within_a_file(project: Project, fails: Callable[..., str]) -> None:
    barcodes = ["U_0", "A_0", "B_0", "U_0"]
    replace_counts(project, dense_csv(counts(1, 4), [g for _, g, _ in GENES], barcodes))
    fails("MINI1/counts.csv.gz", "same barcode", "'U_0'")


def test_barcode_key_that_no_file_has(project: Project, fails: Callable[..., str]) -> None:
    edit(project, "MINI1/samples.csv", "counts.csv.gz,B,", "counts.csv.gz,X,")
    fails("MINI1/samples.csv", "row 4", "barcode_key", "'X'")


def test_barcode_of_the_cell_table_that_no_file_has(
    project: Project, fails: Callable[..., str]
) -> None:
    edit(project, "MINI1/study.yaml", "rule: pattern", "rule: cells")
    edit(project, "MINI1/study.yaml", "pattern: ^(?P<key>[A-Z])_", "delimiter: ','")
    cells = ("U_000,untreated", "Q_1,drug_a", "B_002,drug_b")
    rows = "file,barcode,sample_id\n" + "".join(f"counts.csv.gz,{cell}\n" for cell in cells)
    (project.curation / "MINI1" / "cells.csv.gz").write_bytes(gzip.compress(rows.encode()))
    fails("MINI1/cells.csv.gz", "row 3", "barcode", "'Q_1'")


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        (
            "samples.csv",
            "synthetic-drug-a,14",
            "synthetic-drog-a,14",
            ["treatment", "synthetic-drug-a"],
        ),
        ("samples.csv", "untreated,,,,,,,*", "untreeted,,,,,,,*", ["column arm", "untreated"]),
        ("samples.csv", "exposure_days", "exposure_day", ["unknown column", "exposure_days"]),
        ("samples.csv", "drug-a,14", "drug-a,-14", ["exposure_days", "'-14'", "row 3"]),
        ("samples.csv", "died,,*=synthetic", "died,,", ["fact_sources", "row 3"]),
        (
            "samples.csv",
            "14,survived,untreated,died,,*",
            ",,untreated,died,,*",
            ["no evidence", "row 3"],
        ),
        ("samples.csv", "outcome,control", "response,control", ["response", "computed"]),
        ("samples.csv", "counts.csv.gz,A", "count.csv.gz,A", ["column file", "counts.csv.gz"]),
        ("study.yaml", "reader: dense_text", "reader: dense_txt", ["reader", "dense_text", "row"]),
        (
            "study.yaml",
            "curator: tests",
            "curator: tests\nlicense: MIT",
            ["unknown key", "licence"],
        ),
        ("study.yaml", "title: Tiny", "title: [Tiny", ["not YAML", "row"]),
        ("study.yaml", "revision: 1", "revision: 2", ["revision", "asks for revision 1"]),
    ],
)
def test_mistakes_in_the_evidence(
    project: Project,
    fails: Callable[..., str],
    file: str,
    old: str,
    new: str,
    words: list[str],
) -> None:
    edit(project, f"MINI1/{file}", old, new)
    fails(f"MINI1/{file}", *words)


def test_unknown_unit(project: Project, fails: Callable[..., str]) -> None:
    path = project.curation / "MINI1" / "samples.csv"
    header, control, *treated = path.read_text().splitlines()
    lines = [f"{header},dose,dose_unit", f"{control},,"]
    path.write_text("\n".join([*lines, *(f"{line},1,uMM" for line in treated)]) + "\n")
    fails("MINI1/samples.csv", "row 3", "dose_unit", "'uMM'", "uM")


def test_tar_member_that_leaves_its_folder(project: Project, fails: Callable[..., str]) -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name in ("resistant.tsv", "../x"):
            info = tarfile.TarInfo(name)
            info.size = 1
            archive.addfile(info, io.BytesIO(b"a"))
    (project.mirror / "MINI2" / "RAW.tar").write_bytes(stream.getvalue())
    edit(project, "MINI2/study.yaml", "  - name: resistant.tsv", "  - name: RAW.tar")
    manifest = project.curation / "MINI2" / "study.yaml"
    head, _, tail = manifest.read_text().rpartition("    reader: dense_text")
    indented = "\n".join(f"    {line}" for line in tail.splitlines())
    manifest.write_text(
        f"{head}    reader: archive\n    members:\n      - name: resistant.tsv\n"
        f"        reader: dense_text{indented}\n"
    )
    edit(project, "MINI2/samples.csv", "resistant,resistant.tsv", "resistant,RAW.tar/resistant.tsv")
    project.pin("MINI2")
    fails("MINI2/RAW.tar", "'../x'")
    assert not (project.folder / "x").exists()


def test_manifest_that_is_not_yaml(project: Project, fails: Callable[..., str]) -> None:
    (project.curation / "MINI1" / "study.yaml").write_text("study_id: [\n")
    fails("MINI1/study.yaml", "not YAML", "row")


def test_no_such_release(run: Run, tmp_path: Path) -> None:
    code, _, stderr = run("build", "--release", "2019-13", "--out", tmp_path / "out")
    assert code == 1
    assert "'2019-13'" in stderr
    assert "demo" in stderr


def test_genes_of_another_release(project: Project, fails: Callable[..., str]) -> None:
    text = gzip.decompress(project.gtf.read_bytes()).decode().replace("GENE7", "GENE77")
    project.gtf.write_bytes(gzip.compress(text.encode()))
    fails("genes.gtf.gz", "checksum", "synthetic 1")


def test_file_that_is_no_gtf(project: Project, fails: Callable[..., str]) -> None:
    project.gtf.write_bytes(gzip.compress(b"not a GTF\n"))
    fails("genes.gtf.gz", "GTF")


@pytest.mark.parametrize("place", ["file", "missing"])
def test_unwritable_output(project: Project, run: Run, tmp_path: Path, place: str) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("a file")
    out = blocked if place == "file" else blocked / "below"
    code, _, stderr = run(*project.arguments(out))
    assert code == 1
    assert str(blocked) in stderr
    assert "folder" in stderr
    assert blocked.read_text() == "a file"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_output_without_permission(project: Project, run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir(mode=0o500)
    code, _, stderr = run(*project.arguments(out))
    assert code == 1
    assert "no permission" in stderr


def test_file_size_limit_while_writing(project: Project, tmp_path: Path) -> None:
    """The operating system refuses a write in the middle of the build."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    out = tmp_path / "out"
    command = [sys.executable, str(CLI), *project.arguments(out, "--workers", "1")]
    warm = subprocess.run(
        [*command[:-6], "--help"], capture_output=True, check=False
    )  # bytecode is written before the limit holds
    assert warm.returncode == 0
    ended = subprocess.run(command, capture_output=True, text=True, preexec_fn=limit, check=False)
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    assert "error: " in ended.stderr
    assert not out.exists() or not list(out.iterdir())


@pytest.fixture
def small_disk(tmp_path: Path):  # type: ignore[no-untyped-def]
    """A file system of 1 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = (
        os.geteuid() == 0
        and not subprocess.run(
            [
                shutil.which("mount") or "mount",
                "-t",
                "tmpfs",
                "-o",
                "size=300k",
                "tmpfs",
                str(folder),
            ],
            capture_output=True,
            check=False,
        ).returncode
    )
    if not mounted:
        pytest.skip("a small file system can only be mounted by root")
    yield folder
    # Lazily: pyensembl keeps its index open as long as the process lives.
    subprocess.run([shutil.which("umount") or "umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("full", ["out", "cache"])
def test_full_disk(project: Project, run: Run, tmp_path: Path, small_disk: Path, full: str) -> None:
    arguments = project.arguments(
        small_disk if full == "out" else tmp_path / "out", "--workers", "1"
    )
    if full == "cache":
        arguments[arguments.index("--cache") + 1] = str(small_disk)
    code, _, stderr = run(*arguments)
    assert code == 1
    assert "the disk is full" in stderr
    assert "Traceback" not in stderr
    left = [path for path in small_disk.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in left) < 200_000
    if full == "out":
        assert not left
