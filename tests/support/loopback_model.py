"""An endpoint on this machine that speaks OpenAI's chat protocol."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "sk-not-a-real-key"
Reply = Callable[[dict[str, Any], list[int]], str | int]


def numbers_of(body: dict[str, Any]) -> list[int]:
    lines = body["messages"][0]["content"].splitlines()[2:]
    return [int(line.split(".")[0]) for line in lines]


def by_number(body: dict[str, Any], numbers: list[int]) -> str:
    """Cells with odd numbers are sensitive."""
    answers = ["resistant", "sensitive"]
    return json.dumps({"cells": [{"cell": n, "response": answers[n % 2]} for n in numbers]})


class Endpoint:
    """Answers chat requests with `reply`, a text or a status."""

    def __init__(self) -> None:
        self.reply: Reply = by_number
        self.bodies: list[dict[str, Any]] = []
        self.keys: set[str] = set()
        self.url = ""

    def answer(self, body: dict[str, Any], key: str) -> tuple[int, dict[str, Any]]:
        self.bodies.append(body)
        self.keys.add(key)
        found = self.reply(body, numbers_of(body))
        if isinstance(found, int):
            return found, {"error": {"message": f"refused for {key}"}}
        message = {"role": "assistant", "content": found}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        head = {"id": "1", "object": "chat.completion", "created": 0, "model": body["model"]}
        return 200, {**head, "choices": [choice]}


@contextmanager
def loopback_model() -> Iterator[Endpoint]:
    """Serve on a free port until the block ends."""
    served = Endpoint()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/chat/completions"
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            status, content = served.answer(body, self.headers["authorization"].split()[1])
            sent = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(sent)))
            self.send_header("retry-after-ms", "1")
            self.end_headers()
            self.wfile.write(sent)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    served.url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield served
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
