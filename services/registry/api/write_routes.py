"""Writes: studies, runs, attempts, points, analyses, deployments; with an Idempotency-Key none is done twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from crossover_services.registry.access_control import Allowed, Caller, TeamRegistry
from crossover_services.registry.api.openapi_links import OF_ATTEMPT, OF_RUN, OF_STUDY, SAME_ATTEMPT, links, rows_of
from fastapi import APIRouter, Depends, Header, Path, Request
from prometheus_client import Counter

from crossover.registry import Registry
from crossover.registry import wire_format as w
from crossover.registry.access_tokens import record_event
from crossover.study.identity import RunId

_POINTS = Counter("crossover_registry_points", "Points that were recorded.")
Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        description="Names the request: repeated with the same body it gets the same answer, with another one 409.",
    ),
]
StudyDigest = Annotated[str, Path(pattern=w.DIGEST)]
RunDigest = Annotated[str, Path(pattern=w.DIGEST)]
Number = Annotated[int, Path(ge=1, le=2**31 - 1)]
Writer = Annotated[Caller, Depends(Allowed("write"))]
Promoter = Annotated[Caller, Depends(Allowed("promote"))]
TeamAdmin = Annotated[Caller, Depends(Allowed("admin"))]
Answer = dict[str, Any]
router = APIRouter()


def _once(
    request: Request,
    registry: Registry,
    key: str | None,
    write: Callable[[], Answer | None],
    answer: Answer | None = None,
) -> Answer:
    """Do the write; under a key, once. An answer that is known before is stored with the key at once."""
    if key is not None:
        return registry.once(key, request.state.body_digest, write, answer)
    return write() or answer or {}


@router.post(
    "/studies",
    tags=["studies"],
    status_code=201,
    responses=links(201, dict.fromkeys(("register_dataset", "register_run", "record_analysis"), OF_STUDY)),
)
def register_study(request: Request, body: w.StudyBody, registry: TeamRegistry, _: Writer, key: Key = None) -> Answer:
    """Record a revision of a study; one that is there stays as it is."""
    return _once(request, registry, key, lambda: registry.register_study(**dict(body)))


@router.post("/deletions", tags=["studies"])
def delete_study(
    request: Request, body: w.StudyNameBody, registry: TeamRegistry, caller: TeamAdmin, key: Key = None
) -> Answer:
    """Hide a study with all its revisions from every read; `POST /restorations` brings it back until it is purged."""
    return _once(request, registry, key, lambda: {"revisions": registry.delete_study(body.name, actor=caller.name)})


@router.post("/restorations", tags=["studies"])
def restore_study(
    request: Request, body: w.StudyNameBody, registry: TeamRegistry, caller: TeamAdmin, key: Key = None
) -> Answer:
    """Bring back a study that was deleted and not purged yet."""
    return _once(request, registry, key, lambda: {"revisions": registry.restore_study(body.name, actor=caller.name)})


@router.post("/studies/{study}/datasets", tags=["studies"], status_code=201)
def register_dataset(
    request: Request, study: StudyDigest, body: w.DatasetBody, registry: TeamRegistry, _: Writer, key: Key = None
) -> Answer:
    """Record a prepared corpus of a study."""
    return _once(request, registry, key, lambda: registry.register_dataset(study, body.digest, body.manifest))


@router.post(
    "/studies/{study}/runs",
    tags=["runs"],
    status_code=201,
    responses=links(
        201,
        dict.fromkeys(("begin_attempt", "record_points", "record_checkpoint", "record_items"), OF_RUN)
        | {"curves": {"study": "$request.path.study", "cell": "$request.body#/cell"}},
    ),
)
def register_run(
    request: Request, study: StudyDigest, body: w.RunBody, registry: TeamRegistry, _: Writer, key: Key = None
) -> Answer:
    """Record a run and link it to a study; with checkpoints it is done."""

    def write() -> None:
        registry.register_run(
            study,
            RunId(body.cell, body.arm, body.seed),
            body.digest,
            config=body.config,
            epoch_tokens=body.epoch_tokens,
            checkpoints=[checkpoint.record() for checkpoint in body.checkpoints],
        )

    return _once(request, registry, key, write)


@router.post(
    "/runs/{run}/attempts",
    tags=["runs"],
    status_code=201,
    responses=links(201, dict.fromkeys(("heartbeat", "append_points", "end_attempt"), OF_ATTEMPT)),
)
def begin_attempt(
    request: Request, run: RunDigest, body: w.AttemptBody, registry: TeamRegistry, _: Writer, key: Key = None
) -> Answer:
    """Begin an attempt: from now on this process alone may train the run, while it sends heartbeats or points."""

    def write() -> Answer:
        return {"n": registry.begin_attempt(run, body.started_step, body.process.record(), body.gone).n}

    return _once(request, registry, key, write)


@router.post("/runs/{run}/attempts/{n}/heartbeat", tags=["runs"])
def heartbeat(run: RunDigest, n: Number, registry: TeamRegistry, _: Writer) -> Answer:
    """Extend the lease of an attempt."""
    registry.attempt(run, n).heartbeat()
    return {}


@router.post(
    "/runs/{run}/attempts/{n}/points",
    tags=["points"],
    responses=links(
        200,
        dict.fromkeys(("append_points", "end_attempt"), SAME_ATTEMPT)
        | rows_of("attempts", run_digest="$request.path.run"),
    ),
)
def append_points(
    request: Request, run: RunDigest, n: Number, body: w.PointsBody, registry: TeamRegistry, _: Writer, key: Key = None
) -> Answer:
    """Append points of an attempt, in the order of their steps."""
    series = [(s.metric.record(), [point.record() for point in s.points], s.again) for s in body.series]
    count = {"points": sum(len(points) for _, points, _ in series)}
    answer = _once(request, registry, key, lambda: registry.append_points(run, n, series), count)
    _POINTS.inc(answer["points"])
    return answer


@router.post("/runs/{run}/attempts/{n}/end", tags=["runs"])
def end_attempt(
    request: Request, run: RunDigest, n: Number, body: w.EndBody, registry: TeamRegistry, _: Writer, key: Key = None
) -> Answer:
    """End an attempt; its reason becomes the run's status."""
    return _once(request, registry, key, lambda: registry.attempt(run, n).finish(body.reason))


