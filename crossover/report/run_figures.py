"""Curves of runs as they were measured, without statistics: of a study being run, of one run, of two studies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from crossover.analysis.analysis_plan import AnalysisPlan, Axis, MetricPlan
from crossover.analysis.analysis_result import Figure, SeedCurve
from crossover.report import figure_palette, figure_scales, svg_rendering
from crossover.report import number_formats as fmt
from crossover.report.figure_panel import Frame, Look, Panel, Rows
from crossover.report.report_figures import config

LOOK = Look(width=830, curves=270, difference=0, x_ticks=14, y_ticks=6, points=60)
SMALL_LOOK = Look(width=372, curves=220, difference=0, x_ticks=8, y_ticks=5, points=40)
_GAP = 14


@dataclass(frozen=True)
class Line:
    """One line of a drawing."""

    group: str
    """Lines of a group have one pen, and one label at their end."""
    x: tuple[float, ...]
    y: tuple[float, ...]
    thick: bool = False


def draw_lines(
    lines: Sequence[Line],
    *,
    axis: Axis,
    metric: MetricPlan,
    subtitle: str,
    key: str,
    description: str,
    look: Look = LOOK,
    marks: Sequence[tuple[float, str]] = (),
    baseline: str = "",
    candidate: str = "",
) -> str:
    """Draw lines over a log axis; empty when there is no point to draw.

    Args:
        lines: in the axis' and the metric's units; points that are not finite, or at zero, are left out.
        axis: across.
        metric: names the panel.
        subtitle: what is drawn, in a few words.
        key: unique in the page.
        description: for those who do not see the drawing.
        look: sizes.
        marks: places of vertical lines, with their names.
        baseline: the group with the first pen.
        candidate: the group with the second pen.

    Returns:
        One `<svg>` element.
    """
    domain = figure_scales.x_domain([line.x for line in lines])
    values = [y for line in lines for x, y in zip(line.x, line.y, strict=True) if figure_scales.drawable(x, y)]
    if domain is None or not values:
        return ""
    frame = _frame(lines, axis, metric, look, domain, (baseline, candidate))
    panel = Panel(frame, figure_scales.y_domain(values, values), look.curves, bottom=True)
    for place, name in marks:
        at = frame.inside(place, 0)
        panel.upright(at, "strip", width=1.2)
        panel.text(at, panel.domain[1], name, "strip", dx=4, dy=9)
    ends: dict[str, float] = {}
    for number, line in enumerate(lines):
        rows = _rows(frame, line, number)
        weight = {"width": 2.4} if line.thick else {"width": 1.1, "opacity": 0.75}
        panel.lines(rows, frame.pens[line.group], **weight)
        if rows:
            ends.setdefault(line.group, rows[-1]["y"])
    if len(ends) > 1 or baseline:
        places = figure_scales.dodge(list(ends.values()), panel.domain, height=panel.height, gap=_GAP)
        for group, y in zip(ends, places, strict=True):
            panel.text(frame.domain[1], y, group, frame.pens[group].role, dx=6, size=13, bold=True)
    chart = panel.chart(fmt.metric_title(metric), subtitle, room=8)
    spec = {"vconcat": [chart], "config": config(), "datasets": frame.datasets}
    return svg_rendering.compact(
        svg_rendering.render(spec, key=key, title=f"{metric.title}, {subtitle}", description=description)
    )


def _rows(frame: Frame, line: Line, number: int) -> Rows:
    kept = figure_scales.thin(len(line.x), frame.look.points)
    points = ((line.x[i], line.y[i]) for i in kept)
    return [{"x": frame.at(x), "y": y, "run": str(number)} for x, y in points if figure_scales.drawable(x, y)]


def _frame(
    lines: Sequence[Line],
    axis: Axis,
    metric: MetricPlan,
    look: Look,
    domain: tuple[float, float],
    compared: tuple[str, str],
) -> Frame:
    unit, title = figure_scales.axis_unit(axis, domain[1])
    groups = tuple(dict.fromkeys(line.group for line in lines))
    seeds = tuple(SeedCurve(arm=line.group, seed=i, x=(), value=(), stderr=()) for i, line in enumerate(lines))
    return Frame(
        figure=Figure(metric=metric.name, axis=axis, comparison="matched", seeds=seeds, arms={}, difference=None),
        plan=AnalysisPlan(metrics=(metric,), axes=(axis,)),
        verdict=None,
        look=look,
        domain=(domain[0] / unit, domain[1] / unit),
        unit=unit,
        axis_title=title,
        pens=figure_palette.pens(
            groups,
            baseline=compared[0] or groups[0],
            candidate=compared[1] or (groups[1] if len(groups) > 1 else ""),
        ),
    )
