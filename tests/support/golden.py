"""Write the golden release of the present schema; run once, when a schema version begins."""

from __future__ import annotations

import sys
import tarfile
import tempfile
from pathlib import Path

from mini_release import make_project

from cellresponse.schema.version import SCHEMA_VERSION


def main() -> None:
    target = Path(__file__).parent.parent / "data" / f"golden-schema-{SCHEMA_VERSION}.tar.gz"
    if target.exists():
        sys.exit(f"{target.name} stands already, and is never written again")
    with tempfile.TemporaryDirectory() as folder:
        release = make_project(Path(folder) / "project").build(Path(folder) / "out")
        target.parent.mkdir(exist_ok=True)
        with tarfile.open(target, "w:gz", format=tarfile.PAX_FORMAT) as archive:
            archive.add(release.folder, arcname="mini")
        print(release.content_hash, target.stat().st_size)


if __name__ == "__main__":
    main()
