"""How requests end that are not finished."""

from __future__ import annotations

from crossover.errors import CancelledRequestError, DeadlineError, ServerBusyError, ServerStoppingError, first_line


def stopping() -> ServerStoppingError:
    """Of a request that came too late, or was not finished in time."""
    return ServerStoppingError(
        "request.server-stopping", field="server", problem="is stopping", remedy="ask again: another one takes over"
    )


def out_of_memory(error: Exception) -> ServerBusyError:
    """Of a request whose keys and values could not be allocated."""
    reason = first_line(error)
    return ServerBusyError(
        "request.out-of-memory",
        field="server",
        problem=f"has no memory for this request ({reason})",
        remedy="ask again later, or start the server with a smaller --memory",
    )


def cancelled() -> CancelledRequestError:
    """Of a request whose client went away."""
    return CancelledRequestError("request.cancelled", field="client", problem="went away", remedy="ask again")


def late(seconds: float) -> DeadlineError:
    """Of a request whose deadline has passed so long after its submission."""
    return DeadlineError(
        "request.deadline",
        field="timeout",
        problem=f"not finished {seconds:.1f} s after it was received",
        remedy="ask for fewer tokens, or give more time",
    )
