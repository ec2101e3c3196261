"""How much of the gap between the arms each of three factors closes, measured by ablations.

Ni et al. (arXiv 2511.03276) name any-order modelling, super-dense compute, and Monte Carlo augmentation. An ablation
arm has one of them and not the rest: AR with masked input or dropout has the augmentation; masked training along fixed
orders has all but any order. Compute is read off the runs themselves: the same comparison at equal FLOPs, and how many
times the baseline's FLOPs the candidate needs to be as good as the baseline ever was.

Shapes: S seeds that baseline, candidate and ablation were all run with.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from scipy import special

from crossover.analysis.across.cross_cell_result import Factor
from crossover.analysis.analysis_plan import AnalysisPlan, Axis, MetricPlan
from crossover.analysis.best_checkpoints import running_best
from crossover.analysis.curve_columns import Columns, FloatArray, read_columns
from crossover.analysis.curves import Curve, CurveKey, complete_seeds, runs_of
from crossover.analysis.inference.window_tests import inside
from crossover.analysis.shared_grid import on_grid, shared_grid

Kind = Literal["any-order modelling", "Monte Carlo augmentation"]


def factors(
    curves: Any,  # noqa: ANN401 - any table that gives a column by name
    plan: AnalysisPlan,
    ablations: Mapping[str, Kind],
    *,
    unique_tokens: int | None = None,
) -> tuple[Factor, ...]:
    """How much of the late gap between the families each factor closes, for every metric of the plan.

    An augmented baseline (Monte Carlo augmentation) closes (ablation - baseline) / (candidate - baseline) of the gap.
    A candidate that lacks any order loses it: what any order closes is (candidate - ablation) / (candidate - baseline).
    Super-dense compute: the share of the gap at equal tokens that is gone at equal FLOPs; it counts only where the
    candidate spends more FLOPs a token.

    Args:
        curves: a table as `analyse` takes it, with the ablation arms in it.
        plan: metrics, arms, late window, alpha.
        ablations: arm to the factor that it isolates.
        unique_tokens: as for `analyse`.

    Returns:
        A factor for each metric and ablation, and one for compute where FLOPs are known. The interval of a share is
        Fieller's over seeds.
    """
    columns = read_columns(curves, plan, unique_tokens)
    results = []
    for metric in plan.metrics:
        runs = runs_of(columns, metric.name, "tokens")
        present = [arm for arm in ablations if any(name == arm and c.x_P.size for (name, _), c in runs.items())]
        results += [_ablation(runs, metric, plan, arm, ablations[arm]) for arm in present]
        results += _compute(columns, metric, plan)
    return tuple(results)


def _ablation(runs: Mapping[CurveKey, Curve], metric: MetricPlan, plan: AnalysisPlan, arm: str, kind: Kind) -> Factor:
    late = _late(runs, (plan.baseline, plan.candidate, arm), plan, "tokens")
    if late is None:
        return _unknown(kind, metric, arm, "its runs share no seed and range with both families")
    baseline_S, candidate_S, ablation_S = late
    part_S = ablation_S - baseline_S if kind == "Monte Carlo augmentation" else candidate_S - ablation_S
    verb = f"arm {arm} closes" if kind == "Monte Carlo augmentation" else f"arm {arm}, without free order, gives up"
    return _factor(kind, metric, plan, arm, part_S, candidate_S - baseline_S, verb)


def _compute(columns: Columns, metric: MetricPlan, plan: AnalysisPlan) -> list[Factor]:
    """The gap at equal tokens beside that at equal FLOPs; nothing where FLOPs are unknown or equal a token."""
    arms = (plan.baseline, plan.candidate)
    if not np.isfinite(columns.x["flops"]).any():
        return []
    late = [_late(runs_of(columns, metric.name, axis), arms, plan, axis) for axis in ("tokens", "flops")]
    rate = [_flops_per_token(columns, arm) for arm in arms]
    if late[0] is None or late[1] is None or late[0].shape != late[1].shape:
        return [_unknown("super-dense compute", metric, "", "the families share no range of FLOPs")]
    at_tokens_S, at_flops_S = (side[1] - side[0] for side in (late[0], late[1]))
    words = (
        f"arm {plan.candidate} {_needs(runs_of(columns, metric.name, 'flops'), metric, plan)}, "
        f"at {rate[1] / rate[0]:.2f} times the FLOPs a token; comparing at equal FLOPs, not tokens, takes away"
    )
    return [_factor("super-dense compute", metric, plan, "", at_tokens_S - at_flops_S, at_tokens_S, words)]


def _needs(runs: Mapping[CurveKey, Curve], metric: MetricPlan, plan: AnalysisPlan) -> str:
    """How many times the baseline's FLOPs at its best the candidate needs to be as good, over seeds."""
    ratios, seeds = [], complete_seeds(runs, plan.baseline, plan.candidate)
    for seed in seeds:
        baseline, candidate = (running_best(runs[arm, seed], metric) for arm in (plan.baseline, plan.candidate))
        at = baseline.x_P[int(np.argmax(baseline.value_P == baseline.value_P[-1]))]
        target = baseline.value_P[-1]
        reached_P = candidate.value_P <= target if metric.direction == "lower" else candidate.value_P >= target
        if reached_P.any():
            ratios.append(float(np.log(candidate.x_P[int(np.argmax(reached_P))] / at)))
    if len(ratios) < len(seeds) or len(ratios) < 2:
        return f"is as good as {plan.baseline} ever was in {len(ratios)} of {len(seeds)} seeds"
    log_S = np.array(ratios)
    half = float(special.stdtrit(log_S.size - 1, 1 - plan.alpha / 2)) * float(log_S.std(ddof=1)) / np.sqrt(log_S.size)
    middle, low, high = (float(np.exp(log_S.mean() + side)) for side in (0.0, -half, half))
    return f"needs {middle:.3g} ({low:.3g} to {high:.3g}) times the FLOPs to be as good as {plan.baseline} ever was"


