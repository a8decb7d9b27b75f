"""A Hub on this machine that speaks to the real clients, and misbehaves as told."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from hub_state import File, HubState, Refused, describe

TOKEN = "hf_" + "secretsecretsecretsecret"
"""What the tests' clients log in with; it must never be seen in an output."""


@dataclass
class Fault:
    """What goes wrong with requests whose `METHOD /path` matches `where`.

    Attributes
    ----------
    where
        Regular expression, searched.
    skip, times
        Matching requests that pass first, and how many then fail.
    status, headers
        Answer with these instead.
    cut
        Send so many bytes of the right answer, then close the connection; 0: close it
        before anything is done.
    lost
        Carry the request out, but close the connection without an answer.
    hang
        Seconds to wait before anything else.
    act
        Called before anything else.
    then
        Called when the request was carried out, before the answer.
    change
        Changes the body of the right answer.
    """

    where: str
    skip: int = 0
    times: int = 1_000_000
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    lost: bool = False
    hang: float = 0.0
    act: Callable[[], object] = lambda: None
    then: Callable[[], object] = lambda: None
    change: Callable[[bytes], bytes] = lambda body: body


@dataclass(frozen=True)
class Seen:
    """A request as the server saw it."""

    method: str
    path: str
    range: str | None
    token: str | None
    received: int
    sent: int


@dataclass
class Reply:
    """An answer: JSON or bytes."""

    body: bytes = b"{}"
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


