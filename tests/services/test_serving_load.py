"""What a load reports of a server: against a small HTTP server whose answers are known."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from crossover.commands.serving_load import run_load

USAGE = {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}
CHUNKS = [{"choices": [{"text": "a"}]}, {"choices": [{"text": "bcde"}]}, {"choices": [], "usage": USAGE}]


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.bodies: list[dict[str, Any]] = []
        self.addresses: set[tuple[str, int]] = set()
        self.together = threading.Barrier(1)
        self.lock = threading.Lock()


class _Handler(BaseHTTPRequestHandler):
    """Streams CHUNKS, or what the prompt says."""

    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.bodies.append(body)
            self.server.addresses.add(self.client_address)
        if body["prompt"] == "refused":
            self._send(429, b'{"error": {"message": "busy"}}')
            return
        self.server.together.wait(timeout=10)
        chunks = [json.dumps(chunk) for chunk in CHUNKS] + ["[DONE]"]
        if body["prompt"] == "cut":
            chunks = chunks[:2]
        if body["prompt"] == "failed":
            chunks[1:] = [json.dumps({"error": {"message": "out of time"}}), "[DONE]"]
        self._send(200, "".join(f"data: {chunk}\n\n" for chunk in chunks).encode())

    def _send(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def _server() -> Iterator[_Server]:
    with _Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def server() -> Iterator[_Server]:
    with _server() as server:
        yield server


def _url(server: _Server) -> str:
    return f"http://127.0.0.1:{server.server_port}"


def test_tokens_are_those_of_usage_and_clients_work_at_once(server: _Server) -> None:
    server.together = threading.Barrier(4)  # passes only when four requests are in flight together
    result = run_load(_url(server), [{"prompt": str(i)} for i in range(8)], concurrency=4)
    assert (result.requests, result.errors, result.tokens) == (8, 0, 40), result.first_error
    assert {body["prompt"] for body in server.bodies} == set("01234567")
    assert all(body["stream"] and body["stream_options"]["include_usage"] for body in server.bodies)
    assert len(server.addresses) == 4, "each client keeps its connection"
    assert 0 < result.first_token_p50 <= result.first_token_p99 <= result.total_p99 <= result.seconds
    assert result.tokens_per_second == pytest.approx(40 / result.seconds)
    assert result.requests_per_second == pytest.approx(8 / result.seconds)


@pytest.mark.parametrize(
    ("prompt", "error"), [("refused", "HTTP 429.*busy"), ("cut", "ended without"), ("failed", "out of time")]
)
def test_an_answer_without_its_end_is_an_error_and_gives_no_tokens(prompt: str, error: str, server: _Server) -> None:
    result = run_load(_url(server), [{"prompt": "x"}, {"prompt": prompt}, {"prompt": "y"}], concurrency=1)
    assert (result.requests, result.errors, result.tokens) == (3, 1, 10)
    assert pytest.approx(2 / result.seconds) == result.requests_per_second
    assert re.search(error, result.first_error)


def test_no_server_is_an_error_of_every_request() -> None:
    with _server() as server:
        url = _url(server)
    result = run_load(url, [{"prompt": "x"}] * 2, concurrency=2)
    assert (result.errors, result.tokens) == (2, 0)
    assert "Connection" in result.first_error


def test_a_real_predictor(ar_url: str) -> None:
    body = {"model": "crossover", "prompt": "def ", "max_tokens": 6, "temperature": 0}
    result = run_load(ar_url, [body] * 3, concurrency=2)
    assert (result.errors, result.requests, result.first_error) == (0, 3, "")
    assert result.tokens <= 18
