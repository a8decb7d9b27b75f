"""What a Hub remembers: repositories with commits, branches, tags and stored files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LFS_ABOVE = 10_000_000


class Refused(Exception):
    """A request that the Hub answers with an error.

    Parameters
    ----------
    status
        HTTP status.
    code
        The Hub's own name of the error, which clients go by.
    """

    def __init__(self, status: int, code: str = "", body: dict[str, Any] | None = None) -> None:
        super().__init__(status, code)
        self.status = status
        self.code = code
        self.body = body or {"error": code or f"status {status}"}


@dataclass(frozen=True)
class File:
    """A file of a commit; `sha256` where it is stored outside git."""

    oid: str
    size: int
    sha256: str | None = None

    @property
    def etag(self) -> str:
        return self.sha256 or self.oid


def git_oid(data: bytes) -> str:
    """Name a file's content as git does."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()  # noqa: S324 - git's


@dataclass
class Repo:
    """One dataset repository."""

    commits: dict[str, dict[str, File]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def resolve(self, revision: str) -> str:
        """Give the commit of a branch, tag or commit."""
        for names in (self.branches, self.tags):
            if revision in names:
                return names[revision]
        if revision in self.commits:
            return revision
        raise Refused(404, "RevisionNotFound")

    def file(self, revision: str, path: str) -> File:
        """Give a file of a revision."""
        try:
            return self.commits[self.resolve(revision)][path]
        except KeyError:
            raise Refused(404, "EntryNotFound") from None


class HubState:
    """Repositories by name, and the contents of all files by their oid or sha256."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.contents: dict[str, bytes] = {}
        self.serial = 0

    def repo(self, name: str) -> Repo:
        """Give a repository."""
        if name not in self.repos:
            raise Refused(404, "RepoNotFound")
        return self.repos[name]

    def create(self, name: str) -> None:
        """Make a repository as the Hub does: one commit with `.gitattributes`."""
        if name in self.repos:
            raise Refused(409, body={"error": "You already created this repo", "url": name})
        self.repos[name] = Repo()
        attributes = self.store(b"*.parquet filter=lfs diff=lfs merge=lfs -text\n")
        self._commit(self.repos[name], "main", {".gitattributes": attributes})

    def store(self, data: bytes) -> File:
        """Keep a file's content inside git."""
        oid = git_oid(data)
        self.contents[oid] = data
        return File(oid, len(data))

    def commit(self, name: str, branch: str, lines: Iterable[bytes]) -> str:
        """Apply the lines of a commit request; give the commit."""
        repo = self.repo(name)
        if branch not in repo.branches:
            raise Refused(404, "RevisionNotFound")
        head = repo.branches[branch]
        files = dict(repo.commits[head])
        for line in lines:
            said = json.loads(line)
            value = said["value"]
            if said["key"] == "header":
                if value.get("parentCommit", head) != head:
                    raise Refused(412, body={"error": "A commit has happened since"})
            elif said["key"] == "file":
                files[value["path"]] = self.store(_decoded(value))
            elif said["key"] == "lfsFile":
                files[value["path"]] = File(
                    git_oid(value["oid"].encode()), int(value["size"]), value["oid"]
                )
            else:
                gone = value["path"].rstrip("/")
                files = {
                    path: file
                    for path, file in files.items()
                    if path != gone and not path.startswith(f"{gone}/")
                }
        return self._commit(repo, branch, files)

    def _commit(self, repo: Repo, branch: str, files: dict[str, File]) -> str:
        self.serial += 1
        commit = hashlib.sha1(f"commit {self.serial}".encode()).hexdigest()  # noqa: S324
        repo.commits[commit] = files
        repo.branches[branch] = commit
        return commit

    def publish(self, name: str, folder: Path, tag: str) -> None:
        """Hold a release as a push leaves it, without one."""
        self.create(name)
        repo = self.repos[name]
        files = {}
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            data, key = path.read_bytes(), path.relative_to(folder).as_posix()
            files[key] = self.store(data)
            if self.upload_mode(key, data[:512], len(data)) == "lfs":
                digest = hashlib.sha256(data).hexdigest()
                self.contents[digest] = self.contents.pop(files[key].oid)
                files[key] = File(files[key].oid, len(data), digest)
        repo.tags[tag] = self._commit(repo, "incoming", files)
        del repo.branches["incoming"]
        index = self.store(f"releases:\n- {tag}\naliases: {{}}\nretractions: {{}}\n".encode())
        card = self.store(b"# A card\n")
        self._commit(repo, "main", {"index.yaml": index, "README.md": card})

    def upload_mode(self, path: str, sample: bytes, size: int) -> str:
        """Say where a file belongs: text inside git, the rest outside."""
        binary = path.endswith(".parquet") or b"\0" in sample
        return "lfs" if binary or size > LFS_ABOVE else "regular"

    def tree(self, name: str, revision: str, below: str, *, deep: bool) -> list[dict[str, Any]]:
        """List files and folders as the Hub does."""
        repo = self.repo(name)
        prefix = f"{below}/" if below else ""
        entries: dict[str, dict[str, Any]] = {}
        for path, file in sorted(repo.commits[repo.resolve(revision)].items()):
            if not path.startswith(prefix):
                continue
            parts = path.removeprefix(prefix).split("/")
            for depth in range(1, len(parts)):
                folder = prefix + "/".join(parts[:depth])
                if deep or depth == 1:
                    entries[folder] = {"type": "directory", "path": folder, "oid": "0" * 40}
            if deep or len(parts) == 1:
                entries[path] = describe(path, file)
        if below and not entries:
            raise Refused(404, "EntryNotFound")
        return list(entries.values())


def describe(path: str, file: File) -> dict[str, Any]:
    """Describe a file as the Hub's tree does."""
    found: dict[str, Any] = {"type": "file", "path": path, "oid": file.oid, "size": file.size}
    if file.sha256 is not None:
        found["lfs"] = {"oid": file.sha256, "size": file.size, "pointerSize": 130}
    return found


def _decoded(value: dict[str, str]) -> bytes:
    import base64

    assert value["encoding"] == "base64"
    return base64.b64decode(value["content"])
