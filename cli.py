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
from cellresponse.schema.tracks import SPLITS, TRACKS

if TYPE_CHECKING:
    from cellresponse.builders.progress import Report
    from cellresponse.releases.index import ReleaseIndex

HERE = Path(__file__).parent

OPTIONAL = (
    *("annbatch", "bbknn", "distributed", "harmonypy", "openai", "peft", "plotly", "safetensors"),
    *("scanpy", "scib_metrics", "sklearn", "threadpoolctl", "torch", "transformers", "umap"),
)
"""What our extras import; `make demo` does not install them."""


SEED = click.IntRange(0, 2**32 - 1)  # what NumPy and scikit-learn take


class Command(click.Command):
    """A command whose user's mistakes end as one clear error and exit code 1."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a traceback is left to mistakes of the program."""
        try:
            return super().invoke(ctx)
        except CellResponseError as error:
            say(f"error: {error}")
            ctx.exit(1)
        except ModuleNotFoundError as error:
            package = str(error.name).partition(".")[0]
            if package not in OPTIONAL:
                raise
            name = ctx.command_path.removeprefix(ctx.find_root().command_path).strip()
            say(f"error: `{name}` needs {package}, which is not installed. Install it: make env.")
            ctx.exit(1)
        except KeyboardInterrupt:
            say("stopped; run the same command again to go on from what is finished")
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


def repo_option(*, required: bool = False) -> Callable[[Any], Any]:
    """Name a dataset repository on the Hub."""
    return click.option(
        "--repo", metavar="ORG/NAME", required=required, help="Dataset repository on the Hub."
    )


index_option = _folder_option(
    "--index",
    default=HERE / "releases" / "index.yaml",
    show_default="the package's own",
    help="Index file to read or change, where no --repo is named.",
)
seed_option = click.option(
    "--seed", type=SEED, default=0, show_default=True, help="Of all that is drawn."
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
    from cellresponse.releases.processes import start_server
    from cellresponse.releases.specs import load_spec

    spec = load_spec(release)
    if options["workers"] > 1:
        start_server("cellresponse.builders.study_worker")  # it imports while this process does
    from cellresponse.builders.build import BuildOptions, build
    from cellresponse.releases.info import summarise

    with _progress() as report:
        built = build(spec, BuildOptions(**options), report)
    _show(summarise(built), as_json)
    say(f"verified: {built.folder}")


@command("verify")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Processes that check the studies; worth it from some million cells.",
)
@json_option
def verify_command(folder: Path, workers: int, as_json: bool) -> None:
    """Re-read every byte and every reference of a release."""
    from dataclasses import asdict

    from cellresponse.releases.verify import verify

    found = verify(folder, workers=workers)
    if as_json:
        click.echo(json.dumps(asdict(found), indent=2))
    else:
        click.echo(
            f"{found.release} is right: {found.files} files, {found.bytes:,} bytes, "
            f"{found.studies} studies, {found.cells:,} cells, {found.labels:,} label rows\n"
            f"content hash {found.content_hash}"
            if not found.partial
            else f"a part of {found.release} was pulled, and what is there is right: "
            f"{found.files} files, {found.bytes:,} bytes; the rest was not looked at"
        )


@command("diff")
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@json_option
def diff_command(old: Path, new: Path, as_json: bool) -> None:
    """Show what changed from release OLD to release NEW."""
    from cellresponse.releases.diff import compare, diff_lines
    from cellresponse.releases.release import load

    found = compare(load(old), load(new))
    click.echo(json.dumps(found, indent=2) if as_json else "\n".join(diff_lines(found)))


@command("info")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--tasks", is_flag=True, help="Instead, every task with the class counts of its folds."
)
@json_option
def info_command(folder: Path, tasks: bool, as_json: bool) -> None:
    """Summarise a release: studies, cells and labels, counted per step and reason."""
    from cellresponse.releases.info import summarise
    from cellresponse.releases.release import load
    from cellresponse.releases.task_summary import fold_lines, list_splits

    if tasks:
        splits = list_splits(load(folder))
        click.echo(json.dumps(splits, indent=2) if as_json else "\n".join(fold_lines(splits)))
    else:
        _show(summarise(load(folder)), as_json)


