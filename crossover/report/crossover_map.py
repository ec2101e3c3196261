"""The crossover map: where each cell crosses, over what a cell is, with the fitted line and its prediction interval."""

from __future__ import annotations

import math
from typing import Any

from crossover.analysis.across.cross_cell_result import CellFacts, Forecast, Movement
from crossover.report import figure_palette, figure_scales
from crossover.report import number_formats as fmt
from crossover.report.figure_panel import Rows, Spec, position
from crossover.report.overview_tables import model_words
from crossover.report.report_figures import config

_ROLES = ("arm2", "arm1", "arm3", "arm4", "arm5", "arm6")
_SHAPES = ("circle", "square", "diamond", "triangle-up", "triangle-down", "cross")
_ROOM = 1.25
_GAP = 15


def draw_map(movement: Movement, *, width: int, height: int) -> Spec | None:
    """The Vega-Lite specification of a crossover map; None when no cell crosses.

    Args:
        movement: cells with their crossings, and the forecasts.
        width: of the panel in pixels.
        height: likewise.

    Returns:
        The specification. Across: unique tokens, or parameters where only these differ. Up: the crossing. Points with
        bars are crossings with intervals, arrows are cells known to cross on one side, if at all.
    """
    over_tokens = len({c.facts.unique_tokens for c in movement.cells}) > 1
    groups = _groups(movement, over_tokens=over_tokens)
    rows = [row for group in groups.values() for row in group]
    places = [row[key] for row in rows for key in ("y", "low", "high") if row.get(key) is not None]
    if not any(row["kind"] == "crossing" for row in rows):
        return None
    across = figure_scales.x_domain([[row["x"] for row in rows]]) or (1.0, 10.0)
    up = (min(places) / _ROOM, max(places) * _ROOM)
    x_domain = (across[0] / _ROOM, across[1] * _ROOM)
    frame = _Frame(x_domain, up, "unique tokens" if over_tokens else "parameters", fmt.axis_title(movement.axis))
    ends = {name: _last(group) for name, group in groups.items()}
    logs = tuple(math.log(end) for end in up)
    heights = figure_scales.dodge(
        [math.log(end["y"]) for end in ends.values()], (logs[0], logs[1]), height=height, gap=_GAP
    )
    layers: list[Spec] = []
    for i, ((name, group), text_y) in enumerate(zip(groups.items(), heights, strict=True)):
        role, shape = _ROLES[i % len(_ROLES)], _SHAPES[i % len(_SHAPES)]
        layers += _layers(frame, group, role, shape)
        layers.append(_label(frame, name, ends[name]["x"], math.exp(text_y), role))
    subtitle = fmt.comparison_words(movement.comparison, movement.axis)
    title = {"text": "Where the curves cross", "subtitle": subtitle}
    wide = round(1.3 * max(map(len, groups)))  # fonts of readers may be wider than the one that is measured
    padding = {"left": 5, "top": 5, "right": 5 + wide, "bottom": 5}
    return {"layer": layers, "width": width, "height": height, "title": title, "padding": padding, "config": config()}


class _Frame:
    """The scales of the map."""

    def __init__(self, x: tuple[float, float], y: tuple[float, float], x_title: str, y_title: str) -> None:
        self.x_range, self.y_range, self.x_title, self.y_title = x, y, x_title, y_title

    def layer(self, rows: Rows, mark: Spec, y: str = "y", **encoding: Spec) -> Spec:
        """Marks of rows at their `x` and the named field."""
        return {
            "data": {"values": rows},
            "mark": mark,
            "encoding": {"x": self._x(), "y": self._y(y), **encoding},
        }

    def _x(self) -> Spec:
        axis = {
            "values": figure_scales.log_ticks(*self.x_range, most=9),
            "labelExpr": "replace(format(datum.value,'~s'),'G','B')",
            "title": self.x_title,
            "grid": False,
        }
        return position("x", {"type": "log", "domain": list(self.x_range), "nice": False}, axis)

    def _y(self, name: str) -> Spec:
        axis = {
            "values": figure_scales.log_ticks(*self.y_range, most=7),
            "labelExpr": "format(datum.value,'~s')",
            "title": self.y_title,
        }
        return position(name, {"type": "log", "domain": list(self.y_range), "nice": False}, axis)


