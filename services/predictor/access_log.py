"""One line of JSON for each request, and the count of HTTP answers; prompts only where they are asked for."""

from __future__ import annotations

import json
import sys
import time
import uuid
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime

from crossover_services.predictor.http_limits import CLOSED_BY_CLIENT
from crossover_services.predictor.request_metrics import Metrics
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from crossover.decoding.generation_request import Completion, Generation, Infilling, Text

MOST_PROMPT_CHARACTERS = 10_000
QUIET = frozenset({"/", "/metrics", "/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/{model_name}/ready"})
"""Routes of probes and scrapes, which are counted and not logged."""


@dataclass
class RequestRecord:
    """What the line of one request tells of its completions."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompts: list[Text] = field(default_factory=list)


_record: ContextVar[RequestRecord | None] = ContextVar("record", default=None)


def note_prompt(request: Generation | Infilling) -> None:
    """Keep the texts of a request for the line of the HTTP or gRPC request that is being answered."""
    if (record := _record.get()) is not None:
        given = (request.prompt, request.suffix) if isinstance(request, Generation) else request.parts
        record.prompts += [text for text in given if isinstance(text, str | tuple)]


def note_completion(completion: Completion) -> None:
    """Count its tokens in the line of the HTTP or gRPC request that is being answered."""
    if (record := _record.get()) is not None:
        record.prompt_tokens += completion.prompt_tokens
        record.completion_tokens += len(completion.tokens)


class AccessLog:
    """Writes the lines.

    Args:
        metrics: counts the answers.
        prompts: whether lines have the texts that were sent.
    """

    def __init__(self, metrics: Metrics, *, prompts: bool = False) -> None:
        self._metrics, self._prompts = metrics, prompts

    def begin(self) -> RequestRecord:
        """A record for the present task, and those that it starts."""
        record = RequestRecord()
        _record.set(record)
        return record

    def end(
        self, record: RequestRecord, route: str, status: int | str, began: float, *, quiet: bool, **fields: object
    ) -> None:
        """Count the answer and write its line.

        Args:
            record: from `begin`.
            route: the path of the route, not of the request.
            status: of HTTP, or the name of gRPC's.
            began: of `time.perf_counter`.
            quiet: count it, and write no line.
            fields: further ones of the line.
        """
        self._metrics.answered(route, status)
        if quiet:
            return
        line = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "event": "request",
            "route": route,
            "status": status,
            "seconds": round(time.perf_counter() - began, 4),
            "prompt_tokens": record.prompt_tokens,
            "completion_tokens": record.completion_tokens,
            **fields,
        }
        if self._prompts:
            line["prompts"] = [text[:MOST_PROMPT_CHARACTERS] for text in record.prompts]
        print(json.dumps(line), file=sys.stderr, flush=True)


class HttpAccessLog:
    """ASGI middleware: a line and a count for each request; the answer has the client's `X-Request-Id`, or a new one.

    Args:
        app: the application.
        log: writes the lines.
    """

    def __init__(self, app: ASGIApp, log: AccessLog) -> None:
        self._app, self._log = app, log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        record, began, status = self._log.begin(), time.perf_counter(), CLOSED_BY_CLIENT
        given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
        identifier = given[:100] or uuid.uuid4().hex.encode()
        state = scope.setdefault("state", {})

        async def answered(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", []), (b"x-request-id", identifier)]
            await send(message)

        try:
            await self._app(scope, receive, answered)
        except Exception:
            status = 500
            raise
        finally:
            route = getattr(scope.get("route"), "path", "none")
            fields = {"method": scope["method"], "request_id": identifier.decode("latin-1")}
            if state.get("client_left"):
                fields["client_left"] = True
            self._log.end(record, route, status, began, quiet=route in QUIET, **fields)
