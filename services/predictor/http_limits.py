"""What clients may send, and how slowly: bodies are read within a size and a time; work for a client that left ends."""

from __future__ import annotations

import asyncio
import contextlib

from crossover_services.predictor.error_answers import answer
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from crossover.errors import DeadlineError, RequestError

MOST_BODY_BYTES = 10_000_000
READ_SECONDS = 10.0
LEAST_BYTES_PER_SECOND = 10_000
"""A body may take longer than `READ_SECONDS`, as long as it comes faster than this."""
CLOSED_BY_CLIENT = 499
"""Status in logs and metrics of a request whose client left before the answer; nobody receives it."""


class RequestLimits:
    """ASGI middleware: reads the body before the application runs, and cancels the application if the client leaves.

    Args:
        app: the application.
        most_bytes: of a body; larger ones get HTTP 413.
        read_seconds: for a body, beside what it takes at LEAST_BYTES_PER_SECOND; slower ones get HTTP 408.
    """

    def __init__(self, app: ASGIApp, most_bytes: int = MOST_BODY_BYTES, read_seconds: float = READ_SECONDS) -> None:
        self._app, self._most, self._seconds = app, most_bytes, read_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            body = await self._read(scope, receive)
        except RequestError as error:
            await self._refuse(scope, receive, send, error)
        else:
            if body is not None:
                await _Call(receive, send).run(self._app, scope, body)

    async def _read(self, scope: Scope, receive: Receive) -> bytes | None:
        """The body; None where the client left.

        Raises:
            RequestError: it is too large.
            DeadlineError: it comes too slowly.
        """
        if int(_header(scope, b"content-length") or 0) > self._most:
            raise self._too_large()
        body = bytearray()
        deadline = asyncio.get_running_loop().time() + self._seconds
        while True:
            try:
                async with asyncio.timeout_at(deadline + len(body) / LEAST_BYTES_PER_SECOND):
                    message = await receive()
            except TimeoutError:
                raise DeadlineError(
                    "request.slow-body",
                    field="body",
                    problem=f"{len(body)} bytes came in {self._seconds:g} s",
                    remedy="send the body at once, or start the server with a larger --read-timeout",
                ) from None
            if message["type"] == "http.disconnect":
                return None
            body += message.get("body", b"")
            if len(body) > self._most:
                raise self._too_large()
            if not message.get("more_body", False):
                return bytes(body)

    def _too_large(self) -> RequestError:
        return RequestError(
            "request.too-large",
            field="body",
            problem=f"is larger than {self._most:,} bytes",
            remedy="send fewer prompts in one request, or start the server with a larger --max-body",
        )

    async def _refuse(self, scope: Scope, receive: Receive, send: Send, error: RequestError) -> None:
        """Answer, then let what is still on its way arrive: closing at once would reset the connection."""
        response = answer(scope["path"], error)
        response.headers["Connection"] = "close"
        await send({"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers})
        await send({"type": "http.response.body", "body": response.body, "more_body": True})
        waiting = isinstance(error, DeadlineError) or _header(scope, b"expect")  # for 100 Continue, which never comes
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0 if waiting else self._seconds):
                while (message := await receive())["type"] == "http.request" and message.get("more_body", False):
                    pass
        await send({"type": "http.response.body", "body": b"", "more_body": False})


class _Call:
    """One run of the application, which ends early if the client leaves."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        self._left, self._complete = asyncio.Event(), False

    async def run(self, app: ASGIApp, scope: Scope, body: bytes) -> None:
        messages = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def again() -> Message:
            for message in messages:
                return message
            await self._left.wait()
            return {"type": "http.disconnect"}

        running = asyncio.ensure_future(app(scope, again, self._sent))
        watching = asyncio.ensure_future(self._watch())
        try:
            await asyncio.wait((running, watching), return_when=asyncio.FIRST_COMPLETED)
            if self._left.is_set() and not self._complete:
                scope.setdefault("state", {})["client_left"] = True
                running.cancel()
            with contextlib.suppress(*([asyncio.CancelledError] if self._left.is_set() else [])):
                await running
        finally:
            running.cancel()
            watching.cancel()

    async def _sent(self, message: Message) -> None:
        await self._send(message)
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self._complete = True

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._left.set()


def _header(scope: Scope, name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), "")
