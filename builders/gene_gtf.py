"""Read the genes of a GTF with pyensembl, whose index is kept."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import sqlite3
import tempfile
import warnings
from contextlib import closing
from pathlib import Path

from cellresponse.schema.errors import SourceFileError

__all__ = ["read_gtf"]


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
