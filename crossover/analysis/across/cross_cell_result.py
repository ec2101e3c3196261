"""Results over several cells, as records: pure data, written to the report, the registry and overview.json.

A cell is (unique tokens U, tier of quality, model with N parameters). Fits over cells are within a tier. Every place is
on the named axis; logarithms are natural.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from crossover.analysis.analysis_plan import Axis, Comparison
from crossover.analysis.analysis_result import Analysis, Outcome

LawForm = Literal["monotone", "bending"]
Choice = Literal["baseline", "candidate", "either", "cannot say"]
Basis = Literal["verdict", "interval", "forecast", "not tested", "no budget"]
"""The plan's verdict; the pairs' interval at one budget; a forecast; nothing; nothing, being less than a step."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CellFacts(_Record):
    """What a cell is: the predictors of fits over cells."""

    cell: str
    unique_tokens: int
    parameters: int = Field(description="Parameters used by a token: of a sparse model those of its active experts.")
    sparse: bool = False
    quality: str = Field(default="", description="Name of the data's quality tier; empty if there is one only.")


class CellCrossing(_Record):
    """Where one cell crosses, or on which side of what place it does, if at all."""

    facts: CellFacts
    at: float | None = Field(description="The crossing; None where there is none in the range.")
    low: float | None = Field(description="Left end of its interval; None is unbounded.")
    high: float | None = Field(description="Right end of its interval; None is unbounded.")
    stderr: float | None = Field(default=None, description="Of the log of the crossing, from its interval.")
    beyond: float | None = Field(
        default=None,
        description="The baseline is better late: it lies beyond the start of the late window, if anywhere.",
    )
    before: float | None = Field(
        default=None,
        description="The candidate is better late: it lies before the end of the early window if it is better there "
        "too, else before the end of the late one.",
    )
    outcome: Outcome = Field(description="The verdict's outcome.")
    left_out: str = Field(default="", description="Why it tells nothing of where the crossing moves, as a clause.")


class Slope(_Record):
    """How the logarithm of the crossing moves with one predictor."""

    predictor: str = Field(description="`log unique tokens`, `log parameters` or `sparse`.")
    quality: str = Field(default="", description="Tier of the cells that it was fitted to, as of `CellFacts`.")
    estimate: float
    low: float
    high: float
    p: float


class Forecast(_Record):
    """Where a cell that was not run would cross."""

    facts: CellFacts
    at: float
    low: float = Field(description="Left end of the 1 - alpha prediction interval.")
    high: float
    extrapolated: bool = Field(description="Whether it lies outside of the cells that were run.")


class Movement(_Record):
    """How the crossing of one metric moves over cells."""

    metric: str
    axis: Axis
    comparison: Comparison
    cells: tuple[CellCrossing, ...]
    slopes: tuple[Slope, ...] = Field(description="Empty when too few cells cross; `reason` says so.")
    spread: float | None = Field(
        description="Standard deviation of the log crossing between cells beyond the fit; of several tiers the largest."
    )
    forecasts: tuple[Forecast, ...] = ()
    reason: str = Field(description="One plain sentence: what was fitted, or why not.")


class QualityShift(_Record):
    """Whether the crossing lies elsewhere in a higher tier of quality than in a lower one, of one budget and model."""

    metric: str
    axis: Axis
    comparison: Comparison
    lower: CellCrossing
    higher: CellCrossing
    moves: Literal["", "earlier", "later"] = Field(
        default="", description="Where the higher tier's crossing lies; empty where there is no evidence of either."
    )
    ratio: float | None = Field(
        default=None, description="The higher tier's crossing over the lower one's; None where seeds cannot be paired."
    )
    interval: tuple[float, float] | None = Field(default=None, description="Of the ratio, two-sided 1 - alpha.")
    pairs: int = Field(default=0, description="Seeds that the ratio is of; 0: two intervals side by side.")
    alpha: float | None = Field(default=None, description="The plan's over the number of comparisons.")
    reason: str = Field(default="", description="Why nothing was compared, as a clause.")
    note: str = Field(default="", description="What else to know of it, in sentences.")


class Constant(_Record):
    """One fitted constant of a law with its bootstrap interval over runs."""

    name: str
    value: float
    low: float | None
    high: float | None


