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
from crossover.registry.registry_records import MetricDef, Point, RunKey


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


def insert_points(connection: Connection, series: int, attempt: int, points: Sequence[Point], *, replace: bool) -> None:
    """Points of one series; one that is there already stays, or is replaced.

    Raises:
        RegistryError: a point's place on the run (step, tokens, FLOPs, seconds) is negative or not a number.
    """
    rows = [_point_row(series, attempt, point) for point in points]
    columns = ("tokens", "flops", "seconds", "value", "state", "stderr") if replace else ()
    insert(connection, s.PointRow.__table__, rows, replace=columns)


def _point_row(series: int, attempt: int, point: Point) -> dict[str, object]:
    for name in ("step", "tokens", "flops", "seconds"):
        found = getattr(point, name)
        if not (math.isfinite(found) and found >= 0):
            raise RegistryError(
                "registry.bad-point",
                field=f"point at step {point.step}",
                problem=f"{name} is {found}",
                remedy="count from zero; only a value may be NaN or infinite",
            )
    finite = math.isfinite(point.value)
    stderr = None if point.stderr is None or not math.isfinite(point.stderr) else float(point.stderr)
    return {
        # plain numbers: SQLite would keep a numpy integer as bytes
        **{"series_id": series, "step": int(point.step), "attempt_n": attempt},
        **{"tokens": int(point.tokens), "flops": float(point.flops), "seconds": float(point.seconds)},
        "value": float(point.value) if finite else None,
        "state": "" if finite else ("nan" if math.isnan(point.value) else f"{point.value:+}"),
        "stderr": stderr,
    }


def forget_other_estimators(connection: Connection, run: int, series: int, name: str, steps: Sequence[int]) -> None:
    """A step has one value of a metric: what another estimator, or fewer draws, said there before is dropped."""
    others = (
        select(s.Series.id)
        .join(s.MetricDefinition, s.MetricDefinition.id == s.Series.metric_id)
        .where(s.Series.run_id == run, s.MetricDefinition.name == name, s.Series.id != series)
    )
    connection.execute(delete(s.PointRow).where(s.PointRow.series_id.in_(others), s.PointRow.step.in_(steps)))


def study_id(connection: Connection, digest: str) -> int:
    """The row of a study.

    Raises:
        RegistryError: it was never registered.
    """
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
    """The row of a run, made when it is new; a config that is given replaces the one of before."""
    study = study_id(connection, run.study_digest)
    row = {"study_id": study, "cell": run.cell, "arm": run.arm, "seed": run.seed}
    insert(connection, s.Run.__table__, [row | {"status": "planned", "config": dict(config)}])
    if config:
        values = {"config": dict(config), "epoch_tokens": _epoch_tokens(connection, study, config)}
        connection.execute(update(s.Run).filter_by(**row).values(**values))
    return int(connection.scalars(select(s.Run.id).filter_by(**row)).one())


def _epoch_tokens(connection: Connection, study: int, config: Mapping[str, object]) -> int | None:
    """Tokens of one epoch: what the study's newest dataset gives for the run's `unique_tokens`; None if unknown."""
    found = select(s.Dataset.manifest).where(s.Dataset.study_id == study).order_by(s.Dataset.id.desc()).limit(1)
    return epoch_tokens(connection.scalar(found), config)


def epoch_tokens(manifest: Mapping[str, Any] | None, config: Mapping[str, object]) -> int | None:
    """Tokens of one epoch, from a dataset's manifest and a run's config; None when they do not say."""
    budgets = (manifest or {}).get("budgets")
    for budget in budgets if isinstance(budgets, list) else ():
        tokens = budget.get("tokens")
        if budget.get("unique_tokens") == config.get("unique_tokens") and isinstance(tokens, int) and tokens > 0:
            return tokens
    return None


def series_id(connection: Connection, run: int, metric: MetricDef) -> int:
    """The integer that the points of a run's metric carry."""
    fields = vars(metric)
    insert(connection, s.MetricDefinition.__table__, [fields])
    metric_id = connection.scalars(select(s.MetricDefinition.id).filter_by(**fields)).one()
    row = {"run_id": run, "metric_id": metric_id}
    insert(connection, s.Series.__table__, [row])
    return int(connection.scalars(select(s.Series.id).filter_by(**row)).one())


def verdict_columns(verdict: Mapping[str, Any]) -> dict[str, object]:
    """A verdict's JSON as a row."""
    crossing = verdict["crossing"] or {}
    plain = ("metric", "axis", "comparison", "baseline", "candidate", "word", "pairs", "p_adjusted", "reason")
    return {name: verdict[name] for name in plain} | {
        "direction": crossing.get("direction"),
        "crossing_at": crossing.get("at"),
        "crossing_low": crossing.get("low"),
        "crossing_high": crossing.get("high"),
    }
