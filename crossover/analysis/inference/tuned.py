"""The best of several tuned baselines, chosen for each seed on the other seeds, so that choosing does not flatter it.

To pick the best of k arms and to compare it on the same runs makes the baseline look better than it is (the winner's
curse), and the verdict biased towards it. Here the arm that stands for seed s is the one with the best late mean over
all seeds but s (nested selection, leave one out): its value at seed s had no part in the choice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from crossover.analysis.curves import Curve, RunKey, common_grid, complete_seeds, on_grid
from crossover.analysis.inference.windows import inside
from crossover.analysis.plan import AnalysisPlan, Axis, MetricPlan


def against_tuned(
    runs: Mapping[RunKey, Curve], metric: MetricPlan, plan: AnalysisPlan, axis: Axis
) -> tuple[dict[RunKey, Curve], dict[int, str]]:
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
    arms = [
        plan.baseline,
        *(arm for arm in plan.tuned if any(name == arm and c.x_P.size for (name, _), c in runs.items())),
    ]
    seeds = _shared_seeds(runs, [*arms, plan.candidate])
    curves = [runs[arm, seed] for arm in arms for seed in seeds]
    x_G = common_grid(curves, axis) if len(seeds) > 1 else np.empty(0)
    late_G = inside(x_G, plan.late_window) if x_G.size > 1 else np.zeros(0, dtype=bool)
    if not late_G.any():
        return {}, {}
    late_AS = on_grid(curves, x_G)[:, late_G].mean(axis=1).reshape(len(arms), len(seeds))
    cost_AS = late_AS if metric.direction == "lower" else -late_AS
    others_AS = cost_AS.sum(axis=1, keepdims=True) - cost_AS
    picks = {seed: arms[int(i)] for seed, i in zip(seeds, others_AS.argmin(axis=0), strict=True)}
    chosen = {(plan.tuned_name, seed): runs[arm, seed] for seed, arm in picks.items()}
    return chosen | {(plan.candidate, seed): runs[plan.candidate, seed] for seed in seeds}, picks


def _shared_seeds(runs: Mapping[RunKey, Curve], arms: Sequence[str]) -> tuple[int, ...]:
    shared = set(complete_seeds(runs, arms[0], arms[-1]))
    for arm in arms[1:-1]:
        shared &= set(complete_seeds(runs, arm, arms[-1]))
    return tuple(sorted(shared))
