"""How a study came to be as it is: its revisions, what they share, and how its verdicts changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any, cast, get_args

from crossover_services.registry import page_words
from crossover_services.registry.page_addresses import study_address

from crossover.analysis.analysis_plan import AnalysisPlan, Axis
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
    before_address: str
    """The page of the revision that it was given for; empty of the first."""
    after: str
    address: str
    why: str
    """In what the two analyses differ."""
    study_digest: str
    analysis_digest: str


def revision_rows(found: StudyRevisions) -> tuple[RevisionRow, ...]:
    """All revisions, the current one first."""
    chosen = found.chosen
    return tuple(
        RevisionRow(
            digest=r.digest,
            address=_address(r.namespace, r.name, r.digest),
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
    return _listed([f"{name} {_cut(one.get(name, '–'))}" for name in names])


def _cut(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:59]}…"


def _address(namespace: str, name: str, digest: str, **query: object) -> str:
    return study_address(namespace, name, revision=fmt.short(digest).removeprefix("sha256:"), **query)


def change_rows(
    registry: Registry, namespaces: Namespaces, found: StudyRevisions, plan: AnalysisPlan
) -> tuple[ChangeRow, ...]:
    """The newest changes of verdicts; of new verdicts the first of each analysis stands for all."""
    changes = verdict_changes(registry, namespaces, found.chosen.namespace, found.chosen.name)
    rows, first = [], set()
    for change in changes:
        key = (change.cell, change.analysis_digest, change.analysed_at)
        if change.before is None and key in first:
            continue
        first.add(key)
        rows.append(_row(change, found, plan))
    return tuple(rows[:_SHOWN])


def _row(change: VerdictChange, found: StudyRevisions, plan: AnalysisPlan) -> ChangeRow:
    metric = fmt.metric_plan(plan, change.metric).title
    compared = page_words.compared(change.comparison, change.axis)
    word = fmt.axis_word(cast("Axis", change.axis)) if change.axis in get_args(Axis) else change.axis
    baseline = "" if change.baseline == plan.baseline else f", from {arm_label(change.baseline)}"
    namespace, name, before = found.chosen.namespace, found.chosen.name, change.before
    return ChangeRow(
        analysed_at=change.analysed_at,
        cell=change.cell,
        what=f"{metric}, {compared}, against {word}{baseline}",
        before="new" if before is None else _words(plan, before.after),
        before_address="" if before is None else _address(namespace, name, before.study_digest, cell=change.cell),
        after=_words(plan, change.after),
        address=_address(namespace, name, change.study_digest, cell=change.cell),
        why="" if before is None else _why(before, change, {r.digest: r for r in found.all}),
        study_digest=change.study_digest,
        analysis_digest=change.analysis_digest,
    )


def by_analysis(changes: Sequence[ChangeRow], cell: str) -> tuple[tuple[ChangeRow, ...], ...]:
    """The changes of a cell, those of one analysis together, the newest first."""
    own = [change for change in changes if change.cell == cell]
    groups = groupby(own, key=lambda change: (change.analysed_at, change.analysis_digest))
    return tuple(tuple(group) for _, group in groups)


def _why(before: VerdictChange, after: VerdictChange, revisions: Mapping[str, Revision]) -> str:
    """In what two analyses of a verdict differ: seed pairs, plan, other fields, method; else in the points alone."""
    causes = []
    old, new = before.after["pairs"], after.after["pairs"]
    if old != new:
        causes.append(f"{'more' if new > old else 'fewer'} seeds: {fmt.pairs(new)} instead of {old}")
    one, other = revisions.get(before.study_digest), revisions.get(after.study_digest)
    if one is not None and other is not None and one is not other:
        fields = _changed_fields(one, other)
        plan = [text for name, text in fields if name.startswith("analysis.")]
        rest = [text for name, text in fields if not name.startswith(("analysis.", "seeds"))]
        causes += [f"other plan: {_listed(plan)}"] if plan else []
        causes += [f"other runs: {_listed(rest)}"] if rest else []
    if before.method != after.method:
        causes.append(f"other statistics: {after.method} instead of {before.method}")
    return "; ".join(causes) or "other points: runs were trained or evaluated again"


def _changed_fields(before: Revision, after: Revision) -> list[tuple[str, str]]:
    """Name of each field that differs, with a text that says how."""
    one, other = (dict(page_words.flat(r.config)) for r in (before, after))
    changed = [name for name in {**one, **other} if one.get(name) != other.get(name)]
    return [
        (name, f"{name.removeprefix('analysis.')} {_cut(other.get(name, '–'))} instead of {_cut(one.get(name, '–'))}")
        for name in changed
    ]


def _listed(texts: Sequence[str]) -> str:
    more = f" and {len(texts) - 3} more" if len(texts) > 3 else ""
    return ", ".join(texts[:3]) + more


def _words(plan: AnalysisPlan, columns: Mapping[str, Any]) -> str:
    return page_words.verdict_words(plan, columns).statement


def newest_verdicts(
    registry: Registry, namespaces: Namespaces, namespace: str, name: str, analysis: str, plan: AnalysisPlan
) -> tuple[page_words.VerdictWords, ...]:
    """The verdicts of an analysis that changed something, from their columns."""
    changes = verdict_changes(registry, namespaces, namespace, name)
    return tuple(page_words.verdict_words(plan, c.after) for c in changes if c.analysis_digest == analysis)
