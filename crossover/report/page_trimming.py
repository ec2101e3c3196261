"""A page made smaller, level by level: of what was drawn once, less is shown. Nothing is left out of report.json."""

from __future__ import annotations

from dataclasses import dataclass, replace

from crossover.report import figure_scales
from crossover.report.report_tables import Table
from crossover.report.report_view import CellView, FigureView


@dataclass(frozen=True)
class Detail:
    """How much a page holds; each level is smaller than the one before."""

    rows: int
    """Of a table behind a figure."""
    other_axes: bool = True
    seed_tables: bool = True
    other_metrics: bool = True
    wide: bool = True
    """Whether figures are drawn twice, for wide and for narrow screens; else narrow."""


LEVELS = (
    Detail(rows=1000),
    Detail(rows=24),
    Detail(rows=24, other_axes=False),
    Detail(rows=24, other_axes=False, seed_tables=False),
    Detail(rows=12, other_axes=False, seed_tables=False, wide=False),
    Detail(rows=12, other_axes=False, seed_tables=False, wide=False, other_metrics=False),
)
Views = tuple[FigureView, ...]


def trim(cell: CellView, detail: Detail) -> CellView:
    """A cell at a level of detail."""
    return replace(
        cell,
        primary=_each(cell.primary, detail),
        further=_titled(cell.further, detail) if detail.other_metrics else (),
        others=_titled(cell.others, detail) if detail.other_axes else (),
    )


def _titled(groups: tuple[tuple[str, Views], ...], detail: Detail) -> tuple[tuple[str, Views], ...]:
    return tuple((title, _each(views, detail)) for title, views in groups)


def _each(views: Views, detail: Detail) -> Views:
    return tuple(_figure(figure, detail) for figure in views)


def _figure(figure: FigureView, detail: Detail) -> FigureView:
    kept = figure.tables if detail.seed_tables else figure.tables[:1]
    small = bool(figure.narrow) and not detail.wide
    return replace(
        figure,
        drawing=figure.narrow if small else figure.drawing,
        narrow="" if small else figure.narrow,
        tables=tuple(thin_table(table, detail.rows) for table in kept),
    )


def thin_table(table: Table, most: int) -> Table:
    """At most so many rows, evenly; the first and the last among them."""
    count = len(table.rows)
    if count <= most:
        return table
    chosen = figure_scales.thin(count, most)
    places = tuple(table.places[i] for i in chosen) if table.places else ()
    return replace(table, rows=tuple(table.rows[i] for i in chosen), places=places)
