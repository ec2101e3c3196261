"""From seed pairs on a grid to an outcome: `gather` measures, Holm adjusts over metrics and axes, `decide` decides.

Simulations of the method's error rates call exactly these three (benchmarks/calibration).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from crossover.analysis.analysis_plan import AnalysisPlan, MetricPlan
from crossover.analysis.analysis_result import Crossing, Outcome, Turn
from crossover.analysis.curve_columns import FloatArray
from crossover.analysis.inference.alpha_spending import nominal_alpha
from crossover.analysis.inference.crossing_location import find_turns, locate, other_places, sign_changes
from crossover.analysis.inference.seed_skewness import doubtful
from crossover.analysis.inference.window_tests import (
    WindowTest,
    bend_bounds,
    inside,
    iut_p,
    sign_flip_iut_p,
    tost_p,
    window_test,
)
from crossover.analysis.inference.window_trends import TREND_LEVEL, Trend, learnt_from, window_trend

NEAR_THE_END = "crossing near the end: run longer"
NEAR_THE_BEGINNING = "crossing near the beginning: measure earlier, or more often there"
BEGINNING = 0.25
"""A crossing inside the early window shows in this first part of it."""
_LEAST_UNTRAINED, _MOST_UNTRAINED = 0.1, 0.75
_LEAST_LEFT = 4
SIGN_FLIP_FROM = 6
"""From so many pairs on the sign-flip test can reach p <= 0.05 over two directions (2 / 2^6), and must agree."""


@dataclass(frozen=True)
class PValues:
    """p values of the three tests; None is not tested."""

    crossover: float | None = None
    late: float | None = None
    same: float | None = None


@dataclass(frozen=True)
class Evidence:
    """All that the outcome is decided from, for one metric, axis and comparison.

    `problem` says why nothing can be tested; it is empty when it can.
    """

    pairs: int
    x_G: FloatArray
    difference_SG: FloatArray
    early: WindowTest | None = None
    late: WindowTest | None = None
    sign_changes: int = 0
    problem: str = ""
    raw: PValues = PValues()
    sign_flip: float | None = None
    error_SG: FloatArray | None = None
    turns: tuple[Turn, ...] = ()
    alpha: float = 0.05
    early_trend: Trend | None = None
    late_trend: Trend | None = None
    bend_SG: FloatArray | None = None


@dataclass(frozen=True)
class Decision:
    """The outcome, the crossing if there is one, and what prevented a crossover that its p value alone allows."""

    outcome: Outcome
    crossing: Crossing | None = None
    obstacle: str = ""


def gather(
    x_G: FloatArray,
    difference_SG: FloatArray,
    metric: MetricPlan,
    plan: AnalysisPlan,
    *,
    scale: float,
    error_SG: FloatArray | None = None,
    span: tuple[float, float] | None = None,
    bend_SG: FloatArray | None = None,
    untrained_beginning: bool = True,
) -> Evidence:
    """Measure the windows, and test them if there are enough pairs.

    Args:
        x_G: the common grid.
        difference_SG: candidate minus baseline of S seed pairs.
        metric: its direction and delta.
        plan: windows, alpha, fewest pairs.
        scale: the size of the values that were subtracted, to tell rounding from variance.
        error_SG: Monte Carlo standard errors of the differences; none when absent.
        span: what windows are shares of; the range of the grid when absent.
        bend_SG: by how much straight lines between checkpoints would change the differences; none when absent.
        untrained_beginning: whether the early window begins later where the arms agree at first.

    Returns:
        The evidence. p values are there only when nothing is degenerate and the pairs are enough.
    """
    data = _Data(x_G, difference_SG, scale, error_SG, bend_SG, span)
    trained = _from_where_arms_differ(data, metric.delta) if untrained_beginning else data
    early, late = trained.test(plan.early_window), data.test(plan.late_window)
    pairs = difference_SG.shape[0]
    changes, turns = _turns(data, metric, plan)
    opposite = early is not None and late is not None and early.mean * late.mean < 0
    evidence = Evidence(
        pairs=pairs,
        x_G=x_G,
        difference_SG=difference_SG,
        early=early,
        late=late,
        sign_changes=max(int(opposite), changes),
        problem=_problem(data, trained, plan),
        error_SG=error_SG,
        turns=turns,
        alpha=nominal_alpha(plan.looks, pairs, plan.alpha, spending=plan.spending) or plan.alpha,
        early_trend=trained.trend(plan.early_window),
        late_trend=data.trend(plan.late_window),
        bend_SG=bend_SG,
    )
    if evidence.problem or early is None or late is None:
        return evidence
    crossover = iut_p(early, late)
    beginning = trained.test((plan.early_window[0], plan.early_window[0] + BEGINNING * np.ptp(plan.early_window)))
    if beginning is not None and 2 * iut_p(beginning, late) < crossover:
        evidence, early, crossover = replace(evidence, early=beginning), beginning, 2 * iut_p(beginning, late)
    raw = PValues(crossover=crossover, late=2 * min(late.p_positive, late.p_negative), same=tost_p(late, metric.delta))
    flip = sign_flip_iut_p(early, late) if evidence.pairs >= SIGN_FLIP_FROM else None
    return replace(evidence, raw=raw, sign_flip=flip)


@dataclass(frozen=True)
class _Data:
    """Differences on their grid, with all that makes them uncertain."""

    x_G: FloatArray
    difference_SG: FloatArray
    scale: float
    error_SG: FloatArray | None
    bend_SG: FloatArray | None
    span: tuple[float, float] | None

    def test(self, window: tuple[float, float]) -> WindowTest | None:
        return window_test(
            self.x_G, self.difference_SG, window, self.scale, self.error_SG, span=self.span, bend_SG=self.bend_SG
        )

    def trend(self, window: tuple[float, float]) -> Trend | None:
        return window_trend(
            self.x_G, self.difference_SG, window, span=self.span, error_SG=self.error_SG, bend_SG=self.bend_SG
        )

    def inside(self, window: tuple[float, float]) -> NDArray[np.bool_]:
        return inside(self.x_G, window, self.span)


def _from_where_arms_differ(data: _Data, delta: float) -> _Data:
    """Without the beginning in which every pair's arms agree, if enough is left to be judged."""
    x_G, start = data.x_G, learnt_from(data.difference_SG, delta) if data.difference_SG.size else 0
    low, high = data.span or (x_G[0], x_G[-1]) if x_G.size else (1.0, 1.0)
    if not start or x_G.size - start < _LEAST_LEFT:
        return data
    untrained = np.log(x_G[start] / low) / np.log(high / low)
    if not _LEAST_UNTRAINED <= untrained <= _MOST_UNTRAINED:
        return data
    cut = [None if a_SG is None else a_SG[:, start:] for a_SG in (data.error_SG, data.bend_SG)]
    return _Data(x_G[start:], data.difference_SG[:, start:], data.scale, cut[0], cut[1], (float(x_G[start]), high))


