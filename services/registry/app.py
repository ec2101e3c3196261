"""The application: routes, and what every request goes through."""

from __future__ import annotations

from crossover_services.registry import page_response, page_routes
from fastapi import FastAPI

from crossover import __version__
from crossover.registry import Registry


def create_app(registry: Registry) -> FastAPI:
    """The application over an open registry.

    Args:
        registry: open; the caller closes it.
    """
    app = FastAPI(title="Crossover registry", version=__version__)
    app.state.registry = registry
    app.include_router(page_routes.router)
    app.add_exception_handler(404, page_response.unmatched)
    return app
