"""Verdicts of contrasts: the decision by the rules, held against what the rules do not see, and put into words.

What the rules do not see: runs that were lost, the error of interpolation, and that a bound proves nothing from above.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from crossover.analysis.analysis_plan import AnalysisPlan, MetricPlan
from crossover.analysis.analysis_result import Verdict, Window
from crossover.analysis.arm_labels import arm_label
from crossover.analysis.contrasts import Contrast, evidence_of, without
from crossover.analysis.curves import Curve, CurveKey
from crossover.analysis.inference.further_evidence import further_pairs, further_pairs_range, further_reach
from crossover.analysis.inference.verdict_rules import Decision, PValues, decide
from crossover.analysis.inference.window_tests import WindowTest, holm
from crossover.analysis.run_coverage import Coverage
from crossover.analysis.upper_bounds import upper_bound_arm
from crossover.analysis.verdict_reasons import reason

Confirmed = Callable[[Contrast], bool]
"""Whether an exact measure confirms the winner of a contrast whose loser has an upper bound."""
SAME_PLACES = "measure both arms at the same places"
_AT_THE_END = 3


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
    ended = max((_worse_at_its_end(contrast, key, metric) for key in contrast.lost_runs if key[0] == arm), default=0.0)
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
    worst = evidence_of(filled, metric, plan.model_copy(update={"looks": ()}), contrast.comparison)
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
    straight = evidence_of(contrast.paired, contrast.metric, plan, contrast.comparison, bent=False)
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
