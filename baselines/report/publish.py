"""Publish benchmark results on the Hub, beside the release that they are about."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from cellresponse.baselines.benchmark.addendum import MANIFEST, REPORT, read_results
from cellresponse.baselines.report.page import PAGE
from cellresponse.releases.canonical import file_sha256
from cellresponse.releases.hub.push import Pushed
from cellresponse.releases.hub.repo import HubRepo, Refs
from cellresponse.releases.hub.trouble import PassingTrouble, Report, persist, silent
from cellresponse.releases.hub.upload import Plan, branch_of, plan_upload, upload
from cellresponse.releases.layout import CARD, ROOT
from cellresponse.releases.root import NamedFile
from cellresponse.schema.errors import HubError, ReleaseError

__all__ = ["publish"]


def publish(folder: Path, repo: str, *, dry_run: bool = False, report: Report = silent) -> Pushed:
    """Publish a results folder with its report as the tag `RELEASE-bench.N`.

    N is the next free number; results that are published already get no second one. The
    release must be in the repository, with the content that the results were made on. The
    tag is set last, and a cut push goes on where it stopped.

    Parameters
    ----------
    folder
        Results of `benchmark`, with what `report` wrote.
    repo
        `ORG/NAME` on the Hub.
    dry_run
        Send nothing, and say what would be sent.
    report
        Receives progress, line by line.

    Returns
    -------
    Pushed
        `release` is the tag.

    Raises
    ------
    ReleaseError
        The results are not complete, were changed, or have no report of their own.
    HubError
        The repository does not hold the release, or the Hub refuses or cannot be reached.
    """
    manifest, _ = read_results(folder)
    files = _files(folder, str(manifest["sha256"]), list(manifest["files"]))
    hub = HubRepo(repo)
    if not dry_run:
        return persist(lambda: _publish_once(hub, folder, manifest, files, False, report), report)
    try:
        return _publish_once(hub, folder, manifest, files, True, report)
    except PassingTrouble as trouble:
        release = manifest["release"]
        report(f"{trouble.problem}: counted as if {hub.name} held {release} and no results of it")
        return _sent(hub, f"{release}-bench.1", plan_upload(folder, files, {}), dry=True)


def _files(folder: Path, digest: str, named: list[str]) -> list[NamedFile]:
    card = folder / CARD
    if not card.is_file() or digest not in card.read_text(encoding="utf-8"):
        raise ReleaseError(
            "there is no report of these results",
            file=card,
            hint=f"Run `python cli.py report --results {folder}` first",
        )
    tables = [f"{REPORT}/{path.name}" for path in sorted((folder / REPORT).glob("*.csv"))]
    return [
        NamedFile(name, file_sha256(folder / name), (folder / name).stat().st_size)
        for name in (*named, *tables, PAGE, CARD, MANIFEST)
    ]


def _publish_once(
    hub: HubRepo,
    folder: Path,
    manifest: Any,
    files: list[NamedFile],
    dry_run: bool,
    report: Report,
) -> Pushed:
    refs = hub.refs() or Refs({}, {})
    _require_release(hub, refs, manifest)
    there = _addenda(refs, manifest["release"])
    same = [tag for tag in there.values() if _holds(hub, refs.tags[tag], folder)]
    tag = same[0] if same else f"{manifest['release']}-bench.{max(there, default=0) + 1}"
    branch = branch_of(tag)
    if same:
        if branch in refs.branches and not dry_run:
            hub.drop_branch(branch)
        return Pushed(tag, hub.name, 0, 0, 0, len(files), published=True, dry=dry_run)
    if dry_run:
        head = refs.branches.get(branch)
        plan = plan_upload(folder, files, {} if head is None else hub.tree(head))
    else:
        report(f"uploading to {hub.name}")
        plan = upload(hub, refs, tag, folder, files)
        hub.drop_branch(branch)
    return _sent(hub, tag, plan, dry=dry_run)


def _sent(hub: HubRepo, tag: str, plan: Plan, *, dry: bool) -> Pushed:
    counts = (plan.files, plan.bytes, len(plan.batches), plan.unchanged)
    return Pushed(tag, hub.name, *counts, published=False, dry=dry)


def _require_release(hub: HubRepo, refs: Refs, manifest: Any) -> None:
    name, wanted = manifest["release"], manifest["release_hash"]
    commit = refs.tags.get(name)
    if commit is None:
        raise HubError(
            "does not hold the release that the results are about",
            file=hub.name,
            value=name,
            allowed=sorted(refs.tags) or None,
            hint="Push the release first",
        )
    try:
        there = json.loads(hub.cached(ROOT, commit, again=True).read_bytes())["content"]["hash"]
    except (ValueError, KeyError, TypeError):
        raise PassingTrouble("cannot be read", file=f"{hub.name}: {ROOT} at {name}") from None
    if there != wanted:
        raise HubError(
            "holds another content of the release than the results were made on",
            file=f"{hub.name}: {name}",
            value=wanted,
            allowed=there,
            hint="Run the benchmark on the published release",
        )


def _addenda(refs: Refs, release: str) -> dict[int, str]:
    """Give the addenda that are published: number and tag."""
    form = re.compile(re.escape(release) + r"-bench\.([1-9]\d*)")
    found = ((form.fullmatch(tag), tag) for tag in refs.tags)
    return {int(match[1]): tag for match, tag in found if match}


def _holds(hub: HubRepo, commit: str, folder: Path) -> bool:
    return hub.cached(MANIFEST, commit).read_bytes() == (folder / MANIFEST).read_bytes()
