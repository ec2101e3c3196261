"""The registry: everything a study does and finds, in SQL. Writes are idempotent: recording twice changes nothing."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

from sqlalchemy import Connection, func, select, update
from sqlalchemy.exc import SQLAlchemyError

from crossover.errors import RegistryError
from crossover.files import digest_of
from crossover.registry import read_queries as queries
from crossover.registry import schema as s
from crossover.registry.database import (
    WRITES,
    current_revision,
    head_revision,
    make_engine,
    migrate,
    parse_url,
    registry_error,
    schema_error,
)
from crossover.registry.registry_records import MetricDef, Point, RunKey, Table
from crossover.registry.writes import (
    forget_other_estimators,
    insert,
    insert_points,
    run_id,
    series_id,
    study_id,
    verdict_columns,
)

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
    def open(cls, url: str, *, clock: Callable[[], datetime] = _now) -> Self:
        """Open a registry. An SQLite file is made and migrated; a PostgreSQL database must have been migrated.

        Args:
            url: SQLAlchemy URL, e.g. `sqlite:///studies/registry.sqlite`.
            clock: what time it is, in UTC.
        """
        registry = cls(url, clock=clock)
        try:
            if registry._url.get_backend_name() == "sqlite":
                migrate(registry._url, registry._engine)
            elif (found := current_revision(registry._engine)) != head_revision():
                raise schema_error(registry.url, found)
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
            insert(connection, s.Study.__table__, [row])

    def register_dataset(self, study_digest: str, digest: str, manifest: Mapping[str, object]) -> None:
        """Record a prepared corpus."""
        with self._write() as connection:
            row = {"study_id": study_id(connection, study_digest), "digest": digest, "manifest": dict(manifest)}
            insert(connection, s.Dataset.__table__, [row | {"created_at": self._clock()}])

    def start_attempt(self, run: RunKey, *, started_step: int, config: Mapping[str, object]) -> Attempt:
        """Open a run's next attempt; earlier ones that never ended are marked interrupted.

        From now on the points of earlier attempts beyond `started_step` are superseded.
        """
        with self._write() as connection:
            mine = run_id(connection, run, config)
            connection.execute(select(s.Run.id).where(s.Run.id == mine).with_for_update())
            n = 1 + int(
                connection.scalar(select(func.coalesce(func.max(s.Attempt.n), 0)).where(s.Attempt.run_id == mine)) or 0
            )
            connection.execute(
                update(s.Attempt)
                .where(s.Attempt.run_id == mine, s.Attempt.ended_at.is_(None))
                .values(ended_at=self._clock(), end_reason="interrupted")
            )
            row = {"run_id": mine, "n": n, "started_step": started_step, "host": socket.gethostname()}
            insert(connection, s.Attempt.__table__, [row | {"pid": os.getpid(), "started_at": self._clock()}])
            connection.execute(update(s.Run).where(s.Run.id == mine).values(status="running"))
        return Attempt(self, mine, n)

    def record_points(self, run: RunKey, metric: MetricDef, points: Sequence[Point]) -> None:
        """Record what was measured after training, under the run's latest attempt; measuring again replaces.

        Another estimator of the same metric at the same step replaces too: a step has one value of a metric.
        """
        with self._write() as connection:
            mine = run_id(connection, run, {})
            series = series_id(connection, mine, metric)
            latest = connection.scalar(select(func.max(s.Attempt.n)).where(s.Attempt.run_id == mine))
            forget_other_estimators(connection, mine, series, metric.name, [int(point.step) for point in points])
            insert_points(connection, series, int(latest or 1), points, replace=True)

    def record_checkpoint(self, run: RunKey, step: int, tokens: int, uri: str, digest: str) -> None:
        """Record saved weights; saving the same step again replaces."""
        with self._write() as connection:
            row = {"run_id": run_id(connection, run, {}), "step": step, "tokens": tokens, "uri": uri, "digest": digest}
            insert(
                connection,
                s.Checkpoint.__table__,
                [row | {"created_at": self._clock()}],
                replace=("tokens", "uri", "digest", "created_at"),
            )

    def record_items(self, run: RunKey, step: int, task: str, items: Mapping[str, Any]) -> None:
        """Record per-item scores of a task at a step; scoring again replaces."""
        with self._write() as connection:
            row = {"run_id": run_id(connection, run, {}), "step": step, "task": task, "items": dict(items)}
            insert(connection, s.ItemScores.__table__, [row], replace=("items",))

    def record_analysis(self, study_digest: str, cell: str, analysis: Mapping[str, Any]) -> str:
        """Record an analysis (the JSON of `analysis.result.Analysis`) and its verdicts; returns its digest."""
        digest = digest_of(analysis)
        with self._write() as connection:
            study = study_id(connection, study_digest)
            row = {"study_id": study, "cell": cell, "digest": digest, "method": analysis["method"]}
            insert(
                connection, s.AnalysisRecord.__table__, [row | {"result": dict(analysis), "created_at": self._clock()}]
            )
            found = select(s.AnalysisRecord.id).filter_by(study_id=study, cell=cell, digest=digest)
            analysis_id = connection.scalar(found)
            rows = [
                {"analysis_id": analysis_id, "position": position, **verdict_columns(verdict)}
                for position, verdict in enumerate(analysis["verdicts"])
            ]
            insert(connection, s.VerdictRow.__table__, rows)
        return digest

    def record_deployment(
        self, study_digest: str, run: RunKey, *, step: int, uri: str, digest: str, analysis_digest: str, reason: str
    ) -> None:
        """Append a promotion."""
        with self._write() as connection:
            row = {
                "study_id": study_id(connection, study_digest),
                "run_id": run_id(connection, run, {}),
                "step": step,
                "uri": uri,
                "digest": digest,
                "analysis_digest": analysis_digest,
                "reason": reason,
                "created_at": self._clock(),
            }
            insert(connection, s.Deployment.__table__, [row])

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
        self._series: dict[MetricDef, int] = {}

    def record(self, metric: MetricDef, points: Sequence[Point]) -> None:
        """Record a batch; points that are already there stay as they are."""
        with self._registry._write() as connection:
            series = self._series.get(metric) or series_id(connection, self._run_id, metric)
            insert_points(connection, series, self.n, points, replace=False)
        self._series[metric] = series

    def finish(self, reason: str) -> None:
        """End the attempt: `done`, `failed` or `interrupted`, which becomes the run's status.

        An attempt that has ended already, because a later one began, changes nothing.
        """
        if reason not in END_REASONS:
            raise ValueError(f"reason must be one of {END_REASONS}, found {reason!r}")
        with self._registry._write() as connection:
            ended = connection.execute(
                update(s.Attempt)
                .where(s.Attempt.run_id == self._run_id, s.Attempt.n == self.n, s.Attempt.ended_at.is_(None))
                .values(ended_at=self._registry._clock(), end_reason=reason)
            )
            if ended.rowcount:
                connection.execute(update(s.Run).where(s.Run.id == self._run_id).values(status=reason))


def upgrade(url: str) -> tuple[str | None, str]:
    """Migrate a registry to this version; returns the revision before and after."""
    parsed = parse_url(url)
    engine = make_engine(parsed)
    try:
        return migrate(parsed, engine)
    finally:
        engine.dispose()
