"""A Hub on this machine that speaks to the real clients, and misbehaves as told."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

from hub_answers import TOKEN, HubAnswers, Reply
from hub_state import Refused


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

    def __str__(self) -> str:
        """Name it in a test's id, the same in every process."""
        return f"{self.where} status={self.status} cut={self.cut} lost={self.lost}"


@dataclass(frozen=True)
class Seen:
    """A request as the server saw it."""

    method: str
    path: str
    range: str | None
    token: str | None
    received: int
    sent: int


class LoopbackHub(HubAnswers):
    """The server's answers, its faults, and what it saw."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.faults: list[Fault] = []
        self.requests: list[Seen] = []
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
