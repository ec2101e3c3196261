"""A study by its name: its revisions, which runs they share, and how its verdicts changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby
from typing import Any

from sqlalchemy import Connection, and_, func, not_, select
from sqlalchemy.orm import aliased

from crossover.registry import schema as s
from crossover.registry.reads.read_filters import Namespaces, unknown, utc, visible
from crossover.registry.reads.study_list import VERDICT_COLUMNS
from crossover.registry.transactions import Transactions

_ANALYSES = 100
"""At most so many analyses, the newest, are searched for changes of verdicts."""


@dataclass(frozen=True)
class Revision:
    """One revision of a study."""

    id: int
    namespace: str
    name: str
    digest: str
    plan_digest: str
    config: Mapping[str, Any]
    created_at: datetime
    analysed_at: datetime | None
    runs: frozenset[int]
    """Ids of the runs that it uses."""

    @property
    def changed_at(self) -> datetime:
        """Registered or analysed last."""
        return max(self.created_at, self.analysed_at or self.created_at)


@dataclass(frozen=True)
class StudyRevisions:
    """All revisions of a study, the current one first, and the one that was asked for."""

    chosen: Revision
    all: tuple[Revision, ...]


@dataclass(frozen=True)
class VerdictChange:
    """A verdict that is new, or differs from the one of the analysis before."""

    cell: str
    metric: str
    axis: str
    comparison: str
    baseline: str
    analysed_at: datetime | None
    analysis_digest: str
    study_digest: str
    method: str
    after: Mapping[str, Any]
    before: VerdictChange | None
    """The same verdict of the analysis before; None of the first."""


@dataclass(frozen=True)
class SharedRuns:
    """Another study that uses runs of a revision."""

    namespace: str
    name: str
    runs: int
    earlier: bool
    """Whether it was registered before the revision's study: then the runs were taken over from it."""


def study_revisions(
    registry: Transactions, namespaces: Namespaces, namespace: str, name: str, revision: str = ""
) -> StudyRevisions:
    """All revisions of a study; the current one is that with the newest registration or analysis.

    Args:
        registry: open.
        namespaces: to read.
        namespace: of the study.
        name: of the study.
        revision: digest of a revision, or how it begins with or without `sha256:`; empty takes the current one.

    Raises:
        RegistryError: `registry.unknown-study`, `registry.unknown-revision`.
    """
    found = registry.reading(lambda engine: _revisions(engine.connect(), namespaces, namespace, name))
    if not found:
        raise unknown("study", f"{namespace}/{name}", "choose one from the list of studies")
    chosen = next((r for r in found if r.digest.removeprefix("sha256:").startswith(_bare(revision))), None)
    if chosen is None:
        raise unknown("revision", f"{name} {revision}", "choose one of the study's revisions")
    return StudyRevisions(chosen, found)


def _bare(digest: str) -> str:
    return digest.removeprefix("sha256:")


def _revisions(connection: Connection, namespaces: Namespaces, namespace: str, name: str) -> tuple[Revision, ...]:
    study, analysis, link = s.StudyRow, s.AnalysisRow, s.StudyRunRow
    of_name = (study.namespace == namespace, study.name == name, visible(namespaces))
    analysed = select(func.max(analysis.created_at)).where(analysis.study_id == study.id).scalar_subquery()
    with connection:
        rows = connection.execute(select(study.__table__, analysed.label("analysed_at")).where(*of_name)).all()
        runs: dict[int, set[int]] = {}
        links = select(link.study_id, link.run_id).join(study, study.id == link.study_id).where(*of_name)
        for number, run in connection.execute(links):
            runs.setdefault(number, set()).add(run)
    revisions = [
        Revision(
            id=row.id,
            namespace=row.namespace,
            name=row.name,
            digest=row.digest,
            plan_digest=row.plan_digest,
            config=row.config,
            created_at=_time(row.created_at),
            analysed_at=utc(row.analysed_at),
            runs=frozenset(runs.get(row.id, ())),
        )
        for row in rows
    ]
    return tuple(sorted(revisions, key=lambda r: (r.changed_at, r.id), reverse=True))


