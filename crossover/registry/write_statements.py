"""The statements that write; each is idempotent and runs in the caller's transaction."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, select, text, update
from sqlalchemy import Table as SqlTable
from sqlalchemy.dialects import postgresql, sqlite

from crossover.errors import RegistryError
from crossover.registry import schema as s
from crossover.registry.registry_records import MetricDef, Point, SavedCheckpoint
from crossover.study.identity import RunId

QUALITY_TIERS = ("low", "medium", "high", "all")
"""Those of `study.study_parts`, which imports models: the registry does without them."""


def insert_rows(
    connection: Connection,
    table: Any,  # noqa: ANN401 - declarative classes type their table as FromClause
    rows: Sequence[Mapping[str, object]],
    replace: Sequence[str] = (),
) -> None:
    """INSERT … ON CONFLICT DO NOTHING, or DO UPDATE.

    Args:
        connection: within a transaction.
        table: the table.
        rows: column to value.
        replace: the columns to update where a row with the same primary key exists; none leaves that row as it is.
    """
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


def insert_request(connection: Connection, row: Mapping[str, object]) -> bool:
    """Insert a request under its key; False when the key is taken, be it by a transaction that is just ending."""
    table = s.IngestRequestRow
    module = postgresql if connection.dialect.name == "postgresql" else sqlite
    statement = module.insert(table).values(**row).on_conflict_do_nothing().returning(table.key)
    return connection.scalar(statement) is not None


_MEASURED = ("tokens", "flops", "seconds", "value", "state", "stderr")
_ARRAYS = {"step": "bigint", "tokens": "bigint", "state": "text"}
_OF_POINTS = ("step", *_MEASURED)
_INSERT_ARRAYS = text(
    f"INSERT INTO point (series_id, attempt_n, {', '.join(_OF_POINTS)}) "  # noqa: S608 - names of the schema
    "SELECT :series, :attempt, p.* FROM unnest("
    + ", ".join(f"CAST(:{name} AS {_ARRAYS.get(name, 'double precision')}[])" for name in _OF_POINTS)
    + ") AS p ON CONFLICT (series_id, step, attempt_n) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in _MEASURED)
)
"""One statement whatever the number of rows: PostgreSQL parses and plans it once."""


def _array(values: Sequence[object]) -> str:
    """PostgreSQL's text of an array; floats keep every bit."""
    return "{" + ",".join("NULL" if v is None else f'"{v}"' if isinstance(v, str) else repr(v) for v in values) + "}"


def insert_points(connection: Connection, series: int, attempt: int, points: Sequence[Point]) -> None:
    """Insert points of one series; a point of the attempt at a step that has one already replaces it.

    Args:
        connection: within a transaction.
        series: id of the series.
        attempt: number of the attempt that they belong to.
        points: of several at one step the last one stays.

    Raises:
        RegistryError: step, tokens, FLOPs or seconds of a point are negative or not finite.
    """
    rows = list({point.step: _point_row(series, attempt, point) for point in points}.values())
    if connection.dialect.name == "postgresql" and rows:
        arrays = {name: _array([row[name] for row in rows]) for name in _OF_POINTS}
        connection.execute(_INSERT_ARRAYS, arrays | {"series": series, "attempt": attempt})
    else:
        insert_rows(connection, s.PointRow.__table__, rows, replace=_MEASURED)


def _point_row(series: int, attempt: int, point: Point) -> dict[str, object]:
    for name in ("step", "tokens", "flops", "seconds"):
        position = getattr(point, name)
        if not (math.isfinite(position) and position >= 0):
            raise RegistryError(
                "registry.bad-point",
                field=f"point at step {point.step}",
                problem=f"{name} is {position}",
                remedy="give finite numbers from zero on; only a value may be NaN or infinite",
            )
    finite = math.isfinite(point.value)
    stderr = None if point.stderr is None or not math.isfinite(point.stderr) else float(point.stderr)
    return {
        # plain numbers: SQLite would store a numpy integer as bytes
        **{"series_id": series, "step": int(point.step), "attempt_n": attempt},
        **{"tokens": int(point.tokens), "flops": float(point.flops), "seconds": float(point.seconds)},
        "value": float(point.value) if finite else None,
        "state": "" if finite else ("nan" if math.isnan(point.value) else f"{point.value:+}"),
        "stderr": stderr,
    }


def delete_other_estimates(connection: Connection, run: int, series: int, name: str, steps: Sequence[int]) -> None:
    """Delete the values that another estimator, or other numbers of draws, gave for a metric at these steps.

    Args:
        connection: within a transaction.
        run: id of the run.
        series: id of the series that stays.
        name: of the metric.
        steps: optimizer steps.
    """
    others = (
        select(s.SeriesRow.id)
        .join(s.MetricRow, s.MetricRow.id == s.SeriesRow.metric_id)
        .where(s.SeriesRow.run_id == run, s.MetricRow.name == name, s.SeriesRow.id != series)
    )
    connection.execute(delete(s.PointRow).where(s.PointRow.series_id.in_(others), s.PointRow.step.in_(steps)))