class LoopbackHub:
    """The server's memory, its faults, and what it saw."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.cdn = f"http://localhost:{port}"
        """Big files are sent from another host, as by the real Hub."""
        self.state = HubState()
        self.faults: list[Fault] = []
        self.requests: list[Seen] = []
        self.page = 1000
        self.xet: Path | None = None
        """Folder that stands for Xet storage; None: the server knows no Xet."""
        self.turn = threading.RLock()

    def environment(self, home: Path, *, xet: bool = False) -> dict[str, str]:
        """Give the variables that make a client in a new process speak to this Hub."""
        return {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home),
            "HF_TOKEN": TOKEN,
            "HF_HUB_DISABLE_XET": "0" if xet else "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "NO_PROXY": "*",
        }

    def seen(self, where: str) -> list[Seen]:
        """Give the requests whose `METHOD /path` matches."""
        return [one for one in self.requests if re.search(where, f"{one.method} {one.path}")]

    def files(self, repo: str, revision: str) -> dict[str, bytes]:
        """Give path and content of every file of a revision."""
        found = self.state.repo(repo)
        commit = found.commits[found.resolve(revision)]
        return {path: self.state.contents[file.etag] for path, file in commit.items()}

    def fault(self, what: str) -> Fault | None:
        """Give the fault of a request, counting it."""
        for fault in self.faults:
            if re.search(fault.where, what):
                if fault.skip:
                    fault.skip -= 1
                elif fault.times:
                    fault.times -= 1
                    return fault
        return None

    # What a request does. Paths arrive unquoted; a revision may hold a slash, quoted twice.

    def answer(self, method: str, target: str, body: bytes, headers: dict[str, str]) -> Reply:
        """Carry a request out."""
        parts = urlsplit(target)
        query = parse_qs(parts.query)
        for (verb, pattern), action in _ROUTES.items():
            match = re.fullmatch(pattern, parts.path)
            if match and verb in (method, "*"):
                words = [unquote(word) if word else "" for word in match.groups()]
                writing = method in ("POST", "DELETE", "PUT") and action is not LoopbackHub.put
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
    ("POST", "/api/repos/create"): LoopbackHub.create,
    ("POST", "/api/validate-yaml"): LoopbackHub.check_yaml,
    ("POST", f"/api/datasets/{REPO}/preupload/(.+)"): LoopbackHub.preupload,
    ("POST", f"/datasets/{REPO}\\.git/info/lfs/objects/batch"): LoopbackHub.batch,
    ("PUT", "/store/([0-9a-f]+)"): LoopbackHub.put,
    ("POST", "/verify/([0-9a-f]+)"): LoopbackHub.verify,
    ("POST", f"/api/datasets/{REPO}/commit/(.+)"): LoopbackHub.commit,
    ("POST", f"/api/datasets/{REPO}/tag/(.+)"): LoopbackHub.tag,
    ("POST", f"/api/datasets/{REPO}/branch/(.+)"): LoopbackHub.make_branch,
    ("DELETE", f"/api/datasets/{REPO}/branch/(.+)"): LoopbackHub.drop_branch,
    ("GET", f"/api/datasets/{REPO}/refs"): LoopbackHub.refs,
    ("GET", f"/api/datasets/{REPO}/xet-(?:read|write)-token/(.+)"): LoopbackHub.xet_token,
    ("GET", f"/api/datasets/{REPO}(?:/revision/(.+))?"): LoopbackHub.info,
    ("GET", f"/api/datasets/{REPO}/tree/([^/]+)(?:/(.+))?"): LoopbackHub.tree,
    ("POST", f"/api/datasets/{REPO}/paths-info/(.+)"): LoopbackHub.paths_info,
    ("*", f"/datasets/{REPO}/resolve/([^/]+)/(.+)"): LoopbackHub.file,
    ("*", "/cdn/([0-9a-f]+)"): LoopbackHub.content,
}


def _json(value: Any, headers: dict[str, str] | None = None) -> Reply:
    return Reply(json.dumps(value).encode(), 200, headers or {})


def _part(reply: Reply, wanted: str | None) -> Reply:
    """Cut the bytes out that a Range header asks for."""
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", wanted or "")
    if reply.status != 200 or match is None:
        return reply
    total = len(reply.body)
    first, last = match.groups()
    start = int(first) if first else max(0, total - int(last))
    stop = min(int(last) + 1, total) if first and last else total
    if start >= total:
        return Reply(b"", 416, {"Content-Range": f"bytes */{total}"})
    headers = reply.headers | {"Content-Range": f"bytes {start}-{stop - 1}/{total}"}
    return Reply(reply.body[start:stop], 206, headers)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30
    hub: LoopbackHub

    def _do(self) -> None:
        body = self._body()
        seen = {key.lower(): value for key, value in self.headers.items()}
        path = unquote(urlsplit(self.path).path)
        fault = self.hub.fault(f"{self.command} {path}") or Fault("")
        fault.act()
        if fault.hang:
            threading.Event().wait(fault.hang)  # time.sleep may be patched
        if fault.cut == 0:
            self._hang_up()
            return
        reply = self._reply(fault, body, seen)
        fault.then()
        sent = reply.body[: fault.cut] if self.command != "HEAD" else b""
        self.hub.requests.append(
            Seen(
                self.command,
                path,
                seen.get("range"),
                seen.get("authorization"),
                len(body),
                len(sent),
            )
        )
        if fault.lost:
            self._hang_up()
            return
        self.send_response(reply.status)
        for key, value in reply.headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        with suppress(OSError):  # a client may hang up
            self.wfile.write(sent)
        if fault.cut is not None:
            self._hang_up()

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _do  # noqa: N815  # http.server's names

    def _reply(self, fault: Fault, body: bytes, seen: dict[str, str]) -> Reply:
        if fault.status is not None:
            return Reply(b'{"error": "as told"}', fault.status, dict(fault.headers))
        try:
            with self.hub.turn:
                reply = self.hub.answer(self.command, self.path, body, seen)
        except Refused as refused:
            headers = {"X-Error-Code": refused.code} if refused.code else {}
            headers |= refused.body.pop("headers", {})
            return Reply(json.dumps(refused.body).encode(), refused.status, headers)
        reply.body = fault.change(reply.body)
        return _part(reply, seen.get("range"))

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        pieces = []
        while size := int(self.rfile.readline(), 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(pieces)

    def _hang_up(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def handle(self) -> None:
        with suppress(OSError, ValueError):  # clients are killed in the midst of a request
            super().handle()

    def log_message(self, *_: object) -> None:
        """Stay silent."""


@contextmanager
def loopback_hub() -> Iterator[LoopbackHub]:
    """Run a Hub on a free port until the block ends."""

    class Handler(_Handler):
        pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False
        request_queue_size = 64

    with Server(("127.0.0.1", 0), Handler) as server:
        Handler.hub = hub = LoopbackHub(server.server_port)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()
