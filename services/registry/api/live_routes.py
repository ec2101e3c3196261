"""A live tail of a study's points, as server-sent events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated

from crossover_services.registry.access_control import Namespaces, OpenRegistry, Reader
from crossover_services.registry.api.write_routes import StudyDigest
from fastapi import APIRouter, Header, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse

from crossover.errors import RegistryError, RequestError
from crossover.registry import Registry
from crossover.registry.live_points import Seen, new_points
from crossover.registry.wire_format import number_json

POLL_SECONDS = 1.0
router = APIRouter()


@router.get("/studies/{study}/live", tags=["points"], response_class=StreamingResponse)
def live(
    request: Request,
    study: StudyDigest,
    registry: OpenRegistry,
    namespaces: Namespaces,
    _: Reader,
    metric: Annotated[str, Query(max_length=250)] = "train_loss",
    last_event_id: Annotated[str | None, Header()] = None,
) -> StreamingResponse:
    """Every point of a metric, from the first or after `Last-Event-ID`, as they are recorded; `event: points`."""
    events = _events(request, registry, study, metric, _seen(last_event_id), namespaces)
    return StreamingResponse(events, media_type="text/event-stream", headers={"Cache-Control": "no-store"})


def _seen(event_id: str | None) -> Seen:
    try:
        seen = json.loads(event_id or "{}")
    except ValueError:
        seen = None
    if not isinstance(seen, dict) or not all(isinstance(step, int) for step in seen.values()):
        problem, remedy = "is not one that this address gave", "leave it out to start from the first point"
        raise RequestError("request.bad-query", field="Last-Event-ID", problem=problem, remedy=remedy)
    return seen


async def _events(
    request: Request, registry: Registry, study: str, metric: str, seen: Seen, namespaces: frozenset[str] | None
) -> AsyncIterator[str]:
    while not await request.is_disconnected() and not request.app.state.stopping.is_set():
        try:
            points, seen = await run_in_threadpool(
                registry.reading, lambda engine, at=seen: new_points(engine, study, metric, at, namespaces=namespaces)
            )
        except RegistryError:  # the log has it from other requests; the tail goes on when the database does
            points = []
        if points:
            rows = [{k: number_json(v) if isinstance(v, float) else v for k, v in p.items()} for p in points]
            yield f"event: points\nid: {json.dumps(seen)}\ndata: {json.dumps(rows)}\n\n"
        else:
            yield ": nothing new\n\n"
            await asyncio.sleep(POLL_SECONDS)
