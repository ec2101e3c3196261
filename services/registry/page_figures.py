"""Figures of stored analyses: thinned once, drawn once, and kept by the analysis' digest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from crossover_services.registry.page_addresses import figure_address
from crossover_services.registry.page_cache import BoundedCache
from pydantic import ValidationError

from crossover import __version__
from crossover.analysis.analysis_result import Analysis, Figure
from crossover.registry import Registry
from crossover.registry.reads.read_filters import Namespaces
from crossover.registry.reads.study_results import analysis_result, require_analysis
from crossover.report import figure_scales, page_trimming, report_view, svg_rendering
from crossover.report.figure_panel import Look
from crossover.report.report_data import CellReport, ReportContext
from crossover.report.report_tables import Table

WIDE = Look(width=830, curves=330, difference=200, x_ticks=14, y_ticks=6, points=36)
SMALL = Look(width=372, curves=220, difference=140, x_ticks=8, y_ticks=5, points=30)
_POINTS = 60
_ROWS = 16
_ANALYSES: BoundedCache[Analysis | None] = BoundedCache(64)
_VIEWS: BoundedCache[report_view.FigureView | None] = BoundedCache(256)


@dataclass(frozen=True)
class ThinCell:
    """An analysis whose figures have few points."""

    digest: str
    analysis: Analysis | None
    """None of an analysis that this version cannot read."""


@dataclass(frozen=True)
class ShownFigure:
    """A figure in a page."""

    view: report_view.FigureView
    small: str
    """Address of the figure for narrow screens."""
    wide: str
    """Address of the figure to save."""
    numbers: Table
    figure: Figure


def thin_cell(registry: Registry, namespaces: Namespaces, digest: str) -> ThinCell:
    """An analysis by its digest, if it is in one of the namespaces.

    Raises:
        RegistryError: `registry.unknown-analysis`.
    """
    require_analysis(registry, namespaces, digest)
    analysis = _ANALYSES.get(digest, lambda: read_analysis(analysis_result(registry, namespaces, digest)))
    return ThinCell(digest, analysis)


def read_analysis(result: Mapping[str, Any]) -> Analysis | None:
    """An analysis from its JSON, with at most 60 points a curve; None when it is of another version."""
    try:
        figures = [_thin_figure(figure) for figure in result.get("figures", ())]
        analysis = Analysis.model_validate({**result, "figures": figures})
    except (ValidationError, KeyError, TypeError, IndexError):
        return None
    return analysis if analysis.verdicts else None


def _thin_figure(figure: Mapping[str, Any]) -> dict[str, Any]:
    arms = {arm: _thin(band) for arm, band in figure["arms"].items()}
    difference = figure["difference"] and _thin(figure["difference"])
    return {**figure, "seeds": [_thin(curve) for curve in figure["seeds"]], "arms": arms, "difference": difference}


def _thin(curve: Mapping[str, Any]) -> dict[str, Any]:
    """A curve or band with at most 60 points, evenly; before it is checked, for checking takes longer."""
    keep = figure_scales.thin(len(curve["x"]), _POINTS)
    columns = {name: values for name, values in curve.items() if isinstance(values, list)}
    return {**curve, **{name: [values[i] for i in keep] for name, values in columns.items()}}


def find(analysis: Analysis, *, metric: str, axis: str, comparison: str) -> Figure | None:
    """The figure of a metric, axis and comparison; what is empty, or not there, is as in the headline."""
    head = analysis.headline
    wanted = {"metric": metric, "axis": axis, "comparison": comparison}
    known = {name: {getattr(f, name) for f in analysis.figures} for name in wanted}
    usual = {name: value if value in known[name] else getattr(head, name) for name, value in wanted.items()}
    matching = (f for f in analysis.figures if all(getattr(f, name) == usual[name] for name in usual))
    return next(matching, next(iter(analysis.figures), None))


def shown_figure(cell: ThinCell, figure: Figure) -> ShownFigure | None:
    """A figure ready for a page; None when there is no point to draw."""
    view = _view(cell, figure, WIDE)
    if view is None:
        return None
    query = {"metric": figure.metric, "axis": figure.axis, "comparison": figure.comparison}
    return ShownFigure(
        view=view,
        small=figure_address(cell.digest, **query, size="small"),
        wide=figure_address(cell.digest, **query),
        numbers=page_trimming.thin_table(view.tables[0], _ROWS),
        figure=figure,
    )


def drawing(cell: ThinCell, *, metric: str, axis: str, comparison: str, small: bool) -> str | None:
    """A figure as an SVG element; None where there is none with points."""
    found = cell.analysis and find(cell.analysis, metric=metric, axis=axis, comparison=comparison)
    view = _view(cell, found, SMALL if small else WIDE) if found else None
    return view.drawing if view else None


def _view(cell: ThinCell, figure: Figure, look: Look) -> report_view.FigureView | None:
    key = (cell.digest, figure.metric, figure.axis, figure.comparison, look)
    return _VIEWS.get(key, lambda: _draw(cell, figure, look))


def _draw(cell: ThinCell, figure: Figure, look: Look) -> report_view.FigureView | None:
    assert cell.analysis is not None  # noqa: S101 - the caller's condition
    report = CellReport(cell="", analysis=cell.analysis)
    context = ReportContext(study="", study_digest="", question="", cells=(report,), created_at="", version=__version__)
    view = report_view.figure_view(context, report, figure, "figure", look, long=True)
    return view and replace(view, drawing=svg_rendering.compact(view.drawing))
