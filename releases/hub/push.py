"""Publish a release on the Hub."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cellresponse.releases.canonical import file_sha256
from cellresponse.releases.hub.repo import MAIN, HubRepo, Refs
from cellresponse.releases.hub.shared_index import edit_shared_index, index_at
from cellresponse.releases.hub.trouble import NotThere, PassingTrouble, Report, persist, silent
from cellresponse.releases.hub.upload import Plan, branch_of, plan_upload, upload
from cellresponse.releases.layout import DESCRIPTOR, ROOT
from cellresponse.releases.root import NamedFile, named_files, read_root
from cellresponse.releases.verify import verify
from cellresponse.schema.errors import HubError, ReleaseError

__all__ = ["Pushed", "push", "push_lines"]


@dataclass(frozen=True)
class Pushed:
    """What a push did, or would do.

    Attributes
    ----------
    release, repo
        What was pushed, and where to.
    files, bytes, commits
        Sent by the last attempt: files, their bytes, and the commits of them.
    unchanged
        Files that the repository had already.
    published
        The release stood there already, with the same content.
    dry
        Nothing was sent.
    """

    release: str
    repo: str
    files: int
    bytes: int
    commits: int
    unchanged: int
    published: bool
    dry: bool


def push(
    folder: str | Path, repo: str, *, dry_run: bool = False, report: Report = silent
) -> Pushed:
    """Publish a release folder as a tag of a dataset repository.

    The folder is verified first. The repository is created where there is none. Files go
    up by content: what the repository has is not sent again. The tag is set last. A push
    that was cut goes on where it stopped when it is run again.

    Parameters
    ----------
    folder
        The release.
    repo
        `ORG/NAME` on the Hub.
    dry_run
        Send nothing, and say what would be sent; without a connection, as if the
        repository were empty.
    report
        Receives progress, line by line.

    Returns
    -------
    Pushed

    Raises
    ------
    ReleaseError, Problems
        The folder is not a whole, right release.
    HubError
        The Hub refuses or cannot be reached, or its tag holds another content.
    """
    folder = Path(folder)
    hub = HubRepo(repo)
    report(f"verifying {folder}")
    if verify(folder).partial:
        raise ReleaseError(
            "is a part of a release that was pulled", file=folder, hint="Push the whole release"
        )
    root = read_root(folder)
    files = _all_files(folder, root)
    if dry_run:
        return _rehearse(hub, root["release"], folder, files, report)
    pushed = persist(lambda: _push_once(hub, root["release"], folder, files, report), report)
    edit_shared_index(
        hub, lambda index: index.with_release(root["release"]), f"List {root['release']}", report
    )
    return pushed


def _all_files(folder: Path, root: dict[str, Any]) -> list[NamedFile]:
    own = [
        NamedFile(name, file_sha256(folder / name), (folder / name).stat().st_size)
        for name in (DESCRIPTOR, ROOT)
    ]
    return [*named_files(folder, root).values(), *own]


def _push_once(
    hub: HubRepo, release: str, folder: Path, files: list[NamedFile], report: Report
) -> Pushed:
    refs = hub.refs()
    if refs is None:
        report(f"creating {hub.name}")
        hub.create()
        refs = hub.refs()
        if refs is None:
            raise PassingTrouble("the new repository is not there yet", file=hub.name)
    index_at(hub, refs).with_release(release)  # refuses an alias's name, before anything is sent
    published = _is_published(hub, refs, release, folder)
    plan = Plan(unchanged=len(files))
    if not published:
        report(f"uploading to {hub.name}")
        plan = upload(hub, refs, release, folder, files)
    if not published or branch_of(release) in refs.branches:
        hub.drop_branch(branch_of(release))
    return _pushed(hub, release, plan, published=published, dry=False)


def _is_published(hub: HubRepo, refs: Refs, release: str, folder: Path) -> bool:
    """Tell whether the tag stands with the same content; refuse where it has another."""
    commit = refs.tags.get(release)
    if commit is None:
        return False
    try:
        there = hub.cached(ROOT, commit, again=True).read_bytes()
    except NotThere:
        there = b""
    if there != (folder / ROOT).read_bytes():
        raise HubError(
            "is published already with another content, and nothing published is ever rewritten",
            file=f"{hub.name}: {release}",
            hint="Give the release another name; if the published one is wrong, retract it",
        )
    return True


def _rehearse(
    hub: HubRepo, release: str, folder: Path, files: list[NamedFile], report: Report
) -> Pushed:
    try:
        refs = hub.refs()
        published = refs is not None and _is_published(hub, refs, release, folder)
        branch = branch_of(release)
        head = None if refs is None else refs.branches.get(branch, refs.branches.get(MAIN))
        there = {} if head is None else hub.tree(head)
    except PassingTrouble as trouble:
        report(f"{trouble.problem}: counted as if {hub.name} were empty")
        published, there = False, {}
    plan = Plan(unchanged=len(files)) if published else plan_upload(folder, files, there)
    return _pushed(hub, release, plan, published=published, dry=True)


def _pushed(hub: HubRepo, release: str, plan: Plan, *, published: bool, dry: bool) -> Pushed:
    return Pushed(
        release=release,
        repo=hub.name,
        files=plan.files,
        bytes=plan.bytes,
        commits=len(plan.batches),
        unchanged=plan.unchanged,
        published=published,
        dry=dry,
    )


def push_lines(pushed: Pushed) -> list[str]:
    """Write what a push did as text."""
    place = f"{pushed.repo} at {pushed.release}"
    if pushed.published:
        return [f"{place} is published already with this content"]
    verb = "would send" if pushed.dry else "sent"
    return [
        f"{verb} {pushed.files:,} files, {pushed.bytes:,} bytes, in {pushed.commits} commits to "
        f"{place}; {pushed.unchanged:,} files were there",
    ]
