"""The application: its routes, and what every request goes through."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from crossover_services.registry import health_routes, page_response, page_routes
from crossover_services.registry.access_control import AccessRules
from crossover_services.registry.api import live_routes, read_routes, token_routes, write_routes
from crossover_services.registry.problem_details import MEDIA_TYPE, add_handlers
from crossover_services.registry.request_limits import RequestLimits
from fastapi import APIRouter, FastAPI
from starlette.middleware.trustedhost import TrustedHostMiddleware

from crossover import __version__
from crossover.registry import Registry
from crossover.registry.wire_format import Problem

_PROBLEM = {"model": Problem, "content": {MEDIA_TYPE: {}}}
_ERRORS = {
    400: "A parameter is wrong.",
    401: "Who calls is not known.",
    403: "The caller has no right to it.",
    404: "There is no such thing.",
    409: "It contradicts what is recorded.",
    413: "The body is too large.",
    415: "The body is not JSON.",
    422: "A field is wrong.",
    429: "Too many requests.",
    503: "The database does not answer.",
}


def create_app(
    registry: Registry,
    rules: AccessRules,
    *,
    hosts: Sequence[str] = ("*",),
    requests_per_second: float = 0.0,
) -> FastAPI:
    """The application over an open registry.

    Args:
        registry: open; the caller closes it.
        rules: how callers are known.
        hosts: names by which clients may reach the server; `*` is any.
        requests_per_second: of one address; 0 for no limit.
    """
    app = FastAPI(
        title="Crossover registry",
        version=__version__,
        description="What studies ask, run, measure and conclude. Columns of the views: docs/registry.md.",
        docs_url=None,
        redoc_url=None,
        responses={status: _PROBLEM | {"description": text} for status, text in _ERRORS.items()},
    )
    app.state.registry, app.state.rules, app.state.stopping = registry, rules, asyncio.Event()
    api = APIRouter(prefix="/api/v1", generate_unique_id_function=lambda route: route.name)  # as links name them
    for routes in (write_routes, live_routes, token_routes, read_routes):  # the last has a route for any name
        api.include_router(routes.router)
    for router in (health_routes.router, api, page_routes.router):
        app.include_router(router)
    add_handlers(app)
    app.add_exception_handler(404, page_response.unmatched)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))
    app.add_middleware(RequestLimits, per_second=requests_per_second)
    return app
