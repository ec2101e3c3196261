"""What the reads share: the namespaces that a caller may see, runs that are alive, points that count, times."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Subquery, and_, case, exists, func, or_, select, true
from sqlalchemy.orm import aliased

from crossover.errors import RegistryError
from crossover.registry import schema as s
from crossover.registry.migrations.views_0006 import LEASE_SECONDS

Namespaces = Collection[str] | None
"""The namespaces to read; None is all of them."""


def visible(namespaces: Namespaces) -> ColumnElement[bool]:
    """Whether a study belongs to one of the namespaces, and is not deleted."""
    study = s.StudyRow
    within = true() if namespaces is None else study.namespace.in_(sorted(namespaces))
    return and_(within, study.deleted_at.is_(None))


def visible_runs(namespaces: Namespaces) -> ColumnElement[bool]:
    """Whether a run belongs to one of the namespaces, and not to deleted studies alone."""
    run, link, study = s.RunRow, s.StudyRunRow, s.StudyRow
    within = true() if namespaces is None else run.namespace.in_(sorted(namespaces))
    links = exists().where(link.run_id == run.id)
    kept = exists().where(link.run_id == run.id, study.id == link.study_id, study.deleted_at.is_(None))
    return and_(within, or_(kept, ~links))


def alive_runs(now: datetime) -> Subquery:
    """Ids of runs with an attempt that has given a sign of life within the lease."""
    attempt = s.AttemptRow
    seen = func.coalesce(attempt.heartbeat_at, attempt.started_at)
    since = now - timedelta(seconds=LEASE_SECONDS)
    return select(attempt.run_id).where(attempt.ended_at.is_(None), seen >= since).distinct().subquery("alive")


def run_status(alive: Subquery) -> ColumnElement[str]:
    """A run's status, `lost` where its process gave no sign of life; of a run that is joined to `alive_runs`."""
    lost = and_(s.RunRow.status == "running", alive.c.run_id.is_(None))
    return case((lost, "lost"), else_=s.RunRow.status)


def current_points(*, restarted: bool = True) -> ColumnElement[bool]:
    """Whether a point counts: no later attempt went back behind it, or measured it again.

    Args:
        restarted: whether any of the runs has several attempts; without, every point counts.
    """
    if not restarted:
        return true()
    later, again = aliased(s.AttemptRow), aliased(s.PointRow)
    point, series = s.PointRow, s.SeriesRow
    measured_again = (
        exists()
        .where(again.series_id == point.series_id, again.step == point.step, again.attempt_n == later.n)
        .correlate(point, later)
    )
    superseding = (
        exists()
        .where(
            later.run_id == series.run_id,
            later.n > point.attempt_n,
            or_(later.started_step < point.step, measured_again),
        )
        .correlate(point, series)
    )
    return ~superseding


def contains(text: str, *columns: Any) -> ColumnElement[bool]:  # noqa: ANN401  # columns of any type
    """Whether every word of a text stands in one of the columns, in whatever case."""
    words = [word.lower() for word in text.split()]
    return and_(true(), *(or_(*(func.lower(c).contains(word, autoescape=True) for c in columns)) for word in words))


def utc(at: datetime | None) -> datetime | None:
    """A stored time with its zone, which SQLite does not keep."""
    return None if at is None else at if at.tzinfo else at.replace(tzinfo=UTC)


def no_such_study(field: str, problem: str, name: str, names: Iterable[str]) -> RegistryError:
    """The error for a study's name that is none of `names`, which it lists."""
    known = sorted(set(names))
    close = difflib.get_close_matches(name, known, n=1)
    listed = f"there are {', '.join(known[:12])}" if known else "there is none"
    return RegistryError(
        "registry.no-such-study",
        field=field,
        problem=problem,
        remedy=f"did you mean {close[0]}? {listed}" if close else listed,
    )


def unknown(what: str, name: str, remedy: str) -> RegistryError:
    """The error for something that is not in the registry, or not in a namespace that the caller may read."""
    return RegistryError(
        f"registry.unknown-{what}", field=what, problem=f"{name} is not in the registry", remedy=remedy
    )
