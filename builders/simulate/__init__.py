"""Simulate the studies of the demo release: synthetic counts on real gene ids.

Nothing here was measured. Two studies hold what a build meets in real ones: three
kinds of files and every barcode rule, controls that two drugs share, all stars,
patients, and the usual faults (empty droplets, dying cells, doublets, spike-ins, ids
with versions, retired ids, a tumour whose cells nobody called).
"""

from __future__ import annotations

from pathlib import Path

from cellresponse.builders.genes import GeneAxis
from cellresponse.builders.simulate.expression import Model
from cellresponse.builders.simulate.first_study import write_first_study
from cellresponse.builders.simulate.programme import (
    PROGRAMME_LOG_FOLD_CHANGE,
    RESISTANCE_PROGRAMME,
    Programme,
)
from cellresponse.builders.simulate.second_study import write_second_study
from cellresponse.schema.spec import Simulation
from cellresponse.schema.storage import storage_errors

__all__ = ["PROGRAMME_LOG_FOLD_CHANGE", "RESISTANCE_PROGRAMME", "Programme", "simulate"]

STUDIES = {"SYNTHETIC-1": write_first_study, "SYNTHETIC-2": write_second_study}


def simulate(simulation: Simulation, axis: GeneAxis, folder: Path) -> tuple[Path, Path]:
    """Write the evidence and the source files of the synthetic studies.

    Parameters
    ----------
    simulation
        Seed, and the number of sound cells in each sample. Every sample gets a few
        more barcodes that quality control removes.
    axis
        Human genes; the counts are of all of them. It must hold the planted genes and
        mitochondrial ones.
    folder
        Where to write, made where it is missing. The same simulation and axis give the
        same bytes with the same versions of numpy, HDF5 and zlib, and the same counts
        with the same numpy.

    Returns
    -------
    curation, mirror : Path
        Folder of study folders, and folder of `<study>/<file>`, as a build takes them.

    Raises
    ------
    ReleaseError
        The axis lacks a gene that the simulator needs.
    StorageError
        The folder cannot be written.

    Examples
    --------
    >>> a, b = RESISTANCE_PROGRAMME.values()
    >>> len(a.up), len(a.down), len({*a.up} & {*b.up}), len({*a.down} & {*b.down})
    (18, 12, 10, 6)
    """
    model = Model(simulation.seed, axis)
    curation, mirror = folder / "curation", folder / "mirror"
    with storage_errors(folder):
        for study_id, write in STUDIES.items():
            (curation / study_id).mkdir(parents=True, exist_ok=True)
            (mirror / study_id).mkdir(parents=True, exist_ok=True)
            write(model, simulation, curation / study_id, mirror / study_id)
    return curation, mirror
