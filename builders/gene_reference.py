"""Load an organism's gene axis from the annotation, or gene table, that a spec names."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from cellresponse.builders.gene_files import read_genes
from cellresponse.builders.genes import GeneAxis, gene_axis
from cellresponse.builders.sources.fetch import fetch_url
from cellresponse.releases.specs import specs_folder
from cellresponse.schema.errors import ReleaseError, SourceFileError
from cellresponse.schema.spec import GeneReference

__all__ = ["load_axis", "read_aliases"]

PRIMARY = ("symbol", "ensembl_gene_id", "alias_symbol", "prev_symbol")
HAS_GTF_OPTION = "human"  # `--gtf` of the command stands for this organism's reference alone


def load_axis(
    organism: str,
    reference: GeneReference,
    *,
    gtf: Path | None,
    cache: Path,
    folder: Path | None = None,
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
    folder
        Where the spec, and beside it its gene tables, lie; None: in the package.
    fetch
        Replaceable for tests.

    Raises
    ------
    SourceFileError
        The file is missing, damaged, or of another form than its name says.
    ReleaseError
        Its genes are not the ones that the spec was written for.
    """
    hint = "Use the file of that release, or write a new spec with the new checksum"
    if reference.table is not None:
        path = (folder or specs_folder()) / reference.table
        name = f"{path.parent.name}/{reference.table}"
    elif gtf is not None:
        path, name = gtf, str(gtf)
    else:
        name = f"{reference.source} {reference.release}"
        path = _download(organism, reference, name=name, cache=cache, fetch=fetch)
        hint = _damaged(organism, path)
    rows = read_genes(path, cache=cache, name=name)
    axis = gene_axis(organism, rows, reference.mitochondrial_contig, name=name)
    if axis.checksum != reference.table_sha256:
        raise ReleaseError(
            f"holds {len(axis)} genes with the checksum {axis.checksum}, not the genes of "
            f"{reference.source} {reference.release} that the spec names",
            file=name,
            allowed=reference.table_sha256,
            hint=hint,
        )
    contig = reference.mitochondrial_contig
    if contig is not None and contig not in axis.contigs:
        raise ReleaseError(
            "no gene lies on the mitochondrial_contig that the spec names",
            file=name,
            value=contig,
            allowed=sorted(set(axis.contigs)),
            hint="Name it as the genes do, so that pct_mito can be measured",
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
