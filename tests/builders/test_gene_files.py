"""Genes from a table or a GFF3, each mistake with its line."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from bacterium import GENES, gene_table, gff

from cellresponse.builders.gene_files import read_genes
from cellresponse.schema.errors import SourceFileError

EXPECTED = [(tag, name or tag, contig) for tag, name, contig in GENES]


def genes(tmp_path: Path, name: str, data: bytes | str) -> list[tuple[str, str, str]]:
    path = tmp_path / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return read_genes(path, cache=tmp_path / "cache", name=name)


def test_table_and_gff_say_the_same(tmp_path: Path) -> None:
    assert genes(tmp_path, "a.csv", gene_table()) == EXPECTED
    assert genes(tmp_path, "a.csv.gz", gzip.compress(gene_table().encode())) == EXPECTED
    assert genes(tmp_path, "a.gff", gff()) == EXPECTED
    assert genes(tmp_path, "a.gff3.gz", gzip.compress(gff().encode())) == EXPECTED
    assert genes(tmp_path, "b.csv", "\ufeff" + gene_table().replace("\n", "\r\n")) == EXPECTED


def test_gff_of_ensembl(tmp_path: Path) -> None:
    text = (
        "#!genome-build X\nChromosome\tena\tgene\t1\t9\t.\t+\t.\t"
        "ID=gene:b0001;Name=thrL;biotype=protein_coding;gene_id=b0001\n"
        "Chromosome\tena\tncRNA_gene\t1\t9\t.\t+\t.\tID=gene:b0002;gene_id=b0002\n"
        "pl%201\tena\tpseudogene\t1\t9\t.\t+\t.\tID=gene:b0003;Name=a%3Bb\n"
        "Chromosome\tena\tmRNA\t1\t9\t.\t+\t.\tID=transcript:x;Parent=gene:b0001\n"
    )
    assert genes(tmp_path, "a.gff3", text) == [
        ("b0001", "thrL", "Chromosome"),
        ("b0002", "b0002", "Chromosome"),
        ("b0003", "a;b", "pl 1"),
    ]


def test_the_first_of_several_ids_and_names(tmp_path: Path) -> None:
    """Ensembl's id comes before a locus tag, NCBI's symbol before the name."""
    line = "c\tx\tgene\t1\t9\t.\t+\t.\tID=gene-c;Name=n;gene=g;locus_tag=b;gene_id=a\n"
    assert genes(tmp_path, "a.gff", line) == [("a", "g", "c")]
    assert genes(tmp_path, "b.gff", line.replace(";gene_id=a", "")) == [("b", "g", "c")]


def test_case_of_the_file_name_does_not_matter(tmp_path: Path) -> None:
    assert genes(tmp_path, "A.CSV", gene_table()) == EXPECTED
    assert genes(tmp_path, "A.GFF3.GZ", gzip.compress(gff().encode())) == EXPECTED


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("a.csv", "gene_id,contig\n", "row 1, column gene_name: the column is missing"),
        ("a.csv", "gene_id,gene_name,contig\na,b\n", "row 2, column contig: the field is empty"),
        ("a.csv", "gene_id,gene_name,contig\na,b,c,d\n", "row 2: has more fields"),
        ("a.csv", 'gene_id,gene_name,contig\n"a"b,b,c\n', "row 2: is no CSV"),
        ("a.csv", b"\xff\xfe", "is not UTF-8"),
        ("a.csv.gz", gzip.compress(gene_table().encode())[:-9], "cannot be read"),
        ("a.gff", "c\tx\tgene\t1\n", "row 1: is no line of GFF3"),
        ("a.gff", "##gff\nc\tx\tgene\t1\t2\t.\t+\t.\tDbxref=1\n", "row 2, column attributes"),
    ],
)
def test_a_file_that_is_wrong(tmp_path: Path, name: str, data: bytes | str, expected: str) -> None:
    with pytest.raises(SourceFileError) as caught:
        genes(tmp_path, name, data)
    assert str(caught.value).startswith(name)
    assert expected in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SourceFileError, match="No such file"):
        read_genes(tmp_path / "a.csv", cache=tmp_path, name="a.csv")
