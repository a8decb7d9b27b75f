"""A cohort that is not there, or not whole; `builders/cohorts` tests what is in one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import anndata
import numpy as np
import pytest
import scipy.sparse as sp
from loopback_hub import LoopbackHub

import cellresponse
from cellresponse.releases.cohorts import load_cohort
from cellresponse.releases.datapackage import write_descriptor, write_root
from cellresponse.releases.hub.part import Part
from cellresponse.releases.hub.pull import pull
from cellresponse.releases.release import Release
from cellresponse.schema.errors import ReleaseError

VALUES = sp.csr_matrix(np.arange(12, dtype=np.float32).reshape(3, 4))


@pytest.fixture
def folder(mini_release: Release, tmp_path: Path) -> Path:
    """The tiny release with the store of a cohort."""
    folder = Path(shutil.copytree(mini_release.folder, tmp_path / "mini"))
    anndata.AnnData(VALUES).write_zarr(folder / "cohorts" / "both.zarr")
    root = json.loads((folder / "release.json").read_bytes())
    root["content"]["cohorts"] = {"both": "0"}
    write_root(folder, root, write_descriptor(folder, name="mini", title="mini", licences=[]))
    return folder


def test_whole_cohort(folder: Path) -> None:
    assert (load_cohort(cellresponse.load(folder), "both").X != VALUES).nnz == 0
    with pytest.raises(ReleaseError, match=r"no such cohort 'none'\. Allowed: both\."):
        load_cohort(cellresponse.load(folder), "none")


def test_missing_chunk_is_not_read_as_zeros(folder: Path) -> None:
    (chunk,) = (folder / "cohorts" / "both.zarr" / "X" / "data").glob("c/*")
    chunk.unlink()
    with pytest.raises(ReleaseError) as caught:
        load_cohort(cellresponse.load(folder), "both")
    assert str(caught.value) == (
        f"{chunk}: is not the file that datapackage.json names. Build or pull the release again."
    )


def test_cohort_that_was_not_pulled(folder: Path, hub: LoopbackHub, tmp_path: Path) -> None:
    hub.state.publish("org/data", folder, "mini")
    pull("mini", "org/data", tmp_path / "part", Part(study=("MINI1",)))
    with pytest.raises(ReleaseError) as caught:
        load_cohort(cellresponse.load(tmp_path / "part"), "both")
    assert str(caught.value).startswith(f"{tmp_path}/part/cohorts/both.zarr/")
    assert str(caught.value).endswith(
        f": was not pulled. python cli.py pull mini --repo ORG/NAME --to {tmp_path}/part."
    )
