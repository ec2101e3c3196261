"""The page of a study: gathers what it shows, in the order in which it is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from crossover_services.registry import (
    page_figures,
    page_history,
    page_lineage,
    page_live,
    page_overview,
    page_report,
    page_words,
)
from crossover_services.registry.page_addresses import study_address, study_path, with_query

from crossover.analysis.analysis_plan import AnalysisPlan
from crossover.analysis.analysis_result import Analysis, Figure
from crossover.registry import Registry
from crossover.registry.reads.data_and_deployments import datasets, deployments
from crossover.registry.reads.read_filters import Namespaces
from crossover.registry.reads.study_results import RunRecord, newest_analyses, study_runs
from crossover.registry.reads.study_revisions import Revision, shared_runs, study_revisions
from crossover.report import answer, overview_tables, report_tables, report_view
from crossover.report import number_formats as fmt
from crossover.report.overview_view import frontier_title
from crossover.report.report_data import CellReport, ReportContext

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
class CellRow:
    """A cell or a frontier in the table of all of them."""

    name: str
    title: str
    address: str
    chosen: bool
    facts: str
    verdict: str
    interval: str
    tone: str


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
    title: str
    """The cell's name, or what a frontier is called."""
    cells: tuple[CellRow, ...]
    """The cells, then the frontiers, each with its headline; fewer than two are not shown."""
    whole: page_overview.WholeStudy | None
    outdated: bool
    """Whether what was recorded of the whole study is of another version."""
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
    health: report_tables.Table | None
    references: report_tables.Table | None
    lineage: tuple[page_lineage.Source, ...]
    reused: tuple[page_lineage.Reuse, ...]
    revisions: tuple[page_history.RevisionRow, ...]
    changes: tuple[page_history.ChangeRow, ...]
    """Of all cells."""
    history: tuple[tuple[page_history.ChangeRow, ...], ...]
    """Of the cell that is shown, those of one analysis together."""
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
    analysed = page_overview.analysed(registry, namespaces, newest_analyses(registry, namespaces, revision.id))
    heads = {head.cell: head for head in analysed.heads}
    names = list(dict.fromkeys([*(cell for cell, _, _ in planned), *(r.cell for r in runs), *heads]))
    running = next((r.cell for r in runs if r.status == "running"), next(iter(names), ""))
    cell = choice.cell if choice.cell in names else next(iter(heads), running)
    thin, head = analysed.thin.get(cell), heads.get(cell)
    analysis = thin.analysis if thin else None
    dataset = next(iter(datasets(registry, namespaces, study=revision.id, limit=1)[0]), None)
    served, _ = deployments(registry, namespaces, study=(namespace, name), limit=1)
    question = page_words.question(revision.config, name)
    context = page_overview.report(analysed, revision, runs, dataset, question)
    report = _cell_report(cell, analysis, context)
    own = context.model_copy(update={"cells": (report,)}) if context and report else None
    card = report_view.build_card(context, report, "c0") if context and report else None
    figure = analysis and page_figures.find(
        analysis, metric=choice.metric, axis=choice.axis, comparison=choice.comparison
    )
    shown = page_figures.shown_figure(thin, figure) if thin and figure else None
    status = study_status(runs, analysed=bool(heads))
    path = study_path(namespace, name)
    query = {name: value for name, value in asdict(choice).items() if name != "show"}
    changes = page_history.change_rows(registry, namespaces, found, plan)
    unfinished = status in ("running", "lost", "failed", "open")
    return StudyPage(
        namespace=namespace,
        name=name,
        question=question,
        revision=revision,
        current=revision is found.all[0],
        address=study_address(namespace, name),
        status=status,
        done=sum(r.status == "done" for r in runs),
        total=max(len(planned), len(runs)),
        lost=sum(r.status == "lost" for r in runs),
        plan=plan,
        cell=cell,
        title=_title(analysed, cell),
        cells=tuple(_cell_row(path, c, cell, choice, analysed, context) for c in names) if len(names) > 1 else (),
        whole=page_overview.whole_study(analysed, context, cell) if context else None,
        outdated=analysed.overview is not None and analysed.record is None,
        analysis_digest=head.digest if head else "",
        analysed=page_words.time(head.created_at) if head else "",
        analysis=analysis,
        card=card,
        unreadable=head is not None and analysis is None,
        verdicts=page_history.newest_verdicts(registry, namespaces, namespace, name, head.digest, plan)
        if head is not None and analysis is None
        else (),
        figure=shown,
        switches=_switches(path, query | {"show": choice.show}, analysis, figure) if analysis and figure else (),
        runs=tuple(r for r in runs if r.cell == cell or cell in analysed.frontiers),
        live=page_live.live(registry, namespaces, plan, revision.config, runs, cell) if unfinished else None,
        health=overview_tables.health(own) if own else None,
        references=report_tables.references(own) if own else None,
        lineage=page_lineage.sources(dataset, runs, head, served),
        reused=page_lineage.reuses(found, shared_runs(registry, namespaces, revision)),
        revisions=page_history.revision_rows(found),
        changes=changes,
        history=page_history.by_analysis(changes, cell),
        plan_facts=report_tables.plan_facts([report]) if report else _plan_facts(plan),
        corpus=report_tables.corpus(None if dataset is None else page_report.corpus_facts(dataset)),
        evidence="" if choice.show == "evidence" else with_query(path, query | {"show": "evidence"}, "verdicts"),
    )


def _cell_report(cell: str, analysis: Analysis | None, context: ReportContext | None) -> CellReport | None:
    """The cell that is shown: one of the report's, or a frontier."""
    if context is None or analysis is None:
        return None
    return next((c for c in context.cells if c.cell == cell), CellReport(cell=cell, analysis=analysis))


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


def _title(analysed: page_overview.Analysed, cell: str) -> str:
    frontiers = analysed.record.frontiers if analysed.record else ()
    return next((frontier_title(f.unique_tokens, f.quality) for f in frontiers if f.name == cell), f"Cell {cell}")


def _cell_row(
    path: str,
    cell: str,
    chosen: str,
    choice: Choice,
    analysed: page_overview.Analysed,
    context: ReportContext | None,
) -> CellRow:
    thin = analysed.thin.get(cell)
    analysis = thin.analysis if thin else None
    head = analysis.headline if analysis else None
    report = next((c for c in context.cells if c.cell == cell), None) if context else None
    facts = []
    if report is not None and report.unique_tokens is not None:
        facts.append(f"{fmt.count(report.unique_tokens)} unique tokens")
    if report is not None and report.parameters is not None:
        facts.append(f"{fmt.count(report.parameters)} parameters{fmt.tier(report.quality)}")
    return CellRow(
        name=cell,
        title=_title(analysed, cell).removeprefix("Cell "),
        address=with_query(path, asdict(choice) | {"cell": cell}),
        chosen=cell == chosen,
        facts=", ".join(facts),
        verdict=answer(analysis) if analysis else "no analysis yet",
        interval=fmt.axis_interval(head.axis, head.crossing.low, head.crossing.high) if head and head.crossing else "",
        tone=page_words.tone(head.outcome) if head else "open",
    )


def _switches(
    path: str,
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
            Link(words(field, f), with_query(path, query | here | {field: v}, "curves"), v == here[field])
            for v, f in reversed(values.items())
        )
        if len(links) > 1:
            rows.append((title, links))
    return tuple(rows)


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
