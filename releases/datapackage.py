"""Describe the files of a release: `datapackage.json` and the root `release.json`."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from cellresponse.releases.canonical import canonical_json, file_sha256, own_digest
from cellresponse.releases.layout import DESCRIPTOR, ROOT, files_of
from cellresponse.schema.descriptor import table_schema
from cellresponse.schema.tables import TABLES

__all__ = ["write_descriptor", "write_root"]


def write_descriptor(folder: Path, *, name: str, title: str, licences: list[dict[str, str]]) -> str:
    """Write `datapackage.json` over every file that is there; give its sha256.

    Every file is a resource with its size and checksum. A Parquet table is a second
    resource with its columns: the Frictionless tool counts no bytes where it reads rows.

    Parameters
    ----------
    folder
        The release, complete but for `datapackage.json` and `release.json`.
    name, title
        Of the package.
    licences
        One entry a study: name, title and, where known, path.
    """
    files = [path for path in files_of(folder) if path not in (DESCRIPTOR, ROOT)]
    # Hashing releases the GIL; two threads a core keep the disk and the cores busy.
    with ThreadPoolExecutor() as pool:
        digests = list(pool.map(lambda path: file_sha256(folder / path), files))
    resources = [
        resource
        for path, digest in zip(files, digests, strict=True)
        for resource in (*_table(folder, path), _file(folder, path, digest))
    ]
    package = {
        "$schema": "https://datapackage.org/profiles/2.0/datapackage.json",
        "name": f"cellresponse-{name}",
        "title": title,
        "licenses": licences,
        "resources": resources,
    }
    text = canonical_json(package)
    (folder / DESCRIPTOR).write_bytes(text)
    return hashlib.sha256(text).hexdigest()


def _file(folder: Path, path: str, digest: str) -> dict[str, Any]:
    return {
        "name": re.sub(r"[^a-z0-9._-]+", "-", path.lower()),
        "path": path,
        "type": "file",
        "bytes": (folder / path).stat().st_size,
        "hash": f"sha256:{digest}",
    }


def _table(folder: Path, path: str) -> Iterator[dict[str, Any]]:
    """Describe the rows of a Parquet file, where it is one of the known tables."""
    parts = Path(path).parts
    table = Path(parts[1]).stem if parts[0] == "tables" else None
    if table not in TABLES or not path.endswith(".parquet"):
        return
    schema = table_schema(TABLES[table]) | {"missingValues": []}  # Parquet has nulls of its own
    resource: dict[str, Any] = {
        "name": table if len(parts) == 2 else f"{table}-{Path(path).stem.lower()}",
        "path": path,
        "type": "table",
        "format": "parquet",
        "mediatype": "application/vnd.apache.parquet",
        "schema": schema,
    }
    nullable = _nullable_numbers(folder / path, schema)
    if nullable:
        # Frictionless reads Parquet through pandas, where a null makes a column of NaN floats;
        # read as categories, a null stays a null and a whole number whole.
        resource["dialect"] = {"parquet": {"categories": nullable}}
    yield resource


def _nullable_numbers(file: Path, schema: dict[str, Any]) -> list[str]:
    """Name the numeric columns that may have nulls; one without any value gets the type `any`.

    Nothing can be said of the values of such a column, and pandas has only NaN for it.
    """
    empty = _empty_columns(file)
    named = []
    for field in schema["fields"]:
        if field["type"] in ("integer", "number") and not field["constraints"]["required"]:
            if field["name"] in empty:
                field |= {"type": "any", "constraints": {"required": False}}
            else:
                named.append(field["name"])
    return named


def _empty_columns(file: Path) -> set[str]:
    """Name the columns in which every row is null, by the statistics of the file's footer."""
    footer = pq.read_metadata(file)
    nulls: dict[str, int] = dict.fromkeys(footer.schema.names, 0)
    for group in range(footer.num_row_groups):
        if footer.row_group(group).num_rows == 0:
            continue  # a group without rows has no statistics
        for at in range(footer.num_columns):
            column = footer.row_group(group).column(at)
            nulls[column.path_in_schema] += column.statistics.null_count
    return {name for name, count in nulls.items() if count == footer.num_rows}


def write_root(folder: Path, provenance: dict[str, Any], descriptor_sha256: str) -> None:
    """Write `release.json`: canonical JSON with the descriptor's and its own digest."""
    root = provenance | {"datapackage_sha256": descriptor_sha256, "sha256": ""}
    root["sha256"] = own_digest(root)
    (folder / ROOT).write_bytes(canonical_json(root))