@command("shuffle")
@click.argument("folder", type=click.Path(path_type=Path))
@_folder_option("--out", show_default="FOLDER.shuffled", help="Folder to make.")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Of the shuffle.")
def shuffle_command(folder: Path, out: Path | None, seed: int) -> None:
    """Copy a release into annbatch's pre-shuffled layout, for training that reads faster."""
    from cellresponse.releases.layout import shown
    from cellresponse.releases.loading.shuffle import shuffle
    from cellresponse.releases.release import load

    release = load(folder)
    out = out or release.folder.with_name(f"{release.folder.name}.shuffled")
    cells = shuffle(release, out, seed=seed)
    click.echo(f"shuffled {cells:,} cells into {shown(out)}")


@command("push")
@click.argument("folder", type=click.Path(path_type=Path))
@repo_option(required=True)
@click.option("--dry-run", is_flag=True, help="Send nothing; print files, bytes and commits.")
@json_option
def push_command(folder: Path, repo: str, dry_run: bool, as_json: bool) -> None:
    """Verify a release and publish it on the Hub, as a tag that never changes.

    FOLDER may also be a results folder of `benchmark` with its report; it becomes the
    addendum RELEASE-bench.N. A push that was cut goes on where it stopped.
    """
    from dataclasses import asdict

    from cellresponse.releases.hub.push import push, push_lines

    _limit_waiting()
    with _progress() as report:
        if (folder / "manifest.json").is_file():
            from cellresponse.baselines.report.publish import publish

            pushed = publish(folder, repo, dry_run=dry_run, report=report)
        else:
            pushed = push(folder, repo, dry_run=dry_run, report=report)
    click.echo(json.dumps(asdict(pushed), indent=2) if as_json else "\n".join(push_lines(pushed)))


@command("pull")
@click.argument("release")
@repo_option(required=True)
@_folder_option("--to", required=True, help="Becomes the folder of the release.")
@click.option("--study", multiple=True, help="Just this study; may be given several times.")
@click.option("--drug", help="Just the studies that have labels of this treatment.")
@click.option("--response", help="Just the studies that have labels with this response.")
@click.option("--tables-only", is_flag=True, help="No matrices.")
@json_option
def pull_command(release: str, repo: str, to: Path, as_json: bool, **part: Any) -> None:
    """Copy RELEASE, or a part of it, from the Hub, and check every file's sha256.

    What is there and right is not fetched again. RELEASE is a name or an alias.
    """
    from dataclasses import asdict

    from cellresponse.releases.hub.part import Part
    from cellresponse.releases.hub.pull import pull, pull_lines

    _limit_waiting()
    with _progress() as report:
        pulled = pull(release, repo, to, Part(**part), report)
    click.echo(json.dumps(asdict(pulled), indent=2) if as_json else "\n".join(pull_lines(pulled)))


@main.group("release")
def release_group() -> None:
    """List releases, say what `latest` stands for, retract one."""


@release_group.command("list", cls=Command)
@repo_option()
@index_option
@json_option
def release_list_command(repo: str | None, index: Path, as_json: bool) -> None:
    """List the published releases, their aliases and retractions."""
    from cellresponse.releases.index import index_lines

    found = _edit_index(repo, index, None, "")
    click.echo(
        found.model_dump_json(indent=2, exclude_none=True)
        if as_json
        else "\n".join(index_lines(found))
    )


@release_group.command("alias", cls=Command)
@click.argument("alias")
@click.argument("release")
@repo_option()
@index_option
def release_alias_command(alias: str, release: str, repo: str | None, index: Path) -> None:
    """Let ALIAS, such as latest or stable, stand for RELEASE."""
    _edit_index(
        repo, index, lambda found: found.with_alias(alias, release), f"{alias} is {release}"
    )
    click.echo(f"{alias} stands for {release}")


@release_group.command("retract", cls=Command)
@click.argument("release")
@click.option("--reason", required=True, help="Why it should not be used any more.")
@click.option("--replaced-by", metavar="RELEASE", help="What to use instead.")
@repo_option()
@index_option
def release_retract_command(
    release: str, reason: str, replaced_by: str | None, repo: str | None, index: Path
) -> None:
    """Warn everyone who opens RELEASE; the release itself stays as it is."""
    from cellresponse.releases.index import Retraction

    retraction = Retraction.today(reason, replaced_by)
    found = _edit_index(
        repo, index, lambda found: found.with_retraction(release, retraction), f"Retract {release}"
    )
    click.echo(found.warning(release))


