"""Find cells in the shuffled copy of a release."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import zarr
from numpy.typing import NDArray

from cellresponse.releases.loading.shuffle import ABOUT
from cellresponse.schema.errors import ReleaseError

if TYPE_CHECKING:
    from cellresponse.releases.release import Release

__all__ = ["shuffled_places"]


def shuffled_places(
    folder: Path, release: Release, cells: pa.Table
) -> tuple[list[Path], NDArray[np.int64]]:
    """Find cells in a shuffled copy.

    Parameters
    ----------
    folder
        What `shuffle` made.
    release
        The release that it should be a copy of.
    cells
        study_id and row of each cell, all of one organism.

    Returns
    -------
    stores, places
        AnnData stores, and each cell's row in all of them together.

    Raises
    ------
    ReleaseError
        The folder is no shuffled copy, one of another release, or not whole.
    """
    _require_whole(folder, release)
    named = pc.unique(cells["study_id"])
    studies = release.tables["studies"]
    organism = studies.filter(pc.equal(studies["study_id"], named[0]))["organism"][0].as_py()
    wanted = ds.field("study_id").isin(named)
    known = ds.dataset(folder / f"{organism}.parquet").to_table(filter=wanted)
    places = np.empty(len(cells), dtype=np.int64)
    for study in named.to_pylist():
        mine = pc.equal(cells["study_id"], study).to_numpy()
        of_study = known.filter(pc.equal(known["study_id"], study))
        place_of_row = np.empty(len(of_study), dtype=np.int64)
        place_of_row[of_study["row"].to_numpy()] = of_study["place"].to_numpy()
        places[mine] = place_of_row[cells["row"].to_numpy()[mine]]
    group = zarr.open_group(folder / f"{organism}.zarr", mode="r")
    count = sum(1 for _ in group.group_keys())
    return [folder / f"{organism}.zarr" / f"dataset_{n}" for n in range(count)], places


def _require_whole(folder: Path, release: Release) -> None:
    """Refuse what is no whole copy: Zarr would read a missing chunk as zeros."""
    if not (folder / ABOUT).is_file():
        raise ReleaseError(
            "is no shuffled copy of a release", file=folder, hint="Run `python cli.py shuffle`"
        )
    again = f"Remove it, and shuffle {release.name} again"
    about = _about(folder / ABOUT)
    if about is None:
        raise ReleaseError("is not whole", file=folder, value=ABOUT, hint=again)
    if about["content_hash"] != release.content_hash:
        raise ReleaseError(
            f"is a shuffled copy of {about['release']} with another content hash",
            file=folder,
            hint=f"Shuffle {release.name} again",
        )
    if "files" not in about:
        raise ReleaseError(
            "is a shuffled copy by an earlier version, which does not name its files",
            file=folder,
            hint=again,
        )
    for path, size in about["files"].items():
        file = folder / path
        if not (file.is_file() and file.stat().st_size == size):
            raise ReleaseError("is not whole", file=folder, value=path, hint=again)


def _about(file: Path) -> dict[str, Any] | None:
    """Read what a copy says of itself; None where it was damaged."""
    try:
        about = json.loads(file.read_text("utf-8"))
    except ValueError:
        return None
    if not isinstance(about, dict) or not {"release", "content_hash"} <= about.keys():
        return None
    return about if isinstance(about.get("files", {}), dict) else None