def _time(at: datetime) -> datetime:
    found = utc(at)
    assert found is not None  # noqa: S101 - the column is not null
    return found


def verdict_changes(
    registry: Transactions, namespaces: Namespaces, namespace: str, name: str
) -> tuple[VerdictChange, ...]:
    """When each verdict of a study was first given, and when its outcome changed; the newest first.

    A crossing that moves without changing its direction is the same outcome.

    Args:
        registry: open.
        namespaces: to read.
        namespace: of the study.
        name: of the study.
    """
    study, analysis, verdict = s.StudyRow, s.AnalysisRow, s.VerdictRow
    of_name = (study.namespace == namespace, study.name == name, visible(namespaces))
    newest = (
        select(analysis.id)
        .join(study, study.id == analysis.study_id)
        .where(*of_name)
        .order_by(analysis.id.desc())
        .limit(_ANALYSES)
    )
    statement = (
        select(
            *(analysis.cell, analysis.digest, analysis.method, analysis.created_at),
            study.digest.label("revision"),
            verdict.__table__,
        )
        .join(study, study.id == analysis.study_id)
        .join(verdict, verdict.analysis_id == analysis.id)
        .where(analysis.id.in_(newest.scalar_subquery()))
        .order_by(analysis.id, verdict.position)
    )

    def read(connection: Connection) -> Sequence[Any]:
        with connection:
            return connection.execute(statement).all()

    changes: list[VerdictChange] = []
    known: dict[tuple[str, ...], VerdictChange] = {}
    for row in registry.reading(lambda engine: read(engine.connect())):
        change = VerdictChange(
            cell=row.cell,
            metric=row.metric,
            axis=row.axis,
            comparison=row.comparison,
            baseline=row.baseline,
            analysed_at=utc(row.created_at),
            analysis_digest=row.digest,
            study_digest=row.revision,
            method=row.method,
            before=None,
            after={column: getattr(row, column) for column in VERDICT_COLUMNS},
        )
        key = (row.cell, row.metric, row.axis, row.comparison, row.baseline)
        last = known.get(key)
        if last is None or _outcome(last) != _outcome(change):
            changes.append(replace(change, before=last))
        known[key] = change
    by_analysis = [tuple(group) for _, group in groupby(changes, key=lambda c: (c.analysed_at, c.analysis_digest))]
    return tuple(change for group in reversed(by_analysis) for change in group)


def _outcome(change: VerdictChange) -> tuple[Any, Any]:
    return change.after["outcome"], change.after["direction"]


def shared_runs(registry: Transactions, namespaces: Namespaces, revision: Revision) -> tuple[SharedRuns, ...]:
    """Other studies that use runs of a revision, the one with the most first; one statement.

    Args:
        registry: open.
        namespaces: to read.
        revision: of a study.
    """
    study, link, own = s.StudyRow, s.StudyRunRow, aliased(s.StudyRunRow)
    same_name = and_(study.namespace == revision.namespace, study.name == revision.name)
    of_name = s.StudyRow.__table__.alias("of_name")
    first = select(func.min(of_name.c.id)).where(
        of_name.c.namespace == revision.namespace, of_name.c.name == revision.name
    )
    runs = func.count(link.run_id.distinct())
    statement = (
        select(
            study.namespace,
            study.name,
            runs.label("runs"),
            (func.min(study.id) < first.scalar_subquery()).label("earlier"),
        )
        .join(link, link.study_id == study.id)
        .join(own, and_(own.run_id == link.run_id, own.study_id == revision.id))
        .where(visible(namespaces), not_(same_name))
        .group_by(study.namespace, study.name)
        .order_by(runs.desc(), study.name)
    )

    def read(connection: Connection) -> tuple[SharedRuns, ...]:
        with connection:
            rows = connection.execute(statement).all()
        return tuple(SharedRuns(r.namespace, r.name, int(r.runs), bool(r.earlier)) for r in rows)

    return registry.reading(lambda engine: read(engine.connect()))
