"""The results folder: predictions as they come, results and a manifest at the end.

    results.parquet            one row a metric (`schema.results.Results`)
    predictions/<key>.parquet  one file a task, split, model and seed
    not_evaluable.csv          tasks and splits that cannot be made, with the reason
    runtime.csv                what each step of a model took
    cells.csv                  what is known of the cells, for maps
    embeddings/                embeddings of the models, as `embed` writes them
    manifest.json              release, code, and the sha256 of every other file

A prediction file is written whole or not at all and is named by everything that it
depends on, so that a killed run goes on from those that are there. One version of the
code writes a folder: results of two are never averaged.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cellresponse import __version__
from cellresponse.releases.canonical import canonical_json, file_sha256, own_digest
from cellresponse.releases.layout import ROOT
from cellresponse.schema.errors import ReleaseError
from cellresponse.schema.results import Predictions, Results
from cellresponse.schema.storage import storage_errors
from cellresponse.schema.tables import arrow_schema

__all__ = [
    "Addendum",
    "FoldPrediction",
    "Identity",
    "Runtime",
    "Trained",
    "peak_memory",
    "read_results",
]

FORMAT = 2
"""Of prediction files: 2 since they hold the mean prediction on training cells."""

MANIFEST = "manifest.json"
RESULTS = "results.parquet"
PREDICTIONS = "predictions"
NOT_EVALUABLE = "not_evaluable.csv"
RUNTIME = "runtime.csv"
CELLS = "cells.csv"
REPORT = "report"
"""Folder of the report's tables; they are drawn from the results and not part of them."""
CELL_COLUMNS = ("cell_id", "sample_id", "response")


@dataclass(frozen=True)
class Identity:
    """Everything that a set of predictions depends on, beside the release."""

    task: str
    track: str
    by: str
    category: str
    drug_id: str | None
    basis: str
    split: str
    seed: int
    model: str
    weights_hash: str | None
    strategy: str
    options: str
    """JSON with sorted keys."""

    def key(self, release_hash: str) -> str:
        """Give the name of the prediction file."""
        text = canonical_json({**asdict(self), "release": release_hash, "code": __version__})
        return hashlib.sha256(text).hexdigest()[:24]


@dataclass(frozen=True)
class FoldPrediction:
    """What a model predicted for the test cells of one fold."""

    fold: str
    cells: pd.DataFrame
    """Test cells: `cell_id`, `sample_id`, `response`."""
    probability: NDArray[np.float64]
    """(test cells,) of sensitive."""
    n_train: int
    n_train_sensitive: int
    train_mean: float | None = None
    """Mean of what the same model predicts for its training cells; None: not known."""


class Trained(NamedTuple):
    """What a fold's model was trained on."""

    cells: int
    sensitive: int
    mean: float | None = None
    """Mean prediction on these cells; None: not known, as for submitted predictions."""


@dataclass(frozen=True)
class Runtime:
    """What a step of a model took, measured."""

    model: str
    strategy: str
    step: str
    """`embed`: tokenise and embed; `train`: adapters and head, with prediction."""
    device: str
    parameters: int
    dimension: int
    cells: int
    seconds: float
    peak_mib: float
    """Most memory of the process (of the GPU, on one) until then."""


