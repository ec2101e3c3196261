"""The registry: everything a study does and finds, in SQL. Writes are idempotent: recording twice changes nothing."""

from __future__ import annotations

import math
import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

from sqlalchemy import Connection, delete, func, select, update
from sqlalchemy import Table as SqlTable
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError

from crossover.errors import RegistryError
from crossover.files import digest_of
from crossover.registry import query as queries
from crossover.registry import schema as s
from crossover.registry.engine import (
    WRITES,
    current_revision,
    head_revision,
    make_engine,
    migrate,
    parse_url,
    registry_error,
)
from crossover.registry.records import MetricDef, Point, RunKey, Table

END_REASONS = ("done", "failed", "interrupted")


def _now() -> datetime:
    return datetime.now(UTC)


class Registry:
    """A registry, open. Safe to use from several processes at once; one instance belongs to one thread.

    Raises:
        RegistryError: from any method, when the database cannot be reached, read or written.
    """

    def __init__(self, url: str, *, clock: Callable[[], datetime] = _now) -> None:
        self._url, self._clock = parse_url(url), clock
        self._engine = make_engine(self._url)

    @classmethod
    def open(cls, url: str) -> Self:
        """Open a registry. An SQLite file is made and migrated; a PostgreSQL database must have been migrated.

        Args:
            url: SQLAlchemy URL, e.g. `sqlite:///studies/registry.sqlite`.
        """
        registry = cls(url)
        try:
            if registry._url.get_backend_name() == "sqlite":
                migrate(registry._url, registry._engine)
            elif (found := current_revision(registry._engine)) != head_revision():
                raise RegistryError(
                    "registry.schema",
                    field="registry url",
                    problem=f"its schema is {found or 'empty'}, this version needs {head_revision()}",
                    remedy="run `crossover registry upgrade`",
                )
        except SQLAlchemyError as error:
            registry.close()
            raise registry_error(registry.url, error) from error
        except RegistryError:
            registry.close()
            raise
        return registry

    @property
    def url(self) -> str:
        """The URL, without its password."""
        return self._url.render_as_string()

    def close(self) -> None:
        """Give all connections back."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        """One transaction."""
        try:
            with self._engine.execution_options(**{WRITES: True}).begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise registry_error(self.url, error) from error

    def register_study(self, *, name: str, digest: str, config: Mapping[str, object]) -> None:
        """Record a study; its analysis plan's digest is kept beside it, from before the first run."""
        row = {
            "name": name,
            "digest": digest,
            "config": dict(config),
            "plan_digest": digest_of(config.get("analysis", {})),
            "created_at": self._clock(),
        }
        with self._write() as connection:
            _insert(connection, s.Study.__table__, [row])

    def register_dataset(self, study_digest: str, digest: str, manifest: Mapping[str, object]) -> None:
        """Record a prepared corpus."""
        with self._write() as connection:
            row = {"study_id": _study_id(connection, study_digest), "digest": digest, "manifest": dict(manifest)}
            _insert(connection, s.Dataset.__table__, [row | {"created_at": self._clock()}])

    def start_attempt(self, run: RunKey, *, started_step: int, config: Mapping[str, object]) -> Attempt:
        """Open a run's next attempt; earlier ones that never ended are marked interrupted.

        From now on the points of earlier attempts beyond `started_step` are superseded.
        """
        with self._write() as connection:
            run_id = _run_id(connection, run, config)
            n = 1 + int(
                connection.scalar(select(func.coalesce(func.max(s.Attempt.n), 0)).where(s.Attempt.run_id == run_id))
                or 0
            )
            connection.execute(
                update(s.Attempt)
                .where(s.Attempt.run_id == run_id, s.Attempt.ended_at.is_(None))
                .values(ended_at=self._clock(), end_reason="interrupted")
            )
            row = {"run_id": run_id, "n": n, "started_step": started_step, "host": socket.gethostname()}
            _insert(connection, s.Attempt.__table__, [row | {"pid": os.getpid(), "started_at": self._clock()}])
            connection.execute(update(s.Run).where(s.Run.id == run_id).values(status="running"))
        return Attempt(self, run_id, n)

    def record_points(self, run: RunKey, metric: MetricDef, points: Sequence[Point]) -> None:
        """Record what was measured after training, under the run's latest attempt; measuring again replaces.

        Another estimator of the same metric at the same step replaces too: a step has one value of a metric.
        """
        with self._write() as connection:
            run_id = _run_id(connection, run, {})
            latest = connection.scalar(select(func.max(s.Attempt.n)).where(s.Attempt.run_id == run_id))
            _insert_points(connection, run_id, int(latest or 1), metric, points, replace=True)

    def record_checkpoint(self, run: RunKey, step: int, tokens: int, uri: str, digest: str) -> None:
        """Record saved weights; saving the same step again replaces."""
        with self._write() as connection:
            row = {"run_id": _run_id(connection, run, {}), "step": step, "tokens": tokens, "uri": uri, "digest": digest}
            _insert(
                connection,
                s.Checkpoint.__table__,
                [row | {"created_at": self._clock()}],
                replace=("tokens", "uri", "digest", "created_at"),
            )

    def record_items(self, run: RunKey, step: int, task: str, items: Mapping[str, Any]) -> None:
        """Record per-item scores of a task at a step; scoring again replaces."""
        with self._write() as connection:
            row = {"run_id": _run_id(connection, run, {}), "step": step, "task": task, "items": dict(items)}
            _insert(connection, s.ItemScores.__table__, [row], replace=("items",))

    def record_analysis(self, study_digest: str, cell: str, analysis: Mapping[str, Any]) -> str:
        """Record an analysis (the JSON of `analysis.result.Analysis`) and its verdicts; returns its digest."""
        digest = digest_of(analysis)
        with self._write() as connection:
            study_id = _study_id(connection, study_digest)
            row = {"study_id": study_id, "cell": cell, "digest": digest, "method": analysis["method"]}
            _insert(
                connection, s.AnalysisRecord.__table__, [row | {"result": dict(analysis), "created_at": self._clock()}]
            )
            found = select(s.AnalysisRecord.id).filter_by(study_id=study_id, cell=cell, digest=digest)
            analysis_id = connection.scalar(found)
            rows = [
                {"analysis_id": analysis_id, "position": position, **_verdict_columns(verdict)}
                for position, verdict in enumerate(analysis["verdicts"])
            ]
            _insert(connection, s.VerdictRow.__table__, rows)
        return digest

    def record_deployment(
        self, study_digest: str, run: RunKey, *, step: int, uri: str, digest: str, analysis_digest: str, reason: str
    ) -> None:
        """Append a promotion."""
        with self._write() as connection:
            row = {
                "study_id": _study_id(connection, study_digest),
                "run_id": _run_id(connection, run, {}),
                "step": step,
                "uri": uri,
                "digest": digest,
                "analysis_digest": analysis_digest,
                "reason": reason,
                "created_at": self._clock(),
            }
            _insert(connection, s.Deployment.__table__, [row])

    def items(self, run: RunKey, step: int, task: str) -> dict[str, Any] | None:
        """Per-item scores, as they were recorded; None when there are none."""
        statement = (
            select(s.ItemScores.items)
            .join(s.Run, s.Run.id == s.ItemScores.run_id)
            .join(s.Study, s.Study.id == s.Run.study_id)
            .where(s.Study.digest == run.study_digest, s.Run.cell == run.cell, s.Run.arm == run.arm)
            .where(s.Run.seed == run.seed, s.ItemScores.step == step, s.ItemScores.task == task)
        )
        try:
            with self._engine.connect() as connection:
                found = connection.scalar(statement)
        except SQLAlchemyError as error:
            raise registry_error(self.url, error) from error
        return None if found is None else dict(found)

    def curves(self, study_digest: str, cell: str, metrics: Sequence[str] | None = None) -> dict[str, list[Any]]:
        """Current points as the columns that `crossover.analysis.analyse` takes."""
        try:
            return queries.curves(self._engine, study_digest, cell, metrics)
        except SQLAlchemyError as error:
            raise registry_error(self.url, error) from error

    def query(self, sql: str, *, limit: int = 10_000) -> Table:
        """Run one SELECT in a transaction that the database itself keeps from writing.

        Raises:
            RegistryError: with the database's own message.
        """
        return queries.read_only(self._url, sql, limit)


