"""Deleting studies: hidden at once, brought back on request, and removed with all that they alone use by a purge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, delete, exists, select, update

from crossover.errors import RegistryError
from crossover.registry import schema as s
from crossover.registry.access_tokens import record_event
from crossover.registry.reads.read_filters import alive_runs, no_such_study
from crossover.registry.transactions import Transactions, as_utc


@dataclass(frozen=True)
class DeletedStudy:
    """A study that was deleted, with all its revisions."""

    namespace: str
    name: str
    ids: tuple[int, ...]
    runs: tuple[int, ...]
    """That no other study uses, nor a deployment of one."""
    artifacts: tuple[tuple[str, str], ...]
    """URI and digest of checkpoints and promoted copies that nothing else refers to."""


def delete_study(registry: Transactions, name: str, *, actor: str) -> int:
    """Hide a study with all its revisions from every view, page and read; nothing is removed.

    Args:
        registry: open to write, within the study's namespace.
        name: of the study.
        actor: who asks, for the events.

    Returns:
        How many revisions were hidden.

    Raises:
        RegistryError: `registry.no-such-study`, or `registry.study-in-use` while one of its runs is being trained.
    """
    with registry.writing() as connection:
        ids = _ids(connection, registry.namespace, name, deleted=False)
        alive = alive_runs(registry.now())
        link = s.StudyRunRow
        trained = select(link.run_id).join(alive, alive.c.run_id == link.run_id).where(link.study_id.in_(ids))
        if connection.scalar(trained.limit(1)) is not None:
            raise RegistryError(
                "registry.study-in-use",
                field="study",
                problem=f"a run of {name} is being trained",
                remedy="stop it first; a process that was killed counts for two minutes",
            )
        connection.execute(update(s.StudyRow).where(s.StudyRow.id.in_(ids)).values(deleted_at=registry.now()))
        record_event(registry, actor, "study.delete", name)
    return len(ids)


def restore_study(registry: Transactions, name: str, *, actor: str) -> int:
    """Bring back a study that was deleted and not purged yet; arguments and result as `delete_study`."""
    with registry.writing() as connection:
        ids = _ids(connection, registry.namespace, name, deleted=True)
        connection.execute(update(s.StudyRow).where(s.StudyRow.id.in_(ids)).values(deleted_at=None))
        record_event(registry, actor, "study.restore", name)
    return len(ids)


def deleted_studies(registry: Transactions, *, older: timedelta) -> list[DeletedStudy]:
    """What a purge would remove: studies of all namespaces that were deleted at least so long ago."""
    before = registry.now() - older

    def read(connection: Connection) -> list[DeletedStudy]:
        study = s.StudyRow
        with connection:
            rows = connection.execute(
                select(study.id, study.namespace, study.name, study.deleted_at)
                .where(study.deleted_at.is_not(None))
                .order_by(study.namespace, study.name, study.id)
            ).all()
            names: dict[tuple[str, str], list[int]] = {}
            for row in rows:
                if as_utc(row.deleted_at) <= before:
                    names.setdefault((row.namespace, row.name), []).append(row.id)
            return [_described(connection, *key, ids) for key, ids in names.items()]

    return registry.reading(lambda engine: read(engine.connect()))


def purge_study(
    registry: Transactions, study: DeletedStudy, remove: Callable[[str, str], object], *, actor: str
) -> DeletedStudy | None:
    """Remove the rows of a deleted study, of runs that it alone uses, and first their artifacts, in one transaction.

    When an artifact cannot be removed, all rows stay, and the next purge takes up the rest.

    Args:
        registry: open to write.
        study: as `deleted_studies` gave it.
        remove: removes the artifact at a URI if it has that digest, and does nothing where there is none.
        actor: who asks, for the events.

    Returns:
        What was removed; None where the study has been brought back meanwhile.
    """
    within = registry.within(study.namespace)
    with within.writing() as connection:
        row = s.StudyRow
        deleted = select(row.id).where(row.id.in_(study.ids), row.deleted_at.is_not(None)).with_for_update()
        still = list(connection.scalars(deleted))
        if not still:
            return None
        purged = _described(connection, study.namespace, study.name, still)
        runs = purged.runs
        for uri, digest in purged.artifacts:
            remove(uri, digest)
        analyses = select(s.AnalysisRow.id).where(s.AnalysisRow.study_id.in_(still))
        series = select(s.SeriesRow.id).where(s.SeriesRow.run_id.in_(runs))
        of_studies = (s.AnalysisRow, s.DeploymentRow, s.ServingCrossoverRow, s.DatasetRow, s.StudyRunRow)
        of_runs = (s.AttemptRow, s.CheckpointRow, s.ItemScoresRow, s.ServingMeasurementRow, s.SeriesRow)
        conditions: list[tuple[Any, ColumnElement[bool]]] = [
            (s.VerdictRow, s.VerdictRow.analysis_id.in_(analyses)),
            *((table, table.study_id.in_(still)) for table in of_studies),
            *((table, table.series_id.in_(series)) for table in (s.PointRow, s.PointChunkRow)),
            *((table, table.run_id.in_(runs)) for table in of_runs),
            (s.RunRow, s.RunRow.id.in_(runs)),
            (row, row.id.in_(still)),
        ]
        for table, condition in conditions:
            connection.execute(delete(table).where(condition))
        record_event(within, actor, "study.purge", study.name)
    return purged


def _ids(connection: Connection, namespace: str, name: str, *, deleted: bool) -> list[int]:
    study = s.StudyRow
    hidden = study.deleted_at.is_not(None) if deleted else study.deleted_at.is_(None)
    ids = connection.scalars(select(study.id).where(study.namespace == namespace, study.name == name, hidden)).all()
    if ids:
        return list(ids)
    names = connection.scalars(select(study.name).where(study.namespace == namespace, hidden))
    problem = f"{name!r} is no {'deleted ' if deleted else ''}study of the namespace {namespace}"
    raise no_such_study("study", problem, name, names)


def _own_runs(connection: Connection, studies: Sequence[int]) -> list[int]:
    """Runs of studies that no other study uses, and no deployment of another one."""
    link, run, deployment = s.StudyRunRow, s.RunRow, s.DeploymentRow
    ours = exists().where(link.run_id == run.id, link.study_id.in_(studies))
    others = exists().where(link.run_id == run.id, link.study_id.not_in(studies))
    serving = exists().where(deployment.run_id == run.id, deployment.study_id.not_in(studies))
    return list(connection.scalars(select(run.id).where(ours, ~others, ~serving)))


def _described(connection: Connection, namespace: str, name: str, ids: list[int]) -> DeletedStudy:
    runs = _own_runs(connection, ids)
    saved, promoted = s.CheckpointRow.run_id.in_(runs), s.DeploymentRow.study_id.in_(ids)
    artifacts: set[tuple[str, str]] = set()
    for table, gone in ((s.CheckpointRow, saved), (s.DeploymentRow, promoted)):
        needed = (select(s.CheckpointRow.uri).where(~saved), select(s.DeploymentRow.uri).where(~promoted))
        unused = and_(gone, *(table.uri.not_in(uris) for uris in needed))
        rows = connection.execute(select(table.uri, table.digest).where(unused))
        artifacts |= {(row.uri, row.digest) for row in rows}
    return DeletedStudy(namespace, name, tuple(ids), tuple(runs), tuple(sorted(artifacts)))
