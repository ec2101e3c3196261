"""Middleware of every request: its size, its content type, its digest, its rate, one line of log, and its time."""

from __future__ import annotations

import hashlib
import time
import uuid
from collections import OrderedDict
from typing import Any

import structlog
from crossover_services.registry.problem_details import problem
from crossover_services.registry.tracing import annotated
from prometheus_client import Counter, Histogram
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from crossover.errors import RequestError
from crossover.registry.wire_format import MOST_BYTES

MOST_DOCUMENT_BYTES = 16 * MOST_BYTES
"""Of an analysis, of item scores, of a manifest: one document each."""
_DOCUMENTS = ("/analyses", "/items", "/datasets", "/studies", "/runs")
_REQUESTS = Counter("crossover_registry_requests", "Requests, by function and status.", ["handler", "status"])
_SECONDS = Histogram("crossover_registry_request_seconds", "Time of a request.", ["handler"])
_MOST_CALLERS = 10_000


class RequestLimits:
    """Refuses what is too large, of another type or too often; measures and logs the rest.

    Args:
        app: the application.
        per_second: requests a second of one caller address, a burst of twice as many; 0 for no limit.
    """

    def __init__(self, app: ASGIApp, per_second: float = 0.0) -> None:
        self._app, self._per_second = app, per_second
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._log = structlog.get_logger("crossover.registry")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request, started = Request(scope), time.perf_counter()
        identifier = request.headers.get("x-request-id", "")[:100] or uuid.uuid4().hex
        span = annotated(identifier)  # now: it ends with the response's last byte
        state: dict[str, Any] = scope.setdefault("state", {})
        status = 500

        async def answered(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", identifier.encode("latin-1", "replace"))]
            await send(message)

        try:
            received = await self._checked(request, receive, state)
        except RequestError as error:
            await problem(error)(scope, receive, answered)
        else:
            await self._app(scope, received, answered)
        finally:
            seconds, handler = time.perf_counter() - started, getattr(scope.get("endpoint"), "__name__", "none")
            _REQUESTS.labels(handler, status).inc()
            _SECONDS.labels(handler).observe(seconds)
            self._log.info(
                "request",
                method=request.method,
                path=request.url.path,
                status=status,
                milliseconds=round(1_000 * seconds, 1),
                caller=state.get("caller", ""),
                request_id=identifier,
                **span,
            )

    async def _checked(self, request: Request, receive: Receive, state: dict[str, Any]) -> Receive:
        """The body, read and within its limit, ready to be received again."""
        self._take(request.client.host if request.client else "")
        if request.method not in ("POST", "PUT", "PATCH"):
            return receive
        limit = MOST_DOCUMENT_BYTES if request.url.path.endswith(_DOCUMENTS) else MOST_BYTES
        if int(request.headers.get("content-length", "0") or 0) > limit:
            raise _too_large(limit)
        address = f"{request.method} {request.url.path}?{request.url.query}\n"
        body, digest = bytearray(), hashlib.sha256(address.encode("utf-8", "replace"))
        async for chunk in Request(request.scope, receive).stream():
            body += chunk
            digest.update(chunk)
            if len(body) > limit:
                raise _too_large(limit)
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if body and kind != "application/json":
            raise RequestError(
                "request.wrong-type",
                field="Content-Type",
                problem=f"{kind or 'no type'} is not read here",
                remedy="send JSON as application/json",
            )
        state["body_digest"] = digest.hexdigest()
        sent = False

        async def again() -> Message:
            nonlocal sent
            if sent:
                return await receive()
            sent = True
            return {"type": "http.request", "body": bytes(body), "more_body": False}

        return again

    def _take(self, caller: str) -> None:
        """Take a request from the caller's bucket.

        Raises:
            RequestError: it is empty.
        """
        if not self._per_second:
            return
        now, burst = time.monotonic(), 2 * self._per_second
        tokens, at = self._buckets.pop(caller, (burst, now))
        tokens = min(burst, tokens + (now - at) * self._per_second)
        self._buckets[caller] = (max(0.0, tokens - 1), now)
        if len(self._buckets) > _MOST_CALLERS:
            self._buckets.popitem(last=False)
        if tokens < 1:
            raise RequestError(
                "request.too-many",
                field="requests",
                problem=f"more than {self._per_second:g} a second",
                remedy="wait for Retry-After seconds, and send several points in one request",
            )


def _too_large(limit: int) -> RequestError:
    return RequestError(
        "request.too-large",
        field="body",
        problem=f"is larger than {limit:,} bytes",
        remedy="send fewer points in one request",
    )
