"""The gene axis comes from the spec's GTF and no other."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from mini_release import GENES, Project

from cellresponse.builders.gene_gtf import read_gtf
from cellresponse.builders.gene_reference import load_axis, read_aliases
from cellresponse.builders.genes import gene_axis
from cellresponse.releases.specs import load_spec
from cellresponse.schema.errors import ReleaseError, SourceFileError
from cellresponse.schema.spec import GeneReference


@pytest.fixture
def reference(project: Project) -> GeneReference:
    return load_spec(str(project.spec)).organisms["human"].genes


def test_gtf_plain_or_compressed(project: Project, tmp_path: Path) -> None:
    plain = tmp_path / "genes.gtf"
    plain.write_bytes(gzip.decompress(project.gtf.read_bytes()))
    first = read_gtf(project.gtf, cache=tmp_path / "cache", name="a")
    assert sorted(first) == sorted(GENES)
    assert sorted(read_gtf(plain, cache=tmp_path / "cache", name="b")) == sorted(GENES)


def test_gtf_is_indexed_once(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_gtf(project.gtf, cache=tmp_path, name="genes")
    monkeypatch.setattr("cellresponse.builders.gene_gtf._index", None)  # would fail
    assert len(read_gtf(project.gtf, cache=tmp_path, name="genes")) == len(GENES)


def test_download_where_no_gtf_is_given(
    project: Project, tmp_path: Path, reference: GeneReference
) -> None:
    asked = []

    def fetch(url: str, **_: object) -> Path:
        asked.append(url)
        return project.gtf

    axis = load_axis("human", reference, gtf=None, cache=tmp_path, fetch=fetch)
    assert asked == [reference.url]
    assert len(axis) == len(GENES)


def test_genes_of_another_release_are_refused(
    project: Project, tmp_path: Path, reference: GeneReference
) -> None:
    other = reference.model_copy(update={"table_sha256": "0" * 64})
    with pytest.raises(ReleaseError, match="0000"):
        load_axis("human", other, gtf=project.gtf, cache=tmp_path)


@pytest.mark.parametrize("contig", ["chrM", "M", ""])
def test_a_contig_without_genes_is_refused(
    project: Project, tmp_path: Path, reference: GeneReference, contig: str
) -> None:
    other = reference.model_copy(update={"mitochondrial_contig": contig})
    with pytest.raises(ReleaseError, match="no gene lies on the mitochondrial_contig") as error:
        load_axis("human", other, gtf=project.gtf, cache=tmp_path)
    assert error.value.value == contig
    assert "MT" in error.value.allowed


@pytest.mark.parametrize("data", [b"", b"no GTF", gzip.compress(b"1\tx\n", mtime=0)[:-6]])
def test_file_that_is_no_gtf(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "genes.gtf.gz"
    path.write_bytes(data)
    with pytest.raises(SourceFileError, match="genes of the test"):
        read_gtf(path, cache=tmp_path / "cache", name="genes of the test")
    assert not list((tmp_path / "cache" / "genes").iterdir())


def test_gtf_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SourceFileError, match="cannot be read"):
        read_gtf(tmp_path / "none.gtf", cache=tmp_path, name="none.gtf")


def test_aliases_in_the_format_of_hgnc(tmp_path: Path) -> None:
    axis = gene_axis("human", GENES, "MT", name="genes")
    path = tmp_path / "hgnc.txt"
    path.write_text(
        "symbol\tensembl_gene_id\talias_symbol\tprev_symbol\n"
        f'GENE1\t{GENES[0][0]}\t"OLD1|GENE2"\tSHARED\n'
        f"NEW2\t{GENES[1][0]}\t\tSHARED\n"
        "GONE\tENSG99999999999\tOLD9\t\n"
    )
    assert read_aliases(path, axis, name="hgnc.txt") == {
        "OLD1": (GENES[0][0],),  # GENE2 is a current name, so it is no alias
        "SHARED": (GENES[0][0], GENES[1][0]),
        "NEW2": (GENES[1][0],),
    }
    path.write_text("symbol\tensembl_gene_id\n")
    with pytest.raises(SourceFileError, match="alias_symbol"):
        read_aliases(path, axis, name="hgnc.txt")