class Attempt:
    """One process life of a run, while it lasts."""

    def __init__(self, registry: Registry, run_id: int, n: int) -> None:
        self._registry, self._run_id, self.n = registry, run_id, n

    def record(self, metric: MetricDef, points: Sequence[Point]) -> None:
        """Record a batch; points that are already there stay as they are."""
        with self._registry._write() as connection:
            _insert_points(connection, self._run_id, self.n, metric, points, replace=False)

    def finish(self, reason: str) -> None:
        """End the attempt: `done`, `failed` or `interrupted`, which becomes the run's status."""
        if reason not in END_REASONS:
            raise ValueError(f"reason must be one of {END_REASONS}, found {reason!r}")
        with self._registry._write() as connection:
            connection.execute(
                update(s.Attempt)
                .where(s.Attempt.run_id == self._run_id, s.Attempt.n == self.n, s.Attempt.ended_at.is_(None))
                .values(ended_at=self._registry._clock(), end_reason=reason)
            )
            connection.execute(update(s.Run).where(s.Run.id == self._run_id).values(status=reason))


def upgrade(url: str) -> tuple[str | None, str]:
    """Migrate a registry to this version; returns the revision before and after."""
    parsed = parse_url(url)
    engine = make_engine(parsed)
    try:
        return migrate(parsed, engine)
    finally:
        engine.dispose()


