"""The registry: what studies ask, run, measure and conclude, in SQL. Every write is idempotent."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Self

from sqlalchemy import func, insert, select, update

from crossover.files import digest_of
from crossover.registry import read_queries
from crossover.registry import schema as s
from crossover.registry.attempts import begin_attempt, start_when_free
from crossover.registry.closed_runs import reopen_run
from crossover.registry.connections import make_engine, make_read_only_engine
from crossover.registry.migrate_schema import check_schema, migrate
from crossover.registry.point_batches import Series, append_batch
from crossover.registry.process_identity import ProcessIdentity, this_process
from crossover.registry.registry_records import MetricDef, Point, QueryResult, SavedCheckpoint, ServingMeasurement
from crossover.registry.registry_url import is_sqlite, parse_url
from crossover.registry.sql_attempt import SqlAttempt
from crossover.registry.study_deletion import delete_study, restore_study
from crossover.registry.transactions import Transactions, utc_now
from crossover.registry.view_reads import read_page
from crossover.registry.write_statements import (
    delete_other_estimates,
    finish_run,
    insert_points,
    insert_rows,
    link_run,
    run_id,
    series_id,
    study_id,
    upsert_run,
    verdict_columns,
)
from crossover.settings import get_settings
from crossover.study.identity import RunId


class Registry(Transactions):
    """An open registry; see `Registry.open` and `Registry.open_read_only`.

    Raises:
        RegistryError: from any method, when the database cannot be reached, read or written.
    """

    @classmethod
    def open(cls, url: str, *, clock: Callable[[], datetime] = utc_now) -> Self:
        """Open a registry to read and write.

        An SQLite file is made and migrated; a PostgreSQL database must have been migrated by `upgrade`.

        Args:
            url: SQLAlchemy URL, e.g. `sqlite:///studies/registry.sqlite`.
            clock: the current time, in UTC.

        Raises:
            RegistryError: the URL is not one of a registry, or the database cannot be opened or has another schema.
        """
        parsed = parse_url(url)
        if is_sqlite(parsed):
            migrate(parsed)
        else:
            check_schema(parsed)
        return cls(parsed, make_engine(parsed), clock)

    @classmethod
    def open_read_only(cls, url: str) -> Self:
        """Open an existing registry to read; nothing is created, migrated or locked.

        Args:
            url: SQLAlchemy URL.

        Raises:
            RegistryError: as `open`, and `registry.missing` when the SQLite file does not exist.
        """
        parsed = parse_url(url)
        check_schema(parsed)
        return cls(parsed, make_read_only_engine(parsed))

    def check(self) -> None:
        """See whether the database answers and has this version's schema, or meanwhile the next one.

        Raises:
            RegistryError: it does not.
        """
        check_schema(self._url, in_use=True)

    def flush(self) -> None:
        """Nothing waits: every write is in the database when its method returns."""

    def register_study(self, *, name: str, digest: str, config: Mapping[str, object]) -> None:
        """Record a revision of a study, and the digest of its analysis plan from before its first run.

        A revision that was deleted is there again.

        Args:
            name: of the study.
            digest: of all fields of the study.
            config: the fields.
        """
        row = {
            "name": name,
            "digest": digest,
            "config": dict(config),
            "plan_digest": digest_of(config.get("analysis", {})),
            "created_at": self.now(),
            "namespace": self.namespace,
        }
        with self.writing() as connection:
            insert_rows(connection, s.StudyRow.__table__, [row])
            study = s.StudyRow
            deleted = (study.namespace == self.namespace, study.digest == digest, study.deleted_at.is_not(None))
            connection.execute(update(study).where(*deleted).values(deleted_at=None))

    def register_dataset(self, study_digest: str, digest: str, manifest: Mapping[str, object]) -> None:
        """Record a prepared corpus of a study."""
        with self.writing() as connection:
            row = {
                "study_id": study_id(connection, study_digest, self.namespace),
                "digest": digest,
                "manifest": dict(manifest),
            }
            insert_rows(connection, s.DatasetRow.__table__, [row | {"created_at": self.now()}])

    def register_run(
        self,
        study_digest: str,
        run: RunId,
        run_digest: str,
        *,
        config: Mapping[str, object],
        epoch_tokens: int | None,
        checkpoints: Sequence[SavedCheckpoint] = (),
    ) -> None:
        """Record a run and link it to a study.

        The study sees all points of the run from now on, and no longer those of another run that it had under the same
        cell, arm and seed. The configuration of a run that is done stays as recorded.

        With checkpoints the run is done, whatever became of its attempts: one that was killed after its last
        checkpoint recorded neither that checkpoint nor its own end.

        Args:
            study_digest: of a registered study.
            run: cell, arm and seed.
            run_digest: names the run; revisions of a study that agree on the run share it.
            config: what the run is trained with.
            epoch_tokens: tokens of one pass over its training examples; None when unknown.
            checkpoints: all that a run trained to its end has saved; empty for a run that is still to be trained.
        """
        with self.writing() as connection:
            study = study_id(connection, study_digest, self.namespace)
            number = upsert_run(
                connection, run, run_digest, config, epoch_tokens, namespace=self.namespace, replace=not checkpoints
            )
            link_run(connection, study, run, number)
            if checkpoints:
                finish_run(connection, number, checkpoints, self.now())

    def start_attempt(self, run_digest: str, *, started_step: int) -> SqlAttempt:
        """Begin a run's next attempt; waits while another process may be training the run.

        From now on the points of earlier attempts beyond `started_step` are superseded.

        Args:
            run_digest: of a registered run.
            started_step: optimizer step that the attempt resumes from; 0 starts anew.

        Raises:
            RunHeldError: another process trains the run.
        """
        process = this_process()
        return start_when_free(lambda gone: self.begin_attempt(run_digest, started_step, process, gone))

    def begin_attempt(self, run_digest: str, started_step: int, process: ProcessIdentity, gone: str = "") -> SqlAttempt:
        """Begin a run's next attempt for a process, or refuse it at once; see `attempts.begin_attempt`."""
        with self.writing() as connection:
            run = run_id(connection, run_digest, self.namespace)
            step, now = started_step, self.now()
            n = begin_attempt(connection, run, run_digest, started_step=step, process=process, gone=gone, now=now)
        return SqlAttempt(self, run, n)

    def append_points(self, run_digest: str, n: int, series: Sequence[Series]) -> None:
        """Append points of an attempt that was begun before; see `point_batches.append_batch`."""
        with self.writing() as connection:
            append_batch(connection, self.namespace, run_digest, n, series, self.now())

    def attempt(self, run_digest: str, n: int) -> SqlAttempt:
        """An attempt that was begun before."""
        with self.writing() as connection:
            return SqlAttempt(self, run_id(connection, run_digest, self.namespace), n)

    def record_points(self, run_digest: str, metric: MetricDef, points: Sequence[Point]) -> None:
        """Record measurements of a trained run, under its latest attempt; measuring again replaces.

        A step has one value of a metric: another estimator of the metric replaces the value too.
        """
        with self.writing() as connection:
            run = run_id(connection, run_digest, self.namespace)
            reopen_run(connection, run)
            series = series_id(connection, run, metric)
            latest = connection.scalar(select(func.max(s.AttemptRow.n)).where(s.AttemptRow.run_id == run))
            delete_other_estimates(connection, run, series, metric.name, [int(point.step) for point in points])
            insert_points(connection, series, int(latest or 1), points)

    def record_checkpoint(self, run_digest: str, step: int, tokens: int, uri: str, digest: str) -> None:
        """Record saved weights; saving the same step again replaces."""
        with self.writing() as connection:
            row = {"run_id": run_id(connection, run_digest, self.namespace), "step": step, "tokens": tokens, "uri": uri}
            insert_rows(
                connection,
                s.CheckpointRow.__table__,
                [row | {"digest": digest, "created_at": self.now()}],
                replace=("tokens", "uri", "digest", "created_at"),
            )

    def record_items(self, run_digest: str, step: int, task: str, items: Mapping[str, Any]) -> None:
        """Record per-item scores of a task at a step; scoring again replaces."""
        with self.writing() as connection:
            row = {
                "run_id": run_id(connection, run_digest, self.namespace),
                "step": step,
                "task": task,
                "items": dict(items),
            }
            insert_rows(connection, s.ItemScoresRow.__table__, [row], replace=("items",))

    def record_analysis(self, study_digest: str, cell: str, analysis: Mapping[str, Any]) -> str:
        """Record an analysis of a cell and its verdicts, as the newest; unless the newest is the same one.

        Args:
            study_digest: of a registered study.
            cell: name of the cell, or of what else was analysed.
            analysis: the JSON of `crossover.analysis.analysis_result.Analysis`, or, of the study as a whole, that of
                `crossover.report.study_record.StudyRecord`.

        Returns:
            The digest of the JSON.
        """
        digest = digest_of(analysis)
        row = s.AnalysisRow
        with self.writing() as connection:
            study = study_id(connection, study_digest, self.namespace)
            newest = select(row.digest).filter_by(study_id=study, cell=cell).order_by(row.id.desc()).limit(1)
            if connection.scalar(newest) == digest:
                return digest
            values = {"study_id": study, "cell": cell, "digest": digest, "method": analysis["method"]}
            values |= {"result": dict(analysis), "created_at": self.now()}
            number = connection.scalar(insert(row).values(**values).returning(row.id))
            verdicts = [
                {"analysis_id": number, "position": position, **verdict_columns(verdict)}
                for position, verdict in enumerate(analysis["verdicts"])
            ]
            insert_rows(connection, s.VerdictRow.__table__, verdicts)
        return digest

    def record_deployment(
        self,
        study_digest: str,
        run_digest: str,
        *,
        step: int,
        uri: str,
        digest: str,
        analysis_digest: str,
        reason: str,
        endpoint: str | None = None,
        revision: int | None = None,
        traffic: int | None = None,
    ) -> None:
        """Append a promotion.

        Args:
            study_digest: of the study whose verdict it rests on.
            run_digest: of the run whose checkpoint is promoted.
            step: of the checkpoint.
            uri: of the promoted copy.
            digest: of the checkpoint.
            analysis_digest: of the analysis of the run's cell, as `record_analysis` returned it.
            reason: one sentence.
            endpoint: that serves the checkpoint, such as `namespace/name`; None where there is none.
            revision: of the endpoint.
            traffic: percent of the endpoint's requests.
        """
        with self.writing() as connection:
            row = {
                "study_id": study_id(connection, study_digest, self.namespace),
                "run_id": run_id(connection, run_digest, self.namespace),
                "step": step,
                "uri": uri,
                "digest": digest,
                "analysis_digest": analysis_digest,
                "reason": reason,
                "created_at": self.now(),
                "endpoint": endpoint,
                "revision": revision,
                "traffic": traffic,
            }
            insert_rows(connection, s.DeploymentRow.__table__, [row])

    def record_serving(self, run_digest: str, measurement: ServingMeasurement) -> None:
        """Append what it costs to serve a checkpoint of a run."""
        with self.writing() as connection:
            run = run_id(connection, run_digest, self.namespace)
            row = {"run_id": run, "measured_at": self.now()} | vars(measurement)
            connection.execute(insert(s.ServingMeasurementRow).values(**row))

    def record_serving_crossover(self, study_digest: str, comparison: Mapping[str, Any]) -> None:
        """Append where one family overtakes the other in serving.

        Args:
            study_digest: of a registered study.
            comparison: the JSON of `crossover.analysis.serving_crossing.ServingComparison`.
        """
        baseline, candidate, crossing = (comparison[name] for name in ("baseline", "candidate", "crossing"))
        values = {"baseline": baseline["arm"], "baseline_checkpoint": baseline["checkpoint_digest"]}
        values |= {"candidate": candidate["arm"], "candidate_checkpoint": candidate["checkpoint_digest"]}
        values |= {f"crossing_{name}": crossing.get(name) for name in ("at", "low", "high")}
        values |= {"setting": candidate["setting"], "outcome": crossing["outcome"], "result": dict(comparison)}
        values |= {name: comparison[name] for name in ("device", "agreement")} | {"measured_at": self.now()}
        with self.writing() as connection:
            study = study_id(connection, study_digest, self.namespace)
            connection.execute(insert(s.ServingCrossoverRow).values(study_id=study, **values))

    def delete_study(self, name: str, *, actor: str) -> int:
        """Hide a study with all its revisions; see `study_deletion.delete_study`."""
        return delete_study(self, name, actor=actor)

    def restore_study(self, name: str, *, actor: str) -> int:
        """Bring back a study that was deleted; see `study_deletion.restore_study`."""
        return restore_study(self, name, actor=actor)

    def curves(self, study_digest: str, cell: str, metrics: Sequence[str] | None = None) -> dict[str, list[Any]]:
        """Current points of a cell as the columns that `crossover.analysis.analyse` takes.

        Args:
            study_digest: of the study.
            cell: name of the cell.
            metrics: names of metrics; None takes all.

        Returns:
            Column to values, ordered by metric, arm, seed and step.
        """
        return self.reading(lambda engine: read_queries.curves(engine, self.namespace, study_digest, cell, metrics))

    def attempts(self, study_digest: str, cell: str) -> list[tuple[RunId, int]]:
        """The runs of a study in a cell with their numbers of attempts, ordered by arm and seed."""
        return self.reading(lambda engine: read_queries.attempts(engine, self.namespace, study_digest, cell))

    def view_rows(self, view: str, filters: Mapping[str, object]) -> list[dict[str, Any]]:
        """Rows of a documented view in this registry's namespace, at most 10,000.

        Args:
            view: its name without `v_`, such as deployments.
            filters: column to the value that it must have.
        """
        rows = self.reading(
            lambda engine: read_page(
                engine, f"v_{view}", filters, namespaces=[self.namespace], cursor=None, limit=10_000
            )
        ).rows
        return [dict(zip(rows.columns, row, strict=True)) for row in rows.rows]

    def query(self, sql: str, *, limit: int = 10_000) -> QueryResult:
        """Run one SELECT in a transaction that the database itself keeps from writing.

        On PostgreSQL by the login of CROSSOVER_REGISTRY_SQL_URL, where that is set.

        Args:
            sql: the statement.
            limit: largest number of rows.

        Raises:
            RegistryError: with the database's own message.
        """
        own_login = "" if is_sqlite(self._url) else get_settings().registry_sql_url.get_secret_value()
        return read_queries.select_rows(parse_url(own_login) if own_login else self._url, sql, limit)


def upgrade(url: str) -> tuple[str | None, str]:
    """Migrate a registry to this version; returns the revision before and after."""
    return migrate(parse_url(url))
