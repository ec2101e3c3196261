"""The first page: every study with its verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, get_args

from crossover_services.registry import page_words
from crossover_services.registry.page_addresses import study_address, with_query

from crossover.registry import Registry
from crossover.registry.reads.data_and_deployments import deployments
from crossover.registry.reads.read_filters import Namespaces
from crossover.registry.reads.study_list import SortKey, StudyItem, StudyStatus, list_studies

PAGE = 50
_SERVED = 3
"""What is served now is shown up to so many."""
SORTS: dict[SortKey, str] = {"newest": "last changed", "oldest": "first changed", "name": "name", "runs": "most runs"}


@dataclass(frozen=True)
class Row:
    """A study in the list."""

    name: str
    namespace: str
    question: str
    digest: str
    address: str
    status: str
    cells: int
    done: int
    total: int
    running: int
    lost: int
    changed_at: Any
    analysed_at: Any
    verdicts: tuple[tuple[str, page_words.VerdictWords], ...]
    """Cell and headline."""
    said: tuple[tuple[str, page_words.VerdictWords], ...]
    """What the headlines say, what several cells say once, each with its cells; without a cell where there is one."""
    earlier_revision: bool


def study_list(
    registry: Registry, namespaces: Namespaces, *, search: str, status: str, sort: SortKey, number: int
) -> dict[str, Any]:
    """What the page shows: `rows`, `total`, what is `served` now, and the addresses of the pages before and after.

    Args:
        registry: open.
        namespaces: to read.
        search: words to find.
        status: one of StudyStatus; anything else is all.
        sort: order.
        number: of the page, from 1.
    """
    state: StudyStatus | None = next((s for s in get_args(StudyStatus) if s == status), None)
    found = list_studies(
        registry, namespaces, search=search, status=state, sort=sort, limit=PAGE, offset=PAGE * (number - 1)
    )
    query = {"q": search, "status": state, "sort": "" if sort == "newest" else sort}
    served, _ = deployments(registry, namespaces, current=True, limit=_SERVED + 1)
    return {
        "served": served[:_SERVED],
        "more_served": len(served) > _SERVED,
        "rows": tuple(_row(item) for item in found.studies),
        "total": found.total,
        "page": number,
        "previous": with_query("/", query | {"page": number - 1 if number > 2 else ""}) if number > 1 else "",
        "next": with_query("/", query | {"page": number + 1}) if PAGE * number < found.total else "",
    }


def _row(item: StudyItem) -> Row:
    planned = page_words.planned_runs(item.config)
    plan = page_words.plan_of(item.config)
    verdicts = tuple((h.cell, page_words.headline_words(plan, h.verdict, h.beside)) for h in item.headlines)
    return Row(
        name=item.name,
        namespace=item.namespace,
        question=page_words.question(item.config, ""),
        digest=item.digest,
        address=study_address(item.namespace, item.name),
        status=item.status,
        cells=len({cell for cell, _, _ in planned}) or len(item.headlines),
        done=item.done,
        total=max(len(planned), item.runs),
        running=item.running,
        lost=item.lost,
        changed_at=item.changed_at,
        analysed_at=max((h.analysed_at for h in item.headlines if h.analysed_at), default=None),
        verdicts=verdicts,
        said=_said(verdicts),
        earlier_revision=any(h.earlier_revision for h in item.headlines),
    )


def _said(
    verdicts: tuple[tuple[str, page_words.VerdictWords], ...],
) -> tuple[tuple[str, page_words.VerdictWords], ...]:
    same: dict[str, list[tuple[str, page_words.VerdictWords]]] = {}
    for cell, words in verdicts:
        same.setdefault(words.statement, []).append((cell, words))
    if len(verdicts) < 2:
        return tuple(("", words) for _, words in verdicts)
    answered = sorted(same.values(), key=lambda group: group[0][1].tone == "open")
    return tuple((", ".join(cell for cell, _ in group), group[0][1]) for group in answered)


def as_data(shown: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON twin."""
    names = [field.name for field in fields(Row) if field.name not in ("said", "verdicts")]
    studies = [
        {name: getattr(row, name) for name in names}
        | {"verdicts": [{"cell": cell} | asdict(words) for cell, words in row.verdicts]}
        for row in shown["rows"]
    ]
    return {
        **{name: shown[name] for name in ("total", "page", "previous", "next")},
        "studies": studies,
        "served": shown["served"],
    }
