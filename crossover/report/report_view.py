"""What the page shows, in order: cards, figures with captions and tables; text only, escaped by the template."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from crossover.analysis.analysis_result import Analysis, Figure, Verdict
from crossover.analysis.arm_labels import arm_label
from crossover.analysis.upper_bounds import upper_bound_arm
from crossover.report import (
    evidence_words,
    figure_scales,
    overview_tables,
    reference_levels,
    report_tables,
    svg_rendering,
    verdict_lines,
)
from crossover.report import (
    number_formats as fmt,
)
from crossover.report.answer import answer
from crossover.report.figure_panel import Look
from crossover.report.report_data import CellReport, ReportContext
from crossover.report.report_figures import MEDIUM, SMALL, WIDE, draw
from crossover.report.terminal_lines import HALF_NAMES

SEED_POINTS = 200
"""At most so many points of a run stand in the table behind a figure."""


@dataclass(frozen=True)
class FigureView:
    """A figure ready to be placed: drawings, words, tables."""

    key: str
    title: str
    caption: str
    drawing: str
    narrow: str
    tables: tuple[report_tables.Table, ...]
    domain: tuple[float, float] | None = None
    """Ends of the axis across, for the pointer; None of a figure that is not over an axis."""


@dataclass(frozen=True)
class CellView:
    """A cell ready to be placed."""

    key: str
    name: str
    facts: str
    verdict: str
    """The answer."""
    tone: str
    subtitle: str
    reason: str
    figures: tuple[tuple[str, str], ...]
    changes: tuple[str, ...]
    verdicts: report_tables.Table
    evidence: report_tables.Table
    items: report_tables.Table
    axis: str
    primary: tuple[FigureView, ...]
    further: tuple[tuple[str, tuple[FigureView, ...]], ...]
    others: tuple[tuple[str, tuple[FigureView, ...]], ...]
    summary: report_tables.Table
    runs: report_tables.Table


def build(context: ReportContext) -> tuple[CellView, ...]:
    """The cells of a page; draws every figure."""
    return tuple(build_cell(context, cell, f"c{i}") for i, cell in enumerate(context.cells))


def hero(context: ReportContext) -> str | None:
    """The drawing of the first cell's headline, wide; None without points."""
    cell = context.cells[0]
    head = cell.analysis.headline
    for figure in cell.analysis.figures:
        if (figure.metric, figure.axis, figure.comparison) == (head.metric, head.axis, head.comparison):
            return _drawing(context, cell, figure, "picture", WIDE)
    return None


def build_cell(context: ReportContext, cell: CellReport, key: str) -> CellView:
    """One cell of a page; draws its figures."""
    analysis = cell.analysis
    head = analysis.headline
    here = _on(cell, head.axis)
    axes = [axis for axis in analysis.plan.axes if axis != head.axis]
    numbered = Numbers(key)
    main = [f for f in here if f.metric == head.metric]
    wide = (
        *_views(context, cell, main[:1], numbered, look=WIDE),
        *_views(context, cell, main[1:], numbered, look=MEDIUM),
    )
    further = [
        (m.title, _views(context, cell, [f for f in here if f.metric == m.name], numbered))
        for m in analysis.plan.metrics
        if m.name != head.metric
    ]
    others = ((fmt.axis_title(axis), _views(context, cell, _on(cell, axis), numbered)) for axis in axes)
    return replace(
        build_card(context, cell, key),
        primary=wide,
        further=tuple((title, views) for title, views in further if views),
        others=tuple((title, views) for title, views in others if views),
    )


def build_card(context: ReportContext, cell: CellReport, key: str) -> CellView:
    """One cell of a page without figures: its words and tables."""
    analysis = cell.analysis
    head = analysis.headline
    return CellView(
        key=key,
        name=cell.cell,
        facts=_facts(context, cell),
        verdict=answer(analysis),
        tone=head.outcome if head.outcome in ("baseline", "candidate", "crossover") else "open",
        subtitle=_subtitle(cell, head),
        reason=head.reason,
        figures=_card(cell, head),
        changes=verdict_lines.what_would_change_it(cell),
        verdicts=report_tables.all_verdicts(analysis),
        evidence=report_tables.evidence(analysis),
        items=overview_tables.items(context, analysis),
        axis=fmt.axis_title(head.axis),
        primary=(),
        further=(),
        others=(),
        summary=report_tables.summary(context, analysis),
        runs=report_tables.runs(cell),
    )


