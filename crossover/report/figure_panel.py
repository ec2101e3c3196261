"""One panel of a figure: its scales, and the marks that stand on them, as Vega-Lite.

Specifications are plain dicts: Altair, which checks and copies every part of them, takes longer than drawing them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from crossover.analysis.analysis_plan import AnalysisPlan
from crossover.analysis.analysis_result import Band, Figure, Verdict
from crossover.report import figure_palette, figure_scales

Rows = list[dict[str, Any]]
Spec = dict[str, Any]
"""A specification of Vega-Lite, or a part of one."""

_TICK_TEXT = {
    "tokens": "replace(format(datum.value,'~s'),'G','B')",
    "flops": "replace(format(datum.value,'~e'),'e+','e')",
}


@dataclass(frozen=True)
class Look:
    """Sizes of a figure in pixels, and how many points a line may have."""

    width: int
    curves: int
    difference: int
    x_ticks: int
    y_ticks: int
    points: int


@dataclass(frozen=True)
class Frame:
    """What the panels of a figure share: the plan, the verdict, the axis and its unit, the pens."""

    figure: Figure
    plan: AnalysisPlan
    verdict: Verdict | None
    look: Look
    domain: tuple[float, float]
    unit: float
    axis_title: str
    pens: dict[str, figure_palette.Pen]
    datasets: dict[str, Rows] = field(default_factory=dict)

    def at(self, x: float) -> float:
        """A place of the analysis in the axis' unit."""
        return x / self.unit

    def inside(self, x: float | None, end: int) -> float:
        """A place in the axis' unit, moved into the domain; None is that end of the domain."""
        low, high = self.domain
        return self.domain[end] if x is None else min(max(self.at(x), low), high)


def position(name: str, scale: Spec, axis: Spec) -> Spec:
    """The encoding of a quantitative field as a place on an axis."""
    return {"field": name, "type": "quantitative", "scale": scale, "axis": axis}


@dataclass
class Panel:
    """A panel under construction: marks are added in the order in which they are painted."""

    frame: Frame
    domain: tuple[float, float]
    height: int
    bottom: bool
    signed: bool = False
    layers: list[Spec] = field(default_factory=list)

    def chart(self, title: str, subtitle: str, *, room: int) -> Spec:
        """The finished panel, with so many pixels of room between its title and itself."""
        return {
            "layer": self.layers,
            "width": self.frame.look.width,
            "height": self.height,
            "title": {"text": title, "subtitle": subtitle, "offset": room},
        }

    def lines(self, rows: Rows, pen: figure_palette.Pen, *, width: float, opacity: float = 1.0) -> None:
        """Lines through `x` and `y`, one for each `run`."""
        if not rows:
            return
        mark = {"type": "line", "color": pen.colour, "strokeWidth": width, "strokeDash": list(pen.dash)}
        runs = {"detail": {"field": "run", "type": "nominal"}} if "run" in rows[0] else {}
        self._add(rows, mark | {"opacity": opacity, "clip": True}, **runs)

    def band(self, band: Band, colour: str) -> None:
        """The area between a band's low and high."""
        rows = [
            {"x": self.frame.at(x), "y": low, "high": high}
            for x, low, high in zip(band.x, band.low, band.high, strict=True)
            if figure_scales.drawable(x, low, high)
        ]
        if rows:
            self._add(rows, {"type": "area", "color": colour, "opacity": 0.15, "clip": True}, y2={"field": "high"})

    def level(self, value: float, role: str, *, width: float, dash: tuple[int, ...] = (1, 0)) -> None:
        """A horizontal line over the whole width."""
        low, high = self.frame.domain
        self.segment(low, high, value, role, width=width, dash=dash)

    def segment(
        self, low: float, high: float, value: float, role: str, *, width: float, dash: tuple[int, ...] = (1, 0)
    ) -> None:
        """A horizontal line from low to high, both in the axis' unit."""
        mark = {"type": "rule", "strokeWidth": width, "strokeDash": list(dash), "clip": True}
        color = figure_palette.light(role)
        self._add([{"x": low, "x2": high, "y": value}], mark | {"color": color}, x2={"field": "x2"})

    def box(self, x: tuple[float, float], role: str, *, opacity: float, y: tuple[float, float] | None = None) -> None:
        """A rectangle over the whole height, or between two values."""
        low, high = y or self.domain
        rows = [{"x": x[0], "x2": x[1], "y": low, "y2": high}]
        mark = {"type": "rect", "color": figure_palette.light(role), "opacity": opacity, "clip": True}
        self._add(rows, mark, x2={"field": "x2"}, y2={"field": "y2"})

    def upright(self, x: float, role: str, *, width: float) -> None:
        """A vertical line over the whole height."""
        rows = [{"x": x, "y": self.domain[0], "y2": self.domain[1]}]
        mark = {"type": "rule", "color": figure_palette.light(role), "strokeWidth": width}
        self._add(rows, mark, y2={"field": "y2"})

    def text(
        self,
        x: float,
        y: float,
        text: str,
        role: str,
        *,
        align: Literal["left", "center", "right"] = "left",
        dx: int = 0,
        dy: int = 0,
        size: int = 11,
        bold: bool = False,
    ) -> None:
        """A piece of text at a place in the axis' unit and the metric's."""
        mark = {"type": "text", "color": figure_palette.light(role), "align": align, "dx": dx, "dy": dy}
        mark |= {"fontSize": size, "fontWeight": 600 if bold else 400}
        self._add([{"x": x, "y": y, "text": text}], mark, text={"field": "text", "type": "nominal"})

    def _add(self, rows: Rows, mark: Spec, **encoding: Spec) -> None:
        """A layer of marks at `x` and `y` of named rows, which join the specification once, at its end."""
        name = f"d{len(self.frame.datasets)}"
        self.frame.datasets[name] = rows
        self.layers.append(
            {"data": {"name": name}, "mark": mark, "encoding": {"x": self._x(), "y": self._y(), **encoding}}
        )

    def _x(self) -> Spec:
        frame = self.frame
        axis = {
            "values": figure_scales.log_ticks(*frame.domain, most=frame.look.x_ticks),
            "labelExpr": _TICK_TEXT.get(frame.figure.axis, "format(datum.value,',~g')"),
            "labels": self.bottom,
            "title": frame.axis_title if self.bottom else None,
            "grid": False,
            "labelFlush": False,
        }
        return position("x", {"type": "log", "domain": list(frame.domain), "nice": False}, axis)

    def _y(self) -> Spec:
        axis = {
            "title": None,
            "tickCount": self.frame.look.y_ticks,
            "format": "+f" if self.signed else "f",
            "labelExpr": "datum.value == 0 ? '0' : datum.label",
        }
        return position("y", {"domain": list(self.domain), "nice": False, "zero": False}, axis)