def _edit_index(
    repo: str | None,
    path: Path,
    edit: Callable[[ReleaseIndex], ReleaseIndex] | None,
    message: str,
) -> ReleaseIndex:
    """Read and change the index of a repository, or of a checkout where none is named."""
    if repo is not None:
        from cellresponse.releases.hub.repo import HubRepo
        from cellresponse.releases.hub.shared_index import edit_shared_index, shared_index

        _limit_waiting()
        hub = HubRepo(repo)
        return shared_index(hub) if edit is None else edit_shared_index(hub, edit, message, say)
    from cellresponse.releases.index import read_index

    found = read_index(path)
    if edit is not None:
        found = edit(found)
        found.write(path)
        say(f"changed {path}")
    return found


def _limit_waiting() -> None:
    from cellresponse.releases.hub.repo import limit_waiting

    limit_waiting()


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
@click.option("--until", type=int, metavar="YEAR", help="Published in that year or earlier.")
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


@main.group("models")
def models_group() -> None:
    """List, check, compare, fetch or train foundation models."""


weights_home_option = _folder_option(
    "--weights",
    default=lambda: _cache_folder() / "models",
    show_default="models/ in the user's cache folder",
    help="Folder with one folder of weights a model.",
)


@models_group.command("list", cls=Command)
@weights_home_option
@json_option
def models_list_command(weights: Path, as_json: bool) -> None:
    """List the models: size, input, licence, where the weights live, whether they are here."""
    from cellresponse.baselines.weights import list_lines, list_models

    records = list_models(weights)
    click.echo(json.dumps(records, indent=2) if as_json else "\n".join(list_lines(records)))


@models_group.command("check", cls=Command)
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--model", help="Name of the model. [default: told by the keys]")
def models_check_command(path: Path, model: str | None) -> None:
    """Load the weights at PATH strictly and say what they are; executes nothing in them."""
    from cellresponse.baselines.weights import check_weights

    click.echo(check_weights(path, model))


@models_group.command("golden", cls=Command)
@click.argument("folder", type=click.Path(path_type=Path))
@_folder_option("--files", help="Folder with the models' vocabulary files, to compare tokens.")
def models_golden_command(folder: Path, files: Path | None) -> None:
    """Compare the models with the golden numbers in FOLDER, outputs of the official code."""
    from cellresponse.baselines.golden.run import run_golden

    passed = True
    for result in run_golden(folder, files):
        click.echo("\n".join(result.lines()))
        passed = passed and result.passed
    if not passed:
        click.get_current_context().exit(1)


@models_group.command("fetch", cls=Command)
@click.argument("name")
@_folder_option(
    "--to", show_default="models/NAME in the user's cache folder", help="Folder for the files."
)
@_folder_option(
    "--cache", default=_cache_folder, show_default="the user's cache folder", help="Downloads."
)
def models_fetch_command(name: str, to: Path | None, cache: Path) -> None:
    """Get the files of the model NAME from where its authors host them."""
    from cellresponse.baselines.weights import fetch_weights

    with _progress() as report:
        folder = fetch_weights(name, to or _cache_folder() / "models" / name, cache, report)
    click.echo(f"the files of {name} are in {folder}; now `models check {folder}`")


@models_group.command("pretrain", cls=Command)
@click.option("--model", required=True, help="geneformer or scgpt.")
@click.option("--size", type=click.Choice(["tiny", "published"]), default="tiny", show_default=True)
@_folder_option("--release", required=True, help="Folder or name of a release.")
@_folder_option("--out", required=True, help="Folder to make: weights, vocabulary, card.")
@click.option("--cells", type=click.IntRange(min=20), default=2000, show_default=True)
@click.option("--steps", type=click.IntRange(min=1), default=400, show_default=True)
@click.option("--batch-size", type=click.IntRange(min=1), default=16, show_default=True)
@click.option("--learning-rate", type=float, default=5e-3, show_default=True)
@seed_option
@click.option("--device", default="cpu", show_default=True, help="Of torch, such as cuda.")
def models_pretrain_command(model: str, release: Path, out: Path, **options: Any) -> None:
    """Train a small model on cells of a release, without labels, with its own objective."""
    from cellresponse.baselines.pretrain.run import PretrainOptions, pretrain

    with _progress() as report:
        folder = pretrain(model, release, out, PretrainOptions(**options), report)
    click.echo((folder / "README.md").read_text(encoding="utf-8"), nl=False)


