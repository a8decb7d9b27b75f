"""JSON in the one form that equal values share, and the digests that releases rest on."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

__all__ = ["canonical_json", "file_sha256", "own_digest", "read_json"]


def canonical_json(value: Any) -> bytes:
    r"""Write JSON in the one form that equal values share: sorted keys, no spaces, UTF-8.

    Examples
    --------
    >>> canonical_json({"b": 1, "a": "é"})
    b'{"a":"\xc3\xa9","b":1}'
    """
    text = json.dumps(
        value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False
    )
    return text.encode()


def read_json(path: Path) -> Any:
    """Read a JSON file; ValueError where it is none."""
    return json.loads(path.read_bytes().decode("utf-8"))


def file_sha256(path: Path) -> str:
    """Hash a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def own_digest(root: dict[str, Any]) -> str:
    """Hash `release.json` with its own digest blank."""
    return hashlib.sha256(canonical_json(root | {"sha256": ""})).hexdigest()
