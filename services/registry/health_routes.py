"""Liveness, readiness and metrics, for the platform: without a token."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from crossover.errors import RegistryError
from crossover.registry import Registry

router = APIRouter(tags=["operations"])


@router.get("/healthz")
def alive() -> dict[str, str]:
    """Whether the process answers."""
    return {"status": "ok"}


@router.get("/readyz", responses={503: {"description": "It is not ready.", "content": {"application/json": {}}}})
def ready(request: Request) -> Response:
    """Whether the database answers and has this version's schema or the next; 503 if not, and during a shutdown."""
    registry: Registry = request.app.state.registry
    if request.app.state.stopping.is_set():
        return JSONResponse({"status": "stopping"}, 503)
    try:
        registry.check()
    except RegistryError as error:
        return JSONResponse({"status": "unusable", "problem": error.problem}, 503)
    return JSONResponse({"status": "ok"})


@router.get("/metrics", response_class=PlainTextResponse)
def metrics() -> Response:
    """Requests, their times and recorded points, for Prometheus."""
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
