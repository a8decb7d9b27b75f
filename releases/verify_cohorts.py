"""Check the cohorts of a release against its tables."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cellresponse.releases.cohorts import cohort_cells, cohort_hash
from cellresponse.releases.layout import cohort_path
from cellresponse.releases.release import Tables
from cellresponse.schema.errors import ReleaseError

__all__ = ["verify_cohorts"]

EMBEDDINGS = ("X_harmony", "X_pca")
GRAPHS = ("connectivities", "distances")


def verify_cohorts(folder: Path, spec: Mapping[str, Any]) -> dict[str, str]:
    """Check that every cohort has the cells and labels that the tables give it.

    Parameters
    ----------
    folder
        The release; its tables are right.
    spec
        Its spec, as `release.json` holds it.

    Returns
    -------
    dict
        Hash of each cohort's cells, batches and labels, by name.

    Raises
    ------
    ReleaseError
        A cohort is missing or not of the spec; a cell, batch or label is another one than in
        the tables; a coordinate is missing or not finite.
    """
    cohorts = {cohort["name"]: cohort for cohort in spec["cohorts"]}
    stores = sorted(path.name for path in (folder / "cohorts").glob("*"))
    if stores != sorted(f"{name}.zarr" for name in cohorts):
        raise ReleaseError(
            "other stores than the cohorts of the spec",
            file="cohorts",
            value=", ".join(stores),
            allowed=sorted(cohorts) or "none",
        )
    tables = Tables(folder, None)
    hashes = {}
    for name, cohort in sorted(cohorts.items()):
        cells = cohort_cells(cohort, tables, spec)
        stored: Any = anndata.read_zarr(folder / cohort_path(name))
        _cells(stored, cells, cohort_path(name))
        _genes(stored, tables["genes"], cohort_path(name))
        _coordinates(stored, cohort, cohort_path(name))
        hashes[name] = cohort_hash(cells)
    return hashes


def _cells(stored: Any, cells: pa.Table, file: str) -> None:
    """Rows are the cells of the tables, and say the same of them."""
    if list(stored.obs_names) != cells["cell_id"].to_pylist():
        raise ReleaseError("other cells than the tables give the cohort", file=file)
    for column in stored.obs.columns:
        if column not in cells.column_names:
            raise ReleaseError("says what the tables do not", file=file, column=column)
        values = stored.obs[column].astype(object)
        said = values.where(values.notna(), None).tolist()
        for cell, found, right in zip(
            stored.obs_names, said, cells[column].to_pylist(), strict=True
        ):
            if found != right:
                raise ReleaseError(
                    f"the cell {cell} has another {column} than the tables",
                    file=file,
                    column=column,
                    value=found,
                    allowed=str(right),
                )


def _genes(stored: Any, genes: pa.Table, file: str) -> None:
    known = pc.is_in(pa.array(stored.var_names, pa.string()), value_set=genes["gene_id"])
    if not pc.all(known).as_py():
        strange = stored.var_names[~known.to_numpy(zero_copy_only=False)][0]
        raise ReleaseError("has a gene that the release has not", file=file, value=strange)


def _coordinates(stored: Any, cohort: Mapping[str, Any], file: str) -> None:
    parts = {f"obsm/{name}": stored.obsm.get(name) for name in EMBEDDINGS}
    parts |= {f"obsp/{name}": stored.obsp.get(name) for name in GRAPHS}
    for name, values in parts.items():
        if values is None:
            raise ReleaseError(f"has no {name}", file=file)
    for name in EMBEDDINGS:
        if stored.obsm[name].shape != (stored.n_obs, cohort["n_pcs"]):
            raise ReleaseError(f"obsm/{name} has not {cohort['n_pcs']} dimensions", file=file)
    values = [stored.X.data, *(stored.obsm[name] for name in EMBEDDINGS)]
    values += [stored.obsp[name].data for name in GRAPHS]
    if not all(np.isfinite(part).all() for part in values):
        raise ReleaseError("holds numbers that are not finite", file=file)
    if (stored.X.data < 0).any():
        raise ReleaseError("X holds a negative value", file=file)
