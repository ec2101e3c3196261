"""Contrasts (a metric on an axis for a comparison, against the default or best tuned baseline) and their verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from crossover.analysis.analysis_plan import AnalysisPlan, Axis, Comparison, MetricPlan
from crossover.analysis.analysis_result import Verdict, Window
from crossover.analysis.curves import Curve, CurveKey, Paired, complete_seeds, pair_up
from crossover.analysis.inference.further_evidence import further_pairs, further_reach
from crossover.analysis.inference.tuned_opponents import against_tuned, without_picking
from crossover.analysis.inference.verdict_rules import Evidence, PValues, decide, gather, scale_of, too_few
from crossover.analysis.inference.window_tests import WindowTest, holm
from crossover.analysis.verdict_reasons import reason

RunsOf = Mapping[CurveKey, Curve]
"""Curves by (arm, seed)."""


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
    picks: dict[int, str] = field(default_factory=dict)
    """Against tuned arms: which one stands for each seed."""


def gather_contrast(
    runs: Mapping[CurveKey, Curve],
    metric: MetricPlan,
    plan: AnalysisPlan,
    axis: Axis,
    comparison: Comparison,
    *,
    tuned: bool = False,
) -> Contrast:
    """Gather the evidence of one contrast.

    Args:
        runs: the curves that the comparison looks at.
        metric: what they show.
        plan: arms, windows, alpha, looks.
        axis: what they stand on.
        comparison: which comparison they belong to.
        tuned: against the best tuned baseline in place of the default one.
    """
    baseline, picks, used = plan.baseline, dict[int, str](), runs
    if tuned:
        baseline = plan.tuned_name
        used, picks = against_tuned(runs, metric, plan, axis)
    paired = pair_up(used, axis, baseline, plan.candidate)
    if paired is None:
        pairs = len(complete_seeds(used, baseline, plan.candidate))
        problem = _untuned(plan) if tuned else _unpaired(runs, plan, metric, axis)
        evidence = Evidence(pairs, np.empty(0), np.empty((0, 0)), problem=problem)
    else:
        scale = scale_of(paired.baseline_SG, paired.candidate_SG)
        evidence = gather(paired.x_G, paired.difference_SG, metric, plan, scale=scale, error_SG=paired.error_SG)
        if _constant(used, (baseline, plan.candidate)):
            evidence = Evidence(
                evidence.pairs, evidence.x_G, evidence.difference_SG, problem=f"{metric.title} never changes in any run"
            )
        if tuned:
            evidence = without_picking(evidence, runs, paired.seeds, metric, plan, axis)
    return Contrast(metric, axis, comparison, baseline, used, paired, evidence, picks)


def judge_contrasts(family: Sequence[Contrast], plan: AnalysisPlan) -> list[Verdict]:
    """Verdicts of the contrasts that Holm adjusts over together, in order."""
    raw = [(q.evidence.raw.crossover, q.evidence.raw.late, q.evidence.raw.same) for q in family]
    adjusted = zip(*(holm(list(ps)) for ps in zip(*raw, strict=True)), strict=True)
    lates = [late for _, late, _ in raw if late is not None]
    return [
        _verdict(contrast, PValues(*ps), plan, tests=_factor(contrast.evidence.raw.late, lates), family=len(lates))
        for contrast, ps in zip(family, adjusted, strict=True)
    ]


def _factor(p: float | None, others: Sequence[float]) -> int:
    """What Holm multiplies a p value with."""
    return 1 if p is None else max(1, sum(other >= p for other in others))


def _constant(runs: Mapping[CurveKey, Curve], arms: tuple[str, str]) -> bool:
    of_plan = [c.value_P for (arm, _), c in runs.items() if arm in arms and c.value_P.size]
    return len({value for values in of_plan for value in (values.min(), values.max())}) == 1


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


def _verdict(contrast: Contrast, adjusted: PValues, plan: AnalysisPlan, *, tests: int, family: int) -> Verdict:
    evidence, metric = contrast.evidence, contrast.metric
    decision = decide(evidence, adjusted, metric, plan)
    pairs, reach, drawn = None, None, None
    if decision.outcome == "insufficient evidence":
        pairs = further_pairs(evidence.early, evidence.late, delta=metric.delta, plan=plan, tests=tests)
        if pairs is None and evidence.early is not None and evidence.late is not None:
            early, late = (replace(window, monte_carlo=0.0) for window in (evidence.early, evidence.late))
            drawn = further_pairs(early, late, delta=metric.delta, plan=plan, tests=tests)
        if evidence.late is not None and contrast.comparison == "matched":
            reach = further_reach(evidence.x_G, evidence.difference_SG, plan.alpha)
    seeds = contrast.paired.seeds if contrast.paired else ()
    return Verdict(
        metric=metric.name,
        axis=contrast.axis,
        comparison=contrast.comparison,
        baseline=contrast.baseline,
        candidate=plan.candidate,
        outcome=decision.outcome,
        reason=reason(
            evidence,
            decision,
            adjusted,
            metric=metric,
            plan=plan,
            axis=contrast.axis,
            comparison=contrast.comparison,
            further=pairs,
            drawn=drawn,
            reach=reach,
            tests=family,
            picks=tuple(contrast.picks.values()),
        ),
        pairs=evidence.pairs,
        p_crossover=evidence.raw.crossover,
        p_adjusted=adjusted.crossover,
        early=_window(evidence.early, metric, plan),
        late=_window(evidence.late, metric, plan),
        crossing=decision.crossing,
        further_pairs=pairs,
        drawn_pairs=drawn,
        further_reach=reach,
        sign_changes=evidence.sign_changes,
        turns=evidence.turns,
        picks=tuple(contrast.picks[seed] for seed in seeds) if contrast.picks else (),
        alpha=evidence.alpha,
    )


def _window(test: WindowTest | None, metric: MetricPlan, plan: AnalysisPlan) -> Window | None:
    if test is None:
        return None
    better, worse = test.p_negative, test.p_positive
    if metric.direction == "higher":
        better, worse = worse, better
    return Window(
        low=test.low,
        high=test.high,
        mean=test.mean,
        interval=test.interval(plan.alpha),
        p_candidate_better=better,
        p_baseline_better=worse,
        per_seed=tuple(test.per_seed_S.tolist()),
    )
