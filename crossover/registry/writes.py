"""The statements that write: each is idempotent, and belongs to the caller's transaction."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, delete, select, update
from sqlalchemy import Table as SqlTable
from sqlalchemy.dialects import postgresql, sqlite

from crossover.errors import RegistryError
from crossover.registry import schema as s
from crossover.registry.records import MetricDef, Point, RunKey


def insert(
    connection: Connection,
    table: Any,  # noqa: ANN401 - what declarative classes call their table
    rows: Sequence[Mapping[str, object]],
    replace: Sequence[str] = (),
) -> None:
    """INSERT … ON CONFLICT DO NOTHING, or UPDATE of the columns named."""
    if not rows:
        return
    target: SqlTable = table
    module = postgresql if connection.dialect.name == "postgresql" else sqlite
    statement: Any = module.insert(target)
    if replace:
        keys = [column.name for column in target.primary_key]
        statement = statement.on_conflict_do_update(
            index_elements=keys, set_={name: statement.excluded[name] for name in replace}
        )
    else:
        statement = statement.on_conflict_do_nothing()
    connection.execute(statement, [dict(row) for row in rows])


def insert_points(
    connection: Connection, run_id: int, attempt: int, metric: MetricDef, points: Sequence[Point], *, replace: bool
) -> None:
    series = series_id(connection, run_id, metric)
    rows = [
        {
            "series_id": series,
            "step": p.step,
            "attempt_n": attempt,
            "tokens": p.tokens,
            "flops": p.flops,
            "seconds": p.seconds,
            "value": p.value if math.isfinite(p.value) else None,
            "state": "" if math.isfinite(p.value) else ("nan" if math.isnan(p.value) else f"{p.value:+}"),
            "stderr": p.stderr,
        }
        for p in points
    ]
    if replace:
        _forget_other_estimators(connection, run_id, series, metric.name, [p.step for p in points])
    columns = ("tokens", "flops", "seconds", "value", "state", "stderr") if replace else ()
    insert(connection, s.PointRow.__table__, rows, replace=columns)


def _forget_other_estimators(connection: Connection, run_id: int, series: int, name: str, steps: Sequence[int]) -> None:
    """A step has one value of a metric: what another estimator, or fewer draws, said there before is dropped."""
    others = (
        select(s.Series.id)
        .join(s.MetricDefinition, s.MetricDefinition.id == s.Series.metric_id)
        .where(s.Series.run_id == run_id, s.MetricDefinition.name == name, s.Series.id != series)
    )
    connection.execute(delete(s.PointRow).where(s.PointRow.series_id.in_(others), s.PointRow.step.in_(steps)))


def study_id(connection: Connection, digest: str) -> int:
    found = connection.scalar(select(s.Study.id).where(s.Study.digest == digest))
    if found is None:
        raise RegistryError(
            "registry.unknown-study",
            field="study",
            problem=f"the registry does not know {digest}",
            remedy="register the study first",
        )
    return int(found)


def run_id(connection: Connection, run: RunKey, config: Mapping[str, object]) -> int:
    study_id = study_id(connection, run.study_digest)
    row = {"study_id": study_id, "cell": run.cell, "arm": run.arm, "seed": run.seed}
    insert(connection, s.Run.__table__, [row | {"status": "planned", "config": dict(config)}])
    if config:
        connection.execute(update(s.Run).filter_by(**row).values(config=dict(config)))
    return int(connection.scalars(select(s.Run.id).filter_by(**row)).one())


def series_id(connection: Connection, run_id: int, metric: MetricDef) -> int:
    fields = vars(metric)
    insert(connection, s.MetricDefinition.__table__, [fields])
    metric_id = connection.scalars(select(s.MetricDefinition.id).filter_by(**fields)).one()
    row = {"run_id": run_id, "metric_id": metric_id}
    insert(connection, s.Series.__table__, [row])
    return int(connection.scalars(select(s.Series.id).filter_by(**row)).one())


def verdict_columns(verdict: Mapping[str, Any]) -> dict[str, object]:
    crossing = verdict["crossing"] or {}
    plain = ("metric", "axis", "comparison", "baseline", "candidate", "word", "pairs", "p_adjusted", "reason")
    return {name: verdict[name] for name in plain} | {
        "direction": crossing.get("direction"),
        "crossing_at": crossing.get("at"),
        "crossing_low": crossing.get("low"),
        "crossing_high": crossing.get("high"),
    }