@command("embed")
@click.option("--model", required=True, help="Name of the model; NAME@random has random weights.")
@_folder_option("--release", required=True, help="Folder or name of a release.")
@_folder_option(
    "--weights",
    show_default="models/NAME in the user's cache folder",
    help="Folder or file of weights; for NAME@random the folder of the vocabulary.",
)
@_folder_option("--out", required=True, help="Parquet file to write: cell_id, embedding.")
@click.option("--device", help="cpu, cuda or cuda:N. [default: a GPU where there is one]")
@click.option(
    "--dtype",
    type=click.Choice(["float32", "bfloat16"]),
    help="Of the arithmetic. [default: bfloat16 on a GPU, else float32]",
)
@click.option(
    "--batch-tokens",
    type=click.IntRange(min=1),
    help="Most tokens of a batch. [default: the model's on a CPU; 131,072 on a GPU]",
)
@click.option("--as-published", is_flag=True, help="As scDrugMap's code, faults included.")
@_folder_option("--orthologs", help="Table gene_id, human_gene_id, human_gene_name, one to one.")
@click.option("--scheduler", metavar="ADDRESS", help="Dask scheduler to embed with.")
def embed_command(
    model: str,
    release: Path,
    weights: Path | None,
    out: Path,
    scheduler: str | None,
    **options: Any,
) -> None:
    """Embed the cells of a release. A run that was killed goes on; torchrun divides it."""
    from cellresponse.baselines.embed.options import EmbedOptions
    from cellresponse.baselines.embed.run import embed_release

    home = weights or _cache_folder() / "models" / model.partition("@")[0]
    with _progress() as report:
        embed_release(
            release,
            model,
            home,
            out,
            options=EmbedOptions(**options),
            scheduler=scheduler,
            report=report,
        )


@command("benchmark")
@click.option("--release", required=True, help="Folder or name of a release.")
@click.option("--track", required=True, type=click.Choice(TRACKS), help="Track of the benchmark.")
@click.option("--by", required=True, help="Kind of category, such as cancer or regimen.")
@click.option("--category", help="One category only.")
@click.option("--drug", help="One treatment only (drug_id).")
@click.option(
    "--models",
    default="",
    metavar="A,B",
    help="Comparators (majority, batch_only, depth_only, line_only, logistic_regression, "
    "random_forest, svc, mlp, naive_bayes), prompts (prompt-top10, prompt-top100, "
    "prompt-chain-of-thought), models (see `models list`); NAME@random has random weights. "
    "[default: all comparators]",
)
@click.option(
    "--strategy",
    type=click.Choice(["frozen", "lora"]),
    default="frozen",
    show_default=True,
    help="A head on frozen embeddings, or adapters and a head.",
)
@click.option(
    "--split",
    "splits",
    multiple=True,
    type=click.Choice(SPLITS),
    help="What lies on one side only; may be repeated. [default: every possible one]",
)
@click.option("--stars", "--confidence", type=click.IntRange(1, 3), help="Fewest stars.")
@click.option("--shots", type=click.IntRange(min=1), help="Labelled cells of the target.")
@click.option("--harmony", is_flag=True, help="Correct features by batch, without labels.")
@click.option(
    "--as-published",
    is_flag=False,
    flag_value="all",
    default="",
    metavar="[FAULT,...]",
    help="Reproduce faults of the published code: all, or those named.",
)
@_folder_option("--weights", help="Folder with one folder of weights a model.")
@click.option("--rank", type=click.IntRange(min=1), default=8, show_default=True, help="Of LoRA.")
@click.option("--prompt-model", help="Language model that prompt-* ask. [default: GPT-4o-mini]")
@click.option("--prompt-url", help="Endpoint that speaks OpenAI's protocol. [default: OpenAI's]")
@click.option("--most-dollars", type=click.FloatRange(min=0), help="Ask nothing above this cost.")
@click.option("--class-weight", is_flag=True, help="Let both classes weigh the same in training.")
@click.option(
    "--patience",
    type=click.IntRange(min=0),
    help="Stop when more than so many epochs in a row bring nothing.",
)
@click.option("--device", default="cpu", show_default=True, help="Of torch, such as cuda.")
@seed_option
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=lambda: os.cpu_count() or 1,
    show_default="number of cores",
    help="Processes.",
)
@_folder_option("--submit", help="Score these predictions instead of running models.")
@_folder_option("--out", required=True, help="Results folder; what is there is kept.")
def benchmark_command(
    release: str, out: Path, submit: Path | None, models: str, as_published: str, **options: Any
) -> None:
    """Run models and comparators on the tasks of a release, or score submitted predictions."""
    from cellresponse.baselines.benchmark import submit as submission
    from cellresponse.baselines.benchmark.faults import chosen_faults
    from cellresponse.baselines.benchmark.options import make_options
    from cellresponse.baselines.benchmark.run import benchmark
    from cellresponse.baselines.benchmark.summary import summary_lines
    from cellresponse.releases.release import load

    chosen = make_options(
        models=tuple(filter(None, models.split(","))),
        as_published=chosen_faults(filter(None, as_published.split(","))),
        **options,
    )
    opened = load(release)
    if submit is not None:
        results = submission.submit(opened, chosen, submit, out)
    else:
        with _progress() as report:
            results = benchmark(opened, chosen, out, report)
    click.echo("\n".join(summary_lines(results, out)))
    click.echo(f"Results are in {out}; next: python cli.py report --results {out}", err=True)


