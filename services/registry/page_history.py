"""How a study came to be as it is: its revisions, what they share, and how its verdicts changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from crossover_services.registry import page_words
from crossover_services.registry.page_addresses import with_query

from crossover.analysis.analysis_plan import AnalysisPlan
from crossover.analysis.arm_labels import arm_label
from crossover.registry import Registry
from crossover.registry.reads.read_filters import Namespaces
from crossover.registry.reads.study_revisions import Revision, StudyRevisions, VerdictChange, verdict_changes
from crossover.report import number_formats as fmt

_SHOWN = 40


@dataclass(frozen=True)
class RevisionRow:
    """A revision, compared with the one that is shown."""

    digest: str
    address: str
    chosen: bool
    created_at: datetime
    analysed_at: datetime | None
    runs: int
    shared: int
    """Runs that it has in common with the one that is shown."""
    differs: str
    """The fields that differ from the one that is shown, in words."""


@dataclass(frozen=True)
class ChangeRow:
    """A verdict that changed."""

    analysed_at: datetime | None
    cell: str
    what: str
    before: str
    after: str
    study_digest: str
    analysis_digest: str


def revision_rows(found: StudyRevisions, base: str) -> tuple[RevisionRow, ...]:
    """All revisions, the current one first."""
    chosen = found.chosen
    return tuple(
        RevisionRow(
            digest=r.digest,
            address=with_query(base, {"revision": fmt.short(r.digest).removeprefix("sha256:")}),
            chosen=r is chosen,
            created_at=r.created_at,
            analysed_at=r.analysed_at,
            runs=len(r.runs),
            shared=len(r.runs & chosen.runs),
            differs="" if r is chosen else _differences(r, chosen),
        )
        for r in found.all
    )


def _differences(revision: Revision, chosen: Revision) -> str:
    one, other = (dict(page_words.flat(r.config)) for r in (revision, chosen))
    names = [name for name in {**one, **other} if one.get(name) != other.get(name)]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(f"{name} {_cut(one.get(name, '–'))}" for name in names[:3]) + more


def _cut(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:59]}…"


def change_rows(
    registry: Registry, namespaces: Namespaces, namespace: str, name: str, plan: AnalysisPlan
) -> tuple[ChangeRow, ...]:
    """The newest changes of verdicts; of new verdicts the first of each analysis stands for all."""
    changes = verdict_changes(registry, namespaces, namespace, name)
    rows, first = [], set()
    for change in changes:
        key = (change.cell, change.analysis_digest, change.analysed_at)
        if change.before is None and key in first:
            continue
        first.add(key)
        rows.append(_row(change, plan))
    return tuple(rows[:_SHOWN])


def _row(change: VerdictChange, plan: AnalysisPlan) -> ChangeRow:
    metric = fmt.metric_plan(plan, change.metric).title
    compared = page_words.compared(change.comparison, change.axis)
    return ChangeRow(
        analysed_at=change.analysed_at,
        cell=change.cell,
        what=f"{metric} against {change.axis}, {compared}, from {arm_label(change.baseline)}",
        before="new" if change.before is None else _words(plan, change.before),
        after=_words(plan, change.after),
        study_digest=change.study_digest,
        analysis_digest=change.analysis_digest,
    )


def _words(plan: AnalysisPlan, columns: Mapping[str, Any]) -> str:
    return page_words.verdict_words(plan, columns).statement


def newest_verdicts(
    registry: Registry, namespaces: Namespaces, namespace: str, name: str, analysis: str, plan: AnalysisPlan
) -> tuple[page_words.VerdictWords, ...]:
    """The verdicts of an analysis that changed something, from their columns."""
    changes = verdict_changes(registry, namespaces, namespace, name)
    return tuple(page_words.verdict_words(plan, c.after) for c in changes if c.analysis_digest == analysis)
