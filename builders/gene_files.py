"""Read the genes of an organism from a file: a GTF, a GFF3, or a table of ids."""

from __future__ import annotations

import csv
import gzip
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

from cellresponse.builders.gene_gtf import read_gtf
from cellresponse.schema.errors import SourceFileError

__all__ = ["GeneRow", "read_gene_table", "read_genes", "read_gff"]

type GeneRow = tuple[str, str, str]
"""Id, name and contig; a gene without a name carries its id."""

TABLE_COLUMNS = ("gene_id", "gene_name", "contig")
GFF_GENES = frozenset({"gene", "ncRNA_gene", "pseudogene"})
# Ensembl gives gene_id, NCBI the locus tag of the assembly; else the line's own id must do.
GFF_IDS = ("gene_id", "locus_tag", "ID")
GFF_NAMES = ("gene", "Name")


def read_genes(path: Path, *, cache: Path, name: str) -> list[GeneRow]:
    """Read (id, name, contig) of every gene, by what the file's name says it is.

    Parameters
    ----------
    path
        `.csv`: a gene table; `.gff` or `.gff3`: GFF3; else a GTF. Plain or gzip.
    cache
        Folder for the index of a GTF.
    name
        Name for messages.

    Raises
    ------
    SourceFileError
        The file is missing, damaged or of another form.
    """
    plain = path.name.lower().removesuffix(".gz")
    if plain.endswith(".csv"):
        return read_gene_table(path, name=name)
    if plain.endswith((".gff", ".gff3")):
        return read_gff(path, name=name)
    return read_gtf(path, cache=cache, name=name)


def read_gene_table(path: Path, *, name: str) -> list[GeneRow]:
    """Read a gene table: CSV with the columns gene_id, gene_name and contig.

    Raises
    ------
    SourceFileError
        It cannot be read, or a column, an id or a contig is missing.
    """
    reader = csv.DictReader(_lines(path, name), strict=True)
    try:
        for column in TABLE_COLUMNS:
            if column not in (reader.fieldnames or ()):
                raise SourceFileError(
                    "the column is missing",
                    file=name,
                    row=1,
                    column=column,
                    allowed=TABLE_COLUMNS,
                )
        return [_table_row(row, reader.line_num, name) for row in reader]
    except csv.Error as error:
        raise SourceFileError(
            f"is no CSV: {error}", file=name, row=reader.reader.line_num
        ) from None


def _table_row(row: dict[str, str], line: int, name: str) -> GeneRow:
    if None in row:
        raise SourceFileError("has more fields than the header", file=name, row=line)
    gene, gene_name, contig = (row[column] for column in TABLE_COLUMNS)
    for column, value in (("gene_id", gene), ("contig", contig)):
        if not value:
            raise SourceFileError("the field is empty", file=name, row=line, column=column)
    return gene, gene_name or gene, contig


def read_gff(path: Path, *, name: str) -> list[GeneRow]:
    """Read the genes of a GFF3, as NCBI and Ensembl write it for bacteria.

    Ids are `gene_id` (Ensembl) or `locus_tag` (NCBI); names are `gene` or `Name`.

    Raises
    ------
    SourceFileError
        It cannot be read, or a line is no GFF3.

    Source: https://github.com/The-Sequence-Ontology/Specifications/blob/master/gff3.md
    """
    rows = []
    for number, line in enumerate(_lines(path, name), start=1):
        if line.startswith("##FASTA"):
            break
        if not line.strip() or line.startswith("#"):
            continue
        fields = line.rstrip("\r\n").split("\t")
        if len(fields) != 9:
            raise SourceFileError(
                "is no line of GFF3", file=name, row=number, value=line, allowed="nine columns"
            )
        if fields[2] in GFF_GENES:
            rows.append(_gff_row(fields, number, name))
    return rows


def _gff_row(fields: list[str], line: int, name: str) -> GeneRow:
    pairs = (pair.partition("=") for pair in fields[8].split(";"))
    said = {key.strip(): unquote(value) for key, _, value in pairs}
    gene = next((said[key] for key in GFF_IDS if said.get(key)), None)
    if gene is None:
        raise SourceFileError(
            "the gene has no id",
            file=name,
            row=line,
            column="attributes",
            value=fields[8],
            allowed=f"one of {', '.join(GFF_IDS)}",
        )
    gene = re.sub("^gene[:-]", "", gene)
    return gene, next((said[key] for key in GFF_NAMES if said.get(key)), gene), unquote(fields[0])


def _lines(path: Path, name: str) -> Iterator[str]:
    try:
        with path.open("rb") as stream:
            packed = stream.read(2) == b"\x1f\x8b"
        opened = gzip.open if packed else open
        with opened(path, "rt", encoding="utf-8-sig", newline="") as lines:
            yield from lines
    except UnicodeDecodeError:
        raise SourceFileError("is not UTF-8 text", file=name) from None
    except (OSError, EOFError, zlib.error) as error:
        said = getattr(error, "strerror", None) or error
        raise SourceFileError(f"cannot be read: {said}", file=name) from None
