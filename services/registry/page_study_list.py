"""The first page: every study with its verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, get_args

from crossover_services.registry import page_words
from crossover_services.registry.page_addresses import study_address, with_query

from crossover.registry import Registry
from crossover.registry.reads.read_filters import Namespaces
from crossover.registry.reads.study_list import SortKey, StudyItem, StudyStatus, list_studies

PAGE = 50
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
    earlier_revision: bool


def study_list(
    registry: Registry, namespaces: Namespaces, *, search: str, status: str, sort: SortKey, number: int
) -> dict[str, Any]:
    """What the page shows: `rows`, `total`, and the addresses of the pages before and after.

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
    return {
        "rows": tuple(_row(item) for item in found.studies),
        "total": found.total,
        "page": number,
        "previous": with_query("/", query | {"page": number - 1 if number > 2 else ""}) if number > 1 else "",
        "next": with_query("/", query | {"page": number + 1}) if PAGE * number < found.total else "",
    }


def _row(item: StudyItem) -> Row:
    planned = page_words.planned_runs(item.config)
    plan = page_words.plan_of(item.config)
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
        verdicts=tuple((h.cell, page_words.verdict_words(plan, h.verdict)) for h in item.headlines),
        earlier_revision=any(h.earlier_revision for h in item.headlines),
    )


def as_data(shown: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON twin."""
    studies = [asdict(row) | {"verdicts": [{"cell": c} | asdict(w) for c, w in row.verdicts]} for row in shown["rows"]]
    return {**{name: shown[name] for name in ("total", "page", "previous", "next")}, "studies": studies}
