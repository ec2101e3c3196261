"""Errors as RFC 9457 has them (application/problem+json), each with its HTTP status."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from crossover.errors import AccessError, RunHeldError, UserError
from crossover.registry.wire_format import Problem

MEDIA_TYPE = "application/problem+json"
STATUS = {
    "access.unknown-caller": 401,
    "access.missing-scope": 403,
    "access.other-namespace": 403,
    "registry.unknown-study": 404,
    "registry.unknown-run": 404,
    "registry.unknown-attempt": 404,
    "registry.unknown-token": 404,
    "registry.unknown-analysis": 404,
    "registry.no-such-study": 404,
    "registry.study-in-use": 409,
    "registry.run-held": 409,
    "registry.attempt-ended": 409,
    "registry.other-request": 409,
    "registry.step-backwards": 409,
    "request.too-large": 413,
    "request.wrong-type": 415,
    "request.too-many": 429,
    "access.no-review": 503,
    "registry.unusable": 503,
}
"""Of an error's code; any other is the client's: 400."""
RETRY_SECONDS = 2


def problem(error: UserError) -> JSONResponse:
    """The answer to an error."""
    status = STATUS.get(error.code, 400)
    body = Problem(
        type=f"urn:crossover:error:{error.code}",
        title=HTTPStatus(status).phrase,
        status=status,
        detail=f"{error.problem}; {error.remedy}",
        code=error.code,
        field=error.field,
        remedy=error.remedy,
    ).model_dump()
    if isinstance(error, RunHeldError):
        body |= {"holder": error.holder, "seen": error.seen, "host": error.host, "pid": error.pid}
    headers = {}
    if status in (429, 503):
        headers["Retry-After"] = str(RETRY_SECONDS)
    if isinstance(error, AccessError) and status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(body, status, headers, media_type=MEDIA_TYPE)


def add_handlers(app: FastAPI) -> None:
    """Answer every error with a problem."""

    @app.exception_handler(UserError)
    async def of_ours(_request: Request, error: UserError) -> JSONResponse:
        return problem(error)

    @app.exception_handler(RequestValidationError)
    async def of_fields(_request: Request, error: RequestValidationError) -> JSONResponse:
        return _plain(422, "request.invalid", *_faults(error.errors()), remedy="see /docs for the fields")

    @app.exception_handler(HTTPException)
    async def of_routing(request: Request, error: HTTPException) -> JSONResponse:
        text, remedy = f"{request.method} {request.url.path}: {error.detail}", "see /docs for the addresses"
        answer = _plain(error.status_code, "request.refused", "address", text, remedy=remedy)
        answer.headers.update(error.headers or {})
        return answer

    @app.exception_handler(Exception)
    async def of_bugs(_request: Request, _error: Exception) -> JSONResponse:
        text, remedy = "the server failed; its log has the traceback", "report it with the request's id"
        return _plain(500, "request.failed", "server", text, remedy=remedy)


def _faults(errors: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """The first field at fault, and every fault; values are not repeated, for a client may send secrets."""
    named = [(".".join(map(str, error["loc"])), str(error["msg"])) for error in errors]
    return named[0][0], "; ".join(f"{place}: {text}" for place, text in named[:20])


def _plain(status: int, code: str, field: str, text: str, *, remedy: str) -> JSONResponse:
    body = Problem(
        type=f"urn:crossover:error:{code}",
        title=HTTPStatus(status).phrase,
        status=status,
        detail=text,
        code=code,
        field=field,
        remedy=remedy,
    )
    return JSONResponse(body.model_dump(), status, media_type=MEDIA_TYPE)
