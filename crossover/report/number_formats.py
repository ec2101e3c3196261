"""Formats of numbers, axes and metrics, the same in every part of a report."""

from __future__ import annotations

import math

from crossover.analysis.analysis_plan import AnalysisPlan, Axis, Comparison, MetricPlan

_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_AXIS_TITLES: dict[Axis, str] = {
    "tokens": "training tokens",
    "epochs": "epochs over the unique tokens",
    "flops": "training FLOPs",
    "seconds": "training time",
}
_AXIS_WORDS: dict[Axis, str] = {"tokens": "tokens", "epochs": "epochs", "flops": "FLOPs", "seconds": "seconds"}


def axis_title(axis: Axis) -> str:
    """The axis as figures name it."""
    return _AXIS_TITLES[axis]


def axis_word(axis: Axis) -> str:
    """The axis in one word."""
    return _AXIS_WORDS[axis]


def metric_plan(plan: AnalysisPlan, name: str) -> MetricPlan:
    """The plan of a metric by its name."""
    return next((m for m in plan.metrics if m.name == name), MetricPlan(name=name, direction="lower", delta=1e-9))


def metric_title(metric: MetricPlan) -> str:
    """The metric with its unit."""
    return f"{metric.title} ({metric.unit})" if metric.unit else metric.title


def comparison_words(comparison: Comparison, axis: Axis) -> str:
    """What is held equal: `matched tokens`, `matched FLOPs`, or `best so far`."""
    counted = "tokens" if axis in {"tokens", "epochs"} else axis_word(axis)
    if comparison == "matched":
        return f"matched {counted}"
    return "best so far" if counted == "tokens" else f"best so far by {counted}"


def percent(alpha: float) -> str:
    """The confidence that goes with alpha: `95 %`."""
    return f"{100 * (1 - alpha):g} %"


def number(value: float, *, sign: bool = False) -> str:
    """A metric's value: three decimals below 10, fewer above, powers of ten for the very small."""
    if not math.isfinite(value):
        return "not finite"
    size = abs(value)
    plus = "+" if sign and value > 0 else ""
    if size and size < 5e-4:
        text = _scientific(size)
    else:
        decimals = 3 if size < 10 else 2 if size < 100 else 1
        text = f"{size:.{decimals}f}" if size < 1e6 else _scientific(size)
    return f"−{text}" if value < 0 else f"{plus}{text}"


def with_error(mean: float, error: float, seeds: int) -> str:
    """A mean with its standard error or deviation, which one seed does not have: `0.48 ± 0.04`."""
    return f"{number(mean)} ± {number(error)}" if seeds > 1 else f"{number(mean)}, no interval"


def count(value: float) -> str:
    """A large count with a short suffix: `1.23 M`."""
    for limit, suffix in ((1e12, " T"), (1e9, " B"), (1e6, " M"), (1e4, " k")):
        if value >= limit:
            return f"{_three(value / (1e3 if limit == 1e4 else limit))}{suffix}"
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.1f}"


def axis_number(axis: Axis, value: float) -> str:
    """A place on an axis, without the axis' name: `57.3`, `1.23 M`, `3.10 × 10¹⁷`, `41.0 min`."""
    if not math.isfinite(value):
        return "not finite"
    if axis == "epochs":
        return _three(value)
    if axis == "tokens":
        return count(value)
    if axis == "flops":
        return _scientific(value)
    return duration(value)


def axis_place(axis: Axis, value: float) -> str:
    """A place on an axis in words: `epoch 57.3`, `1.23 M tokens`."""
    text = axis_number(axis, value)
    after = {"epochs": "", "tokens": " tokens", "flops": " FLOPs", "seconds": " of training"}
    return f"epoch {text}" if axis == "epochs" else f"{text}{after[axis]}"


def axis_interval(axis: Axis, low: float | None, high: float | None) -> str:
    """An interval on an axis; a missing end is `unbounded`; a unit common to both ends is written once."""
    if low is None and high is None:
        return "unbounded"
    left = "unbounded" if low is None else axis_number(axis, low)
    right = "unbounded" if high is None else axis_number(axis, high)
    digits, _, unit = left.partition(" ")
    if unit and unit == right.partition(" ")[2]:
        left = digits
    return f"{left} – {right}"


def duration(seconds: float) -> str:
    """Seconds in the unit that reads best."""
    for size, unit in ((86400.0, "d"), (3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * size:
            return f"{_three(seconds / size)} {unit}"
    return f"{_three(seconds)} s"


def tier(quality: str) -> str:
    """A tier of quality after other facts: `, quality high`; empty where tiers are not compared."""
    return f", quality {quality}" if quality else ""


def p_value(p: float | None) -> str:
    """A p value; None was `not tested`."""
    if p is None:
        return "not tested"
    return "< 0.0001" if p < 1e-4 else f"{p:.2g}"


def pairs(n: int) -> str:
    """`5 seed pairs`."""
    return f"{n} seed pair" if n == 1 else f"{n} seed pairs"


def short(digest: str) -> str:
    """The first twelve characters of a digest, its algorithm's prefix kept."""
    prefix, colon, rest = digest.rpartition(":")
    return f"{prefix}{colon}{rest[:12]}"


def _three(value: float) -> str:
    size = abs(value)
    return f"{value:,.0f}" if size >= 100 else f"{value:.1f}" if size >= 10 else f"{value:.2f}"


def _scientific(value: float) -> str:
    if value == 0:
        return "0"
    exponent = math.floor(math.log10(abs(value)))
    mantissa = f"{value / 10.0**exponent:.2f}"
    if mantissa == "10.00":
        mantissa, exponent = "1.00", exponent + 1
    return f"{mantissa} × 10{str(exponent).translate(_SUPERSCRIPT)}"