def _groups(movement: Movement, *, over_tokens: bool) -> dict[str, Rows]:
    """Rows of one line each: cells of one tier and model, or of one tier and budget where budgets do not differ."""
    groups: dict[str, Rows] = {}
    one = not over_tokens or len({(cell.facts.parameters, cell.facts.sparse) for cell in movement.cells}) == 1

    def put(facts: CellFacts, row: dict[str, Any]) -> None:
        if one and facts.quality:
            name = f"quality {facts.quality}"
        else:
            name = model_words(facts) if over_tokens else f"{fmt.count(facts.unique_tokens)} unique tokens"
        x = facts.unique_tokens if over_tokens else facts.parameters
        groups.setdefault(name, []).append(row | {"x": float(x)})

    for cell in movement.cells:
        side = 1 if cell.beyond is not None else -1
        edge = cell.beyond if cell.beyond is not None else cell.before
        if cell.at is not None:
            put(cell.facts, {"kind": "crossing", "y": cell.at, "low": cell.low, "high": cell.high})
        elif edge is not None:
            put(cell.facts, {"kind": "censored", "y": edge, "side": side})
    for forecast in movement.forecasts:
        put(forecast.facts, {"kind": "forecast", "y": forecast.at, "low": None, "high": None} | _ends(forecast))
    return {name: rows for name, rows in groups.items() if any(row["kind"] != "forecast" for row in rows)}


def _ends(forecast: Forecast) -> dict[str, Any]:
    """A prediction interval of more than a thousandfold is drawn as far as that."""
    return {"low": max(forecast.low, forecast.at / 30), "high": min(forecast.high, forecast.at * 30)}


def _last(group: Rows) -> dict[str, Any]:
    """The rightmost cell that was run."""
    return max((row for row in group if row["kind"] != "forecast"), key=lambda row: float(row["x"]))


def _layers(frame: _Frame, group: Rows, role: str, shape: str) -> list[Spec]:
    colour = figure_palette.light(role)
    layers: list[Spec] = []
    line = sorted((row for row in group if row["kind"] == "forecast"), key=lambda row: float(row["x"]))
    if len(line) > 1:
        band = {"type": "area", "color": colour, "opacity": 0.12, "clip": True}
        layers.append(frame.layer(line, band, "low", y2={"field": "high"}))
        layers.append(frame.layer(line, {"type": "line", "color": colour, "strokeDash": [5, 3], "clip": True}))
    crossed = [_clipped(row, frame) for row in group if row["kind"] == "crossing"]
    if crossed:
        bar = {"type": "rule", "color": colour, "strokeWidth": 1.6}
        layers.append(frame.layer(crossed, bar, "low", y2={"field": "high"}))
        point = {"type": "point", "color": colour, "fill": colour, "opacity": 1, "shape": shape, "size": 70}
        layers.append(frame.layer(crossed, point))
    for side, mark in ((1, "triangle-up"), (-1, "triangle-down")):
        hidden = [row for row in group if row["kind"] == "censored" and row["side"] == side]
        if hidden:
            arrow = {"type": "point", "color": colour, "opacity": 1, "shape": mark, "size": 90}
            layers.append(frame.layer(hidden, arrow))
    return layers


def _label(frame: _Frame, name: str, x: float, y: float, role: str) -> Spec:
    mark = {"type": "text", "color": figure_palette.light(role), "align": "left", "dx": 10, "dy": 10}
    mark |= {"fontSize": 12, "fontWeight": 600}
    return frame.layer([{"x": x, "y": y, "text": name}], mark, text={"field": "text", "type": "nominal"})


def _clipped(row: dict[str, Any], frame: _Frame) -> dict[str, Any]:
    """Unbounded ends of an interval reach to the panel's edge."""
    low, high = frame.y_range
    return row | {"low": row["low"] or low, "high": row["high"] or high}
