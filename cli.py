"""Command line of cellresponse: one thin command a public function."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cellresponse import __version__
from cellresponse.schema.errors import CellResponseError, raise_all

if TYPE_CHECKING:
    from cellresponse.builders.progress import Report

HERE = Path(__file__).parent


class Command(click.Command):
    """A command whose user's mistakes end as one clear error and exit code 1."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a traceback is left to mistakes of the program."""
        try:
            return super().invoke(ctx)
        except CellResponseError as error:
            say(f"error: {error}")
            ctx.exit(1)
        except KeyboardInterrupt:
            say("stopped; finished studies are kept and a later build goes on from there")
            ctx.exit(130)


def say(line: str) -> None:
    """Write a line for people, to stderr."""
    click.echo(line, err=True)


def _cache_folder() -> Path:
    import platformdirs

    named = os.environ.get("CELLRESPONSE_CACHE")
    return Path(named) if named else Path(platformdirs.user_cache_dir("cellresponse"))


def _folder_option(name: str, **more: Any) -> Callable[[Any], Any]:
    return click.option(name, type=click.Path(path_type=Path), **more)


curation_option = _folder_option(
    "--curation",
    default=HERE / "curation",
    envvar="CELLRESPONSE_CURATION",
    show_default="the package's own",
    help="Folder of study folders.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Machine output on stdout.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, package_name="cellresponse")
def main() -> None:
    """Single-cell drug response: rebuild, check, load and benchmark."""


def command(name: str) -> Callable[[Callable[..., Any]], click.Command]:
    """Register a command of `main`."""
    return main.command(name, cls=Command)


@command("validate")
@click.argument("studies", nargs=-1, metavar="[STUDY]...")
@curation_option
@click.option(
    "--report",
    type=click.Choice(["text", "markdown"]),
    default="text",
    show_default=True,
    help="Form of the report on stdout.",
)
@click.option(
    "--against",
    metavar="REF",
    help="Check the studies that differ from this commit, and that their revisions grew.",
)
def validate_command(
    studies: tuple[str, ...], curation: Path, report: str, against: str | None
) -> None:
    """Check study folders and show which labels follow from their evidence.

    Without STUDY, every study is checked.
    """
    from cellresponse.curation.changes import validate_changes
    from cellresponse.curation.validate import report_lines, validate

    markdown = report == "markdown"
    if against is None:
        reports, problems = validate(curation, list(studies))
        lines = report_lines(reports, markdown=markdown)
    else:
        lines, problems = validate_changes(curation, against, list(studies), markdown=markdown)
    click.echo("\n".join(lines))
    raise_all(problems)


@command("build")
@click.option("--release", required=True, help="Name of a spec, or path of a spec file.")
@_folder_option("--out", default=Path("dist"), show_default=True, help="Receives <release>/.")
@_folder_option("--mirror", help="Looked at before the network, as <study>/<file name>.")
@_folder_option("--gtf", help="GTF for the human gene axis, instead of the spec's download.")
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=lambda: os.cpu_count() or 1,
    show_default="number of cores",
    help="Studies built side by side.",
)
@click.option("--scheduler", metavar="ADDRESS", help="Dask scheduler to build on, tcp://HOST:PORT.")
@_folder_option(
    "--cache",
    default=_cache_folder,
    show_default="the user's cache folder",
    help="Downloads, gene indexes, finished studies.",
)
@curation_option
@json_option
def build_command(release: str, as_json: bool, **options: Any) -> None:
    """Build a release from evidence and source files, and verify it."""
    from cellresponse.builders.build import BuildOptions, build
    from cellresponse.releases.info import summarise
    from cellresponse.releases.specs import load_spec

    with _progress() as report:
        built = build(load_spec(release), BuildOptions(**options), report)
    _show(summarise(built), as_json)
    say(f"verified: {built.folder}")


@command("verify")
@click.argument("folder", type=click.Path(path_type=Path))
@json_option
def verify_command(folder: Path, as_json: bool) -> None:
    """Re-read every byte and every reference of a release."""
    from dataclasses import asdict

    from cellresponse.releases.verify import verify

    found = verify(folder)
    if as_json:
        click.echo(json.dumps(asdict(found), indent=2))
    else:
        click.echo(
            f"{found.release} is right: {found.files} files, {found.bytes:,} bytes, "
            f"{found.studies} studies, {found.cells:,} cells, {found.labels:,} label rows\n"
            f"content hash {found.content_hash}"
        )


