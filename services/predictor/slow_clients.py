"""uvicorn's HTTP protocol, with a time-out for the headers of a request, which uvicorn itself lacks."""

from __future__ import annotations

import asyncio
from typing import Any

from crossover_services.predictor.http_limits import READ_SECONDS
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

ANSWER = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class TimedProtocol(HttpToolsProtocol):
    """Closes a connection whose next request does not get as far as its body within `read_seconds`.

    Between requests uvicorn's own keep-alive time-out holds.
    """

    read_seconds = READ_SECONDS
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # narrower than the base class
        """The time for the first request begins."""
        super().connection_made(transport)
        self._begin()

    def on_message_begin(self) -> None:
        """The time for a further request begins."""
        super().on_message_begin()
        if self._timer is None:
            self._begin()

    def on_headers_complete(self) -> None:
        """What follows is the body's time."""
        self._end()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """No time runs any more."""
        self._end()
        super().connection_lost(exc)

    def _begin(self) -> None:
        self._timer = self.loop.call_later(self.read_seconds, self._too_slow)

    def _end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self) -> None:
        self._timer = None
        if self.cycle is not None and not self.cycle.response_complete:  # the next request, sent before this answer
            self._begin()
        elif not self.transport.is_closing():
            self.transport.write(ANSWER)
            self.transport.close()


def timed_protocol(seconds: float) -> type[Any]:
    """The protocol with another time-out, in seconds; uvicorn makes an object of it for each connection."""
    return type("TimedProtocol", (TimedProtocol,), {"read_seconds": seconds})
