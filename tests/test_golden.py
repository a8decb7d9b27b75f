"""A release of each schema era is read, verified and selected from by every later version.

`tests/data/golden-schema-<n>.tar.gz` was written once by the version that introduced schema n
(`python tests/support/golden.py`), and is never written again.
"""

from __future__ import annotations

import tarfile
from pathlib import Path

import anndata
import numpy as np
import pytest

import cellresponse
from cellresponse.releases.splits import folds
from cellresponse.releases.tasks import tasks
from cellresponse.schema.version import SCHEMA_VERSION

DATA = Path(__file__).parent / "data"
HASHES = {1: "ea74fbd01560b179c3866507d7ad9ac97953da89772ff197994bfa5575d73c1f"}
"""Content hash of the golden release of each schema."""


def test_every_schema_has_a_golden_release() -> None:
    found = {int(path.name.split("-")[2].split(".")[0]) for path in DATA.glob("golden-schema-*")}
    assert found == set(range(1, SCHEMA_VERSION + 1)) == set(HASHES)


@pytest.mark.parametrize("schema", HASHES)
def test_golden_release(schema: int, tmp_path: Path) -> None:
    with tarfile.open(DATA / f"golden-schema-{schema}.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    found = cellresponse.verify(tmp_path / "mini")
    assert found.content_hash == HASHES[schema]
    release = cellresponse.load(tmp_path / "mini")
    assert release.root["schema_version"] == schema
    assert (found.cells, len(release.labels())) == (50, 6)
    assert len(release.labels(drug="synthetic-drug-a", stars=2)) == 3
    cells = release.cells(drug="synthetic-drug-a", stars=2)
    assert cells.obs["response"].value_counts().to_dict() == {"sensitive": 19, "resistant": 8}
    stored = anndata.read_zarr(release.matrix("MINI2"))
    assert stored.shape == (16, 30)
    assert np.asarray(stored.X.sum()) == stored.obs["n_counts"].sum()
    (task,) = tasks(release, track="pooled", by="regimen", drug="synthetic-drug-a")
    tested = [fold.test for fold in folds(release, task, "study")]
    assert sum(map(len, tested)) == task.n_sensitive + task.n_resistant == 38
