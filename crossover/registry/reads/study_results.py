"""What a revision of a study has: its runs, and the newest analysis of each cell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, func, select

from crossover.registry import schema as s
from crossover.registry.reads.read_filters import (
    Namespaces,
    alive_runs,
    current_points,
    run_status,
    unknown,
    utc,
    visible,
)
from crossover.registry.transactions import Transactions


@dataclass(frozen=True)
class RunRecord:
    """A run of a study, and how far it is."""

    id: int
    digest: str
    namespace: str
    cell: str
    arm: str
    seed: int
    status: str
    """As in `v_runs`."""
    config: Mapping[str, Any]
    epoch_tokens: int | None
    attempts: int
    lost_attempts: int
    heartbeat_at: datetime | None
    host: str
    checkpoint: str
    """Digest of the last one; empty if none."""
    step: int
    """Of its furthest point or checkpoint; 0 where there is none."""
    tokens: int
    flops: float
    seconds: float


@dataclass(frozen=True)
class AnalysisHead:
    """The newest analysis of a cell, without its result."""

    id: int
    cell: str
    digest: str
    method: str
    created_at: datetime | None


def study_runs(registry: Transactions, namespaces: Namespaces, study: int, *, cell: str = "") -> tuple[RunRecord, ...]:
    """The runs of a revision, ordered by cell, arm and seed; four statements whatever their number.

    Args:
        registry: open.
        namespaces: to read.
        study: id of a revision.
        cell: only of that cell; empty takes all.
    """
    conditions = [s.StudyRunRow.study_id == study, visible(namespaces)]
    if cell:
        conditions.append(s.RunRow.cell == cell)
    linked = select(s.StudyRunRow.run_id).join(s.RunRow, s.RunRow.id == s.StudyRunRow.run_id)
    linked = linked.join(s.StudyRow, s.StudyRow.id == s.StudyRunRow.study_id).where(*conditions)
    return registry.reading(
        lambda engine: read_runs(engine.connect(), s.RunRow.id.in_(linked.scalar_subquery()), registry.now())
    )


def read_runs(connection: Connection, which: ColumnElement[bool], now: datetime) -> tuple[RunRecord, ...]:
    """Records of runs.

    Args:
        connection: closed at the end.
        which: a condition on runs.
        now: the current time, in UTC.
    """
    run, attempt, checkpoint = s.RunRow, s.AttemptRow, s.CheckpointRow
    alive = alive_runs(now)
    with connection:
        rows = connection.execute(
            select(run.__table__, run_status(alive).label("state"))
            .outerjoin(alive, alive.c.run_id == run.id)
            .where(which)
            .order_by(run.cell, run.arm, run.seed)
        ).all()
        of_runs = select(run.id).where(which).scalar_subquery()
        attempts: dict[int, list[Any]] = {}
        for row in connection.execute(
            select(attempt.__table__).where(attempt.run_id.in_(of_runs)).order_by(attempt.run_id, attempt.n)
        ):
            attempts.setdefault(row.run_id, []).append(row)
        last = select(func.max(checkpoint.step)).where(checkpoint.run_id == run.id).correlate(run).scalar_subquery()
        saved = {
            row.run_id: row
            for row in connection.execute(
                select(checkpoint.__table__)
                .join(run, run.id == checkpoint.run_id)
                .where(which, checkpoint.step == last)
            )
        }
        restarted = any(len(rows) > 1 for rows in attempts.values())
        furthest = _furthest(connection, of_runs, restarted=restarted)
    return tuple(_record(row, attempts.get(row.id, []), saved.get(row.id), furthest.get(row.id)) for row in rows)


def _record(row: Any, attempts: list[Any], saved: Any, point: Any) -> RunRecord:  # noqa: ANN401 - rows
    newest = attempts[-1] if attempts else None
    lost = sum(a.end_reason == "lost" for a in attempts)
    lost += sum(a.ended_at is None for a in attempts) if row.state == "lost" else 0
    ahead = saved is not None and (point is None or saved.step > point.step)
    place = saved if ahead else point
    return RunRecord(
        id=row.id,
        digest=row.digest,
        namespace=row.namespace,
        cell=row.cell,
        arm=row.arm,
        seed=row.seed,
        status=row.state,
        config=row.config,
        epoch_tokens=row.epoch_tokens,
        attempts=len(attempts),
        lost_attempts=lost,
        heartbeat_at=utc(newest.heartbeat_at or newest.started_at) if newest else None,
        host=newest.host if newest else "",
        checkpoint=saved.digest if saved else "",
        step=place.step if place else 0,
        tokens=place.tokens if place else 0,
        flops=point.flops if point else 0.0,
        seconds=point.seconds if point else 0.0,
    )


def _furthest(connection: Connection, of_runs: Any, *, restarted: bool) -> dict[int, Any]:  # noqa: ANN401  # a condition of SQLAlchemy
    """Run to its furthest current point, of whatever metric."""
    series, point = s.SeriesRow, s.PointRow
    end = (
        select(point.step)
        .where(point.series_id == series.id, current_points(restarted=restarted))
        .order_by(point.step.desc(), point.attempt_n.desc())
        .limit(1)
        .correlate(series)
        .scalar_subquery()
    )
    ends = select(series.id, series.run_id, end.label("step")).where(series.run_id.in_(of_runs)).subquery("ends")
    rows = connection.execute(
        select(ends.c.run_id, point.__table__)
        .join(point, and_(point.series_id == ends.c.id, point.step == ends.c.step))
        .order_by(point.step, point.attempt_n)
    ).all()
    chunk = s.PointChunkRow
    closed = connection.execute(
        select(
            series.run_id,
            chunk.last_step.label("step"),
            chunk.last_tokens.label("tokens"),
            chunk.last_flops.label("flops"),
            chunk.last_seconds.label("seconds"),
        )
        .join(series, series.id == chunk.series_id)
        .where(series.run_id.in_(of_runs), chunk.current == 1)
        .order_by(chunk.last_step, chunk.attempt_n)
    )
    return {row.run_id: row for row in (*closed, *rows)}


def newest_analyses(registry: Transactions, namespaces: Namespaces, study: int) -> tuple[AnalysisHead, ...]:
    """The newest analysis of each cell of a revision, in order of their first analyses."""
    row = s.AnalysisRow
    newest = select(func.max(row.id)).where(row.study_id == study).group_by(row.cell)
    first = select(row.cell, func.min(row.id).label("first")).where(row.study_id == study).group_by(row.cell).subquery()
    statement = (
        select(row.id, row.cell, row.digest, row.method, row.created_at)
        .join(first, first.c.cell == row.cell)
        .join(s.StudyRow, s.StudyRow.id == row.study_id)
        .where(row.id.in_(newest.scalar_subquery()), visible(namespaces))
        .order_by(first.c.first)
    )

    def read(connection: Connection) -> tuple[AnalysisHead, ...]:
        with connection:
            rows = connection.execute(statement).all()
        return tuple(AnalysisHead(a.id, a.cell, a.digest, a.method, utc(a.created_at)) for a in rows)

    return registry.reading(lambda engine: read(engine.connect()))


def analysis_result(registry: Transactions, namespaces: Namespaces, digest: str) -> Mapping[str, Any]:
    """The JSON of an analysis.

    Args:
        registry: open.
        namespaces: to read.
        digest: of the JSON.

    Raises:
        RegistryError: `registry.unknown-analysis`.
    """
    row = s.AnalysisRow
    statement = (
        select(row.result)
        .join(s.StudyRow, s.StudyRow.id == row.study_id)
        .where(row.digest == digest, visible(namespaces))
        .limit(1)
    )

    def read(connection: Connection) -> Mapping[str, Any] | None:
        with connection:
            return connection.scalar(statement)

    result = registry.reading(lambda engine: read(engine.connect()))
    if result is None:
        raise unknown("analysis", digest, "open it from the page of its study")
    return result


def require_analysis(registry: Transactions, namespaces: Namespaces, digest: str) -> None:
    """Raise `registry.unknown-analysis` unless an analysis with that digest is in one of the namespaces."""
    row = s.AnalysisRow
    statement = (
        select(row.id)
        .join(s.StudyRow, s.StudyRow.id == row.study_id)
        .where(row.digest == digest, visible(namespaces))
        .limit(1)
    )

    def read(connection: Connection) -> int | None:
        with connection:
            return connection.scalar(statement)

    if registry.reading(lambda engine: read(engine.connect())) is None:
        raise unknown("analysis", digest, "open it from the page of its study")
