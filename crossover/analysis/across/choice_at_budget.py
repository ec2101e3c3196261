"""What to choose at one budget inside the measured range: the pairs' t interval there, looked at by itself.

Shapes: S seed pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from crossover.analysis.across.cross_cell_result import Choice
from crossover.analysis.analysis_plan import Axis, Comparison, MetricPlan
from crossover.analysis.analysis_result import Analysis, Figure
from crossover.analysis.arm_labels import arm_label
from crossover.analysis.curve_columns import FloatArray
from crossover.analysis.curves import Curve
from crossover.analysis.inference.further_evidence import further_pairs
from crossover.analysis.inference.window_tests import WindowTest
from crossover.analysis.shared_grid import on_grid
from crossover.analysis.verdict_reasons import signed


class BudgetChoice(NamedTuple):
    """A choice at one budget, with its evidence."""

    choose: Choice
    arm: str
    """The arm that was compared with."""
    difference: float | None
    interval: tuple[float, float] | None
    words: str
    pairs: int = 0
    further: int | None = None
    """Pairs to add that would settle it, where it is open."""
    drawn: int | None = None
    """The same if the measurements had no Monte Carlo error, where pairs alone do not settle it."""


def choice_at_budget(
    analysis: Analysis, metric: MetricPlan, axis: Axis, comparison: Comparison, place: float
) -> BudgetChoice:
    """The difference of the pairs at a place, with its t interval; where arms were tuned, against the hardest one.

    The candidate is chosen only if it wins against every arm, each tested by itself (intersection-union). An arm among
    k wins by an interval of alpha / k, which corrects for picking the hardest of them.

    Args:
        analysis: of the cell.
        metric: of the plan.
        axis: of the plan.
        comparison: of the plan.
        place: on the axis, inside the measured range.

    Returns:
        The choice.
    """
    plan = analysis.plan
    figure = next(f for f in analysis.figures if (f.metric, f.axis, f.comparison) == (metric.name, axis, comparison))
    arms = (plan.baseline, *plan.tuned)
    choices = [_against(arm, figure, metric, analysis, place, tests=len(arms)) for arm in arms]
    ranked = [f for f in choices if f.difference is not None]
    if len(ranked) < len(choices):
        return next(f for f in choices if f.difference is None)
    sign = 1.0 if metric.direction == "lower" else -1.0
    return max(ranked, key=lambda f: (f.choose == "baseline", f.choose != "candidate", sign * (f.difference or 0.0)))


def _against(
    arm: str, figure: Figure, metric: MetricPlan, analysis: Analysis, place: float, *, tests: int
) -> BudgetChoice:
    """The candidate against one arm at the place."""
    plan = analysis.plan
    baseline, candidate = _curves(figure, arm), _curves(figure, plan.candidate)
    seeds = sorted(set(baseline) & set(candidate))
    if len(seeds) < 2:
        words = f"not known, since fewer than two seeds were run in both arms, {arm_label(arm)} among them"
        return BudgetChoice("cannot say", arm, None, None, words, len(seeds))
    chosen = [side[seed] for side in (baseline, candidate) for seed in seeds]
    value_AS = on_grid(chosen, np.array([place])).value_SG.reshape(2, len(seeds))
    shared = float(np.hypot(_monte_carlo(baseline, seeds, place), _monte_carlo(candidate, seeds, place)))
    difference_S = value_AS[1] - value_AS[0]
    against_baseline = _judged(difference_S, shared, plan.alpha, arm, place, metric, analysis)
    if against_baseline.choose != "baseline" or tests == 1:
        return against_baseline
    return _judged(difference_S, shared, plan.alpha / tests, arm, place, metric, analysis)


def _monte_carlo(side: dict[int, Curve], seeds: Sequence[int], place: float) -> float:
    """The standard error of an arm's measurements there, taken as shared by all its seeds."""
    errors = [np.interp(np.log(place), np.log(side[seed].x_P), side[seed].stderr_P) for seed in seeds]
    return float(np.nan_to_num(np.mean(errors)))


def _curves(figure: Figure, arm: str) -> dict[int, Curve]:
    return {
        c.seed: Curve(np.array(c.x), np.array(c.value), np.array(c.stderr))
        for c in figure.seeds
        if c.arm == arm and c.x
    }


def _judged(
    difference_S: FloatArray,
    shared: float,
    alpha: float,
    arm: str,
    place: float,
    metric: MetricPlan,
    analysis: Analysis,
) -> BudgetChoice:
    plan = analysis.plan
    mean, sd = float(difference_S.mean()), float(difference_S.std(ddof=1)) if difference_S.size > 1 else 0.0
    exact = WindowTest(place, place, difference_S, mean, sd, 1.0, 1.0)
    test = replace(exact, monte_carlo=shared)
    low, high = interval = test.interval(alpha)
    words = f"{arm_label(plan.candidate)} − {arm_label(arm)} is {signed(mean)} {metric.unit}".rstrip()
    words += f" ({signed(low)} to {signed(high)})"
    further, drawn = None, None
    choose: Choice
    if test.pairs < plan.minimum_pairs:
        choose, words = "cannot say", f"{words}; a choice needs {plan.minimum_pairs} pairs"
        further = plan.minimum_pairs - test.pairs
    elif -metric.delta < low and high < metric.delta:
        choose, words = "either", f"{words}, inside ±δ = {metric.delta:g}"
    elif high < 0 or low > 0:
        choose = "candidate" if (high < 0) == (metric.direction == "lower") else "baseline"
    else:
        choose, words = "cannot say", f"{words}, which holds zero"
        further, drawn = (further_pairs(t, t, delta=metric.delta, plan=plan) for t in (test, exact))
    return BudgetChoice(choose, arm, mean, interval, words, test.pairs, further, drawn if further is None else None)