@command("case")
@click.argument("name", required=False)
@click.option("--release", help="Folder or name of a release.")
@_folder_option("--cells", help="h5ad file of cells that no release holds.")
@seed_option
@_folder_option("--out", help="Folder for scores, genes and a page.")
@curation_option
def case_command(name: str | None, release: str | None, out: Path | None, **options: Any) -> None:
    """Run the case study NAME; without a name, list them."""
    from cellresponse.baselines.cases.recipe import recipes
    from cellresponse.baselines.cases.run import case_lines, run_case
    from cellresponse.releases.release import load

    if name is None:
        click.echo("\n".join(f"{key}: {recipe.title}" for key, recipe in recipes().items()))
        return
    if release is None or out is None:
        raise click.UsageError("a case study needs --release and --out")
    click.echo("\n".join(case_lines(run_case(name, load(release), out, **options))))


@command("predict")
@click.argument("cells", type=click.Path(path_type=Path))
@click.option("--drug", required=True, help="Treatment, by id, name or synonym.")
@click.option("--release", required=True, help="Folder or name of the release to learn from.")
@click.option("--model", default="expression", show_default=True, help="Features of the head.")
@_folder_option("--weights", help="Folder of the model's weights.")
@_folder_option("--heads", help="Folder of trained heads. [default: in the user's cache folder]")
@click.option("--device", default="cpu", show_default=True, help="Of torch, such as cuda.")
@seed_option
@_folder_option("--out", required=True, help="Parquet file; a map is written beside it as HTML.")
def predict_command(cells: Path, release: str, heads: Path | None, **options: Any) -> None:
    """Predict the response of the CELLS of an h5ad file of raw counts to a drug."""
    from cellresponse.baselines.predict.run import predict, prediction_lines
    from cellresponse.releases.release import load

    with _progress() as report:
        found = predict(
            cells,
            load(release),
            heads=heads or _cache_folder() / "heads",
            report=report,
            **options,
        )
    click.echo("\n".join(prediction_lines(found)))


@command("report")
@_folder_option("--results", required=True, help="Results folder of `benchmark`.")
@_folder_option("--out", help="Folder for the page and its tables. [default: the results folder]")
def report_command(results: Path, out: Path | None) -> None:
    """Write one HTML page about benchmark results, and the table behind each figure."""
    from cellresponse.baselines.report.page import report

    with _progress() as told:
        page = report(results, out, told)
    click.echo(page)


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
