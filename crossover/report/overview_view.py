"""The parts of the page that span cells: what to choose, the map, frontiers, factors, laws, what to run next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from crossover.analysis.across.cross_cell_result import Frontier, Movement, Overview
from crossover.analysis.analysis_plan import AnalysisPlan
from crossover.analysis.arm_labels import arm_label
from crossover.report import (
    advice_lines,
    crossover_map,
    overview_tables,
    report_tables,
    report_view,
    svg_rendering,
)
from crossover.report import (
    number_formats as fmt,
)
from crossover.report.published_laws import PUBLISHED_LAWS
from crossover.report.quality_lines import quality_lines
from crossover.report.report_data import CellReport, ReportContext
from crossover.report.serving_lines import serving_lines

Render = Callable[..., str]
"""As `svg_rendering.render`."""
Draw = Callable[[Movement, str, AnalysisPlan], report_view.FigureView | None]
_MAP = (830, 330)
_SMALL_MAP = (372, 300)


@dataclass(frozen=True)
class FrontierView:
    """The families' frontiers over model sizes, for one budget of unique tokens."""

    title: str
    cells: str
    cell: report_view.CellView


@dataclass(frozen=True)
class StudyView:
    """The parts of a page that are not of one cell; empty parts are not shown."""

    advice: report_tables.Table
    serving: tuple[str, ...]
    maps: tuple[report_view.FigureView, ...]
    quality: tuple[str, ...]
    """How quality moves the crossing."""
    slopes: report_tables.Table
    unfitted: str
    """Why the movement could not be fitted; empty when it was."""
    frontiers: tuple[FrontierView, ...]
    moved: report_tables.Table | None
    """The cells, where there is no map of them."""
    factors: report_tables.Table
    factor_reasons: tuple[str, ...]
    laws: report_tables.Table
    law_reasons: tuple[str, ...]
    next_runs: report_tables.Table


def build(context: ReportContext, draw: Draw | None = None) -> StudyView:
    """The study's part of a page; draws the frontiers, and the maps unless `draw` does."""
    overview, plan = context.overview, context.cells[0].analysis.plan
    chosen = mapped(overview)
    first = next((m for m in chosen if m.slopes), chosen[0] if chosen else None)
    drawings = ((draw or map_view)(m, f"map{i}", plan) for i, m in enumerate(chosen))
    maps = tuple(drawn for drawn in drawings if drawn is not None)
    return StudyView(
        advice=advice_lines.advice(context),
        serving=serving_lines(context.serving),
        maps=maps,
        quality=quality_lines(overview),
        slopes=overview_tables.slopes(overview.movements, plan),
        unfitted="" if first is None or first.slopes else first.reason,
        frontiers=tuple(_frontier(context, f, f"p{i}") for i, f in enumerate(overview.frontiers)),
        moved=None if first is None or maps else overview_tables.movement_cells(first, plan),
        factors=overview_tables.factors(overview.factors, plan),
        factor_reasons=tuple(f"{f.cell}: {f.reason}".removeprefix(": ") for f in overview.factors),
        laws=overview_tables.laws(overview.laws, plan.alpha),
        law_reasons=(
            *(f"{arm_label(fit.arm)}, {fit.form}{fmt.tier(fit.quality)}: {fit.reason}" for fit in overview.laws),
            *(law.sentence() for law in PUBLISHED_LAWS if law.family in {arm_label(f.arm) for f in overview.laws}),
        ),
        next_runs=overview_tables.next_runs(overview.next_runs),
    )


def mapped(overview: Overview) -> tuple[Movement, ...]:
    """The movements that get a map: those of the first metric on one axis, a fitted one if there is any."""
    primary = [m for m in overview.movements if m.metric == overview.movements[0].metric]
    axes = [m.axis for m in primary if m.slopes] or [m.axis for m in primary]
    return tuple(m for m in primary if m.axis == axes[0])


def map_view(
    movement: Movement, key: str, plan: AnalysisPlan, render: Render = svg_rendering.render
) -> report_view.FigureView | None:
    """The crossover map of a movement; None when no cell crosses.

    Args:
        movement: cells and forecasts.
        key: unique in the page.
        plan: of the study.
        render: makes what is placed from a specification, once for wide screens, once for narrow ones.
    """
    title = f"The crossover map, {fmt.comparison_words(movement.comparison, movement.axis)}"
    caption = (
        f"{movement.reason} Points: the crossing of a cell with its {fmt.percent(plan.alpha)} interval; hollow "
        "triangles: cells known to cross, if at all, above (△) or below (▽). Dashed: the fit, shaded its prediction "
        "interval for one further cell."
    )
    wide, small = (crossover_map.draw_map(movement, width=w, height=h) for w, h in (_MAP, _SMALL_MAP))
    if wide is None or small is None:
        return None
    return report_view.FigureView(
        key=key,
        title=title,
        caption=caption,
        drawing=render(wide, key=key, title=title, description=caption),
        narrow=render(small, key=f"{key}n", title=title, description=caption),
        tables=(overview_tables.movement_cells(movement, plan),),
    )


def frontier_title(unique_tokens: int, quality: str) -> str:
    """What a frontier is called."""
    return f"Frontier over model sizes, {fmt.count(unique_tokens)} unique tokens{fmt.tier(quality)}"


def _frontier(context: ReportContext, frontier: Frontier, key: str) -> FrontierView:
    cell = CellReport(cell=key, unique_tokens=frontier.unique_tokens, analysis=frontier.analysis)
    return FrontierView(
        title=frontier_title(frontier.unique_tokens, frontier.quality),
        cells=", ".join(frontier.cells),
        cell=report_view.build_cell(context, cell, key),
    )