def peak_memory(device: str) -> float:
    """Give the most memory that this process (on a GPU: torch) has held so far, in MiB."""
    if device.startswith("cuda"):
        import torch

        return float(torch.cuda.max_memory_allocated(device)) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class Addendum:
    """A results folder of one release.

    Parameters
    ----------
    folder
        Made by the first writing, where it is not there.
    release, release_hash
        Name and content hash of the release.

    Raises
    ------
    ReleaseError
        The folder is a release, or holds results of another release, of another version of
        the code, or of an older format.
    StorageError
        The folder cannot be written.
    """

    def __init__(self, folder: Path, release: str, release_hash: str) -> None:
        self.folder = folder
        self.release = release
        self.release_hash = release_hash
        self._begun = False
        self._refuse_others()

    def begin(self) -> None:
        """Make the folder, or say that its results are not complete; before anything is written.

        A run that is refused before leaves finished results as they are.
        """
        if self._begun:
            return
        with storage_errors(self.folder):
            (self.folder / PREDICTIONS).mkdir(parents=True, exist_ok=True)
            self._write_manifest(complete=False)
        self._begun = True

    def _refuse_others(self) -> None:
        if (self.folder / ROOT).exists():
            raise ReleaseError(
                "is a release, which stays as it is",
                file=self.folder,
                hint="Name another folder for the results",
            )
        path = self.folder / MANIFEST
        if not path.exists():
            return
        manifest = _read_manifest(path)
        there = manifest.get("release_hash")
        if there != self.release_hash:
            raise ReleaseError(
                "the folder holds results of another release",
                file=path,
                column="release_hash",
                value=there,
                allowed=[self.release_hash],
                hint="Name another folder for the results",
            )
        if manifest.get("format") != FORMAT:
            raise ReleaseError(
                "the folder's predictions are of an older format, without what each model "
                "predicts on its training cells",
                file=path,
                column="format",
                value=manifest.get("format"),
                allowed=[str(FORMAT)],
                hint="Name another folder and run the models anew; `report` still reads this one",
            )
        version = manifest.get("code_version")
        if version != __version__:
            raise ReleaseError(
                "the folder holds results of another version of cellresponse",
                file=path,
                column="code_version",
                value=version,
                allowed=[__version__],
                hint="Name another folder and run the models anew, or go on with that version; "
                "`report` still reads this folder",
            )
        for predictions in sorted((self.folder / PREDICTIONS).glob("*.parquet")):
            identity = _identity_of(pq.read_schema(predictions))
            # Earlier versions of the code wrote into each other's folders.
            if predictions != self._path(identity):
                raise ReleaseError(
                    "the predictions are of another version of cellresponse, or the file was "
                    "renamed",
                    file=predictions,
                    value=f"{identity.model}, {identity.task}, {identity.split}",
                    hint="Name another folder and run the models anew",
                )

    def write_not_evaluable(self, problems: list[dict[str, str]]) -> None:
        """Name the tasks and splits that could not be run, with the reason."""
        self.begin()
        table = pd.DataFrame(problems, columns=["task", "split", "reason"])
        path = self.folder / NOT_EVALUABLE
        if path.exists():
            table = pd.concat([pd.read_csv(path), table]).drop_duplicates()
        with storage_errors(self.folder):
            table.sort_values(["task", "split"]).to_csv(path, index=False)

    def write_cells(self, cells: pd.DataFrame) -> None:
        """Keep what is known of the cells of a run: cell_id, cancer_type, response, study_id."""
        self.begin()
        path = self.folder / CELLS
        if path.exists():
            cells = pd.concat([pd.read_csv(path), cells])
        with storage_errors(self.folder):
            cells.drop_duplicates("cell_id").sort_values("cell_id").to_csv(path, index=False)

    def write_runtime(self, measured: Runtime) -> None:
        """Keep what a step took; what was measured before stays."""
        self.begin()
        path = self.folder / RUNTIME
        row = pd.DataFrame([asdict(measured)])
        with storage_errors(self.folder):
            row.to_csv(path, mode="a", header=not path.exists(), index=False)

    def has(self, identity: Identity) -> bool:
        """Tell whether these predictions are there already."""
        return self._path(identity).exists()

    def _path(self, identity: Identity) -> Path:
        return self.folder / PREDICTIONS / f"{identity.key(self.release_hash)}.parquet"

    def write(self, identity: Identity, folds: Iterable[FoldPrediction]) -> None:
        """Write the predictions of every fold, whole or not at all."""
        self.begin()
        folds = list(folds)
        schema = arrow_schema(Predictions).with_metadata(
            {
                "identity": canonical_json(asdict(identity)),
                "folds": canonical_json(
                    {f.fold: Trained(f.n_train, f.n_train_sensitive, f.train_mean) for f in folds}
                ),
            }
        )
        same = {
            name: getattr(identity, name)
            for name in ("task", "track", "split", "seed", "model", "strategy")
        }
        tables = [
            pa.table(
                {
                    **{name: [value] * len(f.cells) for name, value in same.items()},
                    "fold": [f.fold] * len(f.cells),
                    **{name: f.cells[name].tolist() for name in CELL_COLUMNS},
                    "probability": f.probability,
                }
            )
            .select(schema.names)
            .cast(schema)
            for f in folds
        ]
        path = self._path(identity)
        part = path.with_suffix(f".{os.getpid()}.part")
        with storage_errors(self.folder):
            pq.write_table(pa.concat_tables(tables).replace_schema_metadata(schema.metadata), part)
            part.replace(path)

    def predictions(self) -> Iterator[tuple[Identity, dict[str, Trained], pd.DataFrame]]:
        """Yield identity, what each fold was trained on, and rows of each file."""
        for path in sorted((self.folder / PREDICTIONS).glob("*.parquet")):
            table = pq.read_table(path)
            folds = json.loads(table.schema.metadata[b"folds"])
            yield (
                _identity_of(table.schema),
                {fold: Trained(*one) for fold, one in folds.items()},
                table.to_pandas(types_mapper=pd.ArrowDtype),
            )

    def finish(self, rows: list[dict[str, Any]]) -> pd.DataFrame:
        """Write `results.parquet` and the manifest over every file.

        Returns
        -------
        pandas.DataFrame
            The results, in canonical order.
        """
        self.begin()
        schema = arrow_schema(Results)
        table = pa.Table.from_pylist(rows, schema=schema).sort_by(
            [
                (name, "ascending")
                for name in schema.names
                if name not in ("value", "low", "high", "undefined")
            ]
        )
        frame = table.to_pandas(types_mapper=pd.ArrowDtype)
        Results.validate(frame)
        with storage_errors(self.folder):
            part = self.folder / (RESULTS + ".part")
            pq.write_table(table, part)
            part.replace(self.folder / RESULTS)
            self._write_manifest(complete=True)
        return frame

    def _write_manifest(self, *, complete: bool) -> None:
        files = {
            path.relative_to(self.folder).as_posix(): file_sha256(path)
            for path in sorted(self.folder.rglob("*"))
            if complete
            and path.suffix in (".parquet", ".csv")
            and path.relative_to(self.folder).parts[0] != REPORT
        }
        manifest: dict[str, Any] = {
            "format": FORMAT,
            "release": self.release,
            "release_hash": self.release_hash,
            "code_version": __version__,
            "complete": complete,
            "files": files,
        }
        manifest["sha256"] = own_digest(manifest)
        part = self.folder / (MANIFEST + ".part")
        part.write_bytes(canonical_json(manifest))
        part.replace(self.folder / MANIFEST)


