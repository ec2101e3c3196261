"""The end of the server: after SIGTERM it refuses what is new, finishes what it has begun, and then closes its port."""

from __future__ import annotations

import time

from crossover_services.predictor.error_answers import answer
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from crossover.errors import ServerStoppingError

OPEN = frozenset({"/metrics", "/v2/health/live", "/"})
"""Routes that answer until the end: a pod that drains is alive."""
LINGER_SECONDS = 2.0
"""For connections that are open and idle: a request on its way gets an answer, which a closed one would reset."""


class Draining:
    """Whether the server drains, and what is left to finish."""

    def __init__(self) -> None:
        self._began = 0.0
        self.requests = 0
        """That are being answered."""

    @property
    def begun(self) -> bool:
        """Whether new requests are refused."""
        return self._began > 0

    def begin(self) -> None:
        """Refuse requests from now on."""
        self._began = self._began or time.monotonic()

    def finished(self, connections: int, most_seconds: float) -> bool:
        """Whether the server may close its connections.

        Args:
            connections: that are open.
            most_seconds: for requests that are being answered.
        """
        if not self.begun:
            return False
        seconds = time.monotonic() - self._began
        idle = self.requests == 0 and (connections == 0 or seconds > LINGER_SECONDS)
        return idle or seconds > most_seconds


class DrainingMiddleware:
    """ASGI middleware: while the server drains, new requests get HTTP 503, and every answer closes its connection.

    Args:
        app: the application.
        draining: of the server.
    """

    def __init__(self, app: ASGIApp, draining: Draining) -> None:
        self._app, self._draining = app, draining

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def closing(message: Message) -> None:
            if self._draining.begun and message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), (b"connection", b"close")]
            await send(message)

        if self._draining.begun and scope["path"] not in OPEN:
            await answer(scope["path"], stopping())(scope, receive, closing)
            return
        self._draining.requests += 1
        try:
            await self._app(scope, receive, closing)
        finally:
            self._draining.requests -= 1


def stopping() -> ServerStoppingError:
    """The error of a request that came too late."""
    return ServerStoppingError(
        "request.server-stopping",
        field="server",
        problem="stops, and finishes only what it has begun",
        remedy="send the request again, to another replica",
    )
