"""Open a release: labels at once, cells when asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cellresponse.releases.layout import DESCRIPTOR, PARTIAL, matrix_path, shown, study_of
from cellresponse.releases.root import NamedFile, named_files
from cellresponse.schema.errors import ReleaseError, UnknownWord

if TYPE_CHECKING:
    import anndata
    import pandas as pd
    import pyarrow as pa

    from cellresponse.releases.hub.remote import RemoteFiles
    from cellresponse.releases.loading.loader import Loader
    from cellresponse.releases.matrix_store import MatrixStore

__all__ = ["Release", "load"]


def load(release: str | Path, *, repo: str | None = None) -> Release:
    """Open a release.

    Parameters
    ----------
    release
        Folder of a release, or the name of one such as `"2025-06"`, or an alias such as
        `"latest"` or `"stable"`. A name is looked for under `dist/`, then on the Hub in
        the repository that the release's spec names.
    repo
        `ORG/NAME` of a dataset repository on the Hub, to look there and nowhere else.

    Returns
    -------
    Release
        Nothing but `release.json` is read until it is asked for.

    Raises
    ------
    ReleaseError
        There is no such release, or its `release.json` was changed.
    HubError
        The Hub has no such release, or cannot be reached.

    Warns
    -----
    RetractedRelease
        The release should not be used any more; with the reason and what replaces it.

    Examples
    --------
    >>> release = load("dist/demo")                               # doctest: +SKIP
    >>> release.labels(drug="synthetic-drug-a", stars=2)          # doctest: +SKIP
    >>> release.cells(drug="synthetic-drug-a", stars=2)           # doctest: +SKIP
    """
    from cellresponse.releases.resolve import open_local, repository_of

    if repo is None:
        opened = open_local(release)
        if opened is not None:
            return opened
        release, repo = repository_of(str(release))
    from cellresponse.releases.hub.remote import open_release

    return open_release(str(release), repo)


class Release:
    """A release, on disk or on the Hub.

    Parameters
    ----------
    folder
        Its folder; of a release on the Hub, the folder of the Hub's cache that holds
        what was fetched of it.
    root
        What `release.json` says.
    remote
        Where files come from that are not on disk; None: all are, or were not pulled.

    Attributes
    ----------
    name, content_hash
        From `release.json`.
    """

    def __init__(
        self, folder: Path, root: Mapping[str, Any], remote: RemoteFiles | None = None
    ) -> None:
        self.folder = folder
        self.root = root
        self.remote = remote
        self.name = str(root["release"])
        self.content_hash = str(root["content"]["hash"])

    def __repr__(self) -> str:
        """Show name, place and hash."""
        place = (
            f"folder={shown(self.folder)!r}"
            if self.remote is None
            else f"repo={self.remote.hub.name!r}"
        )
        return f"Release({self.name!r}, {place}, content_hash={self.content_hash[:12]!r})"

    @cached_property
    def tables(self) -> Tables:
        """Tables by name: `release.tables["samples"]` is a pyarrow.Table."""
        return Tables(self.folder, self.remote)

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
            Labels by a measured IC50 have stars only where a cited fact supports them.

        Returns
        -------
        pandas.DataFrame
            Rows of the table `labels`; a null cell_id means the whole sample.

        Warns
        -----
        NoResistantCells
            No resistant label of those that match has so many stars.

        Raises
        ------
        ReleaseError
            A value that the release does not have, or not together with the others: with
            those that it has.
        """
        import pandas as pd
        import pyarrow.compute as pc

        from cellresponse.releases.stars import of_stars

        labels = self.tables["labels"]
        if drug is not None:
            labels = self._of_drug(labels, drug)
        given = [] if drug is None else [f"drug {drug}"]
        wanted = {"study_id": study, "response": response, "basis": basis}
        for column, value in wanted.items():
            if value is not None:
                self._require(labels, column, value, given)
                labels = labels.filter(pc.equal(labels[column], value))
                given.append(f"{column} {value}")
        return of_stars(labels, stars).to_pandas(types_mapper=pd.ArrowDtype)

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

    def loader(
        self,
        *,
        task: str | None = None,
        track: str | None = None,
        by: str | None = None,
        category: str | None = None,
        drug: str | None = None,
        split: str | None = None,
        fold: int | None = None,
        part: Literal["train", "test"] | None = None,
        stars: int | None = None,
        **reading: Any,
    ) -> Loader:
        """Feed the cells of a fold to a model: shuffled batches, read from disk.

        Parameters
        ----------
        task, track, by, category, drug
            What names the task: its `task_id`, or enough to leave one of `tasks`.
        split, fold, part
            Which side (`train` where None) of which fold of which split (`cell` where None).
            Without any of them: all cells of the task. A split or part without a fold is an
            error.
        stars
            As in `labels`.
        **reading
            `batch_size`, `seed` and more: see `cellresponse.releases.loading.opening.Reading`.

        Returns
        -------
        Loader
            Iterate over it, after `set_epoch`. Of a release on the Hub, the matrices that hold
            the cells are fetched.

        Raises
        ------
        ReleaseError
            There is no such task, fold or cell, several tasks fit, or a split or part has no
            fold.
        """
        from cellresponse.releases.loading.fold import fold_cells
        from cellresponse.releases.loading.opening import Reading, open_loader

        drug_id = None if drug is None else self.drug_id(drug)
        named = {"task": task, "track": track, "by": by, "category": category, "drug": drug_id}
        cells = fold_cells(self, **named, split=split, fold=fold, part=part, stars=stars)
        return open_loader(self, cells, Reading(**reading))

    def matrix(self, study: str) -> Path:
        """Give the folder of a study's matrix, for `anndata.read_zarr`.

        Of a release on the Hub, the whole matrix is fetched.
        """
        self._require(self.tables["studies"], "study_id", study)
        name = matrix_path(study)
        if self.remote is not None:
            self.remote.fetch_all(self.remote.below(f"{name}/"))
        else:
            self.require_whole(name)
        return self.folder / name

    def matrix_store(self, study: str) -> MatrixStore:
        """Open a study's matrix to read rows; of a release on the Hub, nothing is copied."""
        from cellresponse.releases.matrix_store import open_matrix

        name = matrix_path(study)
        if self.remote is not None:
            return open_matrix(self.remote.store(name), name=name)
        self.require_whole(name)
        return open_matrix(self.folder / name, name=name)

    def require_whole(self, store: str) -> None:
        """Refuse a store of which a file is missing: Zarr would read a missing chunk as zeros.

        Parameters
        ----------
        store
            Its path inside the release, such as `matrices/GSE1.zarr`.

        Raises
        ------
        ReleaseError
            A file below it is missing or of another size; of a part that was pulled, with
            the command that pulls the rest.
        """
        for path, named in self._named.items():
            file = self.folder / path
            if path.startswith(f"{store}/") and not (
                file.is_file() and file.stat().st_size == named.bytes
            ):
                partial = (self.folder / PARTIAL).exists()
                raise ReleaseError(
                    "was not pulled" if partial else f"is not the file that {DESCRIPTOR} names",
                    file=shown(file),
                    hint=f"python cli.py pull {self.name} --repo ORG/NAME --to {shown(self.folder)}"
                    if partial
                    else "Build or pull the release again",
                )

    @cached_property
    def _named(self) -> dict[str, NamedFile]:
        return named_files(self.folder, dict(self.root))

    def drug_id(self, drug: str) -> str:
        """Give the id of a treatment by id, name or synonym; a regimen as `a + b`.

        The release need not have labels for it.

        Raises
        ------
        ReleaseError
            Nothing has this name: with the drugs that the release has labels for.
        EvidenceError
            The text is no name of one treatment, and how to write it.
        """
        from cellresponse.releases.drug_names import no_such_drug
        from cellresponse.schema.vocabulary import treatment_id

        if not isinstance(drug, str):
            raise ReleaseError(
                "a drug is one name", value=str(drug), hint="Ask for several one after the other"
            )
        if drug in self.tables["drugs"]["drug_id"].to_pylist():
            return drug
        try:
            return treatment_id(drug)
        except UnknownWord:
            raise no_such_drug(self, drug, known=False) from None

    def _of_drug(self, labels: pa.Table, drug: str) -> pa.Table:
        import pyarrow.compute as pc

        from cellresponse.releases.drug_names import no_such_drug

        found = labels.filter(pc.equal(labels["drug_id"], self.drug_id(drug)))
        if len(found) == 0:
            raise no_such_drug(self, drug, known=True)
        return found

    def _require(self, table: pa.Table, column: str, value: str, given: Sequence[str] = ()) -> None:
        """Refuse a value that a table lacks; `given` says what its rows were chosen by."""
        import pyarrow.compute as pc

        known = sorted(pc.unique(table[column]).to_pylist())
        if value not in known:
            whole = self.tables["labels"] if given else table
            elsewhere = value in pc.unique(whole[column]).to_pylist()
            raise ReleaseError(
                f"no label of the release {self.name} with {' and '.join(given)} has this {column}"
                if elsewhere
                else f"the release {self.name} has no such {column}",
                value=value,
                allowed=known[:30] + (["..."] if len(known) > 30 else []),
            )


