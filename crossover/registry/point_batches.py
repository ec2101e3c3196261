"""Batches of points of an attempt, as they come from other machines: few statements, and steps in their order."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import Connection, and_, select

from crossover.errors import RegistryError
from crossover.registry import schema as s
from crossover.registry.attempts import touch_attempt
from crossover.registry.registry_records import MetricDef, Point
from crossover.registry.transactions import as_utc
from crossover.registry.write_statements import insert_points, run_id, series_id

Series = tuple[MetricDef, Sequence[Point], bool]
"""A metric, its points at rising steps, and whether these steps are trained again after a roll-back."""
_TOUCH = timedelta(seconds=10)
"""Points extend the lease, and write it only if it was written longer ago."""


def append_batch(
    connection: Connection, namespace: str, digest: str, n: int, series: Sequence[Series], now: datetime
) -> None:
    """Insert points of an attempt.

    Args:
        connection: within a transaction.
        namespace: of the run.
        digest: of the run.
        n: number of the attempt.
        series: points by metric.
        now: the current time, in UTC.

    Raises:
        RegistryError: the run or the attempt is unknown or has ended, or `registry.step-backwards` for a step that is
            not beyond those recorded and is not said to be trained again.
    """
    run = _open_run(connection, namespace, digest, n, now)
    for metric, points, again in series:
        number, last = _series(connection, run, metric, n)
        for point in () if again else points:
            if last is not None and point.step <= last:
                raise RegistryError(
                    "registry.step-backwards",
                    field=f"{metric.name} at step {point.step}",
                    problem=f"the attempt has recorded step {last} already",
                    remedy="send steps in order; start another attempt after a resume, and set `again` after a "
                    "roll-back",
                )
            last = point.step
        insert_points(connection, number, n, points)


def _open_run(connection: Connection, namespace: str, digest: str, n: int, now: datetime) -> int:
    """The id of the run of an attempt that has not ended; its lease is extended."""
    attempt, run = s.AttemptRow, s.RunRow
    columns = select(run.id, attempt.ended_at, attempt.heartbeat_at).join(attempt, attempt.run_id == run.id)
    found = connection.execute(columns.where(run.namespace == namespace, run.digest == digest, attempt.n == n)).first()
    seen = found and found.heartbeat_at
    if found is not None and found.ended_at is None and seen is not None and now - as_utc(seen) < _TOUCH:
        return int(found.id)
    number = run_id(connection, digest, namespace) if found is None else int(found.id)
    touch_attempt(connection, number, n, now)
    return number


def _series(connection: Connection, run: int, metric: MetricDef, n: int) -> tuple[int, int | None]:
    """The id of a series, which is made when it is new, and the attempt's last step in it."""
    point, row, definition = s.PointRow, s.SeriesRow, s.MetricRow
    steps = select(point.step).where(point.series_id == row.id, point.attempt_n == n)
    last = steps.order_by(point.step.desc()).limit(1).scalar_subquery()  # not MAX: the end of the index, always
    same = and_(*(getattr(definition, name) == value for name, value in vars(metric).items()))
    known = select(row.id, last).join(definition, definition.id == row.metric_id).where(row.run_id == run, same)
    found = connection.execute(known).first()
    return (series_id(connection, run, metric), None) if found is None else (found[0], found[1])
