"""One run: what it was trained with, its attempts, metrics, checkpoints, scored tasks, and the studies that use it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, select

from crossover.registry import schema as s
from crossover.registry.reads.read_filters import Namespaces, unknown, utc, visible, visible_runs
from crossover.registry.reads.study_results import RunRecord, read_runs
from crossover.registry.transactions import Transactions


@dataclass(frozen=True)
class AttemptRecord:
    """A process that trained a run."""

    n: int
    started_step: int
    host: str
    pid: int
    started_at: datetime | None
    heartbeat_at: datetime | None
    ended_at: datetime | None
    end_reason: str
    """Empty while it trains; `lost` where it gave no sign of life."""


@dataclass(frozen=True)
class CheckpointRecord:
    """Saved weights."""

    step: int
    tokens: int
    uri: str
    digest: str
    created_at: datetime | None


@dataclass(frozen=True)
class SeriesRecord:
    """A metric that was measured on a run."""

    name: str
    unit: str
    direction: str
    estimator: str
    draws: int


@dataclass(frozen=True)
class UsedBy:
    """A revision of a study that uses a run."""

    namespace: str
    name: str
    digest: str


@dataclass(frozen=True)
class RunDetail:
    """All that is known of a run but its points."""

    run: RunRecord
    attempts: tuple[AttemptRecord, ...]
    checkpoints: tuple[CheckpointRecord, ...]
    series: tuple[SeriesRecord, ...]
    scored: tuple[tuple[str, int], ...]
    """Tasks with per-item scores, and the steps at which they were scored."""
    studies: tuple[UsedBy, ...]


def run_detail(registry: Transactions, namespaces: Namespaces, name: str) -> RunDetail:
    """A run by its digest, how its digest begins after `sha256:`, or its id.

    Args:
        registry: open.
        namespaces: to read.
        name: digest, at least eight of its digits, or id.

    Raises:
        RegistryError: `registry.unknown-run`.
    """
    number = registry.reading(lambda engine: _number(engine.connect(), namespaces, name))
    if number is None:
        raise unknown("run", name, "open the run from the page of its study")
    (record,) = registry.reading(lambda engine: read_runs(engine.connect(), s.RunRow.id == number, registry.now()))
    return registry.reading(lambda engine: _detail(engine.connect(), namespaces, record))


def _number(connection: Connection, namespaces: Namespaces, name: str) -> int | None:
    run = s.RunRow
    shown = visible_runs(namespaces)
    with connection:
        found = connection.scalar(select(run.id).where(shown, run.digest == name))
        if found is None and name.isdecimal() and len(name) < 19:
            found = connection.scalar(select(run.id).where(shown, run.id == int(name)))
        bare = name.removeprefix("sha256:")
        if found is None and len(bare) >= 8:
            begins = run.digest.startswith(f"sha256:{bare}", autoescape=True)
            found = connection.scalar(select(run.id).where(shown, begins).limit(1))
    return None if found is None else int(found)


def _detail(connection: Connection, namespaces: Namespaces, run: RunRecord) -> RunDetail:
    attempt, checkpoint, series, metric = s.AttemptRow, s.CheckpointRow, s.SeriesRow, s.MetricRow
    items, study, link = s.ItemScoresRow, s.StudyRow, s.StudyRunRow
    with connection:
        attempts = connection.execute(select(attempt.__table__).filter_by(run_id=run.id).order_by(attempt.n)).all()
        saved = connection.execute(
            select(checkpoint.__table__).filter_by(run_id=run.id).order_by(checkpoint.step)
        ).all()
        metrics = connection.execute(
            select(metric.__table__)
            .join(series, series.metric_id == metric.id)
            .where(series.run_id == run.id)
            .order_by(metric.name, metric.estimator)
        ).all()
        scored = connection.execute(
            select(items.task, items.step).filter_by(run_id=run.id).order_by(items.task, items.step)
        ).all()
        users = connection.execute(
            select(study.namespace, study.name, study.digest)
            .join(link, link.study_id == study.id)
            .where(link.run_id == run.id, visible(namespaces))
            .order_by(study.id.desc())
        ).all()
    return RunDetail(
        run=run,
        attempts=tuple(
            AttemptRecord(
                n=a.n,
                started_step=a.started_step,
                host=a.host,
                pid=a.pid,
                started_at=utc(a.started_at),
                heartbeat_at=utc(a.heartbeat_at),
                ended_at=utc(a.ended_at),
                end_reason=a.end_reason or ("lost" if run.status == "lost" else ""),
            )
            for a in attempts
        ),
        checkpoints=tuple(CheckpointRecord(c.step, c.tokens, c.uri, c.digest, utc(c.created_at)) for c in saved),
        series=tuple(SeriesRecord(m.name, m.unit, m.direction, m.estimator, m.draws) for m in metrics),
        scored=tuple((row.task, row.step) for row in scored),
        studies=tuple(UsedBy(u.namespace, u.name, u.digest) for u in users),
    )


def item_scores(
    registry: Transactions, namespaces: Namespaces, run: int, task: str, step: int | None = None
) -> tuple[int, Mapping[str, Any]]:
    """The step and the per-item scores of a task, at a step or the last one; empty where there are none.

    Args:
        registry: open.
        namespaces: to read.
        run: id.
        task: name of the task.
        step: optimizer step; None is the last that was scored.
    """
    row = s.ItemScoresRow
    last = select(func.max(row.step)).filter_by(run_id=run, task=task).scalar_subquery()

    def read(connection: Connection) -> tuple[int, Mapping[str, Any]]:
        with connection:
            where = (row.run_id == run, row.task == task, row.step == (last if step is None else step))
            found = connection.execute(
                select(row.step, row.items)
                .join(s.RunRow, s.RunRow.id == row.run_id)
                .where(*where, visible_runs(namespaces))
            ).first()
        return (0, {}) if found is None else (found.step, found.items)

    return registry.reading(lambda engine: read(engine.connect()))