def _facts(context: ReportContext, cell: CellReport) -> str:
    facts = []
    if cell.unique_tokens is not None:
        corpus = context.corpus
        share = f", {100 * cell.unique_tokens / corpus.train_tokens:.3g} % of the corpus" if corpus else ""
        facts.append(f"{fmt.count(cell.unique_tokens)} unique tokens{share}{fmt.tier(cell.quality)}")
    if cell.parameters is not None:
        facts.append(f"{fmt.count(cell.parameters)} parameters")
    if cell.model:
        facts.append(cell.model)
    if cell.runs:
        facts.append(f"{len(cell.runs)} runs, {fmt.duration(sum(run.seconds for run in cell.runs))} of training")
    return " · ".join(facts)


class Numbers:
    """Keys of figures, unique in the page."""

    def __init__(self, prefix: str) -> None:
        self._prefix, self._count = prefix, 0

    def next(self) -> str:
        """The next key."""
        self._count += 1
        return f"{self._prefix}-f{self._count}"


def _ordered(cell: CellReport) -> Iterator[Figure]:
    plan = cell.analysis.plan
    for metric in plan.metrics:
        for comparison in plan.comparisons:
            yield from (f for f in cell.analysis.figures if f.metric == metric.name and f.comparison == comparison)


def _on(cell: CellReport, axis: str) -> list[Figure]:
    return [f for f in _ordered(cell) if f.axis == axis]


def _views(
    context: ReportContext,
    cell: CellReport,
    figures: list[Figure],
    numbered: Numbers,
    *,
    look: Look = SMALL,
) -> tuple[FigureView, ...]:
    views = []
    for figure in figures:
        key, wide = numbered.next(), look is not SMALL
        view = figure_view(context, cell, figure, f"{key}n" if wide else key, SMALL)
        if view is None:
            continue
        if wide:
            drawing = _drawing(context, cell, figure, key, look) or ""
            view = replace(view, key=key, drawing=drawing, narrow=view.drawing)
        if look is WIDE:
            view = replace(view, caption=_long_caption(context, cell, figure))
        views.append(view)
    return tuple(views)


def figure_view(
    context: ReportContext, cell: CellReport, figure: Figure, key: str, look: Look, *, long: bool = False
) -> FigureView | None:
    """One figure drawn once, with its words and tables; None when there is no point to draw.

    Args:
        context: what the page is made of.
        cell: whose figure it is.
        figure: from the cell's analysis.
        key: unique in the page.
        look: sizes.
        long: whether the caption explains every line and ground.
    """
    drawing = _drawing(context, cell, figure, key, look)
    if drawing is None:
        return None
    return FigureView(
        key=key,
        title=_title(cell, figure),
        caption=_long_caption(context, cell, figure) if long else _caption(context, cell, figure),
        drawing=drawing,
        narrow="",
        tables=(
            report_tables.means(cell.analysis.plan, figure),
            report_tables.seed_values(figure, most=SEED_POINTS),
        ),
        domain=figure_scales.x_domain([c.x for c in figure.seeds] + [b.x for b in figure.arms.values()]),
    )


def _drawing(context: ReportContext, cell: CellReport, figure: Figure, key: str, look: Look) -> str | None:
    plan = cell.analysis.plan
    bound = upper_bound_arm(fmt.metric_plan(plan, figure.metric), plan)
    verdict = verdict_lines.find(cell.analysis, figure.metric, figure.axis, figure.comparison)
    spec = draw(
        figure, plan, verdict, look=look, upper_bound=bound, levels=reference_levels.levels_of(context, figure.metric)
    )
    if spec is None:
        return None
    return svg_rendering.render(
        spec, key=key, title=_title(cell, figure), description=_long_caption(context, cell, figure)
    )


def _title(cell: CellReport, figure: Figure) -> str:
    metric = fmt.metric_plan(cell.analysis.plan, figure.metric)
    compared = fmt.comparison_words(figure.comparison, figure.axis)
    return f"{metric.title}, {compared}"


def _caption(context: ReportContext, cell: CellReport, figure: Figure) -> str:
    verdict = verdict_lines.find(cell.analysis, figure.metric, figure.axis, figure.comparison)
    text = "No verdict was planned here." if verdict is None else f"{_stated(cell.analysis, verdict)}."
    levels = reference_levels.words(context, figure.metric)
    return f"{text} Without training: {levels}." if levels else text


def _stated(analysis: Analysis, verdict: Verdict) -> str:
    """A verdict's statement, of a crossing with its interval."""
    interval, text = verdict_lines.interval(analysis, verdict), verdict_lines.statement(analysis, verdict)
    return f"{text} ({interval})" if interval else text