def study_id(connection: Connection, digest: str, namespace: str) -> int:
    """The id of a study of a namespace.

    Raises:
        RegistryError: it is not registered.
    """
    number = connection.scalar(select(s.StudyRow.id).filter_by(digest=digest, namespace=namespace))
    if number is None:
        raise RegistryError(
            "registry.unknown-study",
            field="study",
            problem=f"{digest} is not in the registry",
            remedy="register the study first",
        )
    return int(number)


def run_id(connection: Connection, digest: str, namespace: str) -> int:
    """The id of a run of a namespace.

    Raises:
        RegistryError: it is not registered.
    """
    number = connection.scalar(select(s.RunRow.id).filter_by(digest=digest, namespace=namespace))
    if number is None:
        raise RegistryError(
            "registry.unknown-run",
            field="run",
            problem=f"{digest} is not in the registry",
            remedy="register the run first",
        )
    return int(number)


def upsert_run(
    connection: Connection,
    run: RunId,
    digest: str,
    config: Mapping[str, object],
    epoch_tokens: int | None,
    *,
    namespace: str,
    replace: bool,
) -> int:
    """Insert a run, or with `replace` update what it is trained with unless it is done; returns its id."""
    values: dict[str, object] = {"config": dict(config)}
    if epoch_tokens is not None:
        values["epoch_tokens"] = epoch_tokens
    values["quality_tier"] = quality_tier(config)
    row = {"digest": digest, "cell": run.cell, "arm": run.arm, "seed": run.seed, "status": "planned"}
    insert_rows(connection, s.RunRow.__table__, [row | values | {"namespace": namespace}])
    number = run_id(connection, digest, namespace)
    if replace:
        undone = update(s.RunRow).where(s.RunRow.id == number, s.RunRow.status != "done")
        connection.execute(undone.values(**values))
    return number


def quality_tier(config: Mapping[str, object]) -> str:
    """The tier of quality that a run's configuration names; empty where it names none."""
    tier = config.get("quality")
    return tier if isinstance(tier, str) and tier in QUALITY_TIERS else ""


def finish_run(connection: Connection, run: int, checkpoints: Sequence[SavedCheckpoint], now: datetime) -> None:
    """Set a run's status to `done` and complete its checkpoints; its attempts that never ended were interrupted.

    Args:
        connection: within a transaction.
        run: id of the run.
        checkpoints: all of them; rows that agree with them stay as they are.
        now: the current time, in UTC.
    """
    row = s.CheckpointRow
    recorded = {c.step: (c.uri, c.digest) for c in connection.execute(select(row.__table__).filter_by(run_id=run))}
    missing = [
        {"run_id": run, **vars(checkpoint), "created_at": now}
        for checkpoint in checkpoints
        if recorded.get(checkpoint.step) != (checkpoint.uri, checkpoint.digest)
    ]
    insert_rows(connection, row.__table__, missing, replace=("tokens", "uri", "digest", "created_at"))
    attempt = s.AttemptRow
    unended = update(attempt).where(attempt.run_id == run, attempt.ended_at.is_(None))
    connection.execute(unended.values(ended_at=now, end_reason="interrupted"))
    connection.execute(update(s.RunRow).where(s.RunRow.id == run, s.RunRow.status != "done").values(status="done"))


def link_run(connection: Connection, study: int, run: RunId, number: int) -> None:
    """Make a run the study's run of that cell, arm and seed, in place of an earlier one (of another corpus, say).

    Args:
        connection: within a transaction.
        study: id of the study.
        run: cell, arm and seed.
        number: id of the run.
    """
    same_name = select(s.RunRow.id).filter_by(cell=run.cell, arm=run.arm, seed=run.seed)
    link = s.StudyRunRow
    connection.execute(delete(link).where(link.study_id == study, link.run_id.in_(same_name), link.run_id != number))
    insert_rows(connection, link.__table__, [{"study_id": study, "run_id": number}])


def series_id(connection: Connection, run: int, metric: MetricDef) -> int:
    """The id of the series of a metric of a run, which is made when it is new."""
    fields = vars(metric)
    insert_rows(connection, s.MetricRow.__table__, [fields])
    metric_id = connection.scalars(select(s.MetricRow.id).filter_by(**fields)).one()
    row = {"run_id": run, "metric_id": metric_id}
    insert_rows(connection, s.SeriesRow.__table__, [row])
    return int(connection.scalars(select(s.SeriesRow.id).filter_by(**row)).one())


def verdict_columns(verdict: Mapping[str, Any]) -> dict[str, object]:
    """The columns of a verdict, from its JSON in the analysis."""
    crossing = verdict["crossing"] or {}
    windows: dict[str, object] = {}
    for name in ("early", "late"):
        window = verdict.get(name) or {}
        low, high = window.get("interval") or (None, None)
        windows |= {f"{name}_difference": window.get("mean"), f"{name}_low": low, f"{name}_high": high}
    copied = ("metric", "axis", "comparison", "baseline", "candidate", "outcome", "pairs", "p_adjusted", "reason")
    return {name: verdict[name] for name in copied} | {
        "direction": crossing.get("direction"),
        "crossing_at": crossing.get("at"),
        "crossing_low": crossing.get("low"),
        "crossing_high": crossing.get("high"),
        "further_pairs": verdict.get("further_pairs"),
        **windows,
    }
