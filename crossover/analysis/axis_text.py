"""Places on an axis, differences and p values as text."""

from __future__ import annotations

from crossover.analysis.analysis_plan import Axis

_SUFFIXES = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e4, "k"))


def p_text(p: float | None) -> str:
    """`p = 0.0004`, `p < 0.0001`, or `p not tested`."""
    if p is None:
        return "p not tested"
    return "p < 0.0001" if p < 1e-4 else f"p = {p:.2g}"


def signed(value: float) -> str:
    """A difference with its sign, three digits: `+0.21`, `−0.35`."""
    return f"{value:+.3g}".replace("-", "−")


def span(axis: Axis, low: float, high: float) -> str:
    """A window on its axis: `epochs 1–6`, `tokens 10k–64k`, `FLOPs 1.2e+15–3e+16`, `12–95 seconds`."""
    ends = place(axis, low), place(axis, high)
    between = ends[0] if ends[0] == ends[1] else f"{ends[0]}–{ends[1]}"
    one, many = {"epochs": ("epoch", "epochs"), "flops": ("FLOPs", "FLOPs")}.get(axis, (axis, axis))
    return f"{between} seconds" if axis == "seconds" else f"{one if low == high else many} {between}"


def axis_place(axis: Axis, value: float) -> str:
    """A place on an axis: `epoch 90`, `12M tokens`, `3e+16 FLOPs`, `95 seconds`."""
    text = place(axis, value)
    return f"epoch {text}" if axis == "epochs" else f"{text} {'FLOPs' if axis == 'flops' else axis}"


def place(axis: Axis, value: float) -> str:
    """A number on an axis: `46k`, `3e+16`, `28.1`."""
    if axis == "flops":
        return f"{value:.3g}"
    for limit, suffix in _SUFFIXES:
        if value >= limit:
            return f"{value / (1e3 if suffix == 'k' else limit):.3g}{suffix}"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
