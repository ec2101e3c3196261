"""The port of a service."""

from __future__ import annotations

import socket

from crossover.errors import WorkspaceError


def listen(host: str, port: int, *, backlog: int = 128) -> socket.socket:
    """A listening socket.

    Args:
        host: address to listen on.
        port: 0 takes a free one.
        backlog: connections that wait to be accepted.

    Raises:
        WorkspaceError: the address or the port cannot be used.
    """
    try:
        return socket.create_server((host, port), backlog=backlog)
    except OSError as error:
        raise WorkspaceError(
            "serve.cannot-listen",
            field="--port",
            problem=f"cannot listen on {host}:{port} ({error.strerror})",
            remedy="give another --port, or 0 for a free one",
        ) from error
