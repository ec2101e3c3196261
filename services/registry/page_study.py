"""The page of a study: gathers what it shows, in the order in which it is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from crossover_services.registry import page_figures, page_history, page_live, page_report, page_words
from crossover_services.registry.page_addresses import run_address, study_address, with_query

from crossover.analysis.analysis_plan import AnalysisPlan
from crossover.analysis.analysis_result import Analysis, Figure
from crossover.registry import Registry
from crossover.registry.reads.data_and_deployments import DatasetRecord, DeploymentRecord, datasets, deployments
from crossover.registry.reads.read_filters import Namespaces
from crossover.registry.reads.study_results import RunRecord, newest_analyses, study_runs
from crossover.registry.reads.study_revisions import Revision, study_revisions
from crossover.report import number_formats as fmt
from crossover.report import report_tables, report_view, verdict_lines

Row = tuple[str, ...]


@dataclass(frozen=True)
class Choice:
    """What the address chooses; empty is the usual."""

    revision: str = ""
    cell: str = ""
    metric: str = ""
    axis: str = ""
    comparison: str = ""
    show: str = ""
    """`evidence` shows what each verdict rests on."""


@dataclass(frozen=True)
class Link:
    """A choice in a row of choices."""

    text: str
    address: str
    chosen: bool
    detail: str = ""


@dataclass(frozen=True)
class StudyPage:
    """All that the page shows."""

    namespace: str
    name: str
    question: str
    revision: Revision
    current: bool
    """Whether this is the study's current revision."""
    address: str
    status: str
    done: int
    total: int
    lost: int
    plan: AnalysisPlan
    cell: str
    cells: tuple[Link, ...]
    """The cells, each with its headline; fewer than two are not shown."""
    analysis_digest: str
    analysed: str
    analysis: Analysis | None
    card: report_view.CellView | None
    unreadable: bool
    """Whether there is an analysis that this version cannot read."""
    verdicts: tuple[page_words.VerdictWords, ...]
    """Of an unreadable analysis."""
    figure: page_figures.ShownFigure | None
    switches: tuple[tuple[str, tuple[Link, ...]], ...]
    runs: tuple[RunRecord, ...]
    live: page_live.Live | None
    lineage: tuple[tuple[str, str, str], ...]
    """What, its digest or key, and the address that says more."""
    revisions: tuple[page_history.RevisionRow, ...]
    changes: tuple[page_history.ChangeRow, ...]
    plan_facts: tuple[Row, ...]
    corpus: tuple[Row, ...]
    evidence: str
    """Address that shows what each verdict rests on; empty where it is shown."""


def study_page(registry: Registry, namespaces: Namespaces, namespace: str, name: str, choice: Choice) -> StudyPage:
    """Gather the page of a study.

    Raises:
        RegistryError: there is no such study, or no such revision of it.
    """
    found = study_revisions(registry, namespaces, namespace, name, choice.revision)
    revision = found.chosen
    runs = study_runs(registry, namespaces, revision.id)
    plan = page_words.plan_of(revision.config)
    planned = page_words.planned_runs(revision.config)
    heads = newest_analyses(registry, namespaces, revision.id)
    names = list(dict.fromkeys([cell for cell, _, _ in planned] + [r.cell for r in runs] + [h.cell for h in heads]))
    usual = heads[0].cell if heads else next((r.cell for r in runs if r.status == "running"), next(iter(names), ""))
    cell = choice.cell if choice.cell in names else usual
    thin = {h.cell: page_figures.thin_cell(registry, namespaces, h.digest) for h in heads}
    analysis = thin[cell].analysis if cell in thin else None
    head = next((h for h in heads if h.cell == cell), None)
    dataset = next(iter(datasets(registry, namespaces, study=revision.id, limit=1)[0]), None)
    served, _ = deployments(registry, namespaces, study=(namespace, name), limit=1)
    card = None
    question = page_words.question(revision.config, name)
    if analysis is not None:
        report = page_report.cell_report(cell, analysis, runs)
        card = report_view.build_card(page_report.report_context(revision, [report], dataset, question), report, "c0")
    figure = analysis and page_figures.find(
        analysis, metric=choice.metric, axis=choice.axis, comparison=choice.comparison
    )
    shown = page_figures.shown_figure(thin[cell], figure) if figure else None
    status = study_status(runs, analysed=bool(heads))
    base = study_address(namespace, name)
    query = {"revision": choice.revision, "cell": choice.cell}
    unfinished = status in ("running", "lost", "failed", "open")
    return StudyPage(
        namespace=namespace,
        name=name,
        question=question,
        revision=revision,
        current=revision is found.all[0],
        address=base,
        status=status,
        done=sum(r.status == "done" for r in runs),
        total=max(len(planned), len(runs)),
        lost=sum(r.status == "lost" for r in runs),
        plan=plan,
        cell=cell,
        cells=tuple(_cell_link(base, c, cell, choice, thin.get(c)) for c in names) if len(names) > 1 else (),
        analysis_digest=head.digest if head else "",
        analysed=page_words.time(head.created_at) if head else "",
        analysis=analysis,
        card=card,
        unreadable=head is not None and analysis is None,
        verdicts=page_history.newest_verdicts(registry, namespaces, namespace, name, head.digest, plan)
        if head is not None and analysis is None
        else (),
        figure=shown,
        switches=_switches(base, query, analysis, figure) if analysis and figure else (),
        runs=tuple(r for r in runs if r.cell == cell),
        live=page_live.live(registry, namespaces, plan, revision.config, runs, cell) if unfinished else None,
        lineage=_lineage(dataset, runs, head.digest if head else "", served),
        revisions=page_history.revision_rows(found, base),
        changes=page_history.change_rows(registry, namespaces, namespace, name, plan),
        plan_facts=report_tables.plan_facts([report]) if analysis else _plan_facts(plan),
        corpus=report_tables.corpus(None if dataset is None else page_report.corpus_facts(dataset)),
        evidence="" if choice.show == "evidence" else with_query(base, query | {"show": "evidence"}, "verdicts"),
    )


