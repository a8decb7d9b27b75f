"""A dataset repository on the Hub: what push, pull and load ask of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, hf_hub_url
from huggingface_hub.errors import HFValidationError
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import (
    build_hf_headers,
    hf_raise_for_status,
    http_backoff,
    validate_repo_id,
)

from cellresponse.releases.hub.trouble import NotThere, hide_secrets, hub_errors
from cellresponse.schema.errors import CellResponseError, HubError

__all__ = ["Addition", "HubRepo", "Refs", "RemoteFile", "limit_waiting"]

MAIN = "main"
SECONDS_TO_CONNECT = 30.0
SECONDS_OF_SILENCE = 300.0


@dataclass(frozen=True)
class Refs:
    """Tags and branches of a repository: name and commit."""

    tags: dict[str, str]
    branches: dict[str, str]


@dataclass(frozen=True)
class RemoteFile:
    """A file as the Hub lists it: `sha256` where it lies outside git, `oid` of git else."""

    size: int
    oid: str
    sha256: str | None


@dataclass(frozen=True)
class Addition:
    """A file to commit: its path in the repository, and its bytes or where they are."""

    path: str
    content: Path | bytes


class HubRepo:
    """A dataset repository.

    Parameters
    ----------
    name
        `ORG/NAME`.

    Raises
    ------
    HubError
        The name is no such name. Every method raises it for what goes wrong with the Hub.
    """

    def __init__(self, name: str) -> None:
        if not _is_name(name):
            raise HubError(
                "is no repository name",
                value=name,
                allowed="ORG/NAME of letters, digits, `-`, `_`, `.`, without `--`, `..` and `.git`",
            )
        hide_secrets()
        self.name = name
        self._api = HfApi()
        self._kind: dict[str, Any] = {"repo_id": name, "repo_type": "dataset"}

    def create(self) -> None:
        """Create the repository, where there is none."""
        with hub_errors(self.name):
            self._api.create_repo(**self._kind, exist_ok=True)

    def refs(self) -> Refs | None:
        """List tags and branches; None where there is no such repository."""
        try:
            with hub_errors(self.name):
                found = self._api.list_repo_refs(**self._kind)
        except NotThere:
            return None
        return Refs(
            {ref.name: ref.target_commit for ref in found.tags},
            {ref.name: ref.target_commit for ref in found.branches},
        )

    def tree(self, commit: str) -> dict[str, RemoteFile]:
        """List the files of a commit, by path."""
        with hub_errors(self.name, commit):
            entries = self._api.list_repo_tree(**self._kind, revision=commit, recursive=True)
            return {
                entry.path: RemoteFile(
                    entry.size, entry.blob_id, entry.lfs.sha256 if entry.lfs else None
                )
                for entry in entries
                if isinstance(entry, RepoFile)
            }

    def make_branch(self, branch: str, commit: str) -> None:
        """Begin a branch at a commit."""
        with hub_errors(self.name, branch):
            self._api.create_branch(**self._kind, branch=branch, revision=commit)

    def drop_branch(self, branch: str) -> None:
        """Remove a branch; its commits stay where a tag holds them."""
        with hub_errors(self.name, branch):
            self._api.delete_branch(**self._kind, branch=branch)

    def commit(
        self,
        branch: str,
        message: str,
        *,
        parent: str,
        add: Sequence[Addition] = (),
        delete: Iterable[str] = (),
    ) -> str:
        """Commit to a branch whose head is `parent`; give the commit."""
        operations: list[CommitOperationAdd | CommitOperationDelete] = [
            CommitOperationDelete(path) for path in delete
        ]
        operations += [CommitOperationAdd(one.path, one.content) for one in add]
        with hub_errors(self.name, branch):
            made = self._api.create_commit(
                **self._kind,
                operations=operations,
                commit_message=message,
                revision=branch,
                parent_commit=parent,
            )
        return made.oid

    def tag(self, name: str, commit: str) -> None:
        """Tag a commit."""
        with hub_errors(self.name, name):
            self._api.create_tag(**self._kind, tag=name, revision=commit)

    def cached(
        self, path: str, revision: str, *, again: bool = False, offline: bool = False
    ) -> Path:
        """Give a file from the Hub's cache on this machine, fetched where it is not there.

        The file lies at its path below a folder that is named by the commit.

        Parameters
        ----------
        path, revision
            File, and branch, tag or commit.
        again
            Fetch it, whatever the cache has.
        offline
            Ask for nothing: give what the cache has of the revision.
        """
        with hub_errors(self.name, f"{path} at {revision}"):
            return Path(
                self._api.hf_hub_download(
                    **self._kind,
                    filename=path,
                    revision=revision,
                    force_download=again,
                    local_files_only=offline,
                )
            )

    def read_cached[Read](
        self, path: str, ref: str, commit: str, read: Callable[[Path], Read]
    ) -> Read:
        """Read a file of a branch or tag from the Hub's cache; a damaged one is fetched again.

        Parameters
        ----------
        path, ref, commit
            File, branch or tag, and the commit that it stands for now.
        read
            Raises where the file is damaged.
        """
        # By commit: for a name, the client takes any error of the Hub as leave to give an old file.
        file = self.cached(path, commit)
        try:
            found = read(file)
        except CellResponseError:
            file = self.cached(path, commit, again=True)
            found = read(file)
        _remember(file.parents[path.count("/") + 2] / "refs" / ref, commit)
        return found

    def download(self, path: str, commit: str, folder: Path, *, again: bool = False) -> Path:
        """Fetch a file into a folder, at its path; an earlier attempt is continued."""
        with hub_errors(self.name, path):
            return Path(
                self._api.hf_hub_download(
                    **self._kind,
                    filename=path,
                    revision=commit,
                    local_dir=folder,
                    force_download=again,
                )
            )

    def read(self, path: str, commit: str, start: int, stop: int, size: int) -> bytes:
        """Read the bytes start to stop of a file that has `size` bytes."""
        url = hf_hub_url(**self._kind, filename=path, revision=commit)
        headers = {**build_hf_headers(), "Range": f"bytes={start}-{stop - 1}"}
        with hub_errors(self.name, path):
            response = http_backoff("GET", url, headers=headers, timeout=SECONDS_TO_CONNECT)
            hf_raise_for_status(response)
            found = response.headers.get("Content-Range", "")
            data: bytes = response.content
        if response.status_code != 206 or not found.endswith(f"/{size}"):
            raise HubError(
                "the file on the Hub is not the one that the release names",
                file=f"{self.name}: {path}",
                value=found or f"status {response.status_code}",
                allowed=f"{size} bytes, readable by ranges",
            )
        if len(data) != stop - start:
            raise HubError("the Hub sends too few bytes", file=f"{self.name}: {path}")
        return data


def _is_name(name: str) -> bool:
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return "/" in name


def _remember(place: Path, commit: str) -> None:
    """Note in the Hub's cache what a name stands for, as the client does, for work offline."""
    with suppress(OSError):  # the cache may be read-only
        if place.is_file() and place.read_text() == commit:
            return
        place.parent.mkdir(parents=True, exist_ok=True)
        beside = place.with_name(f"{place.name}.{os.getpid()}.tmp")
        beside.write_text(commit)
        os.replace(beside, place)


def limit_waiting() -> None:
    """Let no request of this process to the Hub wait for ever, and show no bars of the client.

    The client's own default is to wait without end for the answer to a commit or a tag.
    """
    import httpx2
    from huggingface_hub import set_client_factory
    from huggingface_hub.utils import disable_progress_bars
    from huggingface_hub.utils._http import default_client_factory

    def patient() -> httpx2.Client:
        client = default_client_factory()
        client.timeout = httpx2.Timeout(SECONDS_OF_SILENCE, connect=SECONDS_TO_CONNECT)
        return client

    set_client_factory(patient)
    disable_progress_bars()
