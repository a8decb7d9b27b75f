"""Complete a study's `samples.csv` with the samples that GEO lists."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable

from cellresponse.builders.contribute.geo import GeoSample, is_series, read_series
from cellresponse.builders.contribute.scaffold_samples import sample_rows, samples_text
from cellresponse.builders.contribute.study_folder import replace_file
from cellresponse.builders.progress import Report
from cellresponse.curation.leftovers import PLACEHOLDER
from cellresponse.curation.study import Study
from cellresponse.schema.errors import SourceFileError

__all__ = ["complete_samples"]

GSM = re.compile(r"GSM[0-9]+")


def complete_samples(
    study: Study, report: Report, wait: Callable[[float], None]
) -> tuple[str, ...]:
    """Add the samples of GEO that the study's folder does not name anywhere.

    A sample that stays out is named under `notes:`, so that it is left out on purpose.

    Parameters
    ----------
    study
        The study. One that is ready has a list that a curator saw, and keeps it.
    report
        Told where GEO's list cannot be read; the study's own then stands.
    wait
        As in `cellresponse.builders.sources.fetch.fetch_url`.

    Returns
    -------
    GSMs of the rows that were added to `samples.csv`, with TODO for a curator to fill in.
    """
    if study.manifest.status == "ready" or not is_series(study.study_id):
        return ()
    try:
        series = read_series(study.study_id, wait=wait)
    except SourceFileError as error:
        report(f"warning: the sample list is not compared with GEO's: {error}")
        return ()
    table = study.folder / "samples.csv"
    texts = [path.read_text("utf-8-sig") for path in (study.folder / "study.yaml", table)]
    named = {gsm for text in texts for gsm in GSM.findall(text)}
    new = [sample for sample in series.samples if sample.gsm not in named]
    if new:
        taken = set(study.samples["sample_id"])
        rows = sample_rows(new, lambda sample: _file_of(study, sample), taken)
        replace_file(table, _with_rows(texts[1], rows))
    return tuple(sample.gsm for sample in new)


def _file_of(study: Study, sample: GeoSample) -> str:
    """The matrix that names the sample, else the only one that names none."""
    matrices = study.manifest.matrices()
    own = [name for name in matrices if sample.gsm in GSM.findall(name)]
    shared = [name for name in matrices if not GSM.search(name)]
    found = own or shared
    return found[0] if len(found) == 1 else PLACEHOLDER


def _with_rows(text: str, rows: list[dict[str, str]]) -> str:
    reader = csv.DictReader(io.StringIO(text))
    old = [{key.strip(): value for key, value in row.items()} for row in reader]
    columns = [column.strip() for column in reader.fieldnames or ()]
    wanted = dict.fromkeys([*columns, *(column for row in rows for column in row)])
    return samples_text([*old, *rows], list(wanted))
