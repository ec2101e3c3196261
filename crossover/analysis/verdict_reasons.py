"""The reason of each verdict as one sentence with figures and units. What was not tested is not claimed.

Tests are compared with the level of the evidence, which is that of this look; intervals are at the plan's level.
"""

from __future__ import annotations

from dataclasses import dataclass

from crossover.analysis.analysis_plan import AnalysisPlan, Axis, Comparison, MetricPlan, Multiplicity
from crossover.analysis.analysis_result import Outcome
from crossover.analysis.arm_labels import arm_label
from crossover.analysis.axis_text import axis_place, p_text, signed
from crossover.analysis.axis_text import span as window_span
from crossover.analysis.further_words import further_words, level_words
from crossover.analysis.inference.verdict_rules import Decision, Evidence, PValues
from crossover.analysis.inference.window_tests import WindowTest

_ADJUSTED_FOR: dict[Multiplicity, str] = {
    "metrics-and-axes": "both directions, metrics and axes",
    "metrics": "both directions and metrics",
    "none": "both directions",
}


def reason(
    evidence: Evidence,
    decision: Decision,
    adjusted: PValues,
    *,
    metric: MetricPlan,
    plan: AnalysisPlan,
    axis: Axis,
    comparison: Comparison,
    further: int | None,
    span: tuple[int, int | None] | None = None,
    drawn: int | None = None,
    reach: float | None = None,
    tests: int = 1,
    picks: tuple[str, ...] = (),
    left_out: str = "",
) -> str:
    """Explain an outcome in one sentence that ends in a full stop.

    Args:
        evidence: what was measured.
        decision: the outcome.
        adjusted: p values after Holm.
        metric: its title, unit, direction and delta.
        plan: the arms and the levels.
        axis: what the curves stand on.
        comparison: what is held equal.
        further: seed pairs to add that would settle it; None where that cannot be estimated.
        span: the fewest and the most of them, as mean and variance are uncertain.
        drawn: the same if the Monte Carlo error were removed, where pairs alone do not settle it.
        reach: where the trend would settle it.
        tests: over how many late p values Holm adjusted.
        picks: against tuned arms, the arm chosen for each seed.
        left_out: the runs that do not cover the range.
    """
    early, late = evidence.early, evidence.late
    if evidence.problem or early is None or late is None:
        return f"{evidence.problem}."
    if picks:
        plan = plan.model_copy(update={"baseline": plan.tuned_name, "tuned": ()})
    sentence = _OutcomeSentence(evidence.alpha, adjusted, metric, plan, axis, tests)
    parts = [sentence.text(decision, early, late)]
    if decision.obstacle and decision.outcome != "insufficient evidence":
        parts.append(decision.obstacle)
    if evidence.sign_changes > 1 and comparison == "matched":
        changes = evidence.sign_changes
        parts.append(f"several crossings, not tested one by one: the mean difference changes sign {changes} times")
    elif evidence.sign_changes > 1:
        parts.append(f"several crossings of the best so far, not tested one by one: {evidence.sign_changes}")
    parts.append(f"{evidence.pairs} seed pairs at {matched(axis, comparison)}")
    if left_out:
        parts.append(left_out)
    if picks:
        counts = {arm: picks.count(arm) for arm in dict.fromkeys(picks)}
        named = ", ".join(f"{arm} {n} times" if n > 1 else f"{arm} once" for arm, n in counts.items())
        parts.append(
            f"p holds against every tuned arm; for the estimate one was chosen for each seed on the others: {named}"
        )
    if plan.looks:
        parts.append(
            f"tested at {evidence.alpha:.2g}, the level of this look; intervals are at the plan's {_confidence(plan)}"
        )
    if decision.outcome == "insufficient evidence" and not decision.obstacle:
        error = f"{late.monte_carlo:.2g} {metric.unit}".rstrip()
        parts.append(
            _further(further, evidence.pairs, plan, span)
            if drawn is None
            else _more_draws(drawn, error, evidence.pairs, plan)
        )
        if reach is not None:
            parts.append(f"the trend, followed on, would settle it at {axis_place(axis, reach)}")
    return "; ".join(parts) + "."


def matched(axis: Axis, comparison: Comparison) -> str:
    """What is held equal."""
    words = {"tokens": "matched tokens", "epochs": "matched tokens", "flops": "matched FLOPs"}
    text = words.get(axis, "matched seconds")
    added = {"best-so-far": ", each run's best so far", "frontier": ", the best model size so far"}
    return text + added.get(comparison, "")


