"""Results of an analysis: verdicts with their evidence, and the curves that figures are drawn from.

Every difference here is candidate minus baseline oriented as in the data: for a metric where lower is
better a negative difference favours the candidate.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from crossover.analysis.analysis_plan import AnalysisPlan, Axis, Comparison

Outcome = Literal["baseline", "candidate", "crossover", "equivalent", "insufficient evidence"]
"""The arm that is better late, a crossing, no difference within delta, or none of these established."""
Direction = Literal["baseline→candidate", "candidate→baseline"]
"""From the arm that is better before a sign change to the arm that is better after it."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Window(_Record):
    """The mean difference inside one window, over seed pairs (Student t)."""

    low: float = Field(description="Left edge on the axis.")
    high: float = Field(description="Right edge on the axis.")
    mean: float
    interval: tuple[float, float] = Field(description="Two-sided 1 - alpha interval of the mean.")
    p_candidate_better: float = Field(description="One-sided p of 'candidate is better here'.")
    p_baseline_better: float = Field(description="One-sided p of 'baseline is better here'.")
    per_seed: tuple[float, ...] = Field(description="The window mean of each seed pair, in order of seeds.")


class Crossing(_Record):
    """Where the difference changes sign for good, on the axis; only present with the outcome `crossover`."""

    direction: Direction
    at: float = Field(description="Point estimate on the axis.")
    low: float | None = Field(
        description="Left end of the interval: the last place clearly before the crossing; None is unbounded."
    )
    high: float | None = Field(description="Right end: the first place clearly after it; None is unbounded.")
    bracket: tuple[float, float] = Field(description="How far the fit that places it reaches.")
    per_seed: tuple[float | None, ...] = Field(description="Root of each seed pair by itself, if any.")
    sensitivity: dict[str, float | None] = Field(
        default_factory=dict,
        description="The crossing by other methods: `interpolated`, `isotonic`, `gaussian process`; None finds none.",
    )


class Turn(_Record):
    """One of several sign changes of the mean difference, in order along the axis; none of them is tested by itself."""

    direction: Direction
    at: float
    low: float | None = Field(description="Left end of its own Fieller interval; None is unbounded.")
    high: float | None


class ItemTest(_Record):
    """Candidate minus baseline on the items of a task, at the last checkpoint: seed pairs × clusters of items.

    Two claims. Of all such items: `interval`, `p` and the standard errors hold for other seeds and other items. Of
    these items: `seed_interval` and `seed_p` hold for other seeds on the same items, as the verdicts do.
    """

    task: str
    score: str = Field(description="`accuracy` or `margin`.")
    direction: Literal["lower", "higher"] = "higher"
    baseline: str
    candidate: str
    baseline_mean: float
    baseline_stderr: float
    candidate_mean: float
    candidate_stderr: float
    difference: float
    stderr: float
    interval: tuple[float, float]
    p: float | None = Field(description="Two-sided, of all such items; None when `reason` says why it is not tested.")
    p_adjusted: float | None = Field(description="After Holm over tasks and scores.")
    pairs: int
    items: int
    clusters: int
    equal_clusters: float | None = Field(
        default=None, description="So many equal clusters weigh as much: 1 / Σ of squared shares of the items."
    )
    seed_interval: tuple[float, float] | None = Field(
        default=None, description="Of the difference on these items, over seed pairs only."
    )
    seed_p: float | None = Field(default=None, description="Two-sided, of these items; None when not tested.")
    seed_p_adjusted: float | None = Field(default=None, description="After Holm over tasks and scores.")
    reason: str = Field(default="", description="Why nothing is said of all such items; empty when it was tested.")


class LostRun(_Record):
    """A run that does not cover the compared range, and leaves with its seed pair."""

    arm: str
    seed: int
    reason: str = Field(description="What it lacks, for example `ends at 46k tokens`.")