@router.post("/runs/{run}/measurements", tags=["points"])
def record_points(
    request: Request, run: RunDigest, body: w.SeriesBody, registry: TeamRegistry, _: Writer, key: Key = None
) -> Answer:
    """Record measurements of a trained run, at any steps; measuring again replaces."""
    points = [point.record() for point in body.points]

    def write() -> Answer:
        registry.record_points(run, body.metric.record(), points)
        return {"points": len(points)}

    answer = _once(request, registry, key, write)
    _POINTS.inc(answer["points"])
    return answer


@router.post(
    "/runs/{run}/checkpoints",
    tags=["runs"],
    status_code=201,
    responses=links(201, rows_of("runs", run_digest="$request.path.run")),
)
def record_checkpoint(
    request: Request, run: RunDigest, body: w.CheckpointBody, registry: TeamRegistry, _: Writer, key: Key = None
) -> Answer:
    """Record saved weights; saving the same step again replaces."""
    write = registry.record_checkpoint
    return _once(request, registry, key, lambda: write(run, body.step, body.tokens, body.uri, body.digest))


@router.post("/runs/{run}/items", tags=["points"], status_code=201)
def record_items(
    request: Request, run: RunDigest, body: w.ItemsBody, registry: TeamRegistry, _: Writer, key: Key = None
) -> Answer:
    """Record per-item scores of a task at a step; scoring again replaces."""
    return _once(request, registry, key, lambda: registry.record_items(run, body.step, body.task, body.items))


@router.post("/runs/{run}/serving", tags=["runs"], status_code=201)
def record_serving(
    request: Request, run: RunDigest, body: w.ServingBody, registry: TeamRegistry, _: Writer, key: Key = None
) -> Answer:
    """Append what it costs to serve a checkpoint of a run."""
    return _once(request, registry, key, lambda: registry.record_serving(run, body.record()))


@router.post(
    "/studies/{study}/analyses",
    tags=["verdicts"],
    status_code=201,
    responses=links(
        201,
        {"analysis": {"digest": "$response.body#/digest"}} | rows_of("verdicts", study_digest="$request.path.study"),
    ),
)
def record_analysis(
    request: Request, study: StudyDigest, body: w.AnalysisBody, registry: TeamRegistry, _: Writer, key: Key = None
) -> Answer:
    """Record an analysis of a cell and its verdicts, as the newest; answers with its digest."""

    def write() -> Answer:
        return {
            "digest": registry.record_analysis(
                study, body.cell, body.analysis.model_dump(mode="json", exclude_unset=True)
            )
        }

    return _once(request, registry, key, write)


@router.post(
    "/studies/{study}/deployments",
    tags=["verdicts"],
    status_code=201,
    responses=links(201, rows_of("deployments", study_digest="$request.path.study")),
)
def record_deployment(
    request: Request,
    study: StudyDigest,
    body: w.DeploymentBody,
    registry: TeamRegistry,
    caller: Promoter,
    key: Key = None,
) -> Answer:
    """Append a promotion."""

    def write() -> None:
        registry.record_deployment(study, **dict(body))
        record_event(registry, caller.name, "deployment.create", f"{study} {body.run_digest} step {body.step}")

    return _once(request, registry, key, write)


@router.post(
    "/studies/{study}/serving-crossovers",
    tags=["verdicts"],
    status_code=201,
    responses=links(201, rows_of("serving_crossovers", study_digest="$request.path.study")),
)
def record_serving_crossover(
    request: Request,
    study: StudyDigest,
    body: w.ServingCrossoverBody,
    registry: TeamRegistry,
    _: Writer,
    key: Key = None,
) -> Answer:
    """Append where one family overtakes the other in serving."""
    comparison = body.comparison.model_dump(mode="json", exclude_unset=True)
    return _once(request, registry, key, lambda: registry.record_serving_crossover(study, comparison))
