"""From where to where the runs of a cell were measured, and what a place on one axis is on the others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from crossover.analysis.analysis_plan import Axis, MetricPlan
from crossover.analysis.analysis_result import Analysis
from crossover.analysis.arm_labels import arm_label
from crossover.analysis.axis_text import axis_place

ROUNDING = 0.005
"""A budget that is this near to an end of the range, as a share, is that end: figures are printed with three digits."""
_LARGE = 1e6


class MeasuredRange(NamedTuple):
    """Where all arms of the plan were measured, on one axis."""

    start: float
    end: float

    def at_end(self, place: float) -> bool:
        """Whether a place is the end, up to rounding."""
        return abs(place / self.end - 1) <= ROUNDING

    def holds(self, place: float) -> bool:
        """Whether a place is inside, up to rounding at its start."""
        return self.start * (1 - ROUNDING) <= place <= self.end


def measured_range(analysis: Analysis, metric: MetricPlan, axis: Axis) -> MeasuredRange | None:
    """The range that all runs of the plan's arms share, but for those left out; None without any on this axis."""
    lost = {(run.arm, run.seed) for v in analysis.verdicts if v.metric == metric.name for run in v.lost}
    curves = [
        c
        for f in analysis.figures
        if (f.metric, f.axis) == (metric.name, axis)
        for c in f.seeds
        if c.x and _planned(analysis, c.arm) and (c.arm, c.seed) not in lost
    ]
    if not curves:
        return None
    return MeasuredRange(max(c.x[0] for c in curves), min(c.x[-1] for c in curves))


def arm_ends(analysis: Analysis, axis: Axis) -> Mapping[str, float]:
    """Where the runs of each arm end on an axis: the median over seeds.

    Best checkpoints stand at places that the arms share, which are nobody's own ends.
    """
    ends: dict[str, list[float]] = {}
    own = [figure for figure in analysis.figures if figure.comparison == "matched"] or analysis.figures
    for figure in own:
        for curve in figure.seeds if figure.axis == axis else ():
            if curve.x:
                ends.setdefault(curve.arm, []).append(curve.x[-1])
    return {arm: float(np.median(places)) for arm, places in ends.items()}


def last(analysis: Analysis, axis: Axis) -> float | None:
    """Where the runs end on an axis: the median over arms and seeds."""
    ends = [c.x[-1] for f in analysis.figures if f.axis == axis for c in f.seeds if c.x]
    return float(np.median(ends)) if ends else None


def place_words(analysis: Analysis, axis: Axis, place: float) -> str:
    """A place in FLOPs and epochs: `3e+11 FLOPs (epoch 40 of AR, 37.6 of DLM)`."""
    if axis not in ("flops", "epochs"):
        return axis_place(axis, place)
    if axis == "flops":
        texts = {arm: epochs_text(epoch) for arm, epoch in on_axis(analysis, axis, place, "epochs").items()}
        return f"{place:.3g} FLOPs{_of_arms(texts, 'epoch ', '')}"
    texts = {arm: f"{flops:.3g}" for arm, flops in on_axis(analysis, axis, place, "flops").items()}
    return f"epoch {epochs_text(place)}{_of_arms(texts, '', ' FLOPs')}"


def on_axis(analysis: Analysis, axis: Axis, place: float, other: Axis) -> dict[str, float]:
    """What a place on one axis is on another for the plan's two arms, both being counted from zero."""
    here, there = arm_ends(analysis, axis), arm_ends(analysis, other)
    arms = (analysis.plan.baseline, analysis.plan.candidate)
    return {arm: place * there[arm] / here[arm] for arm in arms if here.get(arm) and there.get(arm)}


def number_on(axis: Axis, value: float) -> str:
    """An amount with its unit: `3e+11 FLOPs`, `40 epochs`."""
    return (
        f"{value:.3g} FLOPs"
        if axis == "flops"
        else (epochs_words(value) if axis == "epochs" else f"{epochs_text(value)} {axis}")
    )


def epochs_text(epochs: float) -> str:
    """A number of epochs: `37.6`, `129,000`; powers of ten from a million on."""
    return f"{epochs:,.0f}" if 100 <= epochs < _LARGE else f"{epochs:.3g}"


def epochs_words(epochs: float) -> str:
    """The same with its unit: `1 epoch`, `37.6 epochs`."""
    text = epochs_text(epochs)
    return f"{text} epoch" if text == "1" else f"{text} epochs"


def _of_arms(texts: Mapping[str, str], before: str, after: str) -> str:
    if not texts:
        return ""
    if len(set(texts.values())) == 1:
        return f" ({before}{next(iter(texts.values()))}{after})"
    (first, value), *others = texts.items()
    rest = "".join(f", {text} of {arm_label(arm)}" for arm, text in others)
    return f" ({before}{value}{after} of {arm_label(first)}{rest})"


def _planned(analysis: Analysis, arm: str) -> bool:
    plan = analysis.plan
    return arm in (plan.baseline, plan.candidate, *plan.tuned)
