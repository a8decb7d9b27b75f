"""The files of a study as they lie at their source, compared with what was pinned."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from cellresponse.builders.progress import Report
from cellresponse.builders.sources.fetch import fetch_url
from cellresponse.curation.study import Study
from cellresponse.schema.errors import CellResponseError, SourceFileError, raise_all
from cellresponse.schema.study import SourceFile

__all__ = ["PinnedFile", "changed_files", "measure_file", "obtain_files"]


@dataclass(frozen=True)
class PinnedFile:
    """What a source file is: hex digest, and size in bytes."""

    sha256: str
    bytes: int


def obtain_files(
    study: Study,
    downloads: Path,
    mirror: Path | None,
    report: Report,
    wait: Callable[[float], None],
) -> dict[str, Path]:
    """Get every file of a study from the mirror, or as its source gives it now.

    Parameters
    ----------
    study
        The study.
    downloads
        Folder for downloads. A whole file in it is taken as it is.
    mirror, report, wait
        As in `cellresponse.builders.contribute.pin.pin_study`.

    Returns
    -------
    Local path by manifest name.

    Raises
    ------
    SourceFileError, Problems
        All files that cannot be had.
    """
    if mirror is not None and not mirror.is_dir():
        raise SourceFileError("there is no such mirror folder", file=mirror)
    paths: dict[str, Path] = {}
    problems: list[CellResponseError] = []
    files = study.manifest.files
    for done, file in enumerate(files):
        report(f"{study.study_id}/{file.name}", done=done, total=len(files))
        try:
            paths[file.name] = _local(study.study_id, file, downloads, mirror, wait)
        except SourceFileError as error:
            problems.append(error)
    raise_all(problems)
    return paths


def _local(
    study_id: str,
    file: SourceFile,
    downloads: Path,
    mirror: Path | None,
    wait: Callable[[float], None],
) -> Path:
    if mirror is not None and (mirror / study_id / file.name).is_file():
        return mirror / study_id / file.name
    # Without the pinned checksum: where the file changed, both must be told.
    return fetch_url(
        file.url,
        name=f"{study_id}/{file.name}",
        sha256=None,
        bytes=None,
        cache=downloads,
        save_as=PurePosixPath(file.name).name,
        hint=f"Check the url in study.yaml; or place the file in DIR/{study_id}/ and give "
        "`--mirror DIR`",
        wait=wait,
    )


def measure_file(path: Path, name: str) -> PinnedFile:
    """Give checksum and size of a file.

    Raises
    ------
    SourceFileError
        It cannot be read, or is empty; `name` is its name in the message.
    """
    try:
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
            size = stream.tell()
    except OSError as error:
        raise SourceFileError(f"cannot be read ({error.strerror})", file=path) from None
    if size == 0:
        raise SourceFileError("is empty at its source", file=name, hint="Check its url")
    return PinnedFile(digest, size)


def changed_files(study: Study, files: Mapping[str, PinnedFile]) -> list[CellResponseError]:
    """Name each file that is not the one that was pinned, with what it was and what it is."""
    problems: list[CellResponseError] = []
    for place, file in enumerate(study.manifest.files):
        found = files[file.name]
        for key, before, now in (
            ("sha256", file.sha256, found.sha256),
            ("bytes", file.bytes, found.bytes),
        ):
            if before is not None and before != now:
                problems.append(
                    SourceFileError(
                        f"{file.name} has changed at its source: pinned is {key} {before}, and "
                        f"{file.url} gives {now}",
                        file=f"{study.study_id}/study.yaml",
                        column=f"files.{place}.{key}",
                        hint="Look at what changed; to take the new file, set `status: metadata`, "
                        "remove its sha256 and bytes, and pin again",
                    )
                )
                break
    return problems
