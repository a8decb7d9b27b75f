"""Describe the files of a release: `datapackage.json` and the root `release.json`."""

from __future__ import annotations

import hashlib
import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from cellresponse.releases.content_hash import canonical_json
from cellresponse.releases.layout import DESCRIPTOR, ROOT, files_of
from cellresponse.schema.descriptor import table_schema
from cellresponse.schema.tables import TABLES

__all__ = ["file_sha256", "own_digest", "write_descriptor", "write_root"]


def file_sha256(path: Path) -> str:
    """Hash a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_descriptor(folder: Path, *, name: str, title: str, licences: list[dict[str, str]]) -> str:
    """Write `datapackage.json` over every file that is there; give its sha256.

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
    package = {
        "$schema": "https://datapackage.org/profiles/2.0/datapackage.json",
        "name": f"cellresponse-{name}",
        "title": title,
        "licenses": licences,
        "resources": [
            _resource(folder, path, digest) for path, digest in zip(files, digests, strict=True)
        ],
    }
    text = canonical_json(package)
    (folder / DESCRIPTOR).write_bytes(text)
    return hashlib.sha256(text).hexdigest()


def _resource(folder: Path, path: str, digest: str) -> dict[str, Any]:
    resource: dict[str, Any] = {
        "name": re.sub(r"[^a-z0-9._-]+", "-", path.lower()),
        "path": path,
        "bytes": (folder / path).stat().st_size,
        "hash": f"sha256:{digest}",
    }
    parts = Path(path).parts
    table = Path(parts[1]).stem if parts[0] == "tables" else None
    if table in TABLES and path.endswith(".parquet"):
        resource |= {
            "name": table if len(parts) == 2 else f"{table}-{Path(path).stem.lower()}",
            "type": "table",
            "format": "parquet",
            "mediatype": "application/vnd.apache.parquet",
            "schema": table_schema(TABLES[table]),
        }
    return resource


def write_root(folder: Path, provenance: dict[str, Any], descriptor_sha256: str) -> None:
    """Write `release.json`: canonical JSON with the descriptor's and its own digest."""
    root = provenance | {"datapackage_sha256": descriptor_sha256, "sha256": ""}
    root["sha256"] = own_digest(root)
    (folder / ROOT).write_bytes(canonical_json(root))


def own_digest(root: dict[str, Any]) -> str:
    """Hash `release.json` with its own digest blank."""
    return hashlib.sha256(canonical_json(root | {"sha256": ""})).hexdigest()


def read_json(path: Path) -> Any:
    """Read a JSON file; ValueError where it is none."""
    return json.loads(path.read_bytes().decode("utf-8"))
