"""Errors as the protocol of a route has them: status, body, headers."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

from crossover.errors import (
    CancelledRequestError,
    DeadlineError,
    PromptTooLongError,
    RequestError,
    ServerBusyError,
    ServerStoppingError,
)

RETRY_SECONDS = 1
"""What Retry-After says to a client that was refused."""
STATUS: tuple[tuple[type[RequestError], int], ...] = (
    (ServerBusyError, 429),
    (ServerStoppingError, 503),
    (DeadlineError, 408),
    (CancelledRequestError, 499),
)
CODE_STATUS = {"request.too-large": 413, "request.unknown-model": 404}
OPENAI_TYPES = {404: "not_found_error", 408: "timeout_error", 429: "rate_limit_error", 503: "server_error"}


def status_of(error: RequestError) -> int:
    """The HTTP status of an error."""
    given = CODE_STATUS.get(error.code)
    return given or next((status for kind, status in STATUS if isinstance(error, kind)), 400)


def openai_error(error: RequestError) -> dict[str, object]:
    """The body of an error of the OpenAI-style routes."""
    kind = OPENAI_TYPES.get(status_of(error), "invalid_request_error")
    code = "context_length_exceeded" if isinstance(error, PromptTooLongError) else error.code
    return {"error": {"message": str(error), "type": kind, "param": error.field, "code": code}}


def answer(path: str, error: RequestError) -> JSONResponse:
    """The answer to an error: KServe's shape on its own routes, elsewhere OpenAI's.

    Args:
        path: of the request.
        error: what was wrong.
    """
    status = status_of(error)
    headers = {"Retry-After": str(RETRY_SECONDS)} if status in (429, 503) else None
    body = {"error": str(error)} if is_kserve(path) else openai_error(error)
    return JSONResponse(body, status, headers)


def is_kserve(path: str) -> bool:
    """Whether a path is of KServe's protocols; it shares /v1/models with OpenAI's, whose errors that path has."""
    return path.startswith("/v2") or path.endswith((":predict", ":explain"))


def request_error(request: Request, error: Exception) -> JSONResponse:
    """The application's handler of RequestError."""
    assert isinstance(error, RequestError)  # noqa: S101 - as it is registered
    return answer(request.url.path, error)


def routing_error(request: Request, error: Exception) -> JSONResponse:
    """The application's handler of what no route takes: an unknown address, another method."""
    assert isinstance(error, HTTPException)  # noqa: S101 - as it is registered
    message = f"{request.method} {request.url.path}: {error.detail}"
    kind = OPENAI_TYPES.get(error.status_code, "invalid_request_error")
    openai = {"message": message, "type": kind, "param": None, "code": None}
    return JSONResponse({"error": message if is_kserve(request.url.path) else openai}, error.status_code, error.headers)
