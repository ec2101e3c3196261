"""Against the best of several tuned baselines, without the winner's curse.

To pick the best of k arms and to compare it on the same runs makes the baseline look better than it is. Hence:

- tests never pick. The candidate is better than the best arm only if it is better than every arm: the largest p of k
  one-sided tests (intersection-union, Berger 1982). The best arm is better than the candidate if any arm is: k times
  the smallest p (Bonferroni). Both hold exactly whatever the arms share.
- estimates pick for each seed on the other seeds (nested selection): the arm that stands for seed s is the one with the
  best late mean over all seeds but s, so that its value at s had no part in the choice, and the mean is not biased.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from crossover.analysis.analysis_plan import AnalysisPlan, Axis, MetricPlan
from crossover.analysis.curves import Curve, CurveKey, complete_seeds
from crossover.analysis.inference.verdict_rules import Evidence, PValues, gather, scale_of
from crossover.analysis.inference.window_tests import WindowTest, inside, iut_p, tost_sides
from crossover.analysis.shared_grid import on_grid, pair_up, shared_grid


def arms_of(runs: Mapping[CurveKey, Curve], plan: AnalysisPlan) -> list[str]:
    """The baseline and the tuned arms that were measured."""
    measured = {arm for (arm, _), curve in runs.items() if curve.x_P.size}
    return [plan.baseline, *(arm for arm in plan.tuned if arm in measured)]


def without_picking(
    evidence: Evidence,
    runs: Mapping[CurveKey, Curve],
    seeds: Sequence[int],
    metric: MetricPlan,
    plan: AnalysisPlan,
    axis: Axis,
) -> Evidence:
    """The evidence with p values that hold against the best of all arms.

    Args:
        evidence: of the nested differences; its means and spreads stay.
        runs: curves of the comparison, of all arms.
        seeds: the seeds that count.
        metric: its direction and delta.
        plan: the arms.
        axis: what the curves stand on.
    """
    if evidence.problem or evidence.early is None or evidence.late is None:
        return evidence
    tests: list[tuple[WindowTest, WindowTest]] = []
    for arm in arms_of(runs, plan):
        paired = pair_up({key: curve for key, curve in runs.items() if key[1] in seeds}, axis, arm, plan.candidate)
        if paired is None:
            return replace(evidence, problem=f"Arm {arm} shares no range of {axis} with the candidate")
        scale = scale_of(paired.baseline_SG, paired.candidate_SG)
        one = gather(
            paired.x_G,
            paired.difference_SG,
            metric,
            plan,
            scale=scale,
            error_SG=paired.error_SG,
            bend_SG=paired.bend_SG if paired.bend_SG.any() else None,
        )
        if one.problem or one.early is None or one.late is None:
            return replace(evidence, problem=f"Against arm {arm}: {one.problem[:1].lower()}{one.problem[1:]}")
        tests.append((one.early, one.late))
    lower = metric.direction == "lower"
    early = _combined(evidence.early, [early for early, _ in tests], lower=lower)
    late = _combined(evidence.late, [late for _, late in tests], lower=lower)
    sides = [tost_sides(test, metric.delta) for _, test in tests]
    worse, better = ([side[i] for side in sides] for i in ((1, 0) if lower else (0, 1)))
    raw = PValues(
        crossover=iut_p(early, late),
        late=2 * min(late.p_positive, late.p_negative),
        same=max(*worse, min(1.0, len(tests) * min(better))),
    )
    return replace(evidence, early=early, late=late, raw=raw, sign_flip=None)


def _combined(nested: WindowTest, tests: Sequence[WindowTest], *, lower: bool) -> WindowTest:
    """The nested window with p values against the best arm: of all for the candidate, of any for the arms."""
    positive, negative = [t.p_positive for t in tests], [t.p_negative for t in tests]
    of_any, of_all = (positive, negative) if lower else (negative, positive)
    arms_better, candidate_better = min(1.0, len(tests) * min(of_any)), max(of_all)
    pair = (arms_better, candidate_better) if lower else (candidate_better, arms_better)
    return replace(nested, p_positive=pair[0], p_negative=pair[1])


def against_tuned(
    runs: Mapping[CurveKey, Curve], metric: MetricPlan, plan: AnalysisPlan, axis: Axis
) -> tuple[dict[CurveKey, Curve], dict[int, str]]:
    """The candidate's runs beside those of the tuned arm that was chosen for each seed.

    Args:
        runs: curves of the comparison, by (arm, seed).
        metric: its direction says what is better.
        plan: the baseline and the tuned arms; the late window, in which they are compared with each other.
        axis: what the curves stand on.

    Returns:
        Runs under the names `plan.tuned_name` and `plan.candidate`, and the arm picked for each seed. Only seeds that
        all these arms were run with count; both are empty with fewer than two, or without a common range.
    """
    arms = arms_of(runs, plan)
    seeds = _shared_seeds(runs, [*arms, plan.candidate])
    of_arms = [[runs[arm, seed] for seed in seeds] for arm in arms]
    x_G = shared_grid(of_arms, axis) if len(seeds) > 1 else np.empty(0)
    late_G = inside(x_G, plan.late_window) if x_G.size > 1 else np.zeros(0, dtype=bool)
    if not late_G.any():
        return {}, {}
    late_AS = np.stack([on_grid(curves, x_G).value_SG[:, late_G].mean(axis=1) for curves in of_arms])
    cost_AS = late_AS if metric.direction == "lower" else -late_AS
    others_AS = cost_AS.sum(axis=1, keepdims=True) - cost_AS
    picks = {seed: arms[int(i)] for seed, i in zip(seeds, others_AS.argmin(axis=0), strict=True)}
    chosen = {(plan.tuned_name, seed): runs[arm, seed] for seed, arm in picks.items()}
    return chosen | {(plan.candidate, seed): runs[plan.candidate, seed] for seed in seeds}, picks


def _shared_seeds(runs: Mapping[CurveKey, Curve], arms: Sequence[str]) -> tuple[int, ...]:
    shared = set(complete_seeds(runs, arms[0], arms[-1]))
    for arm in arms[1:-1]:
        shared &= set(complete_seeds(runs, arm, arms[-1]))
    return tuple(sorted(shared))
