"""What to choose at one budget inside the measured range: the pairs' interval there, at the level of the verdicts.

Any budget may be asked for, and several: the interval is that of a simultaneous band over the whole range. Its level
is that of this look, divided by the number of tests that Holm adjusts the plan's verdicts over, and by the halves of
an answer: with early stopping and without.

Shapes: S seed pairs, G places.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from scipy import special

from crossover.analysis.across.cross_cell_result import Choice
from crossover.analysis.analysis_plan import AnalysisPlan, Axis, Comparison, MetricPlan
from crossover.analysis.analysis_result import Analysis, Figure
from crossover.analysis.arm_labels import arm_label
from crossover.analysis.axis_text import signed
from crossover.analysis.curve_columns import FloatArray
from crossover.analysis.curves import Curve, CurveKey
from crossover.analysis.further_words import further_words
from crossover.analysis.inference.alpha_spending import nominal_alpha
from crossover.analysis.inference.confidence_bands import critical_value
from crossover.analysis.inference.further_evidence import further_pairs
from crossover.analysis.inference.window_tests import WindowTest
from crossover.analysis.shared_grid import on_grid
from crossover.analysis.upper_bounds import upper_bound_arm

_SAME = 1e-12


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
    """The difference of the pairs at a place, with its interval; where arms were tuned, against the hardest one.

    The candidate is chosen only if it wins against every arm, each tested by itself (intersection-union). An arm among
    k wins by a level divided by k, which corrects for picking the hardest of them.

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
    lost = {(run.arm, run.seed) for v in analysis.verdicts if v.metric == metric.name for run in v.lost}
    baseline, candidate = (_curves(figure, name, lost) for name in (arm, plan.candidate))
    seeds = sorted(set(baseline) & set(candidate))
    if len(seeds) < 2:
        words = f"not known, since fewer than two seeds were run in both arms, {arm_label(arm)} among them"
        return BudgetChoice("cannot say", arm, None, None, words, len(seeds))
    level = nominal_alpha(plan.looks, len(seeds), plan.alpha, spending=plan.spending)
    if level is None:
        looks = ", ".join(map(str, plan.looks))
        words = f"not known, since the plan looks at {looks} seed pairs only, and there are {len(seeds)}"
        further = next(look for look in plan.looks if look > len(seeds)) - len(seeds)
        return BudgetChoice("cannot say", arm, None, None, words, len(seeds), further)
    chosen = [side[seed] for side in (baseline, candidate) for seed in seeds]
    value_AG = on_grid(chosen, _places(chosen, place)).value_SG
    difference_SG = value_AG[len(seeds) :] - value_AG[: len(seeds)]
    shared = float(np.hypot(_monte_carlo(baseline, seeds, place), _monte_carlo(candidate, seeds, place)))
    level /= _family(plan)
    against_baseline = _judged(difference_SG, shared, level, arm, place, metric, analysis)
    if against_baseline.choose != "baseline" or tests == 1:
        return against_baseline
    return _judged(difference_SG, shared, level / tests, arm, place, metric, analysis)


def _places(chosen: Sequence[Curve], place: float) -> FloatArray:
    """The place, then every place where runs were measured and all of them can be compared."""
    start, end = max(c.x_P[0] for c in chosen), min(c.x_P[-1] for c in chosen)
    every_G = np.unique(np.concatenate([c.x_P for c in chosen]))
    return np.concatenate(([place], every_G[(every_G >= start) & (every_G <= end)]))


def _family(plan: AnalysisPlan) -> int:
    """How many tests the plan's verdicts pay for within a comparison, times the halves of an answer."""
    metrics, halves = len(plan.metrics), len({"matched", "best-so-far"} & {*plan.comparisons})
    return {"none": 1, "metrics": metrics}.get(plan.multiplicity, metrics * len(plan.axes)) * max(1, halves)


def _monte_carlo(side: dict[int, Curve], seeds: Sequence[int], place: float) -> float:
    """The standard error of an arm's measurements there, taken as shared by all its seeds."""
    errors = [np.interp(np.log(place), np.log(side[seed].x_P), side[seed].stderr_P) for seed in seeds]
    return float(np.nan_to_num(np.mean(errors)))


def _curves(figure: Figure, arm: str, lost: Collection[CurveKey]) -> dict[int, Curve]:
    return {
        c.seed: Curve(np.array(c.x), np.array(c.value), np.array(c.stderr))
        for c in figure.seeds
        if c.arm == arm and c.x and (c.arm, c.seed) not in lost
    }


def _confirmed(analysis: Analysis, metric: MetricPlan) -> bool:
    """Whether the chain rule confirmed a winner over the upper bound."""
    return any(v.metric == metric.name and v.upper_bound and v.outcome == "baseline" for v in analysis.verdicts)


def _judged(
    difference_SG: FloatArray,
    shared: float,
    level: float,
    arm: str,
    place: float,
    metric: MetricPlan,
    analysis: Analysis,
) -> BudgetChoice:
    """The choice by the differences of the pairs, at the place in column 0 and over the range in the others."""
    plan, difference_S = analysis.plan, difference_SG[:, 0]
    mean, sd = float(difference_S.mean()), float(difference_S.std(ddof=1))
    exact = WindowTest(place, place, difference_S, mean, sd, 1.0, 1.0)
    test = replace(exact, monte_carlo=shared)
    words = f"{arm_label(plan.candidate)} − {arm_label(arm)} is {signed(mean)} {metric.unit}".rstrip()
    if sd <= _SAME * float(np.abs(difference_SG).max()):
        words += "; it is the same in all pairs, so that no error can be estimated"
        return BudgetChoice("cannot say", arm, mean, None, words, test.pairs)
    critical = critical_value(difference_SG[:, 1:], level)
    low, high = interval = mean - critical * test.standard_error, mean + critical * test.standard_error
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
        bound = upper_bound_arm(metric, plan)
        if bound and bound != {"candidate": plan.candidate}.get(choose, arm) and not _confirmed(analysis, metric):
            choose, words = "cannot say", f"{words}, against the {arm_label(bound)}'s upper bound, which may be loose"
    else:
        choose, words = "cannot say", f"{words}, which holds zero"
        tests = math.ceil(plan.alpha / float(2 * special.stdtr(test.pairs - 1, -critical)))
        further, drawn = (further_pairs(t, t, delta=metric.delta, plan=plan, tests=tests) for t in (test, exact))
        if not (further or drawn):
            words += f"; {further_words(test.pairs, None, plan)}"
    return BudgetChoice(choose, arm, mean, interval, words, test.pairs, further, drawn if further is None else None)
