"""Load on a predictor: streaming requests from many clients at once, their tokens and latencies."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import Any
from urllib.parse import urlsplit

import numpy as np

TIMEOUT = 600.0
"""Seconds without a byte before a request counts as failed."""


@dataclass(frozen=True, kw_only=True)
class LoadResult:
    """What a load got from a server. Percentiles are of the requests that were answered; nan where none was."""

    requests: int
    """Sent, failed ones included."""
    errors: int
    """Requests without a complete answer: refused, cut off, or failed in the stream."""
    first_error: str
    """What the first of them got; empty without errors."""
    tokens: int
    """Completion tokens by the server's own usage, of complete answers only."""
    seconds: float
    """From the first request to the last answer."""
    first_token_p50: float
    """Seconds until the first text of an answer."""
    first_token_p99: float
    total_p50: float
    """Seconds until the end of an answer."""
    total_p99: float

    @property
    def tokens_per_second(self) -> float:
        """Over all clients together."""
        return self.tokens / self.seconds

    @property
    def requests_per_second(self) -> float:
        """Complete answers, over all clients together."""
        return (self.requests - self.errors) / self.seconds


@dataclass(frozen=True)
class _Answer:
    tokens: int
    first: float
    total: float


def run_load(
    url: str, bodies: Sequence[dict[str, Any]], *, concurrency: int, path: str = "/v1/completions"
) -> LoadResult:
    """Send every body once, each client its next one as soon as it has its answer.

    Args:
        url: of the server, such as http://127.0.0.1:8080.
        bodies: JSON of the requests; `stream` and its usage are set here.
        concurrency: clients, each with one connection that it keeps.
        path: of the route.

    Raises:
        ValueError: no bodies, or no client.
    """
    if not bodies or concurrency < 1:
        raise ValueError("a load has at least one body and one client")
    queue = _Shared(bodies)
    answers: list[_Answer] = []
    errors: list[str] = []
    clients = [
        threading.Thread(target=_client, args=(url, path, queue, answers, errors))
        for _ in range(min(concurrency, len(bodies)))
    ]
    began = time.perf_counter()
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    seconds = time.perf_counter() - began
    first, total = ([getattr(answer, name) for answer in answers] or [np.nan] for name in ("first", "total"))
    return LoadResult(
        requests=len(bodies),
        errors=len(errors),
        first_error=errors[0] if errors else "",
        tokens=sum(answer.tokens for answer in answers),
        seconds=seconds,
        first_token_p50=float(np.percentile(first, 50)),
        first_token_p99=float(np.percentile(first, 99)),
        total_p50=float(np.percentile(total, 50)),
        total_p99=float(np.percentile(total, 99)),
    )


class _Shared:
    """An iterator that many threads take from."""

    def __init__(self, bodies: Sequence[dict[str, Any]]) -> None:
        self._bodies, self._lock = iter(bodies), threading.Lock()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return self

    def __next__(self) -> dict[str, Any]:
        with self._lock:
            return next(self._bodies)


def _client(url: str, path: str, queue: _Shared, answers: list[_Answer], errors: list[str]) -> None:
    address = urlsplit(url)
    connection = HTTPConnection(address.hostname or "", address.port, timeout=TIMEOUT)
    for body in queue:
        try:
            answers.append(_ask(connection, address.path.rstrip("/") + path, body))
        except (OSError, HTTPException, _FailedError, ValueError) as error:
            errors.append(f"{type(error).__name__}: {error}" if not isinstance(error, _FailedError) else str(error))
            connection.close()  # the rest of the answer is not read; the next request connects anew
    connection.close()


class _FailedError(Exception):
    """The server answered with an error, or not to the end."""


def _ask(connection: HTTPConnection, path: str, body: dict[str, Any]) -> _Answer:
    sent = body | {"stream": True, "stream_options": {"include_usage": True}}
    began = time.perf_counter()
    connection.request("POST", path, json.dumps(sent), {"Content-Type": "application/json"})
    response = connection.getresponse()
    if response.status != 200:
        raise _FailedError(f"HTTP {response.status}: {response.read(500).decode(errors='replace')}")
    first, tokens, done = np.nan, None, False
    for data in _events(response):
        if data == "[DONE]":
            done = True
            continue
        chunk = json.loads(data)
        if "error" in chunk:
            raise _FailedError(data[:500])
        if np.isnan(first) and _has_output(chunk.get("choices") or ()):
            first = time.perf_counter() - began
        tokens = (chunk.get("usage") or {}).get("completion_tokens", tokens)
    total = time.perf_counter() - began
    if not done or tokens is None:
        raise _FailedError("the stream ended without " + ("usage" if done else "[DONE]"))
    return _Answer(tokens, total if np.isnan(first) else first, total)


def _has_output(choices: Iterable[dict[str, Any]]) -> bool:
    """Whether a chunk shows something: text, or tokens of the canvas."""
    return any(choice.get("text") or choice.get("canvas") for choice in choices)


def _events(response: HTTPResponse) -> Iterator[str]:
    """The data of each server-sent event; the response is read to its end, so that its connection can be used again."""
    for line in response:
        text = line.decode().rstrip("\r\n")
        if text.startswith("data:"):
            yield text.removeprefix("data:").lstrip()
    response.read()  # nothing, but it tells the connection that the response has ended