@command("diff")
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@json_option
def diff_command(old: Path, new: Path, as_json: bool) -> None:
    """Show what changed from release OLD to release NEW."""
    from cellresponse.releases.diff import compare, diff_lines
    from cellresponse.releases.release import load

    found = compare(load(old).root, load(new).root)
    click.echo(json.dumps(found, indent=2) if as_json else "\n".join(diff_lines(found)))


@command("info")
@click.argument("folder", type=click.Path(path_type=Path))
@json_option
def info_command(folder: Path, as_json: bool) -> None:
    """Summarise a release: studies, cells and labels, counted per step and reason."""
    from cellresponse.releases.info import summarise
    from cellresponse.releases.release import load

    _show(summarise(load(folder)), as_json)


@command("studies")
@click.option("--source", help="Source type, such as cell_line or patient_tumour.")
@click.option("--species", help="Organism, such as human.")
@click.option("--drug", help="Drug, by itself or in a regimen; or a regimen `a + b`.")
@click.option("--class", "drug_class", help="Class of drug, such as targeted.")
@click.option("--cancer", help="Cancer type, with all narrower ones.")
@click.option("--basis", help="Basis of labels, such as clinical_response.")
@click.option("--status", help="Status, such as ready.")
@click.option("--stars", type=int, help="A label of at least so many stars.")
@click.option("--since", type=int, metavar="YEAR", help="Published in that year or later.")
@curation_option
@json_option
def studies_command(curation: Path, as_json: bool, **wanted: Any) -> None:
    """List the curated studies, all or those that fit."""
    from cellresponse.curation.catalogue import StudyFilter, catalogue_rows, study_lines, totals
    from cellresponse.curation.validate import validate

    reports, problems = validate(curation)
    rows = StudyFilter(**wanted).apply(catalogue_rows(reports))
    if as_json:
        click.echo(json.dumps({"totals": totals(rows), "studies": rows}, indent=2))
    else:
        click.echo("\n".join(study_lines(rows)))
    raise_all(problems)


@main.group("study")
def study_group() -> None:
    """Start the folder of a study, or pin its files."""


@study_group.command("new", cls=Command)
@click.argument("accession")
@curation_option
def study_new_command(accession: str, curation: Path) -> None:
    """Write a folder to fill in for ACCESSION, from GEO's records where they can be had."""
    from cellresponse.builders.contribute.scaffold import new_study

    made = new_study(accession, curation)
    if made.blank is not None:
        say(f"nothing could be filled in: {made.blank}")
    click.echo(
        f"wrote {made.folder}: {made.samples} samples from GEO, {made.placeholders} fields to "
        f"fill in; then `python cli.py validate {made.folder.name}`"
    )


@study_group.command("pin", cls=Command)
@click.argument("accession")
@_folder_option("--mirror", help="Looked at before the network, as <study>/<file name>.")
@_folder_option(
    "--cache", default=_cache_folder, show_default="the user's cache folder", help="Downloads."
)
@curation_option
def study_pin_command(accession: str, **folders: Any) -> None:
    """Download and check the files of ACCESSION, write their checksums, and make it ready."""
    from cellresponse.builders.contribute.pin import pin_study, pinned_lines

    with _progress() as report:
        pinned = pin_study(accession, report=report, **folders)
    click.echo("\n".join(pinned_lines(pinned)))
    if pinned.added:
        click.get_current_context().exit(1)


def _show(summary: dict[str, Any], as_json: bool) -> None:
    from cellresponse.releases.info import summary_lines

    click.echo(json.dumps(summary, indent=2) if as_json else "\n".join(summary_lines(summary)))


def _plain_line(line: str, *, done: int = 0, total: int = 0) -> None:
    if line:
        say(f"{line} ({done} of {total})" if total else line)


@contextmanager
def _progress() -> Iterator[Report]:
    """A progress bar on a terminal, plain lines elsewhere."""
    if not sys.stderr.isatty():
        yield _plain_line
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True, highlight=False), transient=True) as bar:
        task = bar.add_task("starting", total=None)

        def report(line: str, *, done: int = 0, total: int = 0) -> None:
            if line:
                bar.console.print(line)
                bar.update(task, description=line)
            bar.update(task, completed=done, total=total or None)

        yield report


if __name__ == "__main__":
    main()
