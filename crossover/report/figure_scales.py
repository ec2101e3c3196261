"""Scales of figures: ticks on a log axis, domains, thinning, and labels that do not overlap."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from crossover.analysis.analysis_plan import Axis
from crossover.analysis.analysis_result import Band, SeedCurve
from crossover.report import number_formats as fmt

_MANTISSAS: tuple[tuple[float, ...], ...] = (
    (1,),
    (1, 3),
    (1, 2, 5),
    (1, 1.5, 2, 3, 4, 5, 7),
    (1, 1.2, 1.4, 1.6, 1.8, 2, 2.5, 3, 3.5, 4, 4.5, 5, 6, 7, 8, 9),
)


def log_ticks(low: float, high: float, *, most: int = 11) -> list[float]:
    """Round ticks inside [low, high] for a log axis: 1, 2, 5, 10, ... or finer or coarser, to have up to `most`."""
    if not (0 < low <= high and math.isfinite(high)):
        return []
    candidates = [_ticks(low, high, mantissas) for mantissas in _MANTISSAS]
    preferred = candidates[2]
    if len(preferred) > most:
        decades = candidates[0]
        return candidates[1] if len(candidates[1]) <= most else decades[:: math.ceil(len(decades) / most)]
    if len(preferred) >= 4:
        return preferred
    finer = max((c for c in candidates[2:] if len(c) <= most), key=len)
    return finer if len(finer) >= 3 else _linear_ticks(low, high)


def _linear_ticks(low: float, high: float) -> list[float]:
    """Round ticks for a range so narrow that a log axis is as good as linear."""
    power = 10.0 ** math.floor(math.log10((high - low) / 2)) if high > low else 1.0
    step = next((power * m for m in (1, 2, 5) if (high - low) / (power * m) <= 6), power * 10)
    first = math.ceil(low / step - 1e-9)
    ticks = [float(f"{(first + i) * step:.12g}") for i in range(8)]
    return [t for t in ticks if low <= t <= high]


def _ticks(low: float, high: float, mantissas: tuple[float, ...]) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = (float(f"{m}e{d}") for d in decades for m in mantissas)
    return [t for t in ticks if low * (1 - 1e-9) <= t <= high * (1 + 1e-9)]


def x_domain(groups: Sequence[Sequence[float]]) -> tuple[float, float] | None:
    """The range of all positive finite places; None if there is none; never of zero width."""
    places = [x for group in groups for x in group if x > 0 and math.isfinite(x)]
    if not places:
        return None
    low, high = min(places), max(places)
    return (low, high) if high > low else (low / 1.5, high * 1.5)


def y_domain(core: Sequence[float], reach: Sequence[float], *, share: float = 0.6) -> tuple[float, float]:
    """A range that holds `core`, and of `reach` as much as `share` of core's span on either side; padded by 4 %."""
    inner = [v for v in core if math.isfinite(v)] or [0.0]
    outer = [v for v in reach if math.isfinite(v)] or inner
    low, high = min(inner), max(inner)
    span = (high - low) or max(abs(high), 1e-3) * 0.1
    low, high = max(min(low, *outer), low - share * span), min(max(high, *outer), high + share * span)
    pad = 0.04 * ((high - low) or span)
    return low - pad, high + pad


def drawable(x: float, *values: float) -> bool:
    """Whether a point can stand on a log axis."""
    return x > 0 and all(map(math.isfinite, (x, *values)))


def thin(length: int, most: int) -> list[int]:
    """Indices of at most `most` of `length` things, evenly strided, the first and the last kept."""
    if length <= most:
        return list(range(length))
    return sorted({round(i * (length - 1) / (most - 1)) for i in range(most)})


def thin_seed(curve: SeedCurve, most: int) -> SeedCurve:
    """The curve with at most `most` points."""
    keep = thin(len(curve.x), most)
    return curve.model_copy(
        update={name: tuple(getattr(curve, name)[i] for i in keep) for name in ("x", "value", "stderr")}
    )


def thin_band(band: Band, most: int) -> Band:
    """The band with at most `most` points."""
    keep = thin(len(band.x), most)
    return band.model_copy(
        update={name: tuple(getattr(band, name)[i] for i in keep) for name in ("x", "mean", "low", "high")}
    )


def dodge(values: Sequence[float], domain: tuple[float, float], *, height: float, gap: float) -> list[float]:
    """Values moved apart so that labels at them are at least `gap` pixels from one another on `height` pixels."""
    unit = (domain[1] - domain[0]) / height
    order = sorted(range(len(values)), key=lambda i: values[i])
    placed = list(values)
    for _ in range(50):
        moved = False
        for below, above in pairwise(order):
            lack = gap * unit - (placed[above] - placed[below])
            if lack > 1e-9 * unit:
                placed[below] -= lack / 2
                placed[above] += lack / 2
                moved = True
        if not moved:
            break
    return placed


def axis_unit(axis: Axis, high: float) -> tuple[float, str]:
    """The unit in which an axis that ends at `high` is drawn, and the axis' title."""
    title = fmt.axis_title(axis)
    if axis != "seconds":
        return 1.0, title
    for size, unit in ((86400.0, "days"), (3600.0, "hours"), (60.0, "minutes")):
        if high >= 2 * size:
            return size, f"{title} ({unit})"
    return 1.0, f"{title} (seconds)"
