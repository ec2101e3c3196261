"""The HTTP server: KServe's application within our middleware, on uvicorn, until SIGTERM has been obeyed."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from types import FrameType

import uvicorn
from crossover_services.predictor.access_log import AccessLog, HttpAccessLog
from crossover_services.predictor.draining import Draining, DrainingMiddleware
from crossover_services.predictor.grpc_server import GrpcServer
from crossover_services.predictor.http_limits import RequestLimits
from crossover_services.predictor.playground.playground_routes import add_cors
from crossover_services.predictor.slow_clients import timed_protocol
from starlette.types import ASGIApp

GRACE_SECONDS = 30.0
"""Most that requests have to finish after SIGTERM."""
KEEP_ALIVE_SECONDS = 65
"""Longer than proxies keep theirs: a connection that the server closes is one that a proxy has not just used."""


class Server(uvicorn.Server):
    """Serves until SIGTERM or SIGINT, then drains; a second signal ends it at once.

    Args:
        config: uvicorn's.
        draining: of the application.
        grpc: served beside it; None for none.
    """

    def __init__(self, config: uvicorn.Config, draining: Draining, grpc: GrpcServer | None) -> None:
        super().__init__(config)
        self._draining, self._grpc = draining, grpc
        self._grpc_stops: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Open the ports.

        Raises:
            WorkspaceError: that of gRPC cannot be used.
        """
        if self._grpc is not None:
            await self._grpc.start()
        await super().startup(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Drain, or on a second signal stop."""
        if self._draining.begun:
            self.should_exit = True
            self.force_exit = True
        self._draining.begin()

    async def on_tick(self, counter: int) -> bool:
        """Whether the server ends: called ten times a second."""
        if self._draining.begun and self._grpc is not None and self._grpc_stops is None:
            self._grpc_stops = asyncio.create_task(self._grpc.stop(GRACE_SECONDS))
        grpc_ended = self._grpc is None or (self._grpc_stops is not None and self._grpc_stops.done())
        if grpc_ended and self._draining.finished(len(self.server_state.connections), GRACE_SECONDS):
            self.should_exit = True
        return await super().on_tick(counter)


def make_server(
    app: ASGIApp,
    log: AccessLog,
    *,
    most_body_bytes: int,
    read_seconds: float,
    grpc: GrpcServer | None,
    origins: Sequence[str] = (),
) -> Server:
    """The server of an application.

    Args:
        app: the application.
        log: of requests.
        most_body_bytes: of a body; larger ones are refused.
        read_seconds: for the headers of a request, and for its body.
        grpc: served beside it; None for none.
        origins: whose pages may call it.
    """
    draining = Draining()
    guarded = RequestLimits(DrainingMiddleware(app, draining), most_body_bytes, read_seconds)
    config = uvicorn.Config(
        HttpAccessLog(add_cors(guarded, origins), log),
        http=timed_protocol(read_seconds),
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=1,  # the drain has waited for requests already
    )
    return Server(config, draining, grpc)
