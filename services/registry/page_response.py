"""Answers: a page, its JSON twin under the same address, and errors as pages with a remedy."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Coroutine, Mapping
from datetime import datetime
from functools import cache
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from crossover_services.registry import page_addresses, page_assets, page_words
from crossover_services.registry.problem_details import STATUS
from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from jinja2 import Environment, PackageLoader
from starlette.exceptions import HTTPException

from crossover import __version__
from crossover.analysis.arm_labels import arm_label
from crossover.errors import CrossoverError, UserError
from crossover.report import number_formats, page_design

POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


def wants_json(request: Request) -> bool:
    """Whether the twin was asked for: `?format=json`, or an Accept header that prefers JSON to HTML."""
    chosen = request.query_params.get("format", "")
    if chosen:
        return chosen == "json"
    accepted = request.headers.get("accept", "")
    return "application/json" in accepted and "text/html" not in accepted


def respond(
    request: Request, template: str, data: Callable[[], object], values: Mapping[str, Any], status: int = 200
) -> Response:
    """The page, or its JSON twin; unchanged since the client's copy: 304.

    Args:
        request: the request.
        template: of the page.
        data: makes what the twin says.
        values: of the template.
        status: HTTP status.
    """
    if wants_json(request):
        body = json.dumps(data(), default=plain, ensure_ascii=False, indent=1) + "\n"
        kind = "application/json; charset=utf-8"
    else:
        body, kind = page(request, template, values), "text/html; charset=utf-8"
    content = body.encode()
    tag = f'W/"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = HEADERS | {"ETag": tag, "Cache-Control": "private, no-cache", "Vary": "Accept, Authorization, Cookie"}
    if status == HTTPStatus.OK and request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(content, status_code=status, media_type=kind, headers=headers)


def page(request: Request, template: str, values: Mapping[str, Any]) -> str:
    """The HTML of a page."""
    query, path = dict(request.query_params), quote(request.url.path)
    themes = (("light", "Light"), ("dark", "Dark"), ("", "System"))
    shared = {
        "path": request.url.path,
        "here": path,
        "twin": page_addresses.with_query(path, query | {"format": "json"}),
        "kept": page_addresses.carried(),
        "themes": [(name, text, page_addresses.with_query(path, query | {"theme": name})) for name, text in themes],
        "everywhere": page_addresses.with_query(path, query | {"namespace": ""}),
        "assets": page_assets.ADDRESSES,
        "version": __version__,
    }
    return environment().get_template(template).render(shared | dict(values))


@cache
def environment() -> Environment:
    """Jinja over the templates here and those of the report."""
    made = page_design.environment(PackageLoader("crossover_services.registry"))
    made.globals |= {
        "study_address": page_addresses.study_address,
        "study_path": page_addresses.study_path,
        "run_address": page_addresses.run_address,
        "figure_address": page_addresses.figure_address,
        "with_query": page_addresses.with_query,
    }
    made.filters |= {
        "short": number_formats.short,
        "count": number_formats.count,
        "number": number_formats.number,
        "duration": number_formats.duration,
        "time": page_words.time,
        "flops": lambda value: number_formats.axis_number("flops", value),
        "arm": arm_label,
    }
    return made


def plain(value: object) -> object:
    """What JSON does not know, as what it knows."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    if isinstance(value, Mapping):
        return dict(value)
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    raise TypeError(type(value).__name__)


class PageRoute(APIRoute):
    """A route whose errors are pages, too."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, with errors answered."""
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            page_addresses.carry(request.query_params)
            try:
                return await handle(request)
            except (CrossoverError, RequestValidationError) as error:
                return fault(request, error)
            except HTTPException as error:
                response = fault(request, error)
                response.headers.update(error.headers or {})
                return response

        return answer


def fault(request: Request, error: Exception) -> Response:
    """An error as a page, or as its twin."""
    status, code, problem, remedy = _described(error)
    title = HTTPStatus(status).phrase
    data = {"code": code, "problem": problem, "remedy": remedy}
    values = data | {"title": title, "status": status}
    response = respond(request, "page_fault.html", lambda: data, values, status)
    if status == HTTPStatus.UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


async def unmatched(request: Request, error: Exception) -> Response:
    """An address that no route has: a page for people, a problem for programs."""
    page_addresses.carry(request.query_params)
    if "text/html" in request.headers.get("accept", "") and not request.url.path.startswith("/api/"):
        return fault(request, error)
    handler: Any = request.app.exception_handlers[HTTPException]
    answer: Response = await handler(request, error)
    return answer


def _described(error: Exception) -> tuple[int, str, str, str]:
    if isinstance(error, UserError):
        status = STATUS.get(error.code, 404 if ".unknown-" in error.code else 400)
        return status, error.code, error.problem, error.remedy
    if isinstance(error, RequestValidationError):
        faults = "; ".join(f"{'.'.join(map(str, f['loc'][1:]))}: {f['msg']}" for f in error.errors())
        return 422, "page.bad-parameter", faults, "correct the address, or leave the parameter out"
    if isinstance(error, HTTPException):
        detail = error.detail if isinstance(error.detail, str) else HTTPStatus(error.status_code).phrase
        return error.status_code, "page.refused", detail, "open the list of studies, or sign in"
    return 500, "page.failed", str(error), "try again"