def _insert(
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


def _insert_points(
    connection: Connection, run_id: int, attempt: int, metric: MetricDef, points: Sequence[Point], *, replace: bool
) -> None:
    series = _series_id(connection, run_id, metric)
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
    _insert(connection, s.PointRow.__table__, rows, replace=columns)


def _forget_other_estimators(connection: Connection, run_id: int, series: int, name: str, steps: Sequence[int]) -> None:
    """A step has one value of a metric: what another estimator, or fewer draws, said there before is dropped."""
    others = (
        select(s.Series.id)
        .join(s.MetricDefinition, s.MetricDefinition.id == s.Series.metric_id)
        .where(s.Series.run_id == run_id, s.MetricDefinition.name == name, s.Series.id != series)
    )
    connection.execute(delete(s.PointRow).where(s.PointRow.series_id.in_(others), s.PointRow.step.in_(steps)))


def _study_id(connection: Connection, digest: str) -> int:
    found = connection.scalar(select(s.Study.id).where(s.Study.digest == digest))
    if found is None:
        raise RegistryError(
            "registry.unknown-study",
            field="study",
            problem=f"the registry does not know {digest}",
            remedy="register the study first",
        )
    return int(found)


def _run_id(connection: Connection, run: RunKey, config: Mapping[str, object]) -> int:
    study_id = _study_id(connection, run.study_digest)
    row = {"study_id": study_id, "cell": run.cell, "arm": run.arm, "seed": run.seed}
    _insert(connection, s.Run.__table__, [row | {"status": "planned", "config": dict(config)}])
    if config:
        connection.execute(update(s.Run).filter_by(**row).values(config=dict(config)))
    return int(connection.scalars(select(s.Run.id).filter_by(**row)).one())


def _series_id(connection: Connection, run_id: int, metric: MetricDef) -> int:
    fields = vars(metric)
    _insert(connection, s.MetricDefinition.__table__, [fields])
    metric_id = connection.scalars(select(s.MetricDefinition.id).filter_by(**fields)).one()
    row = {"run_id": run_id, "metric_id": metric_id}
    _insert(connection, s.Series.__table__, [row])
    return int(connection.scalars(select(s.Series.id).filter_by(**row)).one())


def _verdict_columns(verdict: Mapping[str, Any]) -> dict[str, object]:
    crossing = verdict["crossing"] or {}
    plain = ("metric", "axis", "comparison", "baseline", "candidate", "word", "pairs", "p_adjusted", "reason")
    return {name: verdict[name] for name in plain} | {
        "direction": crossing.get("direction"),
        "crossing_at": crossing.get("at"),
        "crossing_low": crossing.get("low"),
        "crossing_high": crossing.get("high"),
    }