def study_status(runs: Sequence[RunRecord], *, analysed: bool) -> str:
    """As in the list of studies: see `study_list.StudyStatus`."""
    statuses = {r.status for r in runs}
    if "running" in statuses:
        return "running"
    if "lost" in statuses:
        return "lost"
    if statuses & {"failed", "interrupted"}:
        return "failed"
    return "done" if analysed and statuses <= {"done"} else "open"


def _cell_link(base: str, cell: str, chosen: str, choice: Choice, thin: page_figures.ThinCell | None) -> Link:
    detail = "no analysis yet"
    if thin is not None and thin.analysis is not None:
        detail = verdict_lines.statement(thin.analysis, thin.analysis.headline)
    return Link(cell, with_query(base, {"revision": choice.revision, "cell": cell}), cell == chosen, detail)


def _switches(
    base: str,
    query: dict[str, str],
    analysis: Analysis,
    chosen: Figure,
) -> tuple[tuple[str, tuple[Link, ...]], ...]:
    """The figures that there are, as three rows of choices."""
    plan = analysis.plan
    here = {"metric": chosen.metric, "axis": chosen.axis, "comparison": chosen.comparison}

    def words(field: str, figure: Figure) -> str:
        if field == "metric":
            return fmt.metric_plan(plan, figure.metric).title
        if field == "axis":
            return fmt.axis_title(figure.axis)
        return fmt.comparison_words(figure.comparison, chosen.axis)

    rows = []
    for title, field in (("Metric", "metric"), ("Against", "axis"), ("Compared at", "comparison")):
        values = {getattr(f, field): f for f in reversed(analysis.figures)}
        links = tuple(
            Link(words(field, f), with_query(base, query | here | {field: v}, "curves"), v == here[field])
            for v, f in reversed(values.items())
        )
        if len(links) > 1:
            rows.append((title, links))
    return tuple(rows)


def _lineage(
    dataset: DatasetRecord | None,
    runs: Sequence[RunRecord],
    analysis: str,
    served: Sequence[DeploymentRecord],
) -> tuple[tuple[str, str, str], ...]:
    """From the corpus to what is served."""
    steps = []
    if dataset is not None:
        corpus = str(dataset.manifest.get("corpus", ""))
        if corpus:
            steps.append(("Corpus", fmt.short(corpus), with_query("/datasets", {"q": dataset.digest})))
        steps.append(("Data set", fmt.short(dataset.digest), with_query("/datasets", {"q": dataset.digest})))
    if runs:
        steps.append((f"{len(runs)} run{'s' if len(runs) > 1 else ''}", fmt.short(runs[0].digest), "#runs"))
    kept = [r for r in runs if r.checkpoint]
    if kept:
        steps.append(("Checkpoints", fmt.short(kept[0].checkpoint), run_address(kept[0].digest)))
    if analysis:
        steps.append(("Verdict", fmt.short(analysis), "#verdict"))
    if served:
        steps.append(("Deployment", fmt.short(served[0].digest), with_query("/deployments", {"q": served[0].study})))
    return tuple(steps)


def _plan_facts(plan: AnalysisPlan) -> tuple[Row, ...]:
    """The plan of a study without an analysis."""
    metrics = "; ".join(f"{fmt.metric_title(m)}: {m.direction} is better, δ = {m.delta:g}" for m in plan.metrics)
    return (
        ("Metrics, the first is primary", metrics),
        ("Axes", ", ".join(fmt.axis_title(axis) for axis in plan.axes)),
        ("Comparisons", ", ".join(plan.comparisons)),
        ("Arms compared", f"{plan.candidate} (candidate) minus {plan.baseline} (baseline)"),
        ("α", f"{plan.alpha:g}"),
        ("Seed pairs needed", str(plan.minimum_pairs)),
    )


def as_data(page: StudyPage) -> dict[str, Any]:
    """The JSON twin: without drawings, and with the chosen figure's numbers."""
    analysis = page.analysis
    return {
        "namespace": page.namespace,
        "name": page.name,
        "question": page.question,
        "revision": page.revision.digest,
        "plan_digest": page.revision.plan_digest,
        "status": page.status,
        "runs_done": page.done,
        "runs_total": page.total,
        "runs_lost": page.lost,
        "cell": page.cell,
        "cells": [{"cell": c.text, "verdict": c.detail, "address": c.address} for c in page.cells],
        "analysis": page.analysis_digest,
        "headline": page.card
        and {"verdict": page.card.verdict, "choice": page.card.choice, "reason": page.card.reason},
        "verdicts": [v.model_dump(mode="json") for v in analysis.verdicts] if analysis else [],
        "notes": analysis.notes if analysis else [],
        "items": [t.model_dump(mode="json") for t in analysis.items] if analysis else [],
        "figure": page.figure and page.figure.figure.model_dump(mode="json"),
        "runs": [asdict(r) | {"address": run_address(r.digest)} for r in page.runs],
        "live": page.live
        and {
            "seconds_left": page.live.seconds_left,
            "pairs_done": page.live.pairs,
            "pairs_needed": page.live.pairs_needed,
            "runs": [asdict(r) | {"share": r.share} for r in page.live.runs],
        },
        "lineage": [{"what": what, "name": name, "address": address} for what, name, address in page.lineage],
        "revisions": [asdict(r) for r in page.revisions],
        "changes": [asdict(c) for c in page.changes],
        "plan": page.revision.config.get("analysis"),
        "config": page.revision.config,
    }
