"""Open a release: labels at once, cells when asked for."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellresponse.releases.layout import ROOT, matrix_path
from cellresponse.schema.errors import ReleaseError

if TYPE_CHECKING:
    import anndata
    import pandas as pd
    import pyarrow as pa

__all__ = ["Release", "load"]


def load(release: str | Path) -> Release:
    """Open a release.

    Parameters
    ----------
    release
        Folder of a release, or the name of one under `dist/` such as `"2025-06"`.

    Returns
    -------
    Release
        Nothing but `release.json` is read until it is asked for.

    Raises
    ------
    ReleaseError
        There is no such release, or its `release.json` was changed.

    Examples
    --------
    >>> release = load("dist/demo")                               # doctest: +SKIP
    >>> release.labels(drug="synthetic-drug-a", stars=2)          # doctest: +SKIP
    >>> release.cells(drug="synthetic-drug-a", stars=2)           # doctest: +SKIP
    """
    from cellresponse.releases.verify import read_root

    folder = Path(release)
    if not (folder / ROOT).is_file() and (Path("dist") / folder / ROOT).is_file():
        folder = Path("dist") / folder
    return Release(folder, read_root(folder))


class Release:
    """A release on disk.

    Parameters
    ----------
    folder
        Its folder.
    root
        What `release.json` says.

    Attributes
    ----------
    name, content_hash
        From `release.json`.
    """

    def __init__(self, folder: Path, root: Mapping[str, Any]) -> None:
        self.folder = folder
        self.root = root
        self.name = str(root["release"])
        self.content_hash = str(root["content"]["hash"])

    def __repr__(self) -> str:
        """Show name, folder and hash."""
        return (
            f"Release({self.name!r}, folder={str(self.folder)!r}, "
            f"content_hash={self.content_hash[:12]!r})"
        )

    @cached_property
    def tables(self) -> Tables:
        """Tables by name: `release.tables["samples"]` is a pyarrow.Table."""
        return Tables(self.folder)

    def labels(
        self,
        *,
        drug: str | None = None,
        study: str | None = None,
        response: str | None = None,
        stars: int | None = None,
        basis: str | None = None,
    ) -> pd.DataFrame:
        """Select labels.

        Parameters
        ----------
        drug
            Treatment, by id, name or synonym; a regimen as `a + b`. None: all.
        study, response, basis
            Values of those columns. None: all.
        stars
            At least so many stars for resistant cells, and all sensitive ones. None: all.

        Returns
        -------
        pandas.DataFrame
            Rows of the table `labels`; a null cell_id means the whole sample.

        Raises
        ------
        ReleaseError
            A value that the release does not have: with those that it has.
        """
        import pandas as pd
        import pyarrow.compute as pc

        labels = self.tables["labels"]
        wanted = {
            "drug_id": drug if drug is None else self._drug_id(drug),
            "study_id": study,
            "response": response,
            "basis": basis,
        }
        for column, value in wanted.items():
            if value is not None:
                self._require(labels, column, value)
                labels = labels.filter(pc.equal(labels[column], value))
        if stars is not None:
            if stars not in (1, 2, 3):
                raise ReleaseError("there are one to three stars", value=stars, allowed="1, 2, 3")
            enough = pc.fill_null(pc.greater_equal(labels["stars"], stars), False)
            labels = labels.filter(pc.or_(enough, pc.equal(labels["response"], "sensitive")))
        return labels.to_pandas(types_mapper=pd.ArrowDtype)

    def cells(
        self,
        *,
        drug: str | None = None,
        study: str | None = None,
        response: str | None = None,
        stars: int | None = None,
        basis: str | None = None,
    ) -> anndata.AnnData:
        """Give the labelled cells that match, and read nothing but their rows.

        Parameters
        ----------
        drug, study, response, stars, basis
            As in `labels`. Without any of them: every cell of the release, labelled
            or not.

        Returns
        -------
        anndata.AnnData
            `X` int32 CSR (cells, genes), raw counts; `obs` the columns of `cells`
            indexed by cell_id and, where every cell has one label in the selection,
            `drug_id`, `response`, `stars`, `basis`, `rule_id`; else the labels are in
            `uns["labels"]`, one row a (cell, label); `var` gene names and contigs.

        Raises
        ------
        ReleaseError
            Nothing matches, or the cells are of several organisms.
        """
        from cellresponse.releases.selection import select_cells

        chosen = (drug, study, response, stars, basis)
        everything = all(value is None for value in chosen)
        labels = (
            None
            if everything
            else self.labels(drug=drug, study=study, response=response, stars=stars, basis=basis)
        )
        return select_cells(self, labels)

    def matrix(self, study: str) -> Path:
        """Give the path of a study's matrix, for `anndata.read_zarr`."""
        self._require(self.tables["studies"], "study_id", study)
        return self.folder / matrix_path(study)

    def _drug_id(self, drug: str) -> str:
        from cellresponse.schema.vocabulary import treatment_id

        known = self.tables["drugs"]["drug_id"].to_pylist()
        return drug if drug in known else treatment_id(drug)

    def _require(self, table: pa.Table, column: str, value: str) -> None:
        known = sorted(set(table[column].to_pylist()))
        if value not in known:
            raise ReleaseError(
                f"the release {self.name} has no such {column}",
                value=value,
                allowed=known[:30] + (["..."] if len(known) > 30 else []),
            )


class Tables(Mapping[str, "pa.Table"]):
    """The tables of a release, each read when first asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: dict[str, pa.Table] = {}

    def __getitem__(self, name: str) -> pa.Table:
        """Read a table."""
        if name not in self._read:
            from cellresponse.releases.tables_io import read_table

            if name not in list(self):
                raise ReleaseError("there is no such table", value=name, allowed=list(self))
            self._read[name] = read_table(self._folder, name)
        return self._read[name]

    def __iter__(self):  # type: ignore[no-untyped-def]
        """Yield the names of the tables."""
        found = (self._folder / "tables").iterdir()
        return iter(sorted({path.stem for path in found}))

    def __len__(self) -> int:
        """Give the number of tables."""
        return len(list(iter(self)))
