"""A simulated release to read from: studies of different drugs, built as any release is."""

from __future__ import annotations

from pathlib import Path

from inputs import Inputs, simulate
from ways import ours, remove

DRUGS = (
    "afatinib",
    "axitinib",
    "bosutinib",
    "ceritinib",
    "crizotinib",
    "dabrafenib",
    "dasatinib",
    "docetaxel",
    "erlotinib",
    "gefitinib",
)


def simulated_release(folder: Path, cells: int, studies: int, gtf: Path | None) -> Path:
    """Simulate and build a release, unless it is there.

    Parameters
    ----------
    folder
        For the evidence, the source files while they are needed, and the release.
    cells, studies
        How many; the studies' drugs are those of `DRUGS`, in turn.
    gtf
        Gene reference. None: a synthetic one.

    Returns
    -------
    Path
        The release.
    """
    release = folder / "release" / "bench"
    if not release.exists():
        remove(folder)
        inputs = simulate("sorted", cells, studies, folder, gtf)
        _spread_drugs(inputs)
        ours(inputs, folder / "release", 2)
        remove(folder / "mirror")
        remove(folder / "cache")
    return release


def _spread_drugs(inputs: Inputs) -> None:
    for number, study in enumerate(inputs.studies()):
        samples = inputs.folder / "curation" / study / "samples.csv"
        text = samples.read_text("utf-8")
        samples.write_text(text.replace("synthetic-drug-a", DRUGS[number % len(DRUGS)]), "utf-8")
