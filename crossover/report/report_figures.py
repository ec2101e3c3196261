"""Figures: learning curves above, their difference below, on one log axis.

Nothing is estimated here: every line, band, strip and window was computed by the analysis.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from crossover.analysis.analysis_plan import AnalysisPlan
from crossover.analysis.analysis_result import Band, Figure, Verdict, Window
from crossover.analysis.arm_labels import arm_label
from crossover.report import figure_palette, figure_scales
from crossover.report import number_formats as fmt
from crossover.report.figure_panel import Frame, Look, Panel, Rows, Spec
from crossover.report.report_data import Reference

WIDE: Final = Look(width=830, curves=330, difference=200, x_ticks=14, y_ticks=6, points=80)
MEDIUM: Final = Look(width=830, curves=230, difference=140, x_ticks=14, y_ticks=5, points=60)
SMALL: Final = Look(width=372, curves=220, difference=140, x_ticks=8, y_ticks=5, points=40)
_LABEL_GAP = 14


def draw(
    figure: Figure,
    plan: AnalysisPlan,
    verdict: Verdict | None,
    *,
    look: Look,
    upper_bound: str,
    levels: Sequence[Reference] = (),
) -> Spec | None:
    """The Vega-Lite specification of a figure.

    Args:
        figure: curves, bands and difference of one metric, axis and comparison.
        plan: the analysis plan: labels, delta, which arms.
        verdict: the verdict on this figure; its crossing and windows are drawn.
        look: sizes.
        upper_bound: the arm whose values are NELBO, which the panel says; empty when all are exact.
        levels: values that need no training; those inside of the panel are drawn.

    Returns:
        The specification, or None when there is no point to draw.
    """
    frame = _frame(figure, plan, verdict, look)
    if frame is None:
        return None
    title = fmt.metric_title(fmt.metric_plan(plan, figure.metric))
    subtitle = fmt.comparison_words(figure.comparison, figure.axis)
    if upper_bound:
        subtitle += f" · {arm_label(upper_bound)}: upper bound (NELBO)"
    band = figure.difference
    if band is None or not _mean_rows(frame, band):
        panels = [_curves(frame, title, subtitle, levels, bottom=True)]
    else:
        panels = [_curves(frame, title, subtitle, levels, bottom=False), _difference(frame, band)]
    return {"vconcat": panels, "spacing": 14, "config": config(), "datasets": frame.datasets}


def _frame(figure: Figure, plan: AnalysisPlan, verdict: Verdict | None, look: Look) -> Frame | None:
    domain = figure_scales.x_domain([c.x for c in figure.seeds] + [b.x for b in figure.arms.values()])
    if domain is None:
        return None
    unit, title = figure_scales.axis_unit(figure.axis, domain[1])
    arms = tuple(dict.fromkeys([*figure.arms, *(curve.arm for curve in figure.seeds)]))
    return Frame(
        figure=figure,
        plan=plan,
        verdict=verdict,
        look=look,
        domain=(domain[0] / unit, domain[1] / unit),
        unit=unit,
        axis_title=title,
        pens=figure_palette.pens(arms, baseline=plan.baseline, candidate=plan.candidate),
    )


def _curves(frame: Frame, title: str, subtitle: str, levels: Sequence[Reference], *, bottom: bool) -> Spec:
    figure, most = frame.figure, frame.look.points
    bands = {arm: figure_scales.thin_band(band, most) for arm, band in figure.arms.items()}
    seeds = {arm: _seed_rows(frame, arm) for arm in frame.pens}
    means = {arm: _mean_rows(frame, band) for arm, band in bands.items()}
    core = [row["y"] for rows in (*seeds.values(), *means.values()) for row in rows]
    reach = [v for band in bands.values() for v in (*band.low, *band.high)]
    panel = Panel(frame, figure_scales.y_domain(core, reach, share=0.1), frame.look.curves, bottom)
    _strip(panel, labelled=True)
    for reference in levels:
        if reference.level is not None and panel.domain[0] < reference.level < panel.domain[1]:
            panel.level(reference.level, "soft", width=0.9, dash=(6, 4))
            panel.text(frame.domain[0], reference.level, reference.name, "soft", dx=4, dy=-7)
    for arm, band in bands.items():
        panel.band(band, frame.pens[arm].colour)
    for arm, rows in seeds.items():
        panel.lines(rows, frame.pens[arm], width=0.9, opacity=0.45)
    for arm, rows in means.items():
        panel.lines(rows, frame.pens[arm], width=2.4)
    _end_labels(panel, {arm: rows or seeds.get(arm, []) for arm, rows in (seeds | means).items()})
    crossed = frame.verdict is not None and frame.verdict.crossing is not None
    return panel.chart(title, subtitle, room=21 if frame.look is SMALL and not crossed else 8)


def _difference(frame: Frame, difference: Band) -> Spec:
    plan = frame.plan
    band = figure_scales.thin_band(difference, frame.look.points)
    metric = fmt.metric_plan(plan, frame.figure.metric)
    rows = _mean_rows(frame, band)
    windows = [w for w in (frame.verdict.early, frame.verdict.late) if w] if frame.verdict else []
    core = [*(row["y"] for row in rows), 0.0, metric.delta, -metric.delta, *(w.mean for w in windows)]
    reach = [*band.low, *band.high, *(end for w in windows for end in w.interval)]
    domain = figure_scales.y_domain(core, reach, share=0.35)
    panel = Panel(frame, domain, frame.look.difference, bottom=True, signed=True)
    early, late = (frame.verdict.early, frame.verdict.late) if frame.verdict else (None, None)
    _window(panel, early, "early")
    _window(panel, late, "late")
    _strip(panel, labelled=False)
    panel.level(0.0, "ink", width=1)
    for side in (metric.delta, -metric.delta):
        panel.level(side, "soft", width=0.9, dash=(2, 3))
    panel.band(band, figure_palette.light("ink"))
    panel.lines(rows, figure_palette.Pen(role="ink", dash=(1, 0)), width=2.2)
    _sides(panel, lower_is_better=metric.direction == "lower")
    pair = f"{arm_label(plan.candidate)} − {arm_label(plan.baseline)}"
    return panel.chart(f"Difference {pair}", f"dotted: ±δ = {metric.delta:g}", room=8)


def _seed_rows(frame: Frame, arm: str) -> Rows:
    curves = (figure_scales.thin_seed(c, frame.look.points) for c in frame.figure.seeds if c.arm == arm)
    return [
        {"x": frame.at(x), "y": value, "run": str(curve.seed)}
        for curve in curves
        for x, value in zip(curve.x, curve.value, strict=True)
        if figure_scales.drawable(x, value)
    ]


def _mean_rows(frame: Frame, band: Band) -> Rows:
    return [{"x": frame.at(x), "y": m} for x, m in zip(band.x, band.mean, strict=True) if figure_scales.drawable(x, m)]


def _strip(panel: Panel, *, labelled: bool) -> None:
    """The crossing: a shaded strip over its interval, a thin line at the estimate, and its figures above."""
    frame, verdict = panel.frame, panel.frame.verdict
    if verdict is None or verdict.crossing is None:
        return
    crossing = verdict.crossing
    low, high, at = frame.inside(crossing.low, 0), frame.inside(crossing.high, 1), frame.inside(crossing.at, 0)
    panel.box((low, high), "strip", opacity=0.16)
    panel.upright(at, "strip", width=1.2)
    if labelled:
        name = fmt.axis_number if frame.look is SMALL and verdict.axis != "epochs" else fmt.axis_place
        place = name(verdict.axis, crossing.at)
        text = f"{place} ({fmt.axis_interval(verdict.axis, crossing.low, crossing.high)})"
        right = frame.domain[0] * (frame.domain[1] / frame.domain[0]) ** 0.7 < at
        left = frame.domain[0] * (frame.domain[1] / frame.domain[0]) ** 0.3 > at
        align: Literal["left", "center", "right"] = "right" if right else "left" if left else "center"
        x = high if right else low if left else at
        panel.text(x, panel.domain[1], text, "strip", dy=-7, align=align, size=12, bold=True)


def _window(panel: Panel, window: Window | None, name: str) -> None:
    """A tested window: a faint ground, its name, its mean as a bar and the interval of the mean as a box."""
    if window is None:
        return
    low, high = panel.frame.inside(window.low, 0), panel.frame.inside(window.high, 1)
    panel.box((low, high), "window", opacity=0.11)
    text = f"{name} window" if panel.frame.look is not SMALL else name
    if name == "late":  # from the right: at the end of the axis a window may be narrower than its name
        panel.text(high, panel.domain[1], text, "soft", dx=-3, dy=9, align="right")
    else:
        panel.text(low, panel.domain[1], text, "soft", dx=3, dy=9)
    if figure_scales.drawable(1.0, window.mean, *window.interval):
        panel.box((low, high), "window", opacity=0.3, y=window.interval)
        panel.segment(low, high, window.mean, "soft", width=1.4, dash=(4, 2))


def _sides(panel: Panel, *, lower_is_better: bool) -> None:
    """Which side of zero is better for whom, in words at both edges of the panel."""
    baseline, candidate = panel.frame.plan.baseline, panel.frame.plan.candidate
    above, below = (baseline, candidate) if lower_is_better else (candidate, baseline)
    x, (low, high) = panel.frame.domain[1], panel.domain
    for arm, value, arrow, dy in ((above, high, "↑", 9), (below, low, "↓", -9)):
        role = panel.frame.pens[arm].role if arm in panel.frame.pens else "soft"
        text = f"{arrow} {arm_label(arm)} better"
        panel.text(x, value, text, role, dx=6, dy=dy)


def _end_labels(panel: Panel, lines: dict[str, Rows]) -> None:
    """The arm's name at the end of its line, moved apart where they would overlap."""
    ends = {arm: max(rows, key=lambda row: float(row["x"]))["y"] for arm, rows in lines.items() if rows}
    low, high = panel.domain
    shown = [min(max(y, low), high) for y in ends.values()]
    places = figure_scales.dodge(shown, panel.domain, height=panel.height, gap=_LABEL_GAP)
    for arm, y in zip(ends, places, strict=True):
        role = panel.frame.pens[arm].role
        panel.text(panel.frame.domain[1], y, arm_label(arm), role, dx=6, size=13, bold=True)


def config() -> Spec:
    """How every figure looks: colours by role, sizes of text."""
    soft, grid = figure_palette.light("soft"), figure_palette.light("grid")
    axis = {
        "labelColor": soft,
        "titleColor": soft,
        "tickColor": figure_palette.light("line"),
        "domainColor": figure_palette.light("line"),
        "gridColor": grid,
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "labelPadding": 4,
    }
    return {
        "aria": False,
        "background": None,
        "font": "sans-serif",
        "view": {"stroke": None},
        "padding": 2,
        "axis": axis,
        "axisX": {"tickSize": 5, "titlePadding": 6, "labelOverlap": "greedy"},
        "axisY": {"ticks": False, "domain": False, "minExtent": 44, "maxExtent": 44},
        "title": {
            "anchor": "start",
            "frame": "group",
            "color": figure_palette.light("ink"),
            "fontSize": 13,
            "fontWeight": 600,
            "subtitleColor": soft,
            "subtitleFontSize": 12,
            "subtitlePadding": 4,
        },
        "text": {"baseline": "middle", "fontSize": 12},
        "line": {"strokeJoin": "round"},
    }