class LawFit(_Record):
    """One law fitted to the losses of one arm over cells and epochs."""

    arm: str
    quality: str = Field(default="", description="Tier of the cells that it was fitted to, as of `CellFacts`.")
    form: LawForm
    constants: tuple[Constant, ...] = Field(description="Empty when it could not be fitted; `reason` says why.")
    runs: int
    points: int
    error: float | None = Field(description="Root mean square error of log loss on the points fitted.")
    held_out_error: float | None = Field(
        description="The same on each cell left out in turn; of fewer than three cells, on the runs' late epochs."
    )
    best: bool = Field(default=False, description="Whether its held-out error is the smallest of this arm's laws.")
    reason: str


class Factor(_Record):
    """How much of the gap between the families one factor closes: an ablation arm beside baseline and candidate."""

    name: Literal["any-order modelling", "super-dense compute", "Monte Carlo augmentation"]
    metric: str
    cell: str = Field(default="", description="The cell, where a study has several.")
    arm: str = Field(description="The ablation arm; empty where the factor is read off the candidate itself.")
    gap: float | None = Field(description="Candidate minus baseline in the late window.")
    gap_interval: tuple[float, float] | None
    closed: float | None = Field(description="Share of the gap that the ablation closes; 1 is all of it.")
    closed_interval: tuple[float | None, float | None] | None = Field(description="Fieller; None is unbounded.")
    pairs: int
    reason: str


class Experiment(_Record):
    """Something to run that could change an answer."""

    what: str
    edit: str = Field(description="Of the study, as YAML, a line for each field; empty where curves have no study.")
    flops: float | None = Field(description="Training FLOPs of all its runs; None where they are not known.")
    seconds: float | None = Field(description="Of training, at the speed of the study's runs; None where not known.")
    note: str = Field(default="", description="What else to know of it, as the end of a sentence.")
    text: str = Field(description="All of it in one sentence.")


class TrainedToEnd(_Record):
    """What to choose if every run is trained to its end: the comparison `matched`."""

    choose: Choice
    baseline: str = Field(description="The arm that was compared: of several tuned ones, the hardest to beat.")
    difference: float | None = Field(description="As of `Advice`.")
    interval: tuple[float, float] | None


class Advice(_Record):
    """What to pretrain for so many unique tokens, parameters and FLOPs."""

    unique_tokens: int
    parameters: int
    quality: str = Field(default="", description="The tier of the data, as of `CellFacts`.")
    flops: float | None = Field(
        description="Training FLOPs of one run that the answer is for, of a budget in epochs those of the dearer arm; "
        "None where no budget was given and none was run."
    )
    epochs: float | None = Field(default=None, description="The same in epochs, where it was asked for in epochs.")
    basis: Basis = Field(default="verdict", description="What the answer rests on.")
    choose: Choice = Field(description="By `comparison`: with early stopping, where that was planned.")
    baseline: str = Field(description="The arm that was compared: of several tuned ones, the hardest to beat.")
    candidate: str
    metric: str
    comparison: Comparison
    difference: float | None = Field(
        description="Candidate minus baseline: at the budget, or of a verdict over its late window."
    )
    interval: tuple[float, float] | None
    trained_to_end: TrainedToEnd | None = Field(
        default=None, description="The other half; None where only one comparison was planned, or nothing was tested."
    )
    because: str
    cheapest: str = Field(description="The cheapest experiment that could change this answer, with its price.")
    alternatives: tuple[str, ...] = Field(default=(), description="Further experiments, cheapest first.")
    experiments: tuple[Experiment, ...] = Field(
        default=(), description="All of these, cheapest first; empty in reports of before they were recorded."
    )


class NextRun(_Record):
    """A run to start next."""

    cell: str
    arm: str
    seed: int
    cost: float = Field(description="Expected GPU-hours, or FLOPs where hours are unknown.")
    gain: float = Field(description="Expected narrowing of the verdict's interval for each unit of cost.")
    reason: str


class Frontier(_Record):
    """The families' frontiers over model sizes on one budget of unique tokens, of one tier."""

    unique_tokens: int
    quality: str = Field(default="", description="As of `CellFacts`.")
    cells: tuple[str, ...]
    analysis: Analysis


class Overview(_Record):
    """Results over several cells or arms."""

    cells: tuple[CellFacts, ...] = Field(default=(), description="The cells that were run.")
    movements: tuple[Movement, ...] = ()
    quality: tuple[QualityShift, ...] = ()
    laws: tuple[LawFit, ...] = ()
    factors: tuple[Factor, ...] = ()
    frontiers: tuple[Frontier, ...] = ()
    advice: tuple[Advice, ...] = ()
    next_runs: tuple[NextRun, ...] = ()
    notes: tuple[str, ...] = ()
