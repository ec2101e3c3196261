"""Contrasts: a metric on an axis for a comparison, against the default or best tuned baseline, with its evidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from crossover.analysis.analysis_plan import AnalysisPlan, Axis, Comparison, MetricPlan
from crossover.analysis.arm_labels import arm_label
from crossover.analysis.curves import Curve, CurveKey, Paired, complete_seeds
from crossover.analysis.inference.tuned_opponents import against_tuned, without_picking
from crossover.analysis.inference.verdict_rules import Evidence, gather, scale_of, too_few
from crossover.analysis.run_coverage import Coverage
from crossover.analysis.shared_grid import pair_up

RunsOf = Mapping[CurveKey, Curve]
"""Curves by (arm, seed)."""
LEAST_SHARE = 0.5
"""Runs that share less than this of the log range of a typical run are not judged."""


@dataclass(frozen=True)
class Contrast:
    """A metric on an axis for a comparison against an opponent, with its curves and its evidence."""

    metric: MetricPlan
    axis: Axis
    comparison: Comparison
    baseline: str
    runs: Mapping[CurveKey, Curve]
    paired: Paired | None
    evidence: Evidence
    coverage: Coverage = field(default_factory=Coverage)
    lost_runs: Mapping[CurveKey, Curve] = field(default_factory=dict)
    """The curves of the runs that the coverage lost."""
    picks: dict[int, str] = field(default_factory=dict)
    """Against tuned arms: which one stands for each seed."""


def gather_contrast(
    runs: Mapping[CurveKey, Curve],
    metric: MetricPlan,
    plan: AnalysisPlan,
    axis: Axis,
    comparison: Comparison,
    *,
    coverage: Coverage | None = None,
    lost_runs: Mapping[CurveKey, Curve] | None = None,
    tuned: bool = False,
) -> Contrast:
    """Gather the evidence of one contrast.

    Args:
        runs: the curves that the comparison looks at, without those that the coverage lost.
        metric: what they show.
        plan: arms, windows, alpha, looks.
        axis: what they stand on.
        comparison: which comparison they belong to.
        coverage: what became of the metric's runs; nothing was lost when absent.
        lost_runs: the curves of the runs lost.
        tuned: against the best tuned baseline in place of the default one.
    """
    baseline, picks, used = plan.baseline, dict[int, str](), runs
    if tuned:
        baseline = plan.tuned_name
        used, picks = against_tuned(runs, metric, plan, axis)
    paired = pair_up(used, axis, baseline, plan.candidate, _span(used, axis) if coverage else None)
    if paired is None:
        pairs = len(complete_seeds(used, baseline, plan.candidate))
        problem = _untuned(plan) if tuned else _unpaired(runs, plan, metric, axis)
        evidence = Evidence(pairs, np.empty(0), np.empty((0, 0)), problem=problem)
    else:
        evidence = evidence_of(paired, metric, plan, comparison)
        if tuned:
            evidence = without_picking(evidence, runs, paired.seeds, metric, plan, axis)
        problem = _unfit(used, paired, metric, plan, (baseline, plan.candidate))
        evidence = replace(evidence, problem=problem or evidence.problem)
    if coverage is not None and (coverage.problem or (coverage.lost and evidence.pairs < plan.minimum_pairs)):
        evidence = replace(evidence, problem=coverage.problem or f"{evidence.problem}; {without(coverage)}")
    return Contrast(
        metric, axis, comparison, baseline, used, paired, evidence, coverage or Coverage(), lost_runs or {}, picks
    )


def _span(runs: Mapping[CurveKey, Curve], axis: Axis) -> tuple[float, float] | None:
    """What windows are shares of: where runs typically begin and end; on seconds where all are measured."""
    ends = np.array([(c.x_P[0], c.x_P[-1]) for c in runs.values() if c.x_P.size])
    if axis == "seconds" or not ends.size:
        return None
    arms = [[c for (a, _), c in runs.items() if a == arm and c.x_P.size] for arm in {a for a, _ in runs}]
    ends = np.array([[np.median([c.x_P[i] for c in curves]) for i in (0, -1)] for curves in arms if curves])
    low, high = float(ends[:, 0].max()), float(ends[:, 1].min())
    return (low, high) if low < high else None


def evidence_of(
    paired: Paired, metric: MetricPlan, plan: AnalysisPlan, comparison: Comparison, *, bent: bool = True
) -> Evidence:
    """The evidence of seed pairs on their grid; not `bent`, as if nothing had been interpolated."""
    return gather(
        paired.x_G,
        paired.difference_SG,
        metric,
        plan,
        scale=scale_of(paired.baseline_SG, paired.candidate_SG),
        error_SG=paired.error_SG,
        span=paired.span,
        bend_SG=paired.bend_SG if bent and paired.bend_SG.any() else None,
        untrained_beginning=comparison == "matched",
    )


def without(coverage: Coverage) -> str:
    """The runs left out: `left out with their pairs: DLM seed 3 (ends at 46k tokens)`."""
    listed = ", ".join(f"{arm_label(run.arm)} seed {run.seed} ({run.reason})" for run in coverage.lost)
    return f"left out with its pair: {listed}" if len(coverage.lost) == 1 else f"left out with their pairs: {listed}"


def _unfit(
    runs: Mapping[CurveKey, Curve], paired: Paired, metric: MetricPlan, plan: AnalysisPlan, arms: tuple[str, str]
) -> str:
    """Why curves say nothing: values that never change, or a range that is half of what runs typically cover."""
    used = {key: c for key, c in runs.items() if key[0] in arms and key[1] in paired.seeds}
    if len({value for c in used.values() for value in (c.value_P.min(), c.value_P.max())}) == 1:
        return f"{metric.title} never changes in any run"
    starts, ends = ({key: float(np.log(c.x_P[i])) for key, c in used.items()} for i in (0, -1))
    typical = float(np.median([ends[key] - starts[key] for key in used]))
    shared = float(np.log(paired.x_G[-1] / paired.x_G[0]))
    if paired.x_G.size < 2 or shared >= LEAST_SHARE * typical:
        return ""
    last, first = max(starts, key=starts.__getitem__), min(ends, key=ends.__getitem__)
    return (
        f"The runs share {100 * shared / typical:.0f} % of the log range that a typical run covers: "
        f"the last to begin is {_run(last)}, the first to end is {_run(first)}"
    )


def _run(key: CurveKey) -> str:
    return f"{arm_label(key[0])} seed {key[1]}"


def _untuned(plan: AnalysisPlan) -> str:
    arms = ", ".join((plan.baseline, *plan.tuned))
    return f"Fewer than two seeds were run in all of {arms} and {plan.candidate}, so that no tuned arm can be chosen"


def _unpaired(runs: Mapping[CurveKey, Curve], plan: AnalysisPlan, metric: MetricPlan, axis: Axis) -> str:
    """Why no seed pair can be compared."""
    arms = (plan.baseline, plan.candidate)
    seeds = {arm: sorted(s for (a, s), c in runs.items() if a == arm and c.x_P.size) for arm in arms}
    for arm, having in seeds.items():
        if not having:
            return f"Arm {arm} has no usable point of {metric.title} on {axis}: every value is missing or not finite"
    if not complete_seeds(runs, *arms):
        listed = "; ".join(f"{arm} has {', '.join(map(str, having))}" for arm, having in seeds.items())
        few = too_few(0, plan.minimum_pairs)
        return f"No seed was run in both arms ({listed}): {few[0].lower()}{few[1:]}"
    return f"The paired runs share no range of {axis}: one ends before another begins"
