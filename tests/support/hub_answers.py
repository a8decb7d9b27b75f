"""What a Hub answers to each request of the real clients."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from hub_state import File, HubState, Refused, describe

TOKEN = "hf_" + "secretsecretsecretsecret"
"""What the tests' clients log in with; it must never be seen in an output."""


@dataclass
class Reply:
    """An answer: JSON or bytes."""

    body: bytes = b"{}"
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


class HubAnswers:
    """The Hub's memory, and one method a route.

    Parameters
    ----------
    port
        Of the server; big files are sent from another host name, as by the real Hub.
    """

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.cdn = f"http://localhost:{port}"
        self.state = HubState()
        self.page = 1000
        self.xet: Path | None = None
        """Folder that stands for Xet storage; None: the server knows no Xet."""

    # What a request does. Paths arrive unquoted; a revision may hold a slash, quoted twice.

    def answer(self, method: str, target: str, body: bytes, headers: dict[str, str]) -> Reply:
        """Carry a request out."""
        parts = urlsplit(target)
        query = parse_qs(parts.query)
        for (verb, pattern), action in _ROUTES.items():
            match = re.fullmatch(pattern, parts.path)
            if match and verb in (method, "*"):
                words = [unquote(word) if word else "" for word in match.groups()]
                writing = method in ("POST", "DELETE", "PUT") and action is not HubAnswers.put
                if writing and headers.get("authorization") != f"Bearer {TOKEN}":
                    raise Refused(401, body={"error": "Invalid username or password."})
                return action(self, *words, body=body, query=query)
        raise Refused(404, body={"error": f"no such route: {method} {parts.path}"})

    def create(self, *, body: bytes, **_: Any) -> Reply:
        said = json.loads(body)
        name = f"{said['organization']}/{said['name']}"
        url = f"{self.url}/datasets/{name}"
        try:
            self.state.create(name)
        except Refused as refused:
            refused.body["url"] = url
            raise
        return _json({"url": url})

    def check_yaml(self, **_: Any) -> Reply:
        return _json({"errors": [], "warnings": []})

    def preupload(self, name: str, revision: str, *, body: bytes, **_: Any) -> Reply:
        repo = self.state.repo(name)
        there = repo.commits[repo.resolve(revision)]
        files = [
            {
                "path": file["path"],
                "uploadMode": self.state.upload_mode(
                    file["path"], base64.b64decode(file["sample"]), file["size"]
                ),
                "shouldIgnore": False,
                "oid": there[file["path"]].etag if file["path"] in there else None,
            }
            for file in json.loads(body)["files"]
        ]
        return _json({"files": files})

    def batch(self, name: str, *, body: bytes, **_: Any) -> Reply:
        self.state.repo(name)
        objects = []
        for wanted in json.loads(body)["objects"]:
            found = {"oid": wanted["oid"], "size": wanted["size"]}
            if wanted["oid"] not in self.state.contents:
                signed = f"{self.cdn}/store/{wanted['oid']}?Signature={TOKEN[3:]}"
                verify = f"{self.url}/verify/{wanted['oid']}"
                found["actions"] = {"upload": {"href": signed}, "verify": {"href": verify}}
            objects.append(found)
        return _json({"transfer": "basic", "objects": objects})

    def put(self, oid: str, *, body: bytes, **_: Any) -> Reply:
        if hashlib.sha256(body).hexdigest() != oid:
            raise Refused(400, body={"error": "other content than announced"})
        self.state.contents[oid] = body
        return Reply(b"")

    def verify(self, oid: str, **_: Any) -> Reply:
        if oid not in self.state.contents:
            raise Refused(404)
        return _json({})

    def commit(self, name: str, revision: str, *, body: bytes, **_: Any) -> Reply:
        lines = [line for line in body.split(b"\n") if line]
        for line in lines:
            said = json.loads(line)
            if said["key"] == "lfsFile" and self.xet is None:
                assert said["value"]["oid"] in self.state.contents, "commit before the content"
        commit = self.state.commit(name, revision, lines)
        url = f"{self.url}/datasets/{name}/commit/{commit}"
        return _json({"commitOid": commit, "commitUrl": url})

    def tag(self, name: str, revision: str, *, body: bytes, **_: Any) -> Reply:
        repo = self.state.repo(name)
        tag = json.loads(body)["tag"]
        if tag in repo.tags:
            raise Refused(409, body={"error": "Tag reference exists already"})
        repo.tags[tag] = repo.resolve(revision)
        return _json({})

    def make_branch(self, name: str, branch: str, *, body: bytes, **_: Any) -> Reply:
        repo = self.state.repo(name)
        if branch in repo.branches:
            raise Refused(409, body={"error": "Reference already exists"})
        repo.branches[branch] = repo.resolve(json.loads(body).get("startingPoint", "main"))
        return _json({})

    def drop_branch(self, name: str, branch: str, **_: Any) -> Reply:
        if self.state.repo(name).branches.pop(branch, None) is None:
            raise Refused(404, "RevisionNotFound")
        return _json({})

    def refs(self, name: str, **_: Any) -> Reply:
        repo = self.state.repo(name)
        listed = {
            kind: [
                {"name": ref, "ref": f"refs/{place}/{ref}", "targetCommit": commit}
                for ref, commit in names.items()
            ]
            for kind, place, names in (
                ("branches", "heads", repo.branches),
                ("tags", "tags", repo.tags),
            )
        }
        return _json(listed | {"converts": []})

    def info(self, name: str, revision: str, **_: Any) -> Reply:
        repo = self.state.repo(name)
        commit = repo.resolve(revision or "main")
        return _json(
            {
                "id": name,
                "sha": commit,
                "private": False,
                "gated": False,
                "disabled": False,
                "downloads": 0,
                "likes": 0,
                "tags": [],
                "lastModified": "2025-06-01T00:00:00.000Z",
                "createdAt": "2025-06-01T00:00:00.000Z",
                "siblings": [{"rfilename": path} for path in sorted(repo.commits[commit])],
            }
        )

    def tree(
        self, name: str, revision: str, below: str, *, query: dict[str, list[str]], **_: Any
    ) -> Reply:
        deep = query.get("recursive", ["false"])[0].lower() == "true"
        start = int(query.get("cursor", ["0"])[0])
        entries = self.state.tree(name, revision, below, deep=deep)
        headers = {}
        if start + self.page < len(entries):
            place = f"{self.url}/api/datasets/{name}/tree/{revision}" + (below and f"/{below}")
            following = f"{place}?recursive={str(deep).lower()}&cursor={start + self.page}"
            headers["Link"] = f'<{following}>; rel="next"'
        return _json(entries[start : start + self.page], headers)

    def paths_info(self, name: str, revision: str, *, body: bytes, **_: Any) -> Reply:
        repo = self.state.repo(name)
        commit = repo.commits[repo.resolve(revision)]
        try:
            wanted = json.loads(body)["paths"]
        except ValueError:
            wanted = parse_qs(body.decode())["paths"]
        return _json([describe(path, commit[path]) for path in wanted if path in commit])

    def file(self, name: str, revision: str, path: str, **_: Any) -> Reply:
        repo = self.state.repo(name)
        commit = repo.resolve(revision)
        headers = {"X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        try:
            file = repo.file(commit, path)
        except Refused as refused:
            refused.body["headers"] = headers
            raise
        headers["ETag"] = f'"{file.etag}"'
        if file.sha256 is None:
            return Reply(self.state.contents[file.oid], headers=headers)
        return self._outside(file, headers)

    def _outside(self, file: File, headers: dict[str, str]) -> Reply:
        headers |= {"X-Linked-Etag": f'"{file.sha256}"', "X-Linked-Size": str(file.size)}
        headers["Location"] = f"{self.cdn}/cdn/{file.sha256}?Signature={TOKEN[3:]}"
        return Reply(b"", 302, headers)

    def content(self, sha256: str, **_: Any) -> Reply:
        return Reply(self.state.contents[sha256], headers={"ETag": f'"{sha256}"'})

    def xet_token(self, name: str, revision: str, **_: Any) -> Reply:
        if self.xet is None:
            raise Refused(404)
        lasting = int(time.time()) + 3600
        cas = f"local://{self.xet}"
        return _json(
            {"casUrl": cas, "exp": lasting, "accessToken": "x"},
            {
                "X-Xet-Cas-Url": cas,
                "X-Xet-Access-Token": "x",
                "X-Xet-Token-Expiration": str(lasting),
            },
        )


REPO = "([^/]+/[^/]+)"
_ROUTES: dict[tuple[str, str], Callable[..., Reply]] = {
    ("POST", "/api/repos/create"): HubAnswers.create,
    ("POST", "/api/validate-yaml"): HubAnswers.check_yaml,
    ("POST", f"/api/datasets/{REPO}/preupload/(.+)"): HubAnswers.preupload,
    ("POST", f"/datasets/{REPO}\\.git/info/lfs/objects/batch"): HubAnswers.batch,
    ("PUT", "/store/([0-9a-f]+)"): HubAnswers.put,
    ("POST", "/verify/([0-9a-f]+)"): HubAnswers.verify,
    ("POST", f"/api/datasets/{REPO}/commit/(.+)"): HubAnswers.commit,
    ("POST", f"/api/datasets/{REPO}/tag/(.+)"): HubAnswers.tag,
    ("POST", f"/api/datasets/{REPO}/branch/(.+)"): HubAnswers.make_branch,
    ("DELETE", f"/api/datasets/{REPO}/branch/(.+)"): HubAnswers.drop_branch,
    ("GET", f"/api/datasets/{REPO}/refs"): HubAnswers.refs,
    ("GET", f"/api/datasets/{REPO}/xet-(?:read|write)-token/(.+)"): HubAnswers.xet_token,
    ("GET", f"/api/datasets/{REPO}(?:/revision/(.+))?"): HubAnswers.info,
    ("GET", f"/api/datasets/{REPO}/tree/([^/]+)(?:/(.+))?"): HubAnswers.tree,
    ("POST", f"/api/datasets/{REPO}/paths-info/(.+)"): HubAnswers.paths_info,
    ("*", f"/datasets/{REPO}/resolve/([^/]+)/(.+)"): HubAnswers.file,
    ("*", "/cdn/([0-9a-f]+)"): HubAnswers.content,
}


def _json(value: Any, headers: dict[str, str] | None = None) -> Reply:
    return Reply(json.dumps(value).encode(), 200, headers or {})
