"""Liveness, readiness and metrics, for the platform: without a token."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest

from crossover.errors import RegistryError
from crossover.registry import Registry
from crossover.registry.reads.run_counts import count_runs

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
def metrics(request: Request) -> Response:
    """Requests, their times, recorded points, and runs by status, for Prometheus."""
    own, registry = CollectorRegistry(), request.app.state.registry
    up = Gauge("crossover_registry_database_up", "Whether the database answered just now.", registry=own)
    try:
        counts = count_runs(registry, None)
    except RegistryError:
        up.set(0)
    else:
        up.set(1)
        text = "Runs by status; the same number on every replica."
        runs = Gauge("crossover_registry_runs", text, ["status"], registry=own)
        for status, number in counts.items():
            runs.labels(status).set(number)
    return Response(generate_latest() + generate_latest(own), media_type=CONTENT_TYPE_LATEST)
