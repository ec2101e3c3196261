"""Contrasts (a metric on an axis for a comparison, against the default or best tuned baseline) and their verdicts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from crossover.analysis.analysis_plan import AnalysisPlan, Axis, Comparison, MetricPlan
from crossover.analysis.analysis_result import Verdict, Window
from crossover.analysis.arm_labels import arm_label
from crossover.analysis.curves import Curve, CurveKey, Paired, complete_seeds
from crossover.analysis.inference.further_evidence import further_pairs, further_pairs_range, further_reach
from crossover.analysis.inference.tuned_opponents import against_tuned, without_picking
from crossover.analysis.inference.verdict_rules import Decision, Evidence, PValues, decide, gather, scale_of, too_few
from crossover.analysis.inference.window_tests import WindowTest, holm
from crossover.analysis.run_coverage import Coverage
from crossover.analysis.shared_grid import pair_up
from crossover.analysis.upper_bounds import upper_bound_arm
from crossover.analysis.verdict_reasons import reason

RunsOf = Mapping[CurveKey, Curve]
"""Curves by (arm, seed)."""
Confirmed = Callable[["Contrast"], bool]
LEAST_SHARE = 0.5
"""Runs that share less than this of the log range of a typical run are not judged."""
_AT_THE_END = 3
SAME_PLACES = "measure both arms at the same places"


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
        evidence = _gather(paired, metric, plan, comparison)
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


def _gather(
    paired: Paired, metric: MetricPlan, plan: AnalysisPlan, comparison: Comparison, *, bent: bool = True
) -> Evidence:
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


def judge_contrasts(
    family: Sequence[Contrast], plan: AnalysisPlan, confirmed: Confirmed = lambda contrast: False
) -> list[Verdict]:
    """Verdicts of the contrasts that Holm adjusts over together, in order.

    Args:
        family: the contrasts.
        plan: the arms and the levels.
        confirmed: whether an exact measure confirms the arm whose loss is below the other's upper bound.
    """
    raw = [(q.evidence.raw.crossover, q.evidence.raw.late, q.evidence.raw.same) for q in family]
    adjusted = zip(*(holm(list(ps)) for ps in zip(*raw, strict=True)), strict=True)
    lates = [late for _, late, _ in raw if late is not None]
    return [
        _verdict(
            contrast,
            PValues(*ps),
            plan,
            tests=_factor(contrast.evidence.raw.late, lates),
            family=len(lates),
            confirmed=confirmed,
        )
        for contrast, ps in zip(family, adjusted, strict=True)
    ]


def _factor(p: float | None, others: Sequence[float]) -> int:
    """What Holm multiplies a p value with."""
    return 1 if p is None else max(1, sum(other >= p for other in others))


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


def _verdict(
    contrast: Contrast, adjusted: PValues, plan: AnalysisPlan, *, tests: int, family: int, confirmed: Confirmed
) -> Verdict:
    evidence, metric = contrast.evidence, contrast.metric
    bound = upper_bound_arm(metric, plan)
    decision = decide(evidence, adjusted, metric, plan)
    decision = _if_the_lost_were_worst(contrast, decision, plan, tests=tests)
    decision = _with_bends_named(contrast, decision, plan, tests=tests)
    decision = _no_winner_by_a_bound(contrast, decision, plan, bound, confirmed)
    pairs, reach, drawn, span = None, None, None, None
    if decision.outcome == "insufficient evidence" and not decision.obstacle and not contrast.coverage.problem:
        pairs = further_pairs(evidence.early, evidence.late, delta=metric.delta, plan=plan, tests=tests)
        if pairs is not None and evidence.early is not None and evidence.late is not None:
            span = further_pairs_range(evidence.early, evidence.late, pairs, delta=metric.delta, plan=plan, tests=tests)
        elif evidence.early is not None and evidence.late is not None:
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
            span=span,
            tests=family,
            picks=tuple(contrast.picks.values()),
            left_out=without(contrast.coverage) if contrast.coverage.lost else "",
        ),
        pairs=evidence.pairs,
        p_crossover=evidence.raw.crossover,
        p_adjusted=adjusted.crossover,
        early=_window(evidence.early, metric, plan),
        late=_window(evidence.late, metric, plan),
        crossing=decision.crossing,
        compared=(float(evidence.x_G[0]), float(evidence.x_G[-1])) if evidence.x_G.size else None,
        lost=contrast.coverage.lost,
        obstacle=decision.obstacle,
        upper_bound=bound,
        monte_carlo_known=_errors_known(contrast.runs, metric, plan, contrast.coverage),
        further_pairs=pairs,
        further_pairs_range=span,
        drawn_pairs=drawn,
        further_reach=reach,
        sign_changes=evidence.sign_changes,
        turns=evidence.turns,
        picks=tuple(contrast.picks[seed] for seed in seeds) if contrast.picks else (),
        alpha=evidence.alpha,
    )


def _errors_known(
    runs: Mapping[CurveKey, Curve], metric: MetricPlan, plan: AnalysisPlan, coverage: Coverage | None
) -> bool:
    """Whether a bound came with its Monte Carlo error; an exact loss has none."""
    bound = upper_bound_arm(metric, plan)
    if not bound or (coverage is not None and bound in coverage.with_errors):
        return True
    return coverage is None and any(np.isfinite(c.stderr_P).any() for (arm, _), c in runs.items() if arm == bound)


def _if_the_lost_were_worst(contrast: Contrast, decision: Decision, plan: AnalysisPlan, *, tests: int) -> Decision:
    """The decision, if it also holds with the runs that one arm lost more of as bad as its worst pair."""
    arm, surplus = contrast.coverage.lost_more(plan, contrast.baseline)
    if not surplus or contrast.paired is None or decision.outcome == "insufficient evidence":
        return decision
    paired, metric = contrast.paired, contrast.metric
    worse = 1.0 if (arm == plan.candidate) == (metric.direction == "lower") else -1.0
    mean_G = paired.difference_SG.mean(axis=0)
    ended = max(_worse_at_its_end(contrast, key, metric) for key in contrast.lost_runs if key[0] == arm)
    beyond_G = mean_G + worse * ended
    if surplus > 1:
        beyond_G = mean_G + worse * np.maximum(ended, (worse * (paired.difference_SG - mean_G)).max(axis=0))
    filled = replace(
        paired,
        baseline_SG=np.vstack((paired.baseline_SG, *[paired.baseline_SG.mean(axis=0)] * surplus)),
        candidate_SG=np.vstack((paired.candidate_SG, *[paired.baseline_SG.mean(axis=0) + beyond_G] * surplus)),
        error_SG=np.vstack((paired.error_SG, *[paired.error_SG.mean(axis=0)] * surplus)),
        bend_SG=np.vstack((paired.bend_SG, *[paired.bend_SG.mean(axis=0)] * surplus)),
    )
    worst = _gather(filled, metric, plan.model_copy(update={"looks": ()}), contrast.comparison)
    again = decide(worst, _times(worst.raw, tests), metric, plan)
    if again.outcome == decision.outcome:
        return decision
    other = plan.candidate if arm == contrast.baseline else contrast.baseline
    return Decision(
        "insufficient evidence",
        obstacle=f"{arm_label(arm)} lost more runs, which favours it over {arm_label(other)} if they went badly; with "
        "them as bad as they were when they ended, or several as its worst pair, this is not shown: run them again",
    )


def _worse_at_its_end(contrast: Contrast, key: CurveKey, metric: MetricPlan) -> float:
    """By how much a run that was lost was worse than the others of its arm where it ended; 0 if it was better."""
    lost, x_P = contrast.lost_runs[key], contrast.lost_runs[key].x_P
    others = [c for (arm, _), c in contrast.runs.items() if arm == key[0] and c.x_P.size]
    if not x_P.size or not others:
        return 0.0
    last = slice(-min(_AT_THE_END, x_P.size), None)
    typical_P = np.mean([np.interp(np.log(x_P[last]), np.log(c.x_P), c.value_P) for c in others], axis=0)
    apart = float(np.mean(lost.value_P[last] - typical_P))
    return max(0.0, apart if metric.direction == "lower" else -apart)


def _with_bends_named(contrast: Contrast, decision: Decision, plan: AnalysisPlan, *, tests: int) -> Decision:
    """Where only the error of interpolation stands against a firm outcome, it is named."""
    if decision.outcome != "insufficient evidence" or decision.obstacle or contrast.paired is None:
        return decision
    if contrast.evidence.bend_SG is None or contrast.evidence.problem:
        return decision
    straight = _gather(contrast.paired, contrast.metric, plan, contrast.comparison, bent=False)
    if decide(straight, _times(straight.raw, tests), contrast.metric, plan).outcome == "insufficient evidence":
        return decision
    windows = [w for w in (contrast.evidence.early, contrast.evidence.late) if w is not None]
    error = f"{max(w.bend for w in windows):.2g} {contrast.metric.unit}".rstrip()
    return replace(decision, obstacle=f"curves that bend between checkpoints leave an error of {error}: {SAME_PLACES}")


def _times(raw: PValues, tests: int) -> PValues:
    crossover, late, same = (None if p is None else min(1.0, tests * p) for p in (raw.crossover, raw.late, raw.same))
    return PValues(crossover, late, same)


def _no_winner_by_a_bound(
    contrast: Contrast, decision: Decision, plan: AnalysisPlan, bound: str, confirmed: Confirmed
) -> Decision:
    """A loss below the other arm's upper bound is no better loss, unless the chain rule says so too."""
    winner = {"baseline": contrast.baseline, "candidate": plan.candidate}.get(decision.outcome, "")
    if decision.crossing is not None:
        winner = plan.candidate if decision.crossing.direction == "baseline→candidate" else contrast.baseline
    if not bound or not winner or winner == bound or confirmed(contrast):
        return decision
    return Decision(
        "insufficient evidence", obstacle=f"{arm_label(winner)}'s loss is below the {arm_label(bound)}'s upper bound"
    )


def _window(test: WindowTest | None, metric: MetricPlan, plan: AnalysisPlan) -> Window | None:
    if test is None or not np.isfinite(test.bend):
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
