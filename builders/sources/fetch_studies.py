"""Fetch the source files of all studies of a build, and check them, before any is built."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from cellresponse.builders.progress import Report
from cellresponse.builders.sources.fetch import fetch
from cellresponse.curation.study import Study
from cellresponse.schema.errors import CellResponseError, raise_all

__all__ = ["fetch_all"]

AT_ONCE = 4  # transfers side by side; public servers throttle clients that open more


def fetch_all(
    studies: Sequence[Study], *, cache: Path, mirror: Path | None, report: Report
) -> dict[str, dict[str, Path]]:
    """Fetch every file of the studies.

    Parameters
    ----------
    studies
        Studies with pinned files.
    cache, mirror, report
        As in `build`.

    Returns
    -------
    dict
        Local path by study and manifest name.

    Raises
    ------
    SourceFileError, StorageError, Problems
        Every file that cannot be had or is not the pinned one.
    """
    files = [(study.study_id, file) for study in studies for file in study.manifest.files]
    total = sum(file.bytes or 0 for _, file in files)
    found: dict[str, dict[str, Path]] = {study.study_id: {} for study in studies}
    problems: list[CellResponseError] = []
    done = 0
    if files:
        report(f"fetching and checking {len(files)} files, {total:,} bytes")
    with ThreadPoolExecutor(AT_ONCE) as pool:
        futures = {
            pool.submit(fetch, file, study_id=study, cache=cache, mirror=mirror): (study, file)
            for study, file in files
        }
        for future in as_completed(futures):
            study, file = futures[future]
            try:
                found[study][file.name] = future.result()
            except CellResponseError as error:
                problems.append(error)
            done += file.bytes or 0
            report("", done=done, total=total)
    raise_all(sorted(problems, key=str))
    return found