def _identity_of(schema: pa.Schema) -> Identity:
    return Identity(**json.loads(schema.metadata[b"identity"]))


def _read_manifest(path: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ReleaseError(f"cannot be read: {error}", file=path) from None
    if not isinstance(found, dict):
        raise ReleaseError("is not the manifest of benchmark results", file=path)
    return found


def read_results(folder: Path) -> tuple[Mapping[str, Any], pd.DataFrame]:
    """Read the results of a folder, every file against its checksum.

    Returns
    -------
    manifest : Mapping
    results : pandas.DataFrame
        Columns of `schema.results.Results`.

    Raises
    ------
    ReleaseError
        The folder has no complete results, a file was changed, or results of two versions
        of the code are mixed.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise ReleaseError(
            "there are no benchmark results here",
            file=folder,
            hint="Run `python cli.py benchmark --out` on this folder first",
        )
    manifest = _read_manifest(path)
    if not manifest.get("complete"):
        raise ReleaseError(
            "the benchmark has not finished",
            file=path,
            hint="Run the same command again; it goes on from what is there",
        )
    for name, digest in manifest["files"].items():
        if not (folder / name).is_file() or file_sha256(folder / name) != digest:
            raise ReleaseError("the file is missing or was changed", file=folder / name)
    frame = pq.read_table(folder / RESULTS).to_pandas(types_mapper=pd.ArrowDtype)
    _refuse_repeats(folder, frame)
    return manifest, frame


def _refuse_repeats(folder: Path, results: pd.DataFrame) -> None:
    """Refuse a run that is there twice: earlier versions wrote into the folder of another."""
    run = [field.name for field in fields(Identity)]
    twice = results[results.duplicated([*run, "fold", "unit", "metric"])]
    if len(twice):
        one = twice.iloc[0]
        raise ReleaseError(
            "a run is there twice, made by different versions of cellresponse",
            file=folder / RESULTS,
            column="model, task, split",
            value=f"{one['model']}, {one['task']}, {one['split']}",
            hint="Run the models anew in another folder",
        )
