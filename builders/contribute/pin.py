"""Pin a study's files: download, check, and write checksums, sizes and samples: `study pin`.

A run changes one file of the folder, by one rename, or nothing: `samples.csv` where GEO
lists samples that the folder does not name, else `study.yaml` where everything fits.
"""

from __future__ import annotations

import re
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from cellresponse.builders.contribute.manifest_edit import edited, removed
from cellresponse.builders.contribute.pin_files import (
    PinnedFile,
    changed_files,
    measure_file,
    obtain_files,
)
from cellresponse.builders.contribute.sample_list import complete_samples
from cellresponse.builders.contribute.study_folder import replace_file
from cellresponse.builders.progress import Report, silent
from cellresponse.builders.raw_counts import RawCountTest
from cellresponse.builders.read import CellBlocks, CountSource
from cellresponse.builders.sources.fetch import keep
from cellresponse.builders.study_sources import open_sources
from cellresponse.curation.labels import derive_labels
from cellresponse.curation.leftovers import PLACEHOLDER
from cellresponse.curation.study import Study, load_study
from cellresponse.schema.errors import (
    CellResponseError,
    CountsError,
    EvidenceError,
    Problems,
    SourceFileError,
    raise_all,
)
from cellresponse.schema.storage import storage_errors

__all__ = ["Pinned", "pin_study", "pinned_lines"]

PINNABLE = ("metadata", "ready")
KNOWN_GENES = frozenset({"ACTB", "GAPDH", "MALAT1", "Actb", "Gapdh", "Malat1"})
GENE_ID = re.compile(r"ENS[A-Z]*G[0-9]{11}(\.[0-9]+)?$")


@dataclass(frozen=True)
class Pinned:
    """What a run did.

    Attributes
    ----------
    files
        Every file of the study by name; empty where the sample list came first.
    added
        GSMs of the rows that were added to `samples.csv`, for a curator to fill in.
    changed
        Whether the folder changed.
    """

    study_id: str
    files: dict[str, PinnedFile]
    added: tuple[str, ...]
    changed: bool


def pin_study(
    accession: str,
    curation: Path,
    *,
    cache: Path,
    mirror: Path | None = None,
    report: Report = silent,
    wait: Callable[[float], None] = time.sleep,
) -> Pinned:
    """Pin a study, and make it `ready`.

    Parameters
    ----------
    accession
        Name of the study's folder.
    curation
        Folder of study folders.
    cache
        Folder for downloads, the one of `build`, which does not fetch them again; a run
        that ends in an error keeps those that are not at fault for the next.
    mirror
        Folder to look for `<study>/<file name>` before the network; None: none.
    report
        Receives progress, line by line.
    wait
        As in `cellresponse.builders.sources.fetch.fetch_url`.

    Returns
    -------
    Pinned
        What was written. Where rows were added to `samples.csv`, a curator fills
        them in and pins again.

    Raises
    ------
    CellResponseError
        The evidence is wrong or incomplete, a file is not to be had, is not the one
        that was pinned before, cannot be read, does not hold raw counts, or its
        barcodes do not fit the samples. The folder is then as it was.
    """
    study = _pinnable(accession, curation)
    added = complete_samples(study, report, wait)
    if added:
        return Pinned(accession, {}, added, changed=True)
    _require_evidence(study)
    downloads = cache / "pin" / accession
    paths = obtain_files(study, downloads, mirror, report, wait)
    try:
        files = {name: measure_file(path, f"{accession}/{name}") for name, path in paths.items()}
        raise_all(changed_files(study, files))
        text = _manifest_text(study, files)
        _require_fit(study, text, paths, cache, report)
    except CellResponseError as error:
        if _is_of_files(error):
            shutil.rmtree(downloads, ignore_errors=True)  # so that the next run asks the server
        raise
    if text is not None:
        replace_file(study.folder / "study.yaml", text)
    _keep_downloads(paths, files, downloads, cache)
    return Pinned(accession, files, (), changed=text is not None)


def _keep_downloads(
    paths: Mapping[str, Path], files: Mapping[str, PinnedFile], downloads: Path, cache: Path
) -> None:
    """Hand what was fetched to the cache of `build`; files of the mirror stay where they are."""
    for name, path in paths.items():
        if path.is_relative_to(downloads):
            keep(path, name=name, sha256=files[name].sha256, cache=cache)
    shutil.rmtree(downloads, ignore_errors=True)


