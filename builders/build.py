"""Build a release: every study of its spec, verified, and put in place by one rename."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from cellresponse.builders.assemble import assemble
from cellresponse.builders.cohorts.packages import require_packages
from cellresponse.builders.gene_reference import load_axis
from cellresponse.builders.genes import GeneAxis
from cellresponse.builders.progress import Report, silent
from cellresponse.builders.provenance import evidence_checksums, job_fingerprint, source_version
from cellresponse.builders.schedule import run_jobs
from cellresponse.builders.simulate import simulate
from cellresponse.builders.sources.fetch_studies import fetch_all
from cellresponse.builders.study_part import StudyJob
from cellresponse.curation.study import Study, load_study, study_folders
from cellresponse.releases.processes import start_server
from cellresponse.releases.release import Release, load
from cellresponse.releases.standing import refuse_known_other, require_same_content
from cellresponse.releases.verify import verify
from cellresponse.schema.errors import (
    CellResponseError,
    EvidenceError,
    Problems,
    ReleaseError,
    StorageError,
    raise_all,
)
from cellresponse.schema.spec import ReleaseSpec
from cellresponse.schema.storage import storage_errors

__all__ = ["BuildOptions", "build"]

SCRATCH = ".simulated-"


@dataclass(frozen=True)
class BuildOptions:
    """Where a build takes things from and how it runs.

    Attributes
    ----------
    out
        Folder that receives `<release>/`.
    curation
        Folder of study folders.
    cache
        Folder for downloads, gene indexes and finished studies of a build.
    mirror
        Folder that is looked at before the network; None: none.
    gtf
        GTF to use for the human gene axis instead of the spec's download; None: download.
    workers
        Studies built, and then verified, side by side, each in a process; 1: this process.
    scheduler
        Address of a Dask scheduler to run on instead; None: this machine.
    """

    out: Path
    curation: Path
    cache: Path
    mirror: Path | None = None
    gtf: Path | None = None
    workers: int = 1
    scheduler: str | None = None


def build(spec: ReleaseSpec, options: BuildOptions, report: Report = silent) -> Release:
    """Build the release that a spec describes.

    Finished studies are kept in the cache until the release stands, so a build that
    was killed goes on where it stopped. What cannot be finished leaves nothing in `out`.

    Parameters
    ----------
    spec
        What to build.
    options
        Where from, where to, how.
    report
        Receives progress, line by line.

    Returns
    -------
    Release
        The verified release, at `out/<release>`.

    Raises
    ------
    CellResponseError
        The evidence, a source file, the disk or an existing release stands against it.
    """
    require_packages(spec)
    final = options.out / spec.release
    with storage_errors(options.out):
        _require_writable(options.out)
        _require_writable(options.cache)
        if final.exists():
            refuse_known_other(final, spec)
            report(f"{final} stands already: it is left as it is, and other content is refused")
    with (
        _lock(options.cache),
        tempfile.TemporaryDirectory(prefix=SCRATCH, dir=options.cache) as scratch,
    ):
        _remove_leftovers(final, options, Path(scratch))
        if options.workers > 1:
            start_server("cellresponse.builders.study_worker")
        axes = _axes(spec, options, report)
        curation, mirror = options.curation, options.mirror
        if spec.simulation is not None:
            report("simulating the synthetic studies")
            curation, mirror = simulate(spec.simulation, axes["human"], Path(scratch))
        studies = _studies(spec, curation, report)
        jobs = [_job(spec, study, axes[study.manifest.organism], options) for study in studies]
        waiting = [study for study, job in zip(studies, jobs, strict=True) if not job.part.exists()]
        files = fetch_all(waiting, cache=options.cache, mirror=mirror, report=report)
        jobs = [replace(job, files=files.get(job.folder.name, {})) for job in jobs]
        parts = run_jobs(jobs, options.workers, options.scheduler, report)
        with storage_errors(options.out):
            release = _publish(spec, axes, parts, final, options, report)
    for part in parts:
        shutil.rmtree(part, ignore_errors=True)
    return release


def _require_writable(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        pass


@contextmanager
def _lock(cache: Path) -> Iterator[None]:
    """One build with a cache at a time: two would remove each other's finished studies."""
    with (cache / "lock").open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StorageError(
                "another build uses this cache",
                file=cache,
                hint="Wait until it ends, or give another --cache",
            ) from None
        yield


def _remove_leftovers(final: Path, options: BuildOptions, scratch: Path) -> None:
    """A build that was killed leaves hidden folders; none runs now.

    Workers of a cluster outlive the build that was killed, and may still be at work.
    """
    leftovers = [*final.parent.glob(f".{final.name}.*.partial")]
    leftovers += [path for path in options.cache.glob(f"{SCRATCH}*") if path != scratch]
    if options.scheduler is None:
        leftovers += (options.cache / "studies").glob(".*")
    for path in leftovers:
        shutil.rmtree(path, ignore_errors=True)