def _long_caption(context: ReportContext, cell: CellReport, figure: Figure) -> str:
    plan = cell.analysis.plan
    metric = fmt.metric_plan(plan, figure.metric)
    level = fmt.percent(plan.alpha)
    baseline, candidate = arm_label(plan.baseline), arm_label(plan.candidate)
    below, above = (candidate, baseline) if metric.direction == "lower" else (baseline, candidate)
    text = (
        f"{_caption(context, cell, figure)} {metric.title} against {fmt.axis_title(figure.axis)}, "
        f"{metric.direction} is better. Thin lines: one run each. Thick lines: means over seeds "
        f"({baseline} dashed, {candidate} solid), shaded: simultaneous {level} bands."
    )
    verdict = verdict_lines.find(cell.analysis, figure.metric, figure.axis, figure.comparison)
    if figure.difference is not None:
        text += (
            f" Below: the paired difference {candidate} − {baseline}; above zero {above} is better, "
            f"below zero {below}. Dotted: ±δ, inside which a difference does not matter."
        )
    if verdict is not None and verdict.early is not None:
        text += f" Grey: the early and the late window that are tested, each with its mean and {level} interval."
    if verdict is not None and verdict.crossing is not None:
        text += f" Vertical strip: the {level} interval of the crossing; the line in it is the estimate."
    return text


def _subtitle(cell: CellReport, head: Verdict) -> str:
    metric = fmt.metric_plan(cell.analysis.plan, head.metric)
    parts = [
        verdict_lines.interval(cell.analysis, head),
        f"{metric.title} ({verdict_lines.delta(cell.analysis.plan, head)})",
        fmt.comparison_words(head.comparison, head.axis),
        fmt.pairs(head.pairs),
        *evidence_words.scope(cell.analysis, head),
    ]
    return " · ".join(part for part in parts if part)


def _card(cell: CellReport, head: Verdict) -> tuple[tuple[str, str], ...]:
    metric = fmt.metric_plan(cell.analysis.plan, head.metric)
    level = fmt.percent(cell.analysis.plan.alpha)
    pair = f"{arm_label(head.candidate)} − {arm_label(head.baseline)}"
    unit = f", {metric.unit}" if metric.unit else ""
    rows = [(HALF_NAMES[v.comparison], _stated(cell.analysis, v)) for v in _halves(cell.analysis)]
    if head.crossing is not None:
        rows.append(("Curves cross at", fmt.axis_place(head.axis, head.crossing.at)))
        rows.append((f"{level} interval", fmt.axis_interval(head.axis, head.crossing.low, head.crossing.high)))
        rows += [_on_axis(other) for other in verdict_lines.on_other_axes(cell.analysis, head)]
        rows.append(("By other methods", verdict_lines.other_methods(head) or "not computed"))
    if head.turns:
        rows.append(("Every sign change, not tested", verdict_lines.turn_words(head)))
    tuned = verdict_lines.against_tuned(cell.analysis, head)
    if tuned is not None:
        text = verdict_lines.statement(cell.analysis, tuned)
        rows.append((f"Against {arm_label(tuned.baseline)}", f"{text[0].upper()}{text[1:]}"))
    rows.append((f"Early window, {pair}{unit}", verdict_lines.window_words(head.early)))
    rows.append((f"Late window, {pair}{unit}", verdict_lines.window_words(head.late)))
    if seeds := evidence_words.seed_differences(cell.analysis, head):
        rows.append((f"Late difference of each seed pair{unit}", seeds))
    rows.append(("p of a crossover", fmt.p_value(head.p_crossover)))
    rows.append(("Complete seed pairs", str(head.pairs)))
    return tuple(rows)


def _halves(analysis: Analysis) -> list[Verdict]:
    """The headline, and best so far where that was planned beside it: what the answer rests on."""
    head = analysis.headline
    best = verdict_lines.find(analysis, head.metric, head.axis, "best-so-far")
    return [head] if best is None or best is head else [head, best]


def _on_axis(verdict: Verdict) -> tuple[str, str]:
    crossing = verdict.crossing
    if crossing is None:
        return (f"In {fmt.axis_word(verdict.axis)}", "not located")
    place = fmt.axis_number(verdict.axis, crossing.at)
    return (
        f"In {fmt.axis_word(verdict.axis)}",
        f"{place} ({fmt.axis_interval(verdict.axis, crossing.low, crossing.high)})",
    )
