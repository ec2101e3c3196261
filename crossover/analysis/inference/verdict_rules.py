"""From seed pairs on a grid to an outcome: `gather` measures, Holm adjusts over metrics and axes, `decide` decides.

Simulations of the method's error rates call exactly these three (benchmarks/calibration).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from crossover.analysis.analysis_plan import AnalysisPlan, MetricPlan
from crossover.analysis.analysis_result import Crossing, Outcome, Turn
from crossover.analysis.curve_columns import FloatArray
from crossover.analysis.inference.alpha_spending import nominal_alpha
from crossover.analysis.inference.crossing_location import find_turns, locate, other_places, sign_changes
from crossover.analysis.inference.window_tests import (
    WindowTest,
    inside,
    iut_p,
    sign_flip_iut_p,
    tost_p,
    window_test,
)

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
) -> Evidence:
    """Measure the windows, and test them if there are enough pairs.

    Args:
        x_G: the common grid.
        difference_SG: candidate minus baseline of S seed pairs.
        metric: its direction and delta.
        plan: windows, alpha, fewest pairs.
        scale: the size of the values that were subtracted, to tell rounding from variance.
        error_SG: Monte Carlo standard errors of the differences; none when absent.

    Returns:
        The evidence. p values are there only when nothing is degenerate and the pairs are enough.
    """
    early = window_test(x_G, difference_SG, plan.early_window, scale, error_SG)
    late = window_test(x_G, difference_SG, plan.late_window, scale, error_SG)
    pairs = difference_SG.shape[0]
    changes, turns = _turns(x_G, difference_SG, metric, plan, error_SG)
    opposite = early is not None and late is not None and early.mean * late.mean < 0
    evidence = Evidence(
        pairs=pairs,
        x_G=x_G,
        difference_SG=difference_SG,
        early=early,
        late=late,
        sign_changes=max(int(opposite), changes),
        problem=_problem(x_G, difference_SG, plan, scale),
        error_SG=error_SG,
        turns=turns,
        alpha=nominal_alpha(plan.looks, pairs, plan.alpha, spending=plan.spending) or plan.alpha,
    )
    if evidence.problem or early is None or late is None:
        return evidence
    raw = PValues(
        crossover=iut_p(early, late),
        late=2 * min(late.p_positive, late.p_negative),
        same=tost_p(late, metric.delta),
    )
    flip = sign_flip_iut_p(early, late) if evidence.pairs >= SIGN_FLIP_FROM else None
    return replace(evidence, raw=raw, sign_flip=flip)


def _turns(
    x_G: FloatArray, difference_SG: FloatArray, metric: MetricPlan, plan: AnalysisPlan, error_SG: FloatArray | None
) -> tuple[int, tuple[Turn, ...]]:
    """How often the mean changes its sign from the early window to the late one, and where if more than once."""
    tested_G = inside(x_G, (plan.early_window[0], plan.late_window[1])) if x_G.size else np.zeros(0, dtype=bool)
    if tested_G.sum() < 2:
        return 0, ()
    changes = sign_changes(difference_SG[:, tested_G], plan.alpha)
    if len(changes) < 2:
        return len(changes), ()
    turns = find_turns(
        x_G[tested_G],
        difference_SG[:, tested_G],
        changes,
        alpha=plan.alpha,
        lower=metric.direction == "lower",
        error_SG=None if error_SG is None else error_SG[:, tested_G],
    )
    return len(changes), turns


def _problem(x_G: FloatArray, difference_SG: FloatArray, plan: AnalysisPlan, scale: float) -> str:
    """Why the windows cannot be tested; empty when they can."""
    pairs = difference_SG.shape[0]
    if pairs < plan.minimum_pairs:
        return too_few(pairs, plan.minimum_pairs)
    if nominal_alpha(plan.looks, pairs, plan.alpha, spending=plan.spending) is None:
        later = next(n for n in plan.looks if n > pairs)
        return (
            f"The plan looks at {', '.join(map(str, plan.looks))} seed pairs, and there are {pairs}: "
            f"add {later - pairs} more before anything is tested"
        )
    if x_G.size < 2:
        return "The runs share a single point, and a difference at one place says nothing about early and late"
    for name, window in (("early", plan.early_window), ("late", plan.late_window)):
        if not inside(x_G, window).any():
            return f"No common point lies in the {name} window, {window[0]:g} to {window[1]:g} of the log range"
        if window_test(x_G, difference_SG, window, scale) is None:
            return (
                f"The difference in the {name} window is the same in all {pairs} seed pairs; with zero variance "
                "between seeds no error can be estimated, so check that the seeds differ"
            )
    return ""


def too_few(pairs: int, minimum: int) -> str:
    """The reason for no verdict below the fewest pairs."""
    have = "No complete seed pair" if pairs == 0 else f"Only {pairs} complete seed pair{'s' * (pairs > 1)}"
    return f"{have}, and a verdict needs {minimum}: add {minimum - pairs} more, each run in both arms"


def decide(evidence: Evidence, adjusted: PValues, metric: MetricPlan, plan: AnalysisPlan) -> Decision:
    """Decide the outcome.

    In this order: `crossover` (Holm-adjusted intersection-union p, agreed to by sign flips from six pairs on, and
    located); `baseline` or `candidate` (late window, two-sided, Holm-adjusted, the early window not significantly
    opposite); `equivalent` (TOST on the late window, Holm-adjusted); else `insufficient evidence`.

    Args:
        evidence: from `gather`.
        adjusted: its p values after Holm over metrics.
        metric: its direction.
        plan: the alpha of intervals; the tests use the evidence's, which is that of this look.

    Returns:
        The decision.
    """
    early, late = evidence.early, evidence.late
    if evidence.problem or early is None or late is None:
        return Decision("insufficient evidence")
    crossing, obstacle = _crossing(evidence, adjusted, early, metric, plan)
    if crossing is not None:
        return Decision("crossover", crossing)
    if _within(adjusted.late, evidence.alpha) and not _opposite(early, late, evidence.alpha):
        candidate_better = (late.mean < 0) == (metric.direction == "lower")
        return Decision("candidate" if candidate_better else "baseline", obstacle=obstacle)
    if _within(adjusted.same, evidence.alpha):
        return Decision("equivalent", obstacle=obstacle)
    return Decision("insufficient evidence", obstacle=obstacle)


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
