"""A release with a bacterium: its own gene table and thresholds, and no mitochondrial share.

No bacterial reference is at hand offline, so study and genes are synthetic.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from bacterium import CELLS, GENES, ORGANISM, STUDY, add_bacterium, gff
from mini_release import Project

from cellresponse.releases.verify import verify

Run = Callable[..., tuple[int, str, str]]


def test_from_gene_table_to_labelled_cells(project: Project, tmp_path: Path) -> None:
    add_bacterium(project)
    release = project.build(tmp_path / "out")
    assert verify(release.folder).studies == 3
    cells = release.cells(study=STUDY)
    assert list(cells.var_names) == [tag for tag, _, _ in GENES]
    assert cells.obs["pct_mito"].isna().all()
    # Its own threshold: five genes are enough, three are not.
    assert cells.obs["n_genes"].min() == 5
    assert len(cells) == 2 * (CELLS - 1)
    assert cells.obs["response"].value_counts().to_dict() == {
        "resistant": CELLS - 1,
        "sensitive": CELLS - 1,
    }
    assert set(cells.obs.loc[cells.obs["response"] == "resistant", "stars"]) == {1}
    root = release.root["studies"][STUDY]
    assert root["cells"]["too_few_genes"] == 2
    assert [file["has_mitochondrial_genes"] for file in root["files"]] == [None, None]
    found = {tuple(file["features_by_reason"].items()) for file in root["files"]}
    named = sum(bool(name) for _, name, _ in GENES)
    by_name = (("by_id", len(GENES) - named), ("by_name", named))
    assert found == {(("by_id", len(GENES)),), by_name}
    # The human studies are as they would be without it.
    assert release.cells(study="MINI1").n_vars == 30


def test_the_same_content_from_gff(project: Project, tmp_path: Path) -> None:
    add_bacterium(project)
    first = project.build(tmp_path / "table").content_hash
    (project.folder / "bacterium.gff").write_text(gff())
    text = project.spec.read_text()
    project.spec.write_text(text.replace("bacterium.csv", "bacterium.gff"))
    assert project.build(tmp_path / "gff").content_hash == first


def told(project: Project, out: Path, run: Run) -> str:
    code, stdout, stderr = run(*project.arguments(out))
    assert (code, stdout) == (1, "")
    assert "Traceback" not in stderr
    assert not out.exists() or not list(out.iterdir())
    return next(line for line in stderr.splitlines() if line.startswith("error: "))


def test_a_spec_without_the_organism_says_what_to_give(
    project: Project, tmp_path: Path, run: Run
) -> None:
    add_bacterium(project)
    start, end = (project.spec.read_text().index(key) for key in (f"  {ORGANISM}", "  human:"))
    text = project.spec.read_text()
    project.spec.write_text(text[:start] + text[end:])
    message = told(project, tmp_path / "out", run)
    assert f"{STUDY}/study.yaml, column organism: the spec has no gene reference" in message
    assert "Allowed: human" in message
    assert f"Add `{ORGANISM}:` under `organisms:` in {project.spec}" in message
    for word in ("GTF", "GFF3", "gene_id, gene_name, contig", "`url:`", "`table:`", "`qc:`"):
        assert word in message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, "bacterium.csv: cannot be read: No such file"),
        ("gene_id,name\na,b\n", "row 1, column gene_name: the column is missing"),
        ("gene_id,gene_name,contig\n,b,c\n", "row 2, column gene_id: the field is empty"),
        ("gene_id,gene_name,contig\na,b,c\na,x,c\n", "two genes have one id 'a'"),
        ("gene_id,gene_name,contig\na,b,c\n", "holds 1 genes with the checksum"),
        ("gene_id,gene_name,contig\n", "holds no genes"),
    ],
)
def test_a_gene_table_that_does_not_fit(
    project: Project, tmp_path: Path, run: Run, text: str | None, expected: str
) -> None:
    add_bacterium(project)
    path = project.folder / "bacterium.csv"
    path.unlink()
    if text is not None:
        path.write_text(text)
    assert expected in told(project, tmp_path / "out", run)


def test_a_threshold_that_nothing_measures(project: Project, tmp_path: Path, run: Run) -> None:
    add_bacterium(project)
    text = project.spec.read_text()
    project.spec.write_text(text.replace("min_genes: 4\n", "min_genes: 4\n      max_pct_mito: 5\n"))
    message = told(project, tmp_path / "out", run)
    assert f"column organisms.{ORGANISM}" in message
    assert "max_pct_mito needs the mitochondrial_contig of the genes" in message