def _turns(data: _Data, metric: MetricPlan, plan: AnalysisPlan) -> tuple[int, tuple[Turn, ...]]:
    """How often the mean changes its sign from the early window to the late one, and where if more than once."""
    tested_G = data.inside((plan.early_window[0], plan.late_window[1])) if data.x_G.size else np.zeros(0, dtype=bool)
    if tested_G.sum() < 2:
        return 0, ()
    changes = sign_changes(data.difference_SG[:, tested_G], plan.alpha)
    if len(changes) < 2:
        return len(changes), ()
    turns = find_turns(
        data.x_G[tested_G],
        data.difference_SG[:, tested_G],
        changes,
        alpha=plan.alpha,
        lower=metric.direction == "lower",
        error_SG=None if data.error_SG is None else data.error_SG[:, tested_G],
        bound_G=None if data.bend_SG is None else bend_bounds(data.bend_SG)[tested_G],
    )
    return len(changes), turns


def _problem(data: _Data, trained: _Data, plan: AnalysisPlan) -> str:
    """Why nothing can be tested; empty when it can."""
    windows = ((trained, "early", plan.early_window), (data, "late", plan.late_window))
    found = (_window_problem(*window) for window in windows)
    return _pairs_problem(data.difference_SG.shape[0], plan) or next(filter(None, found), "")


def _pairs_problem(pairs: int, plan: AnalysisPlan) -> str:
    if pairs < plan.minimum_pairs:
        return too_few(pairs, plan.minimum_pairs)
    if nominal_alpha(plan.looks, pairs, plan.alpha, spending=plan.spending) is None:
        later = next(n for n in plan.looks if n > pairs)
        return (
            f"The plan looks at {', '.join(map(str, plan.looks))} seed pairs, and there are {pairs}: "
            f"add {later - pairs} more before anything is tested"
        )
    return ""


def _window_problem(data: _Data, name: str, window: tuple[float, float]) -> str:
    if data.x_G.size < 2:
        return "The runs share a single point, and a difference at one place says nothing about early and late"
    if not data.inside(window).any():
        return f"No common point lies in the {name} window, {window[0]:g} to {window[1]:g} of the log range"
    test = data.test(window)
    if test is None:
        return (
            f"The difference in the {name} window is the same in all {data.difference_SG.shape[0]} seed pairs; with "
            "zero variance between seeds no error can be estimated, so check that the seeds differ"
        )
    if not np.isfinite(test.bend):
        return "The runs have too few checkpoints to be compared between them: measure both arms at the same places"
    return ""


def too_few(pairs: int, minimum: int) -> str:
    """The reason for no verdict below the fewest pairs."""
    have = "No complete seed pair" if pairs == 0 else f"Only {pairs} complete seed pair{'s' * (pairs > 1)}"
    single = "; one pair has no interval" if pairs == 1 else ""
    return f"{have}, and a verdict needs {minimum}: add {minimum - pairs} more, each run in both arms{single}"