def pinned_lines(pinned: Pinned) -> list[str]:
    """Say what a run did, a line an item."""
    study = pinned.study_id
    if pinned.added:
        return [
            f"{study}/samples.csv lacked {len(pinned.added)} samples that GEO lists; they stand "
            f"at its end: {', '.join(pinned.added)}",
            f"Fill in every {PLACEHOLDER} and pin again. Where a sample stays out, remove its row "
            "and name it under `notes:` in study.yaml, with the reason.",
        ]
    lines = [f"{name}  {file.sha256}  {file.bytes:,} bytes" for name, file in pinned.files.items()]
    told = "is ready" if pinned.changed else "is ready as it was: every file is the pinned one"
    return [*lines, f"{study} {told}"]


def _pinnable(accession: str, curation: Path) -> Study:
    folder = curation / accession
    if not folder.is_dir() or PurePosixPath(accession).name != accession:
        raise EvidenceError(
            "there is no such study",
            file=folder,
            hint=f"Begin with `python cli.py study new {accession}`",
        )
    study = load_study(folder)
    manifest, file = study.manifest, f"{accession}/study.yaml"
    if manifest.status not in PINNABLE:
        raise EvidenceError(
            "a study of this status is not pinned",
            file=file,
            column="status",
            value=manifest.status,
            allowed=PINNABLE,
            hint=f"Its reason: {manifest.reason}",
        )
    hint = (
        f"For a GEO series, `python cli.py study new {accession} --curation DIR` writes them "
        "from its record: copy them"
    )
    if not manifest.files:
        raise EvidenceError("lists no file", file=file, column="files", hint=hint)
    for place, listed in enumerate(manifest.files):
        if listed.reader == "archive" and not listed.members:
            raise EvidenceError(
                "the archive lists no members",
                file=file,
                column=f"files.{place}.members",
                value=listed.name,
                hint=hint,
            )
    return study


def _is_of_files(error: CellResponseError) -> bool:
    """Whether a file is at fault, and not what the curator wrote."""
    problems = error.problems if isinstance(error, Problems) else [error]
    return any(isinstance(problem, SourceFileError | CountsError) for problem in problems)


def _manifest_text(study: Study, files: Mapping[str, PinnedFile]) -> str | None:
    """The manifest with checksums, `ready`, one revision on; None where it says all that."""
    manifest = study.manifest
    if manifest.status == "ready":
        return None  # a manifest that is ready has every file pinned
    values: dict[tuple[str | int, ...], str] = {
        ("revision",): str(manifest.revision + 1),
        ("status",): "ready",
    }
    for place, file in enumerate(manifest.files):
        values["files", place, "sha256"] = files[file.name].sha256
        values["files", place, "bytes"] = str(files[file.name].bytes)
    text = (study.folder / "study.yaml").read_bytes().decode("utf-8-sig")
    return removed(edited(text, values), "reason")


def _require_evidence(study: Study) -> None:
    """Read the study as it will be but for the checksums, before gigabytes are fetched."""
    unknown = PinnedFile("0" * 64, 1)
    text = _manifest_text(study, {file.name: unknown for file in study.manifest.files})
    with tempfile.TemporaryDirectory() as scratch:
        _staged(study, text, Path(scratch))


def _staged(study: Study, text: str | None, scratch: Path) -> Study:
    """The study with another manifest; a label follows from it."""
    folder = scratch / study.study_id
    shutil.copytree(study.folder, folder)
    if text is not None:
        (folder / "study.yaml").write_text(text, encoding="utf-8", newline="")
    coming = load_study(folder)
    derive_labels(coming)
    return coming


def _require_fit(
    study: Study, text: str | None, paths: Mapping[str, Path], cache: Path, report: Report
) -> None:
    """Open the matrices of the study as it will be: barcodes find samples, values are counts."""
    with storage_errors(cache):
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as scratch:
            coming = _staged(study, text, Path(scratch))
            names, sources, matched = open_sources(coming, paths, Path(scratch))
            for done, (name, source, match) in enumerate(zip(names, sources, matched, strict=True)):
                for reason, cells in match.left_out.items():
                    report(f"{study.study_id}/{name}: {cells:,} barcodes are left out: {reason}")
                report(f"{study.study_id}/{name}: counts", done=done, total=len(names))
                _require_cells(source)
                _require_counts(source)


def _require_cells(source: CountSource) -> None:
    """No gene reference is at hand here, but what is named like a gene is no cell."""
    genes = [name for name in source.barcodes if name in KNOWN_GENES or GENE_ID.match(name)]
    if genes:
        raise SourceFileError(
            f"{len(genes):,} of its {len(source.barcodes):,} cells are named like genes",
            file=source.name,
            value=genes[0],
            hint="Say in the file's options which way round the table is: `orientation`",
        )


def _require_counts(source: CountSource) -> None:
    test = RawCountTest(source)
    pieces = source.blocks() if isinstance(source, CellBlocks) else source.triplets()
    for piece in pieces:
        test.update(piece)
