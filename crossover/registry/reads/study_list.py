"""The list of studies: one row for each name, with the counts and headline verdicts of its current revision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, Subquery, and_, case, func, select
from sqlalchemy.orm import aliased

from crossover.registry import schema as s
from crossover.registry.reads.read_filters import Namespaces, alive_runs, contains, run_status, utc, visible
from crossover.registry.transactions import Transactions

StudyStatus = Literal["running", "lost", "failed", "done", "open"]
"""`running`: a process trains; `lost`: one gave no sign of life; `failed`: runs ended badly; `done`: analysed;
`open`: none of these yet."""
SortKey = Literal["newest", "oldest", "name", "runs"]


@dataclass(frozen=True)
class Headline:
    """The first verdict of the newest analysis of a cell."""

    cell: str
    analysis_digest: str
    analysed_at: datetime | None
    earlier_revision: bool
    """Whether it is of a revision before the current one, which has no analysis yet."""
    verdict: Mapping[str, Any]
    """The columns of `v_verdicts` that say what was found."""
    beside: tuple[Mapping[str, Any], ...]
    """The same of the other verdicts on its metric and axis: other comparisons and baselines."""


@dataclass(frozen=True)
class StudyItem:
    """A study, by its current revision: the one with the newest registration or analysis."""

    id: int
    namespace: str
    name: str
    digest: str
    config: Mapping[str, Any]
    created_at: datetime | None
    changed_at: datetime | None
    """Registered or analysed last."""
    runs: int
    done: int
    running: int
    lost: int
    failed: int
    status: StudyStatus
    headlines: tuple[Headline, ...] = field(default=())


@dataclass(frozen=True)
class StudyList:
    """One page of the list."""

    studies: tuple[StudyItem, ...]
    total: int
    """Studies that match, on all pages."""


def list_studies(
    registry: Transactions,
    namespaces: Namespaces,
    *,
    search: str = "",
    status: StudyStatus | None = None,
    sort: SortKey = "newest",
    limit: int = 50,
    offset: int = 0,
) -> StudyList:
    """Studies by name, in two statements whatever their number.

    Args:
        registry: open.
        namespaces: to read.
        search: words that all stand in the name, namespace, question or digest.
        status: only studies with that status.
        sort: `newest` and `oldest` by the last registration or analysis.
        limit: most studies of the page.
        offset: studies to skip.
    """
    latest = _latest(namespaces)
    counts = _counts(registry.now())
    numbers = {name: func.coalesce(counts.c[name], 0) for name in ("runs", "done", "running", "lost", "failed")}
    state = _status(numbers, latest.c.analysed)
    study = s.StudyRow
    statement = (
        select(
            study.__table__,
            latest.c.changed_at,
            *(number.label(name) for name, number in numbers.items()),
            state.label("status"),
            func.count().over().label("total"),
        )
        .join(latest, latest.c.id == study.id)
        .outerjoin(counts, counts.c.study_id == study.id)
        .where(latest.c.place == 1)
    )
    if search:
        question = study.config["question"].as_string()
        statement = statement.where(contains(search, study.name, study.namespace, question, study.digest))
    if status is not None:
        statement = statement.where(state == status)
    orders: dict[SortKey, list[Any]] = {
        "newest": [latest.c.changed_at.desc()],
        "oldest": [latest.c.changed_at],
        "name": [func.lower(study.name)],
        "runs": [numbers["runs"].desc()],
    }
    statement = statement.order_by(*orders[sort], study.id.desc()).limit(limit).offset(offset)
    return registry.reading(lambda engine: _read(engine.connect(), statement))


def _read(connection: Connection, statement: Any) -> StudyList:  # noqa: ANN401 - a select of many columns
    with connection:
        rows = connection.execute(statement).all()
        headlines = _headlines(connection, [(row.namespace, row.name) for row in rows])
    studies = tuple(
        StudyItem(
            id=row.id,
            namespace=row.namespace,
            name=row.name,
            digest=row.digest,
            config=row.config,
            created_at=utc(row.created_at),
            changed_at=utc(row.changed_at),
            runs=int(row.runs),
            done=int(row.done),
            running=int(row.running),
            lost=int(row.lost),
            failed=int(row.failed),
            status=row.status,
            headlines=_of_revision(headlines.get((row.namespace, row.name), ()), row.id),
        )
        for row in rows
    )
    return StudyList(studies, int(rows[0].total) if rows else 0)


def _latest(namespaces: Namespaces) -> Subquery:
    """Every revision with its last change; `place` 1 is the current one of its name."""
    study, analysis = s.StudyRow, s.AnalysisRow
    analysed = (
        select(analysis.study_id, func.max(analysis.created_at).label("at")).group_by(analysis.study_id).subquery()
    )
    changed = case((analysed.c.at > study.created_at, analysed.c.at), else_=study.created_at)
    place = func.row_number().over(
        partition_by=(study.namespace, study.name), order_by=(changed.desc(), study.id.desc())
    )
    return (
        select(study.id, changed.label("changed_at"), analysed.c.at.label("analysed"), place.label("place"))
        .outerjoin(analysed, analysed.c.study_id == study.id)
        .where(visible(namespaces))
        .subquery("latest")
    )


def _counts(now: datetime) -> Subquery:
    """Numbers of runs of every revision, by status."""
    alive = alive_runs(now)
    status = run_status(alive)

    def number(*statuses: str) -> ColumnElement[int]:
        return func.sum(case((status.in_(statuses), 1), else_=0))

    link = s.StudyRunRow
    return (
        select(
            link.study_id,
            func.count().label("runs"),
            number("done").label("done"),
            number("running").label("running"),
            number("lost").label("lost"),
            number("failed", "interrupted").label("failed"),
        )
        .join(s.RunRow, s.RunRow.id == link.run_id)
        .outerjoin(alive, alive.c.run_id == s.RunRow.id)
        .group_by(link.study_id)
        .subquery("counts")
    )


def _status(numbers: Mapping[str, ColumnElement[int]], analysed: ColumnElement[Any]) -> ColumnElement[str]:
    return case(
        (numbers["running"] > 0, "running"),
        (numbers["lost"] > 0, "lost"),
        (numbers["failed"] > 0, "failed"),
        (and_(analysed.is_not(None), numbers["done"] == numbers["runs"]), "done"),
        else_="open",
    )


def _headlines(
    connection: Connection, names: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], list[tuple[int, Headline]]]:
    """The headline of the newest analysis of each revision and cell, with the revision's id; the newest first."""
    if not names:
        return {}
    study, analysis, verdict, head = s.StudyRow, s.AnalysisRow, s.VerdictRow, aliased(s.VerdictRow)
    wanted = and_(
        study.namespace.in_(sorted({n for n, _ in names})),
        study.name.in_(sorted({name for _, name in names})),
        study.deleted_at.is_(None),
    )
    newest = (
        select(func.max(analysis.id))
        .join(study, study.id == analysis.study_id)
        .where(wanted)
        .group_by(analysis.study_id, analysis.cell)
    )
    statement = (
        select(
            study.namespace,
            study.name,
            analysis.study_id,
            analysis.cell,
            analysis.digest,
            analysis.created_at,
            verdict.__table__,
        )
        .join(study, study.id == analysis.study_id)
        .join(verdict, verdict.analysis_id == analysis.id)
        .join(head, and_(head.analysis_id == analysis.id, head.position == 0))
        .where(analysis.id.in_(newest), verdict.metric == head.metric, verdict.axis == head.axis)
        .order_by(analysis.id.desc(), verdict.position)
    )
    found: dict[tuple[str, str], list[tuple[int, Headline]]] = {}
    for _, group in groupby(connection.execute(statement), key=lambda row: row.analysis_id):
        row, *others = group
        first, *beside = ({name: getattr(r, name) for name in VERDICT_COLUMNS} for r in (row, *others))
        headline = Headline(row.cell, row.digest, utc(row.created_at), False, first, tuple(beside))
        found.setdefault((row.namespace, row.name), []).append((row.study_id, headline))
    return found


VERDICT_COLUMNS = (
    *("metric", "axis", "comparison", "baseline", "candidate", "outcome", "pairs", "p_adjusted", "reason"),
    *("direction", "crossing_at", "crossing_low", "crossing_high"),
)


def _of_revision(headlines: Sequence[tuple[int, Headline]], revision: int) -> tuple[Headline, ...]:
    """Those of the revision, in order of their analyses; else those of the revision that was analysed last."""
    own = [headline for study, headline in headlines if study == revision]
    if own or not headlines:
        return tuple(reversed(own))
    last = headlines[0][0]
    return tuple(
        Headline(h.cell, h.analysis_digest, h.analysed_at, True, h.verdict, h.beside)
        for study, h in reversed(headlines)
        if study == last
    )
