"""Load an organism's gene axis from the GTF, or packaged table, that a spec names."""

from __future__ import annotations

import csv
import hashlib
import io
import logging
import os
import shutil
import sqlite3
import tempfile
import warnings
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from importlib import resources
from pathlib import Path

from cellresponse.builders.genes import GeneAxis, gene_axis, read_gene_table
from cellresponse.builders.sources.fetch import fetch_url
from cellresponse.schema.errors import ReleaseError, SourceFileError
from cellresponse.schema.spec import GeneReference

__all__ = ["load_axis", "read_aliases", "read_gtf"]

PRIMARY = ("symbol", "ensembl_gene_id", "alias_symbol", "prev_symbol")
HAS_GTF_OPTION = "human"  # `--gtf` of the command stands for this organism's reference alone


def load_axis(
    organism: str,
    reference: GeneReference,
    *,
    gtf: Path | None,
    cache: Path,
    fetch: Callable[..., Path] = fetch_url,
) -> GeneAxis:
    """Load the gene axis of an organism and check it against the spec.

    Parameters
    ----------
    organism
        Word of the organism vocabulary.
    reference
        From the release spec.
    gtf
        A local GTF to use instead of the download; None: the spec's own.
    cache
        Folder for downloads and for pyensembl's index.
    fetch
        Replaceable for tests.

    Raises
    ------
    SourceFileError
        The file is missing, damaged or no GTF.
    ReleaseError
        Its genes are not the ones that the spec was written for.
    """
    hint = "Use the GTF of that release, or write a new spec with the new checksum"
    if reference.table is not None:
        packaged = resources.files("cellresponse.releases") / reference.table
        name = f"releases/{reference.table}"
        rows = read_gene_table(packaged.read_text("utf-8"), name=name)
    elif gtf is not None:
        name = str(gtf)
        rows = read_gtf(gtf, cache=cache, name=name)
    else:
        name = f"{reference.source} {reference.release}"
        path = _download(organism, reference, name=name, cache=cache, fetch=fetch)
        hint = _damaged(organism, path)
        rows = read_gtf(path, cache=cache, name=name)
    axis = gene_axis(organism, rows, reference.mitochondrial_contig, name=name)
    if axis.checksum != reference.table_sha256:
        raise ReleaseError(
            f"holds {len(axis)} genes with the checksum {axis.checksum}, not the genes of "
            f"{reference.source} {reference.release} that the spec names",
            file=name,
            allowed=reference.table_sha256,
            hint=hint,
        )
    if reference.aliases is not None:
        pinned = reference.aliases
        path = fetch(
            pinned.url, name=pinned.name, sha256=pinned.sha256, bytes=pinned.bytes, cache=cache
        )
        axis = replace(axis, aliases=read_aliases(path, axis, name=pinned.name))
    return axis


def _download(
    organism: str,
    reference: GeneReference,
    *,
    name: str,
    cache: Path,
    fetch: Callable[..., Path],
) -> Path:
    hint = "Check the address and the network, and run again"
    if organism == HAS_GTF_OPTION:
        hint = "Download it by hand and give `--gtf FILE`"
    return fetch(str(reference.url), name=name, sha256=None, bytes=None, cache=cache, hint=hint)


def _damaged(organism: str, cached: Path) -> str:
    """What to do about a download with the wrong genes: no checksum of the file was pinned."""
    instead = ", or give `--gtf FILE`" if organism == HAS_GTF_OPTION else ""
    return (
        f"The cached download may be damaged: remove {cached} and run again{instead}. "
        "If the source has changed, write a new spec with the new checksum"
    )


def read_gtf(path: Path, *, cache: Path, name: str) -> list[tuple[str, str, str]]:
    """Read (id, name, contig) of every gene of an Ensembl GTF, plain or gzip, with pyensembl.

    The index is kept in `cache` by the file's sha256, so a GTF is indexed once.
    """
    try:
        digest = _file_sha256(path)
    except OSError as error:
        raise SourceFileError(f"cannot be read: {error.strerror}", file=name) from None
    index = cache / "genes" / digest
    if not index.exists():
        _index(path, index, name)
    return _query(index, name)


def _file_sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _index(path: Path, index: Path, name: str) -> None:
    """Index into a folder of its own and rename it: two builds may do it at once."""
    index.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=index.parent))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # gtfparse warns of its own pandas use
            _genome(path, scratch).index()
        os.rename(scratch, index)
    except FileExistsError:
        pass
    except OSError as error:
        if index.exists():
            return
        raise SourceFileError(f"cannot be indexed: {error}", file=name) from None
    except Exception as error:  # noqa: BLE001 - pyensembl and gtfparse raise many kinds for a bad file
        raise SourceFileError(
            f"is not a GTF that pyensembl can read: {error}",
            file=name,
            hint="Give the .gtf.gz of an Ensembl release",
        ) from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _genome(path: Path, folder: Path):  # type: ignore[no-untyped-def]  # pyensembl is untyped
    import pyensembl

    for logger in ("pyensembl", "datacache", "gtfparse"):
        logging.getLogger(logger).setLevel(logging.ERROR)
    return pyensembl.Genome(
        reference_name="reference",
        annotation_name="genes",
        gtf_path_or_url=str(path),
        cache_directory_path=str(folder),
    )


def _query(index: Path, name: str) -> list[tuple[str, str, str]]:
    """Read all genes in one query; asking pyensembl gene by gene takes minutes."""
    found = sorted(index.glob("*.db"))
    try:
        with closing(sqlite3.connect(f"file:{found[0]}?mode=ro", uri=True)) as connection:
            return [
                (gene, gene_name or gene, contig)
                for gene, gene_name, contig in connection.execute(
                    "select gene_id, gene_name, seqname from gene"
                )
            ]
    except (IndexError, sqlite3.Error) as error:
        shutil.rmtree(index, ignore_errors=True)
        raise SourceFileError(
            f"has no readable index: {error}", file=name, hint="Run again to make a new index"
        ) from None


def read_aliases(path: Path, axis: GeneAxis, *, name: str) -> dict[str, tuple[str, ...]]:
    """Read former and alias symbols from a table in the format of HGNC's complete set.

    Parameters
    ----------
    path
        Tab-separated, with columns symbol, ensembl_gene_id, alias_symbol and
        prev_symbol; several symbols in a field are separated by `|`.
    axis
        Genes that an alias may stand for.

    Returns
    -------
    dict
        Alias to the gene ids that claim it. Current names of the axis are no aliases.
    """
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SourceFileError(f"cannot be read: {error}", file=name) from None
    reader = csv.DictReader(io.StringIO(text), delimiter="\t")
    missing = [column for column in PRIMARY if column not in (reader.fieldnames or ())]
    if missing:
        raise SourceFileError("the column is missing", file=name, row=1, column=missing[0])
    found: dict[str, set[str]] = {}
    for row in reader:
        gene = row["ensembl_gene_id"]
        if gene in axis.position:
            for column in ("symbol", "prev_symbol", "alias_symbol"):
                for alias in filter(None, (row[column] or "").strip('"').split("|")):
                    if alias not in axis.by_name:
                        found.setdefault(alias, set()).add(gene)
    return {alias: tuple(sorted(genes)) for alias, genes in found.items()}