class Verdict(_Record):
    """The result for a metric, on an axis, for a comparison, of two arms."""

    metric: str
    axis: Axis
    comparison: Comparison
    baseline: str
    candidate: str
    outcome: Outcome
    reason: str = Field(description="One sentence that explains the outcome, with figures.")
    pairs: int = Field(description="Complete seed pairs used.")
    p_crossover: float | None = Field(description="Intersection-union p, two directions; None when not testable.")
    p_adjusted: float | None = Field(description="The same after Holm over what `plan.multiplicity` names.")
    early: Window | None
    late: Window | None
    crossing: Crossing | None
    compared: tuple[float, float] | None = Field(
        default=None, description="The stretch of the axis that the verdict speaks of."
    )
    lost: tuple[LostRun, ...] = Field(default=(), description="Runs left out with their pairs: they end early or copy.")
    obstacle: str = Field(
        default="", description="What stands against a firm outcome, as a clause: `crossing near the end: run longer`."
    )
    upper_bound: str = Field(
        default="", description="The arm whose values are an upper bound of its loss; empty when both are exact."
    )
    monte_carlo_known: bool = Field(default=True, description="Whether the bound came with its Monte Carlo error.")
    further_pairs: int | None = Field(description="Seed pairs to add that would settle it, from the variance seen.")
    further_pairs_range: tuple[int, int | None] | None = Field(
        default=None, description="The same at the ends of the uncertainty of mean and variance; None is beyond reach."
    )
    drawn_pairs: int | None = Field(
        default=None, description="The same without Monte Carlo error, where pairs alone do not settle it."
    )
    further_reach: float | None = Field(
        default=None, description="Where the runs would have to end for the trend to settle it; an extrapolation."
    )
    sign_changes: int = Field(description="Sign changes of the mean difference inside the tested range.")
    turns: tuple[Turn, ...] = Field(default=(), description="Each of several sign changes; empty for one or none.")
    picks: tuple[str, ...] = Field(
        default=(), description="Against tuned arms: the arm that stands for the best one, for each seed pair."
    )
    alpha: float = Field(default=0.05, description="The level tested at: the plan's, or what this look may spend.")


class Band(_Record):
    """A mean curve over seeds with a simultaneous confidence band, on the common grid of an axis."""

    x: tuple[float, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


class SeedCurve(_Record):
    """One run's curve as it was measured."""

    arm: str
    seed: int
    x: tuple[float, ...]
    value: tuple[float, ...]
    stderr: tuple[float, ...]


class Figure(_Record):
    """All that a report needs to draw one metric on one axis for one comparison."""

    metric: str
    axis: Axis
    comparison: Comparison
    seeds: tuple[SeedCurve, ...]
    arms: dict[str, Band] = Field(description="Arm name to its mean curve.")
    difference: Band | None = Field(description="Candidate minus baseline over seed pairs; None below two pairs.")


class ArmSummary(_Record):
    """A row of the report's table: one arm on one metric."""

    metric: str
    arm: str
    seeds: int
    best_mean: float = Field(description="Mean over seeds of each run's best value.")
    best_at_epoch: float | None = Field(description="Median epoch of the best value; null where no epoch is known.")
    best_at_tokens: float | None = Field(default=None, description="The same in tokens, where no epoch is known.")
    final_mean: float
    final_sd: float = Field(description="Standard deviation over seeds of the last value; 0.0 for one seed.")


class Analysis(_Record):
    """The analysis of one cell. Pure and deterministic: same curves and plan, same JSON."""

    method: str = Field(description="Name and version of the method, e.g. `early-late-iut/1`.")
    plan: AnalysisPlan
    seeds: tuple[int, ...] = Field(description="Seeds with both arms complete on the primary metric.")
    verdicts: tuple[Verdict, ...] = Field(description="The first is the headline: primary metric, first axis, matched.")
    figures: tuple[Figure, ...]
    summaries: tuple[ArmSummary, ...]
    items: tuple[ItemTest, ...] = Field(default=(), description="Tasks by item, if per-item scores were given.")
    notes: tuple[str, ...] = Field(description="Points dropped, bounds, what is not tested.")

    @property
    def headline(self) -> Verdict:
        """The verdict on the primary metric, first axis, first comparison."""
        return self.verdicts[0]
