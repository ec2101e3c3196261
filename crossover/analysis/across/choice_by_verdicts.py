"""What to choose by the plan's verdicts: the answer for the measured range, adjusted as planned."""

from __future__ import annotations

from typing import NamedTuple

from crossover.analysis.across.cross_cell_result import Choice
from crossover.analysis.analysis_plan import Axis, Comparison
from crossover.analysis.analysis_result import Analysis, Verdict

_HARDEST_FIRST: tuple[Choice, ...] = ("baseline", "cannot say", "either", "candidate")


class VerdictChoice(NamedTuple):
    """A choice, and the verdict that decides it."""

    choose: Choice
    verdict: Verdict


def choice_by_verdicts(analysis: Analysis, metric: str, axis: Axis, comparison: Comparison) -> VerdictChoice | None:
    """What to choose for a metric on an axis: the candidate only if it wins against the default and any tuned baseline.

    Args:
        analysis: of one cell.
        metric: its name.
        axis: of the plan.
        comparison: with early stopping or without.

    Returns:
        The choice by the harder of the two baselines, of equals by the tuned one; None where the plan has no such
        verdict.
    """
    plan = analysis.plan
    found = [
        VerdictChoice(choice_of(analysis, v), v)
        for v in analysis.verdicts
        if (v.metric, v.axis, v.comparison, v.candidate) == (metric, axis, comparison, plan.candidate)
        and v.baseline in (plan.baseline, plan.tuned_name)
    ]

    def hardness(choice: VerdictChoice) -> tuple[int, bool]:
        return _HARDEST_FIRST.index(choice.choose), choice.verdict.baseline != plan.tuned_name

    return min(found, key=hardness, default=None)


def choice_of(analysis: Analysis, verdict: Verdict) -> Choice:
    """The arm to choose by one verdict; of a crossover the one that is better late."""
    if verdict.crossing is not None:
        return "candidate" if verdict.crossing.direction == "baseline→candidate" else "baseline"
    if verdict.outcome == "crossover":
        if verdict.late is None:
            return "cannot say"
        lower = next((m.direction == "lower" for m in analysis.plan.metrics if m.name == verdict.metric), True)
        return "candidate" if (verdict.late.mean < 0) == lower else "baseline"
    if verdict.outcome == "insufficient evidence":
        return "cannot say"
    return "either" if verdict.outcome == "equivalent" else verdict.outcome
