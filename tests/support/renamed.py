"""Give a release folder another name or title, with digests that fit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from cellresponse.releases.canonical import canonical_json, own_digest


def renamed(folder: Path, to: Path, **changes: str) -> Path:
    """Copy a release and change keys of its `release.json`."""
    copy = Path(shutil.copytree(folder, to))
    root = json.loads((copy / "release.json").read_bytes()) | changes
    root["sha256"] = own_digest(root)
    (copy / "release.json").write_bytes(canonical_json(root))
    return copy
