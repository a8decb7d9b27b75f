"""`index.yaml` on the Hub's `main`: the only file there that ever changes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cellresponse.releases.hub.repo import MAIN, Addition, HubRepo, Refs
from cellresponse.releases.hub.trouble import LOGIN, NotThere, Report, persist, silent
from cellresponse.releases.index import ReleaseIndex, read_index
from cellresponse.releases.layout import CARD, INDEX

__all__ = ["edit_shared_index", "index_at", "published", "shared_index"]

MAIN_CARD = """\
---
pretty_name: cellresponse
license: other
license_name: per-study
tags:
- single-cell
- drug-response
- biology
- zarr
- anndata
---
# cellresponse: single-cell drug response

Every release is a **tag** of this repository, and never changes. This branch holds no data: it
has `index.yaml`, which lists the releases, says what `latest` and `stable` stand for, and which
releases were retracted and why.

```python
import cellresponse

release = cellresponse.load("latest", repo="{repo}")
release.labels()
```

```python
from datasets import load_dataset

labels = load_dataset("{repo}", "labels", revision="RELEASE", split="train")
```

The card of a release, with its studies, their licences, how labels are made and known limits, is
the `README.md` of its tag.
"""


def index_at(repo: HubRepo, refs: Refs) -> ReleaseIndex:
    """Read the index as it is now, in one attempt; one without any release where there is none.

    Parameters
    ----------
    repo, refs
        The repository, and its tags and branches now.
    """
    if MAIN not in refs.branches:
        return ReleaseIndex()
    head = refs.branches[MAIN]
    try:
        return repo.read_cached(INDEX, MAIN, head, lambda path: _read(repo, path))
    except NotThere:
        return ReleaseIndex()


def _read(repo: HubRepo, path: Path) -> ReleaseIndex:
    return read_index(path, name=f"{repo.name}: {INDEX}")


def published(repo: HubRepo, report: Report = silent) -> tuple[ReleaseIndex, Refs]:
    """Give what a repository publishes: its index, and its tags and branches.

    Parameters
    ----------
    repo
        The repository.
    report
        Receives a line for each failed attempt.

    Raises
    ------
    HubError
        There is no such repository, or the Hub refuses or cannot be reached.
    """
    return persist(lambda: _published_once(repo), report)


def _published_once(repo: HubRepo) -> tuple[ReleaseIndex, Refs]:
    refs = repo.refs()
    if refs is None:
        raise NotThere("the Hub has no such repository", file=repo.name, hint=LOGIN)
    return index_at(repo, refs), refs


def shared_index(repo: HubRepo) -> ReleaseIndex:
    """Read the index; one without any release where nothing was published yet."""
    return published(repo)[0]


def edit_shared_index(
    repo: HubRepo,
    edit: Callable[[ReleaseIndex], ReleaseIndex],
    message: str,
    report: Report = silent,
) -> ReleaseIndex:
    """Change the index on `main`; where someone else was faster, change theirs.

    Parameters
    ----------
    repo
        The repository.
    edit
        Gives the new index for the present one; it may be asked several times.
    message
        Of the commit.
    report
        Receives a line for each failed attempt.

    Returns
    -------
    ReleaseIndex
        The index as it is now.

    Raises
    ------
    HubError
        The Hub refuses or cannot be reached.
    """
    return persist(lambda: _edit_once(repo, edit, message), report)


def _edit_once(
    repo: HubRepo, edit: Callable[[ReleaseIndex], ReleaseIndex], message: str
) -> ReleaseIndex:
    refs = repo.refs()
    if refs is None:
        raise NotThere(
            "the Hub has no such repository", file=repo.name, hint="Push a release first"
        )
    head = refs.branches[MAIN]
    there = repo.tree(head)
    before = ReleaseIndex()
    if INDEX in there:  # fetched again: what a cache may have damaged is not sent back
        before = _read(repo, repo.cached(INDEX, head, again=True))
    after = edit(before)
    add = []
    if INDEX not in there or after != before:
        add.append(Addition(INDEX, after.text().encode()))
    if INDEX not in there:  # the first commit of ours: `main` gets its card, once
        add.append(Addition(CARD, MAIN_CARD.format(repo=repo.name).encode()))
    if add:
        repo.commit(MAIN, message, parent=head, add=add)
    return after