def decide(evidence: Evidence, adjusted: PValues, metric: MetricPlan, plan: AnalysisPlan) -> Decision:
    """Decide the outcome.

    In this order: `equivalent` (TOST on the late window, Holm-adjusted), whatever the other p values say; `crossover`
    (Holm-adjusted intersection-union p, agreed to by sign flips from six pairs on, and located); `baseline` or
    `candidate` (late window, two-sided, Holm-adjusted, the early window not significantly opposite); else
    `insufficient evidence`. None of them is said where the difference changes its sign inside the late window, or where
    the spread of the seeds is too skewed for the t test.

    Args:
        evidence: from `gather`.
        adjusted: its p values after Holm over metrics.
        metric: its direction and delta.
        plan: the alpha of intervals; the tests use the evidence's, which is that of this look.

    Returns:
        The decision.
    """
    early, late = evidence.early, evidence.late
    if evidence.problem or early is None or late is None:
        return Decision("insufficient evidence")
    if _within(adjusted.same, evidence.alpha):
        moving = _moves_within(evidence.late_trend, metric.delta)
        return Decision("insufficient evidence", obstacle=NEAR_THE_END) if moving else Decision("equivalent")
    crossing, obstacle = _crossing(evidence, adjusted, early, metric, plan)
    winner = _within(adjusted.late, evidence.alpha) and not _opposite(early, late, evidence.alpha)
    if crossing is None and not winner:
        return Decision("insufficient evidence", obstacle=obstacle or _change_inside(evidence.late_trend))
    against = _against(evidence, early if crossing is not None else None, late, plan)
    if against:
        return Decision("insufficient evidence", obstacle=against)
    if crossing is not None:
        return Decision("crossover", crossing)
    candidate_better = (late.mean < 0) == (metric.direction == "lower")
    return Decision("candidate" if candidate_better else "baseline", obstacle=obstacle)


def _moves_within(trend: Trend | None, delta: float) -> bool:
    """Whether a difference whose mean is small moves from one side to the other, and beyond delta."""
    return trend is not None and trend.beyond > delta and trend.slopes(2 * TREND_LEVEL)


def _change_inside(trend: Trend | None) -> str:
    """What to say of a late window that begins with one sign and ends with the other; empty where it does not."""
    if trend is None or trend.start * trend.end >= 0 or not trend.slopes(2 * TREND_LEVEL):
        return ""
    sides = ((True, trend.end), (False, trend.start))
    clear = any(trend.clear(at_end=at_end, sign=np.sign(value), alpha=TREND_LEVEL) for at_end, value in sides)
    return NEAR_THE_END if clear else ""


def _against(evidence: Evidence, early: WindowTest | None, late: WindowTest, plan: AnalysisPlan) -> str:
    """What forbids to name a late winner, or the sides of a crossing if its early window is given; empty if nothing."""
    sign, trend = float(np.sign(late.mean)), evidence.late_trend
    if trend is not None and trend.heads_to_zero(at_end=True, sign=sign):
        if not trend.clear(at_end=True, sign=sign, alpha=2 * plan.alpha):
            return NEAR_THE_END
    if early is None:
        for window in (evidence.early_trend, trend):
            if window is not None and window.heads_to_zero(at_end=False, sign=sign):
                if window.clear(at_end=False, sign=-sign, alpha=TREND_LEVEL):
                    return NEAR_THE_BEGINNING if window is evidence.early_trend else NEAR_THE_END
    if any(doubtful(test, evidence.alpha) for test in (early, late) if test is not None):
        return "the seeds are spread too unevenly for the mean of so few: add seed pairs"
    return ""


def _crossing(
    evidence: Evidence, adjusted: PValues, early: WindowTest, metric: MetricPlan, plan: AnalysisPlan
) -> tuple[Crossing | None, str]:
    if not _within(adjusted.crossover, evidence.alpha):
        return None, ""
    if evidence.sign_flip is not None and evidence.sign_flip > plan.alpha:
        return None, f"a sign-flip test does not confirm a crossing (p = {evidence.sign_flip:.2g})"
    crossing = locate(
        evidence.x_G,
        evidence.difference_SG,
        falling=early.mean > 0,
        alpha=plan.alpha,
        lower=metric.direction == "lower",
        error_SG=evidence.error_SG,
        bound_G=None if evidence.bend_SG is None else bend_bounds(evidence.bend_SG),
    )
    if crossing is not None:
        others = other_places(evidence.x_G, evidence.difference_SG, falling=early.mean > 0)
        crossing = crossing.model_copy(update={"sensitivity": others})
    return crossing, "" if crossing else "the windows differ in sign, but the crossing could not be located"


def _within(p: float | None, alpha: float) -> bool:
    return p is not None and p <= alpha


def _opposite(early: WindowTest, late: WindowTest, alpha: float) -> bool:
    """Whether the early window is significant (two-sided, unadjusted) with the other sign."""
    significant = 2 * min(early.p_positive, early.p_negative) <= alpha
    return significant and early.mean * late.mean < 0


def scale_of(*values: FloatArray) -> float:
    """The largest absolute value: what a spread is compared with to tell it from rounding."""
    return max(float(np.abs(v).max(initial=0.0)) for v in values)
