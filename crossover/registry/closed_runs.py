"""Points of closed runs in arrays of up to 512, a fifth of the bytes; they become rows again when a run goes on."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby
from typing import Any

from sqlalchemy import Connection, column, delete, exists, func, insert, select, table

from crossover.registry import schema as s
from crossover.registry.reads.read_filters import current_points
from crossover.registry.transactions import Transactions

CHUNK = 512
_ROW = ("series_id", "step", "attempt_n", "tokens", "flops", "seconds", "value", "state", "stderr")
closed_point = table("closed_point", *(column(name) for name in (*_ROW, "current")))
"""The view of chunks as rows of `point`."""


@dataclass(frozen=True)
class Compaction:
    """What a compaction did."""

    runs: int
    points: int
    kept: int
    """Points that stay rows: the database would not have given them back bit for bit."""


def compact(registry: Transactions, *, closed_for: timedelta) -> Compaction:
    """Pack the points of runs that are done, one transaction a run, while others read and write.

    Args:
        registry: open to write.
        closed_for: only runs whose last attempt ended at least so long ago.
    """
    with registry.writing() as connection:
        runs = connection.scalars(_closed(registry.now() - closed_for).order_by(s.RunRow.id)).all()
    packed = points = kept = 0
    for run in runs:
        with registry.writing() as connection:
            same = connection.scalar(_closed(registry.now() - closed_for).where(s.RunRow.id == run).with_for_update())
            if same is None:
                continue
            done, left = _pack_run(connection, run)
        packed, points, kept = packed + bool(done), points + done, kept + left
    return Compaction(packed, points, kept)


def _closed(before: Any) -> Any:  # noqa: ANN401 - a time; a statement
    """Ids of runs that are done, have ended, and have rows of points."""
    attempt, series, point, run = s.AttemptRow, s.SeriesRow, s.PointRow, s.RunRow
    going_on = exists().where(attempt.run_id == run.id, (attempt.ended_at.is_(None)) | (attempt.ended_at > before))
    rows = exists().where(series.run_id == run.id, exists().where(point.series_id == series.id))
    return select(run.id).where(run.status == "done", ~going_on, rows)


def _pack_run(connection: Connection, run: int) -> tuple[int, int]:
    """Pack every series of a run; returns how many points were packed, and how many stay rows."""
    packed = kept = 0
    for series in connection.scalars(select(s.SeriesRow.id).filter_by(run_id=run)).all():
        point = s.PointRow
        current = current_points().label("current")
        rows = connection.execute(
            select(point.__table__, current)
            .join(s.SeriesRow, s.SeriesRow.id == point.series_id)
            .where(point.series_id == series)
            .order_by(point.attempt_n, point.step)
        ).all()
        if not rows:
            continue
        connection.execute(insert(s.PointChunkRow), list(_chunks(rows)))
        if _same(rows, connection.execute(select(closed_point).where(closed_point.c.series_id == series)).all()):
            connection.execute(delete(point).where(point.series_id == series))
            packed += len(rows)
        else:
            connection.execute(delete(s.PointChunkRow).where(s.PointChunkRow.series_id == series))
            kept += len(rows)
    return packed, kept


def _chunks(rows: Sequence[Any]) -> Iterator[dict[str, object]]:
    """Rows of a series, ordered by attempt and step, as rows of `point_chunk`."""
    for (_, current), group in groupby(rows, key=lambda row: (row.attempt_n, bool(row.current))):
        points = list(group)
        for begin in range(0, len(points), CHUNK):
            yield _chunk(points[begin : begin + CHUNK], current=current)


def _chunk(points: Sequence[Any], *, current: bool) -> dict[str, object]:
    steps = [point.step for point in points]
    first, last = points[0], points[-1]
    stride = (last.step - first.step) // max(1, len(points) - 1)
    even = steps == [first.step + i * stride for i in range(len(points))]
    per_step = last.tokens // last.step if last.step else 0
    flops = last.flops / last.step if last.step else 0.0
    in_tokens = all(point.tokens == per_step * point.step for point in points)
    in_flops = all(point.flops == flops * point.step for point in points)
    states, stderrs = [point.state for point in points], [point.stderr for point in points]
    return {
        **{"series_id": first.series_id, "attempt_n": first.attempt_n, "first_step": first.step},
        **{"current": int(current), "last_step": last.step, "last_tokens": last.tokens},
        **{"last_flops": last.flops, "last_seconds": last.seconds},
        "step_stride": stride if even else None,
        "steps": None if even else steps,
        "tokens_per_step": per_step if in_tokens else None,
        "tokens": None if in_tokens else [point.tokens for point in points],
        "flops_per_step": flops if in_flops else None,
        "flops": None if in_flops else [point.flops for point in points],
        "seconds": [point.seconds for point in points],
        "measured": [point.value for point in points],
        "states": states if any(states) else None,
        "stderrs": None if all(e is None for e in stderrs) else stderrs,
    }


def _same(rows: Sequence[Any], given_back: Sequence[Any]) -> bool:
    """Whether rows are the same to the last bit; floats compare by value and sign."""
    return sorted(map(_bits, rows)) == sorted(map(_bits, given_back))


def _bits(row: Any) -> tuple[str, ...]:  # noqa: ANN401 - rows of SQLAlchemy
    whole = [str(int(getattr(row, name))) for name in ("series_id", "attempt_n", "step", "tokens", "current")]
    numbers = [getattr(row, name) for name in ("flops", "seconds", "value", "stderr")]
    floats = ["" if v is None else str(math.copysign(0.0, v)) if v == 0 else float(v).hex() for v in numbers]
    return (*whole, *floats, row.state)


def reopen_run(connection: Connection, run: int) -> None:
    """Make rows of a run's chunks, since its points are about to change; locks the run until the transaction ends.

    Args:
        connection: within a transaction.
        run: id of the run.
    """
    connection.execute(select(s.RunRow.id).where(s.RunRow.id == run).with_for_update())
    of_run = select(s.SeriesRow.id).where(s.SeriesRow.run_id == run)
    chunks = s.PointChunkRow
    if not connection.scalar(select(func.count()).select_from(chunks).where(chunks.series_id.in_(of_run))):
        return
    rows = select(*(closed_point.c[name] for name in _ROW)).where(closed_point.c.series_id.in_(of_run))
    connection.execute(insert(s.PointRow).from_select(list(_ROW), rows))
    connection.execute(delete(chunks).where(chunks.series_id.in_(of_run)))
