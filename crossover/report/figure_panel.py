"""One panel of a figure: its scales, and the marks that stand on them. Vega-Lite, built with Altair."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from crossover.analysis.analysis_plan import AnalysisPlan
from crossover.analysis.analysis_result import Band, Figure, Verdict
from crossover.report import figure_palette, figure_scales

if TYPE_CHECKING:
    import altair as alt

Rows = list[dict[str, Any]]

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


@dataclass
class Panel:
    """A panel under construction: marks are added in the order in which they are painted."""

    frame: Frame
    domain: tuple[float, float]
    height: int
    bottom: bool
    signed: bool = False
    layers: list[alt.Chart] = field(default_factory=list)

    def chart(self, title: str, subtitle: str, *, room: int) -> alt.LayerChart:
        """The finished panel, with so many pixels of room between its title and itself."""
        import altair as alt

        return alt.LayerChart(
            layer=self.layers,
            width=self.frame.look.width,
            height=self.height,
            title=alt.Title(title, subtitle=subtitle, offset=room),
        )

    def lines(self, rows: Rows, pen: figure_palette.Pen, *, width: float, opacity: float = 1.0) -> None:
        """Lines through `x` and `y`, one for each `run`."""
        import altair as alt

        if not rows:
            return
        mark = self._data(rows).mark_line(
            color=pen.colour, strokeWidth=width, strokeDash=list(pen.dash), opacity=opacity, clip=True
        )
        encoded = mark.encode(x=self._x("x"), y=self._y("y"))
        self.layers.append(encoded.encode(detail=alt.Detail("run:N")) if "run" in rows[0] else encoded)

    def band(self, band: Band, colour: str) -> None:
        """The area between a band's low and high."""
        import altair as alt

        rows = [
            {"x": self.frame.at(x), "y": low, "high": high}
            for x, low, high in zip(band.x, band.low, band.high, strict=True)
            if figure_scales.drawable(x, low, high)
        ]
        if rows:
            mark = self._data(rows).mark_area(color=colour, opacity=0.15, clip=True)
            self.layers.append(mark.encode(x=self._x("x"), y=self._y("y"), y2=alt.Y2("high:Q")))

    def level(self, value: float, role: str, *, width: float, dash: tuple[int, ...] = (1, 0)) -> None:
        """A horizontal line over the whole width."""
        low, high = self.frame.domain
        self.segment(low, high, value, role, width=width, dash=dash)

    def segment(
        self, low: float, high: float, value: float, role: str, *, width: float, dash: tuple[int, ...] = (1, 0)
    ) -> None:
        """A horizontal line from low to high, both in the axis' unit."""
        import altair as alt

        mark = self._data([{"x": low, "x2": high, "y": value}]).mark_rule(
            color=figure_palette.light(role), strokeWidth=width, strokeDash=list(dash), clip=True
        )
        self.layers.append(mark.encode(x=self._x("x"), x2=alt.X2("x2:Q"), y=self._y("y")))

    def box(self, x: tuple[float, float], role: str, *, opacity: float, y: tuple[float, float] | None = None) -> None:
        """A rectangle over the whole height, or between two values."""
        import altair as alt

        low, high = y or self.domain
        mark = self._data([{"x": x[0], "x2": x[1], "y": low, "y2": high}]).mark_rect(
            color=figure_palette.light(role), opacity=opacity, clip=True
        )
        self.layers.append(mark.encode(x=self._x("x"), x2=alt.X2("x2:Q"), y=self._y("y"), y2=alt.Y2("y2:Q")))

    def upright(self, x: float, role: str, *, width: float) -> None:
        """A vertical line over the whole height."""
        import altair as alt

        mark = self._data([{"x": x, "y": self.domain[0], "y2": self.domain[1]}]).mark_rule(
            color=figure_palette.light(role), strokeWidth=width
        )
        self.layers.append(mark.encode(x=self._x("x"), y=self._y("y"), y2=alt.Y2("y2:Q")))

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
        mark = self._data([{"x": x, "y": y, "text": text}]).mark_text(
            color=figure_palette.light(role), align=align, dx=dx, dy=dy, fontSize=size, fontWeight=600 if bold else 400
        )
        self.layers.append(mark.encode(x=self._x("x"), y=self._y("y"), text="text:N"))

    def _data(self, rows: Rows) -> alt.Chart:
        """A chart on named data: the rows join the specification once, at its end, which is fast."""
        import altair as alt

        name = f"d{len(self.frame.datasets)}"
        self.frame.datasets[name] = rows
        return alt.Chart(alt.NamedData(name=name))

    def _x(self, name: str) -> alt.X:
        import altair as alt

        frame = self.frame
        axis = alt.Axis(
            values=figure_scales.log_ticks(*frame.domain, most=frame.look.x_ticks),
            labelExpr=_TICK_TEXT.get(frame.figure.axis, "format(datum.value,',~g')"),
            labels=self.bottom,
            title=frame.axis_title if self.bottom else None,
            grid=False,
            labelFlush=False,
        )
        return alt.X(f"{name}:Q", scale=alt.Scale(type="log", domain=list(frame.domain), nice=False), axis=axis)

    def _y(self, name: str) -> alt.Y:
        import altair as alt

        axis = alt.Axis(
            title=None,
            tickCount=self.frame.look.y_ticks,
            format="+f" if self.signed else "f",
            labelExpr="datum.value == 0 ? '0' : datum.label",
        )
        return alt.Y(f"{name}:Q", scale=alt.Scale(domain=list(self.domain), nice=False, zero=False), axis=axis)
