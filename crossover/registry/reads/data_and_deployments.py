"""Prepared corpora, and promotions: what is served, what it rests on, and what was served before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Executable, Select, false, func, or_, select

from crossover.registry import schema as s
from crossover.registry.reads.read_filters import Namespaces, contains, unknown, utc, visible
from crossover.registry.transactions import Transactions


@dataclass(frozen=True)
class DatasetRecord:
    """A prepared corpus of a revision of a study."""

    namespace: str
    study: str
    study_digest: str
    digest: str
    manifest: Mapping[str, Any]
    created_at: datetime | None


@dataclass(frozen=True)
class DatasetDetail:
    """A prepared corpus, and whose it is."""

    dataset: DatasetRecord
    """Of the newest revision that has it."""
    config: Mapping[str, Any]
    """The fields of that revision."""
    users: tuple[DatasetRecord, ...]
    """The same of each revision that has it, the newest first."""


@dataclass(frozen=True)
class DeploymentRecord:
    """A promotion."""

    namespace: str
    study: str
    study_digest: str
    run_digest: str
    cell: str
    arm: str
    seed: int
    step: int
    uri: str
    digest: str
    analysis_digest: str
    reason: str
    created_at: datetime | None
    endpoint: str | None
    revision: int | None
    traffic: int | None
    """Percent of the endpoint's requests."""
    current: bool
    """Whether it is the newest of its study's name."""


def datasets(
    registry: Transactions,
    namespaces: Namespaces,
    *,
    study: int | None = None,
    search: str = "",
    limit: int = 50,
    offset: int = 0,
) -> tuple[tuple[DatasetRecord, ...], int]:
    """Prepared corpora, the newest first, and how many there are.

    Args:
        registry: open.
        namespaces: to read.
        study: id of a revision; None takes all.
        search: words that all stand in the study's name, the digest or the source.
        limit: most of them.
        offset: how many to skip.
    """
    row = s.DatasetRow
    found = contains(search, s.StudyRow.name, row.digest, row.manifest["source"].as_string())
    statement = _datasets(func.count().over().label("total")).where(visible(namespaces), found)
    if study is not None:
        statement = statement.where(row.study_id == study)
    rows = _rows(registry, statement.limit(limit).offset(offset))
    return tuple(map(_dataset, rows)), int(rows[0].total) if rows else 0


def dataset_detail(registry: Transactions, namespaces: Namespaces, name: str) -> DatasetDetail:
    """A prepared corpus by its digest, or how its digest begins after `sha256:`.

    Args:
        registry: open.
        namespaces: to read.
        name: digest, or at least eight of its digits.

    Raises:
        RegistryError: `registry.unknown-dataset`.
    """
    row, bare = s.DatasetRow, name.removeprefix("sha256:")
    begins = row.digest.startswith(f"sha256:{bare}", autoescape=True) if len(bare) >= 8 else false()
    statement = _datasets(s.StudyRow.config).where(visible(namespaces), or_(row.digest == name, begins))
    rows = _rows(registry, statement.limit(_USERS))
    users = tuple(_dataset(r) for r in rows if r.digest == rows[0].digest)
    if not users:
        raise unknown("dataset", name, "open it from the list of data sets")
    return DatasetDetail(users[0], rows[0].config, users)


def deployments(
    registry: Transactions,
    namespaces: Namespaces,
    *,
    study: tuple[str, str] | None = None,
    run: int | None = None,
    current: bool = False,
    search: str = "",
    limit: int = 50,
    offset: int = 0,
) -> tuple[tuple[DeploymentRecord, ...], int]:
    """Promotions, the newest first, and how many there are.

    Args:
        registry: open.
        namespaces: to read.
        study: namespace and name; None takes all.
        run: id of a run; None takes all.
        current: only what is served now.
        search: words that all stand in the study's name, the arm, the endpoint or the reason.
        limit: most of them.
        offset: how many to skip.
    """
    row, trained = s.DeploymentRow, s.RunRow
    newest = (
        select(func.max(row.id))
        .join(s.StudyRow, s.StudyRow.id == row.study_id)
        .where(visible(None))
        .group_by(s.StudyRow.namespace, s.StudyRow.name)
    )
    statement = (
        select(
            row.__table__,
            trained.digest.label("run_digest"),
            trained.cell,
            trained.arm,
            trained.seed,
            *_STUDY,
            row.id.in_(newest.scalar_subquery()).label("current"),
            func.count().over().label("total"),
        )
        .join(trained, trained.id == row.run_id)
        .join(s.StudyRow, s.StudyRow.id == row.study_id)
        .where(
            visible(namespaces),
            contains(search, s.StudyRow.name, trained.arm, func.coalesce(row.endpoint, ""), row.reason),
        )
        .order_by(row.id.desc())
    )
    if study is not None:
        statement = statement.where(s.StudyRow.namespace == study[0], s.StudyRow.name == study[1])
    if run is not None:
        statement = statement.where(row.run_id == run)
    if current:
        statement = statement.where(row.id.in_(newest.scalar_subquery()))
    rows = _rows(registry, statement.limit(limit).offset(offset))
    names = [name for name in DeploymentRecord.__dataclass_fields__ if name not in ("created_at", "current")]
    found = tuple(
        DeploymentRecord(
            **{name: getattr(r, name) for name in names}, created_at=utc(r.created_at), current=bool(r.current)
        )
        for r in rows
    )
    return found, int(rows[0].total) if rows else 0


_USERS = 50
"""Most revisions that are listed with a corpus."""
_STUDY = (s.StudyRow.namespace, s.StudyRow.name.label("study"), s.StudyRow.digest.label("study_digest"))


def _datasets(*columns: Any) -> Select[Any]:  # noqa: ANN401 - of any type
    """Prepared corpora with their studies, the newest first."""
    row = s.DatasetRow
    of_row = select(row.digest, row.manifest, row.created_at, *_STUDY, *columns)
    return of_row.join(s.StudyRow, s.StudyRow.id == row.study_id).order_by(row.id.desc())


def _dataset(row: Any) -> DatasetRecord:  # noqa: ANN401 - a row of `_datasets`
    return DatasetRecord(row.namespace, row.study, row.study_digest, row.digest, row.manifest, utc(row.created_at))


def _rows(registry: Transactions, statement: Executable) -> list[Any]:
    def read(connection: Connection) -> list[Any]:
        with connection:
            return list(connection.execute(statement).all())

    return registry.reading(lambda engine: read(engine.connect()))
