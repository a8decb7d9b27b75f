"""Servers on this machine that misbehave as told: HTTP by a list of answers, and a small FTP."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Answer:
    """How one request is answered: with the body or its rest, or with a bare status."""

    body: bytes = b""
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    etag: str | None = None
    ranges: bool = True
    strict: bool = True
    """Whether If-Range is honoured."""
    cut: int | None = None
    """Bytes to send before the connection is closed; None: all."""
    length: bool = True
    """Whether Content-Length is sent."""
    before: Callable[[], object] = lambda: None


@dataclass(frozen=True)
class Request:
    """What the server saw of a request, and how many bytes of the body it sent."""

    path: str
    headers: dict[str, str]
    sent: int


class Loopback:
    """HTTP server whose requests get the `answers` in turn, the last one for ever."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.answers: list[Answer] = []
        self.requests: list[Request] = []

    @property
    def sent(self) -> list[int]:
        return [request.sent for request in self.requests]

    @property
    def ranges(self) -> list[str | None]:
        return [request.headers.get("range") for request in self.requests]


@contextmanager
def http_server() -> Iterator[Loopback]:
    """Run a `Loopback` on a free port until the block ends."""
    turn = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with turn:
                answers = loopback.answers
                answer = answers.pop(0) if len(answers) > 1 else answers[0]
                seen = {key.lower(): value for key, value in self.headers.items()}
                status, start, body = _reply(answer, seen)
                loopback.requests.append(Request(self.path, seen, len(body)))
            answer.before()
            self.send_response(status)
            for key, value in _headers(answer, status, start).items():
                self.send_header(key, value)
            self.end_headers()
            with suppress(OSError):  # a client may hang up
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Stay silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        loopback = Loopback(server.server_port)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield loopback
        finally:
            server.shutdown()
            thread.join()


def _reply(answer: Answer, seen: dict[str, str]) -> tuple[int, int, bytes]:
    """Status, first byte, and the bytes to send."""
    if answer.status is not None:
        return answer.status, 0, b""
    status, start = 200, 0
    same = not answer.strict or seen.get("if-range", answer.etag) == answer.etag
    if answer.ranges and same and "range" in seen:
        status, start = 206, int(seen["range"].removeprefix("bytes=").removesuffix("-"))
        if start >= len(answer.body):
            return 416, 0, b""
    stop = None if answer.cut is None else start + answer.cut
    return status, start, answer.body[start:stop]


def _headers(answer: Answer, status: int, start: int) -> dict[str, str]:
    total = len(answer.body)
    headers = dict(answer.headers)
    if answer.etag is not None:
        headers["ETag"] = answer.etag
    if status == 206:
        headers["Content-Range"] = f"bytes {start}-{total - 1}/{total}"
    if status in (200, 206) and answer.length:
        headers["Content-Length"] = str(total - start)
    return headers


@contextmanager
def ftp_server(files: dict[str, bytes], busy: int = 0) -> Iterator[str]:
    """Serve files by path over FTP, passive mode; the first `busy` transfers are refused."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        refusals = [b"450 File busy."] * busy
        thread = threading.Thread(target=_serve_ftp, args=(listener, files, refusals))
        thread.start()
        try:
            yield f"ftp://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def _serve_ftp(listener: socket.socket, files: dict[str, bytes], refusals: list[bytes]) -> None:
    while True:
        try:
            client, _ = listener.accept()
        except OSError:  # shut down
            return
        with client, suppress(OSError):
            _converse(client, files, refusals)


def _converse(client: socket.socket, files: dict[str, bytes], refusals: list[bytes]) -> None:
    def say(line: bytes) -> None:
        client.sendall(line + b"\r\n")

    say(b"220 Ready.")
    with socket.create_server(("127.0.0.1", 0)) as passive, client.makefile("rb") as lines:
        for line in lines:
            command, _, argument = line.decode().strip().partition(" ")
            if command == "PASV":
                port = passive.getsockname()[1]
                say(f"227 Passive (127,0,0,1,{port // 256},{port % 256}).".encode())
            elif command == "RETR":
                say(_send(passive, files.get(argument), refusals, say))
            elif command == "QUIT":
                say(b"221 Bye.")
                return
            else:
                say(b"230 Yes." if command in ("USER", "PASS") else b"200 Yes.")


def _send(
    passive: socket.socket,
    content: bytes | None,
    refusals: list[bytes],
    say: Callable[[bytes], None],
) -> bytes:
    """Send a file over the data connection; the closing reply."""
    data, _ = passive.accept()
    with data:
        if content is None:
            return b"550 No such file."
        if refusals:
            return refusals.pop()
        say(b"150 Here it comes.")
        with suppress(OSError):
            data.sendall(content)
            return b"226 Done."
        return b"426 Aborted."
