"""Open the source files of a study, match their barcodes, map their features."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from cellresponse.builders.axis_rows import AxisMap
from cellresponse.builders.genes import GeneAxis, map_features
from cellresponse.builders.match import Matched, match_barcodes
from cellresponse.builders.read import CountSource, Features, open_counts
from cellresponse.builders.sources.archives import unpack
from cellresponse.curation.study import Study
from cellresponse.schema.errors import EvidenceError, SourceFileError

__all__ = ["axis_maps", "no_genes", "open_sources"]


def open_sources(
    study: Study, paths: Mapping[str, Path], scratch: Path
) -> tuple[list[str], list[CountSource], list[Matched]]:
    """Open every count matrix of a study and match its barcodes.

    Parameters
    ----------
    study
        The study.
    paths
        Local path of each of its files by manifest name.
    scratch
        Folder for members of archives.

    Returns
    -------
    names, sources, matched
        Manifest names, sorted; the open files; their barcodes' samples.

    Raises
    ------
    CellResponseError
        A file cannot be read, holds no cells, or does not fit the study's samples.
    """
    unpacked = _unpacked(study, paths, scratch)
    names, sources, matched = [], [], []
    for name, matrix in sorted(study.manifest.matrices().items()):
        companions = _companions(name, paths, unpacked)
        source = open_counts(
            matrix.reader,
            companions[name],
            name=f"{study.study_id}/{name}",
            options=matrix.options,
            companions=companions,
        )
        if not source.barcodes:
            raise SourceFileError("the file holds no cells", file=source.name)
        names.append(name)
        sources.append(source)
        matched.append(match_barcodes(study, name, source.barcodes, matrix.barcodes, companions))
    if not names:
        raise EvidenceError(
            "no file of the study holds counts", file=f"{study.study_id}/study.yaml"
        )
    return names, sources, matched


def _unpacked(study: Study, paths: Mapping[str, Path], scratch: Path) -> dict[str, dict[str, Path]]:
    """Unpack the wanted members of each archive: archive to member to local path."""
    return {
        file.name: unpack(
            paths[file.name],
            [member.name for member in file.members],
            scratch / "unpacked" / hashlib.sha256(file.name.encode()).hexdigest()[:12],
            name=f"{study.study_id}/{file.name}",
        )
        for file in study.manifest.files
        if file.members
    }


def _companions(
    matrix: str, paths: Mapping[str, Path], unpacked: Mapping[str, Mapping[str, Path]]
) -> dict[str, Path]:
    """Name the files that a matrix may refer to.

    A member goes by `archive/member`; by its own name for the matrices of its archive, and for
    others where no second archive has that name: archives of one series often hold the same names.
    """
    times = Counter(member for members in unpacked.values() for member in members)
    found: dict[str, Path] = {}
    for archive, members in unpacked.items():
        own = matrix.startswith(f"{archive}/")
        found |= {member: p for member, p in members.items() if own or times[member] == 1}
        found |= {f"{archive}/{member}": path for member, path in members.items()}
    return found | dict(paths)


def axis_maps(sources: list[CountSource], axis: GeneAxis) -> list[AxisMap]:
    """Map the features of each file; files with the same features share its arrays."""
    known: list[tuple[Features, AxisMap]] = []
    maps = []
    for source in sources:
        found = next((made for features, made in known if features == source.features), None)
        if found is None:
            found = AxisMap.of(map_features(source.features, axis), axis)
            known.append((source.features, found))
        maps.append(replace(found, file=source.name))
    return maps


def no_genes(source: CountSource, axis: GeneAxis) -> SourceFileError:
    """Say that no feature of a file is a gene of the organism."""
    return SourceFileError(
        f"none of its {len(source.features.ids):,} features is a gene of the {axis.organism} "
        "reference",
        file=source.name,
        value=", ".join(source.features.ids[:3]),
        allowed=f"ids or names such as {axis.ids[0]} or {axis.names[-1]}",
        hint="Check the organism of study.yaml, and in the file's options the orientation and the "
        "column of ids; ids with a genome's prefix are not known",
    )