class Tables(Mapping[str, "pa.Table"]):
    """The tables of a release, each read when first asked for."""

    def __init__(self, folder: Path, remote: RemoteFiles | None) -> None:
        self._folder = folder
        self._remote = remote
        self._read: dict[str, pa.Table] = {}

    def __getitem__(self, name: str) -> pa.Table:
        """Read a table."""
        if name not in self._read:
            from cellresponse.releases.tables_io import read_table

            if name not in list(self):
                raise ReleaseError("there is no such table", value=name, allowed=list(self))
            self._fetch(name, None)
            self._read[name] = read_table(self._folder, name)
        return self._read[name]

    def of_studies(self, name: str, studies: list[str]) -> pa.Table:
        """Read the rows of some studies, at least one, and nothing else of the table."""
        import pyarrow as pa
        import pyarrow.compute as pc

        from cellresponse.releases.tables_io import StudyTable

        if name in self._read:
            found = self._read[name]
            return found.filter(pc.is_in(found["study_id"], value_set=pa.array(studies)))
        self._fetch(name, studies)
        table = StudyTable(self._folder, name)
        return pa.concat_tables([table.read(study) for study in studies])

    def _fetch(self, name: str, studies: list[str] | None) -> None:
        """Fetch a table's files from the Hub; of a partitioned table, those of some studies."""
        if self._remote is None:
            return
        files = [path for path in self._remote.below("tables/") if _table(path) == name]
        if studies is not None:
            files = [path for path in files if study_of(path) in (None, *studies)]
        self._remote.fetch_all(files)

    def __iter__(self) -> Iterator[str]:
        """Yield the names of the tables."""
        if self._remote is not None:
            found = self._remote.below("tables/")
        else:
            found = [f"tables/{path.name}" for path in (self._folder / "tables").iterdir()]
        return iter(sorted({_table(path) for path in found}))

    def __len__(self) -> int:
        """Give the number of tables."""
        return len(list(iter(self)))


def _table(path: str) -> str:
    """Name the table of a file: `tables/cells.parquet`, or a part in `tables/cells/`."""
    return path.split("/")[1].removesuffix(".parquet")