@dataclass(frozen=True)
class _OutcomeSentence:
    """The first part of a reason: the outcome with the figures that decided it."""

    alpha: float
    """The level that p values were compared with."""
    adjusted: PValues
    metric: MetricPlan
    plan: AnalysisPlan
    axis: Axis
    tests: int

    def text(self, decision: Decision, early: WindowTest, late: WindowTest) -> str:
        outcome = decision.outcome
        if decision.obstacle and outcome == "insufficient evidence":
            figures = f"late {self._figures(late)}, early {self._figures(early)}"
            return f"{decision.obstacle[0].upper()}{decision.obstacle[1:]}; {figures}"
        if outcome == "crossover":
            return self._crossover(early, late)
        if outcome in ("baseline", "candidate"):
            return self._better(outcome, early, late)
        if outcome == "equivalent":
            return (
                f"The late difference is {self._figures(late)}, inside ±{self._delta()} by two one-sided tests "
                f"(adjusted {p_text(self.adjusted.same)}); the early window is not part of this test"
            )
        return self._insufficient(early, late)

    def _crossover(self, early: WindowTest, late: WindowTest) -> str:
        first = self._arm_at(early)
        second = self._arm_at(late)
        return (
            f"{_capital(first)} is better early (mean difference {self._amount(early.mean)} over "
            f"{window_span(self.axis, early.low, early.high)}, {p_text(_smaller(early))}) and {second} late "
            f"({signed(late.mean)} over {window_span(self.axis, late.low, late.high)}, {p_text(_smaller(late))}); "
            f"adjusted for {_adjusted_for(self.plan)} {p_text(self.adjusted.crossover)}"
        )

    def _better(self, outcome: Outcome, early: WindowTest, late: WindowTest) -> str:
        name = arm_label(self.plan.baseline if outcome == "baseline" else self.plan.candidate)
        small = f", which is smaller than δ = {self._delta()}" if abs(late.mean) < self.metric.delta else ""
        return (
            f"{_capital(name)} is better late ({self._figures(late)}, adjusted {p_text(self.adjusted.late)}){small}; "
            f"{self._early(early)}"
        )

    def _early(self, early: WindowTest) -> str:
        p = 2 * _smaller(early)
        if p <= self.alpha:
            return f"early {self._arm_at(early)} is better too ({self._figures(early)}, {p_text(p)})"
        return f"early the difference is not clear of zero ({self._figures(early)}, {p_text(p)})"

    def _insufficient(self, early: WindowTest, late: WindowTest) -> str:
        low, high = late.interval(self.plan.alpha)
        interval = f"{_confidence(self.plan)} interval {signed(low)} to {signed(high)}"
        if self.adjusted.late is not None and self.adjusted.late <= self.alpha:
            return (
                f"Late {self._arm_at(late)} is better ({self._figures(late)}, {interval}), but early "
                f"{self._arm_at(early)} is ({self._figures(early)}), and a crossing is not established "
                f"(adjusted {p_text(self.adjusted.crossover)})"
            )
        return (
            f"The late difference is {self._figures(late)} ({interval}, adjusted {p_text(self.adjusted.late)}): "
            f"{self._unclear(low, high)} nor shown to be inside ±{self._delta()}; "
            f"crossing, adjusted {p_text(self.adjusted.crossover)}"
        )

    def _unclear(self, low: float, high: float) -> str:
        """That zero is not excluded; where the interval does exclude it, what takes that back."""
        if low <= 0 <= high:
            return "neither clear of zero"
        adjustment = f" after adjustment for {self.tests} tests" if self.tests > 1 else ""
        look = " at the level of this look" if self.plan.looks else ""
        return f"not clear of zero{adjustment}{look},"

    def _figures(self, test: WindowTest) -> str:
        return f"mean difference {self._amount(test.mean)} over {window_span(self.axis, test.low, test.high)}"

    def _amount(self, value: float) -> str:
        return f"{signed(value)} {self.metric.unit}".strip()

    def _delta(self) -> str:
        return f"{self.metric.delta:g} {self.metric.unit}".strip()

    def _arm_at(self, test: WindowTest) -> str:
        candidate = (test.mean < 0) == (self.metric.direction == "lower")
        return arm_label(self.plan.candidate if candidate else self.plan.baseline)


def _adjusted_for(plan: AnalysisPlan) -> str:
    single = len(plan.metrics) * len(plan.axes) == 1
    return _ADJUSTED_FOR["none" if single else plan.multiplicity]


def _confidence(plan: AnalysisPlan) -> str:
    return f"{100 * (1 - plan.alpha):g} %"


def _smaller(test: WindowTest) -> float:
    return min(test.p_positive, test.p_negative)


def _further(further: int | None, pairs: int, plan: AnalysisPlan, span: tuple[int, int | None] | None = None) -> str:
    return further_words(pairs, further, plan, span)


def _more_draws(drawn: int, error: str, pairs: int, plan: AnalysisPlan) -> str:
    return (
        f"pairs alone would not settle it, since the Monte Carlo error of {error} is shared by all: "
        f"with many more draws about {drawn} more would{level_words(pairs, drawn, plan)}"
    )


def _capital(text: str) -> str:
    return text[0].upper() + text[1:] if text.startswith("tuned ") else text
