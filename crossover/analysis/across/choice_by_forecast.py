"""What to choose for a cell that was not run: the budget against the crossing that the cells forecast."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from crossover.analysis.across.cross_cell_result import CellFacts, Choice
from crossover.analysis.across.crossing_regression import AnalysedCell, fit_movement
from crossover.analysis.across.measured_range import epochs_text, epochs_words
from crossover.analysis.across.next_experiments import LEAST_CROSSINGS, rate
from crossover.analysis.analysis_plan import MetricPlan
from crossover.errors import StudyError

NEAR = 0.1
"""A cell whose unique tokens and parameters differ by no more than this share was likely meant."""


class ForecastChoice(NamedTuple):
    """A choice by a forecast, and why."""

    choose: Choice
    because: str
    crossed: int
    """Cells that cross."""


def choice_by_forecast(
    cells: Sequence[AnalysedCell],
    metric: MetricPlan,
    unique_tokens: int,
    parameters: int,
    flops: float | None,
    epochs: float | None = None,
) -> ForecastChoice:
    """Where the budget lies against the crossing forecast.

    Args:
        cells: what was run, of one tier of quality.
        metric: the plan's primary one.
        unique_tokens: U.
        parameters: N, those used by a token.
        flops: C, of one run; None is not given.
        epochs: the same in epochs, where it was asked for in epochs.

    Returns:
        The choice.

    Raises:
        StudyError: the budget is less than one epoch.
    """
    not_run = f"This cell was not run{_near_words(cells, unique_tokens, parameters)}"
    least = rate(cells) * parameters * unique_tokens
    if flops is not None and flops < least * (1 - 1e-9):
        given, remedy = f"{flops:.3g}", f"give a budget of {least:.3g} FLOPs or more"
        if epochs is not None:
            given, remedy = f"{epochs:g}", "give a budget of 1 epoch or more"
        raise StudyError(
            "advise.bad-budget",
            field="flops" if epochs is None else "epochs",
            problem=f"is {given}, less than one epoch of {unique_tokens:,} tokens with {parameters:,} parameters",
            remedy=remedy,
        )
    lacks = [] if flops is not None else ["no budget was given (--flops or --epochs)"]
    plan = cells[0][1].plan
    if "epochs" not in plan.axes or "matched" not in plan.comparisons:
        lacks.append("no crossing over epochs was analysed")
        return ForecastChoice("cannot say", _listed(not_run, lacks), 0)
    facts = CellFacts(cell="", unique_tokens=unique_tokens, parameters=parameters, quality=cells[0][0].quality)
    moved = fit_movement(cells, metric, "epochs", "matched", forecasts=[facts])
    crossed = sum(cell.at is not None for cell in moved.cells)
    if crossed < LEAST_CROSSINGS:
        lacks.append(
            f"a forecast needs three cells that cross; there {'is' if crossed == 1 else 'are'} {crossed or 'none'}"
        )
    elif not moved.forecasts:
        lacks.append(f"it cannot be forecast. {moved.reason.removesuffix('.')}")
    if lacks or flops is None:
        return ForecastChoice("cannot say", _listed(not_run, lacks), crossed)
    forecast, length = moved.forecasts[0], flops / least
    because = (
        f"{not_run}; {flops:.3g} FLOPs are about {epochs_words(length)}; trained on without stopping, the "
        f"crossing by {metric.title} is forecast at epoch {epochs_text(forecast.at)} ({epochs_text(forecast.low)} to "
        f"{epochs_text(forecast.high)})."
    )
    choose: Choice = "baseline" if length < forecast.low else "candidate" if length > forecast.high else "cannot say"
    return ForecastChoice(choose, because, crossed)


def _listed(not_run: str, lacks: Sequence[str]) -> str:
    """All that stands against a forecast, in one sentence."""
    *others, last = lacks
    return f"{', '.join((not_run, *others))}, and {last}."


def _near_words(cells: Sequence[AnalysedCell], unique_tokens: int, parameters: int) -> str:
    """The cell that was run and is near, as a part of the sentence; empty where none is."""

    def distance(facts: CellFacts) -> float:
        pairs = ((facts.unique_tokens, unique_tokens), (facts.parameters, parameters))
        return max(abs(run / asked - 1) for run, asked in pairs)

    facts = min((facts for facts, _ in cells), key=distance)
    if distance(facts) > NEAR:
        return ""
    return f" (near it, {facts.unique_tokens:,} unique tokens with {facts.parameters:,} parameters were)"