def _axes(spec: ReleaseSpec, options: BuildOptions, report: Report) -> dict[str, GeneAxis]:
    axes = {}
    for organism, described in spec.organisms.items():
        reference = described.genes
        report(f"{organism} genes: {reference.source} {reference.release}")
        gtf = options.gtf if organism == "human" and reference.url is not None else None
        axes[organism] = load_axis(
            organism, reference, gtf=gtf, cache=options.cache, folder=spec.folder
        )
    return axes


def _studies(spec: ReleaseSpec, curation: Path, report: Report) -> list[Study]:
    """Load the spec's studies; all mistakes of all of them at once."""
    problems: list[CellResponseError] = []
    studies = []
    known = [folder.name for folder in study_folders(curation)]
    for study_id, wanted in sorted(spec.studies.items()):
        try:
            if study_id not in known:
                raise EvidenceError(
                    "there is no such study",
                    file=spec.file,
                    column="studies",
                    value=study_id,
                    allowed=known,
                )
            study = load_study(curation / study_id)
            problems += _unfit(study, wanted.revision, spec)
            studies.append(study)
        except Problems as several:
            problems += several.problems
        except CellResponseError as error:
            problems.append(error)
    raise_all(problems)
    waiting = sorted(set(known) - spec.studies.keys())
    if waiting:
        shown = ", ".join(waiting[:5]) + (", ..." if len(waiting) > 5 else "")
        report(
            f"{len(waiting)} curated studies are not in this release ({shown}); "
            "`studies` lists them with their status"
        )
    return studies


def _unfit(study: Study, revision: int, spec: ReleaseSpec) -> Iterator[CellResponseError]:
    manifest = study.manifest
    file = f"{study.study_id}/study.yaml"
    if manifest.status != "ready":
        yield EvidenceError(
            "a release takes studies that are ready only",
            file=file,
            column="status",
            value=manifest.status,
            hint=manifest.reason or "Pin its files first: python cli.py study pin",
        )
    if manifest.revision != revision:
        yield EvidenceError(
            f"the spec asks for revision {revision}, and the study has",
            file=file,
            column="revision",
            value=manifest.revision,
            hint=f"Update the revision in {spec.file}",
        )
    if spec.studies[study.study_id].units == "batch" and study.samples["batch"].isna().any():
        yield EvidenceError(
            "the spec takes its batches as units, and a sample names none",
            file=f"{study.study_id}/samples.csv",
            column="batch",
            hint=f"Name the batch of every sample, or say `units: study` in {spec.file}",
        )
    if manifest.organism not in spec.organisms:
        yield EvidenceError(
            "the spec has no gene reference for the organism",
            file=file,
            column="organism",
            value=manifest.organism,
            allowed=sorted(spec.organisms),
            hint=f"Add `{manifest.organism}:` under `organisms:` in {spec.file}, "
            "with its `genes:` (a GTF, a GFF3, or a CSV of gene_id, gene_name, contig: `url:`, or "
            "`table:` for a file beside the spec) and its `qc:`",
        )


def _job(spec: ReleaseSpec, study: Study, axis: GeneAxis, options: BuildOptions) -> StudyJob:
    organism = spec.organisms[study.manifest.organism]
    evidence = evidence_checksums(study.folder)
    fingerprint = job_fingerprint(evidence, organism, axis)
    return StudyJob(
        folder=study.folder,
        evidence=evidence,
        organism=organism,
        axis=axis,
        files={},
        part=options.cache / "studies" / f"{study.study_id}-{fingerprint[:16]}",
    )


def _publish(
    spec: ReleaseSpec,
    axes: dict[str, GeneAxis],
    parts: list[Path],
    final: Path,
    options: BuildOptions,
    report: Report,
) -> Release:
    """Assemble beside the final name, verify, rename."""
    partial = final.with_name(f".{final.name}.{os.getpid()}.partial")
    try:
        report("assembling")
        previous = _previous(spec, options.out)
        assemble(spec, axes, parts, partial, previous, source_version(), report)
        report("verifying every byte")
        verify(partial, workers=options.workers)
        if final.exists():
            require_same_content(final, partial)
            report(f"{final} stands already with the same content; it is left as it is")
            shutil.rmtree(partial)
        else:
            os.rename(partial, final)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return load(final)


def _previous(spec: ReleaseSpec, out: Path) -> Release | None:
    if spec.previous is None:
        return None
    folder = out / spec.previous
    if not folder.is_dir():
        raise ReleaseError(
            f"the spec compares counts with {spec.previous}, which is not there",
            file=folder,
            hint=f"Build or pull {spec.previous} into {out} first",
        )
    return load(folder)