def _flops_per_token(columns: Columns, arm: str) -> float:
    rows = (columns.arm == arm) & (columns.x["tokens"] > 0) & np.isfinite(columns.x["flops"])
    return float(np.median(columns.x["flops"][rows] / columns.x["tokens"][rows])) if rows.any() else float("nan")


def _late(runs: Mapping[CurveKey, Curve], arms: tuple[str, ...], plan: AnalysisPlan, axis: Axis) -> FloatArray | None:
    """Late means of each arm on the grid that all share: late_AS; None without two shared seeds or a late point."""
    seeds = sorted(set.intersection(*(set(complete_seeds(runs, arm, plan.candidate)) for arm in arms)))
    of_arms = [[runs[arm, seed] for seed in seeds] for arm in arms]
    x_G = shared_grid(of_arms, axis) if len(seeds) > 1 else np.empty(0)
    late_G = inside(x_G, plan.late_window) if x_G.size > 1 else np.zeros(0, dtype=bool)
    if not late_G.any():
        return None
    return np.stack([on_grid(curves, x_G).value_SG[:, late_G].mean(axis=1) for curves in of_arms])


def _factor(
    kind: Literal["any-order modelling", "super-dense compute", "Monte Carlo augmentation"],
    metric: MetricPlan,
    plan: AnalysisPlan,
    arm: str,
    part_S: FloatArray,
    gap_S: FloatArray,
    words: str,
) -> Factor:
    pairs, gap = gap_S.size, float(gap_S.mean())
    half = float(special.stdtrit(pairs - 1, 1 - plan.alpha / 2)) * float(gap_S.std(ddof=1)) / np.sqrt(pairs)
    low, high = fieller(part_S, -gap_S, plan.alpha)
    share = float(part_S.mean()) / gap if gap else None
    clear = abs(gap) > half
    interval = f"{low:.2f} to {high:.2f}" if low is not None and high is not None else "unbounded"
    reason = (
        f"{words} {share:.2f} of the gap of {gap:+.3g} {metric.unit}".rstrip()
        + f" ({interval}), {pairs} seeds, late window"
        if clear and share is not None
        else f"the gap itself, {gap:+.3g} {metric.unit}".rstrip() + f" over {pairs} seeds, is not clear of zero"
    )
    if pairs < plan.minimum_pairs:
        reason += f"; fewer than {plan.minimum_pairs} seeds, so this is a description and no test"
    return Factor(
        name=kind,
        metric=metric.name,
        arm=arm,
        gap=gap,
        gap_interval=(gap - half, gap + half),
        closed=share if clear else None,
        closed_interval=(low, high) if clear else None,
        pairs=pairs,
        reason=f"{reason[0].upper()}{reason[1:]}.",
    )


def _unknown(
    kind: Literal["any-order modelling", "super-dense compute", "Monte Carlo augmentation"],
    metric: MetricPlan,
    arm: str,
    problem: str,
) -> Factor:
    return Factor(
        name=kind,
        metric=metric.name,
        arm=arm,
        gap=None,
        gap_interval=None,
        closed=None,
        closed_interval=None,
        pairs=0,
        reason=f"{f'Arm {arm}' if arm else 'Compute'}: {problem}.",
    )


def fieller(intercept_S: FloatArray, slope_S: FloatArray, alpha: float) -> tuple[float | None, float | None]:
    """The interval of the root -mean(intercept) / mean(slope).

    The set of roots θ with |ā + b̄θ| <= t · se(ā + b̄θ), a quadratic in θ (Fieller 1954, J. R. Stat. Soc. B 16).

    Args:
        intercept_S: one per seed pair.
        slope_S: one per seed pair.
        alpha: one minus the coverage.

    Returns:
        Both ends; (None, None) when the mean slope is not clear of zero and the set is unbounded.
    """
    pairs = intercept_S.size
    weight = float(special.stdtrit(pairs - 1, 1 - alpha / 2)) ** 2 / (pairs * (pairs - 1))
    a, b = float(intercept_S.mean()), float(slope_S.mean())
    da, db = intercept_S - a, slope_S - b
    square = b * b - weight * float(db @ db)
    middle = a * b - weight * float(da @ db)
    constant = a * a - weight * float(da @ da)
    if square <= 0:
        return None, None
    root = float(np.sqrt(max(0.0, middle * middle - square * constant)))
    return (-middle - root) / square, (-middle + root) / square
