"""What further seed pairs would do to one verdict: the chance that a planned look settles it, and its expected width.

The width of a verdict is 1 while it is open, else the share of the tested log range that the crossing's interval
covers: 0 when nothing crosses. Futures are drawn from the predictive distribution of what was seen
(`inference.predictive_pairs`).

Shapes: D draws, K looks, W windows (early, late).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from crossover.analysis.analysis_plan import AnalysisPlan
from crossover.analysis.analysis_result import Verdict, Window
from crossover.analysis.curve_columns import FloatArray
from crossover.analysis.inference.alpha_spending import nominal_alpha
from crossover.analysis.inference.predictive_pairs import (
    CROSSOVER,
    DRAWS,
    FALLING,
    LEAST_PAIRS,
    OPEN,
    RISING,
    SAME,
    Sums,
    drawn_truths,
    errors,
    generator,
    grown,
    judged,
    quantile,
)

_CODES = {"crossover": CROSSOVER, "baseline": FALLING, "candidate": FALLING, "equivalent": SAME}


@dataclass(frozen=True)
class Outlook:
    """What each further look promises. Chances rise with the looks; widths fall."""

    looks: tuple[int, ...]
    settled_K: FloatArray
    """Chance that the verdict is another outcome than `insufficient evidence` by then."""
    width_K: FloatArray
    """Expected width by then, 0 to 1."""
    other_K: FloatArray
    """Chance that the look itself gives an outcome that is neither the present one nor `insufficient evidence`."""


def further_looks(plan: AnalysisPlan, pairs: int, planned: int) -> tuple[int, ...]:
    """The looks still to come; with none in the plan, one when all that was planned has run."""
    looks = plan.looks or (planned,)
    return tuple(n for n in looks if pairs < n <= planned)


def width_now(verdict: Verdict) -> float:
    """The verdict's width: 1 when open, 0 when nothing crosses, else the interval's share of the tested log range."""
    if verdict.outcome == "insufficient evidence":
        return 1.0
    crossing = verdict.crossing
    if crossing is None or verdict.early is None or verdict.late is None:
        return 0.0
    low, high = verdict.early.low, verdict.late.high
    left, right = max(low, crossing.low or low), min(high, crossing.high or high)
    return float(np.clip(np.log(right / left) / np.log(high / low), 0.0, 1.0)) if left < right else 0.0


def foresee(verdict: Verdict, looks: Sequence[int], plan: AnalysisPlan, delta: float) -> Outlook | None:
    """Draw futures of a verdict up to each look, and judge them as `verdict.decide` would.

    The sign-flip test and the location of the crossing, which only ever turn a crossing down, are left out, so the
    chances are slightly too high.

    Args:
        verdict: of the pairs seen so far.
        looks: numbers of pairs, rising, all beyond the verdict's.
        plan: alpha, looks.
        delta: differences smaller than this do not matter.

    Returns:
        The outlook; None with fewer than three pairs or no variance.
    """
    early, late = verdict.early, verdict.late
    if early is None or late is None or len(late.per_seed) < LEAST_PAIRS or not looks:
        return None
    seen_WS = np.array([early.per_seed, late.per_seed])
    rng = generator(seen_WS.shape[1])
    sums, truths = drawn_truths(seen_WS, rng)
    shared_W = np.array([_monte_carlo(w, plan.alpha) for w in (early, late)])
    places_W = np.array([_centre(w, early.low, late.high) for w in (early, late)])
    tests = _tests(verdict, plan)
    settled_D, width_D = np.zeros(DRAWS, dtype=bool), np.ones(DRAWS)
    settled, widths, others = [], [], []
    now = _CODES.get(verdict.outcome, OPEN)
    if now == FALLING and late.mean > 0:
        now = RISING
    for look in looks:
        sums = grown(sums, truths, look - sums.pairs, rng)
        level = nominal_alpha(plan.looks, look, plan.alpha, spending=plan.spending) or 0.0
        outcome_D = judged(sums, level=level, delta=delta, tests=tests, shared_W=shared_W)
        crossing_D = _width(sums, plan.alpha, shared_W, places_W)
        fresh_D = (outcome_D != OPEN) & ~settled_D
        width_D = np.where(fresh_D, np.where(outcome_D == CROSSOVER, crossing_D, 0.0), width_D)
        settled_D |= fresh_D
        settled.append(float(settled_D.mean()))
        widths.append(float(width_D.mean()))
        others.append(float(((outcome_D != OPEN) & (outcome_D != now)).mean()))
    return Outlook(tuple(looks), np.array(settled), np.array(widths), np.array(others))


def narrowed(width: float, pairs: int, looks: Sequence[int], alpha: float) -> Outlook:
    """The outlook of a crossing that is settled and not yet as narrow as wanted: t quantile over root of the pairs."""
    half_K = np.array([quantile(n, alpha) / np.sqrt(n) for n in looks])
    width_K = width * half_K / (quantile(pairs, alpha) / np.sqrt(pairs))
    return Outlook(tuple(looks), np.ones(len(looks)), width_K, np.zeros(len(looks)))


def _width(sums: Sums, alpha: float, shared_W: FloatArray, places_W: FloatArray) -> FloatArray:
    """The crossing's interval as a share of the log range, were the difference a line through both windows."""
    rise_D = np.abs(sums.mean_DW[:, 1] - sums.mean_DW[:, 0]) / (places_W[1] - places_W[0])
    half_D = quantile(sums.pairs, alpha) * errors(sums, shared_W).mean(axis=1)
    return np.asarray(np.clip(2 * half_D / np.maximum(rise_D, 1e-300), 0.0, 1.0))


def _monte_carlo(window: Window, alpha: float) -> float:
    """The standard error that all pairs share: what the interval has beyond the spread of the pairs."""
    half = (window.interval[1] - window.interval[0]) / 2
    pairs = len(window.per_seed)
    spread = np.std(window.per_seed, ddof=1) / np.sqrt(pairs)
    return float(np.sqrt(max(0.0, (half / quantile(pairs, alpha)) ** 2 - spread**2)))


def _centre(window: Window, low: float, high: float) -> float:
    """The middle of a window as a share of the tested log range."""
    return float((np.log(window.low * window.high) / 2 - np.log(low)) / np.log(high / low))


def _tests(verdict: Verdict, plan: AnalysisPlan) -> int:
    """What Holm multiplied with; the size of its family where that cannot be read off."""
    family = {"none": 1, "metrics": len(plan.metrics)}.get(plan.multiplicity, len(plan.metrics) * len(plan.axes))
    if verdict.p_crossover and verdict.p_adjusted is not None and verdict.p_adjusted < 1:
        return min(family, max(1, round(verdict.p_adjusted / verdict.p_crossover)))
    return family
