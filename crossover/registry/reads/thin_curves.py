"""Curves thinned by the database: evenly by rank, with means, so that 5,000 points travel as 60."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import CompoundSelect, Connection, Select, func, select, union_all

from crossover.registry import schema as s
from crossover.registry.closed_runs import closed_point
from crossover.registry.reads.read_filters import Namespaces, current_points, visible_runs
from crossover.registry.transactions import Transactions


@dataclass(frozen=True)
class ThinCurve:
    """A metric of a run, as groups of neighbouring points: the end of each group, and its mean value."""

    run: int
    metric: str
    unit: str
    direction: str
    estimator: str
    draws: int
    steps: tuple[int, ...]
    tokens: tuple[int, ...]
    flops: tuple[float, ...]
    seconds: tuple[float, ...]
    values: tuple[float, ...]
    points: int
    """How many points were measured."""


def thin_curves(
    registry: Transactions,
    namespaces: Namespaces,
    runs: Collection[int],
    metrics: Collection[str],
    *,
    most: int = 60,
    restarted: bool = True,
) -> tuple[ThinCurve, ...]:
    """Current points of metrics of runs, at most so many groups a curve; one statement.

    Points that are no numbers are left out. A curve with no more points than groups comes as it is.

    Args:
        registry: open.
        namespaces: to read.
        runs: ids.
        metrics: names.
        most: groups of a curve.
        restarted: whether any of the runs has several attempts.
    """
    if not runs:
        return ()
    series, metric = s.SeriesRow, s.MetricRow
    chosen = (
        select(series.id)
        .join(metric, metric.id == series.metric_id)
        .join(s.RunRow, s.RunRow.id == series.run_id)
        .where(
            visible_runs(namespaces),
            series.run_id.in_(sorted(runs)),
            metric.name.in_(sorted(metrics)),
        )
    )
    points = _current(chosen, restarted=restarted).subquery("points")
    tile = func.ntile(most).over(partition_by=points.c.series_id, order_by=points.c.step)
    ranked = select(points, tile.label("tile")).where(points.c.value.is_not(None)).subquery("ranked")
    grouped = (
        select(
            ranked.c.series_id,
            func.max(ranked.c.step).label("step"),
            func.max(ranked.c.tokens).label("tokens"),
            func.max(ranked.c.flops).label("flops"),
            func.max(ranked.c.seconds).label("seconds"),
            func.avg(ranked.c.value).label("value"),
            func.count().label("points"),
        )
        .group_by(ranked.c.series_id, ranked.c.tile)
        .subquery("grouped")
    )
    statement = (
        select(grouped, series.run_id, metric.name, metric.unit, metric.direction, metric.estimator, metric.draws)
        .join(series, series.id == grouped.c.series_id)
        .join(metric, metric.id == series.metric_id)
        .order_by(series.run_id, grouped.c.series_id, grouped.c.step)
    )

    def read(connection: Connection) -> tuple[ThinCurve, ...]:
        with connection:
            rows = connection.execute(statement).all()
        groups: dict[int, list[int]] = {}
        for i, row in enumerate(rows):
            groups.setdefault(row.series_id, []).append(i)
        curves = []
        for members in groups.values():
            own = [rows[i] for i in members]
            first = own[0]
            curves.append(
                ThinCurve(
                    run=first.run_id,
                    metric=first.name,
                    unit=first.unit,
                    direction=first.direction,
                    estimator=first.estimator,
                    draws=first.draws,
                    steps=tuple(int(r.step) for r in own),
                    tokens=tuple(int(r.tokens) for r in own),
                    flops=tuple(float(r.flops) for r in own),
                    seconds=tuple(float(r.seconds) for r in own),
                    values=tuple(float(r.value) for r in own),
                    points=sum(int(r.points) for r in own),
                )
            )
        return tuple(curves)

    return registry.reading(lambda engine: read(engine.connect()))


def _current(chosen: Select[Any], *, restarted: bool) -> CompoundSelect[Any]:
    """Current points of series: rows of runs that may go on, and those of closed runs."""
    names = ("series_id", "step", "tokens", "flops", "seconds", "value")
    point, closed = s.PointRow, closed_point.c
    live = (
        select(*(getattr(point, name) for name in names))
        .join(s.SeriesRow, s.SeriesRow.id == point.series_id)
        .where(point.series_id.in_(chosen), current_points(restarted=restarted))
    )
    packed = select(*(closed[name] for name in names)).where(closed.series_id.in_(chosen), closed.current == 1)
    return union_all(live, packed)
