"""What will be tested, written down before the first run starts: metrics, windows, alpha, delta, comparisons."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from crossover.field_faults import did_you_mean
from crossover.metric_catalogue import is_known, similar_names

Axis = Literal["tokens", "epochs", "flops", "seconds"]
Comparison = Literal["matched", "best-so-far", "frontier"]
"""At the same place of the axis; each run's best until there; the best over model sizes until there."""
Multiplicity = Literal["metrics-and-axes", "metrics", "none"]
Spending = Literal["pocock", "obrien-fleming", "added"]
"""Evenly; nearly all at the end; looks added after the first one was judged at alpha, which share a tenth of it."""
MINIMUM_PAIRS = 5
"""Fewer seed pairs than this never yield a verdict other than `insufficient evidence`."""


class MetricPlan(BaseModel):
    """One metric to compare the arms on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, description="The value of the column `metric`.")
    direction: Literal["lower", "higher"] = Field(description="Which side is better.")
    delta: float = Field(gt=0, description="Differences smaller than this do not matter, in the metric's unit.")
    label: str = Field(default="", description="What figures call it; the name when empty.")
    unit: str = Field(default="", description="For example `nats/token`.")
    exact: bool | None = Field(
        default=None,
        description="Whether a DLM's values are its exact loss. Unset: a DLM's loss is taken as an upper bound.",
    )

    @model_validator(mode="before")
    @classmethod
    def _name_is_known_or_direction_given(cls, fields: object) -> object:
        if isinstance(fields, dict) and set(fields) <= {*cls.model_fields} - {"direction"}:
            name = fields.get("name")
            if isinstance(name, str) and not is_known(name):
                meant = did_you_mean(name, similar_names(name)) or "."
                own = "In curves of your own a metric may have any name, with direction and delta"
                raise ValueError(f"unknown metric {name!r}{meant} {own}")
        return fields

    @model_serializer(mode="wrap")
    def _without_what_is_unset(self, dump: SerializerFunctionWrapHandler) -> dict[str, object]:
        """Plans from before `exact` keep their digests."""
        fields: dict[str, object] = dump(self)
        if self.exact is None:
            fields.pop("exact", None)
        return fields

    @property
    def title(self) -> str:
        """The label, or the name when there is none."""
        return self.label or self.name


class AnalysisPlan(BaseModel):
    """The analysis as registered with the study; its digest is part of the study's.

    Windows are fractions of the common range of the axis in log space: (0, 0.25) is the earliest quarter.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    metrics: tuple[MetricPlan, ...] = Field(min_length=1, description="The first is the primary metric.")
    axes: tuple[Axis, ...] = Field(default=("epochs", "flops", "seconds"), min_length=1)
    comparisons: tuple[Comparison, ...] = Field(default=("matched", "best-so-far"), min_length=1)
    baseline: str = Field(default="ar", description="The arm that is subtracted.")
    candidate: str = Field(default="dlm", description="The arm it is subtracted from.")
    tuned: tuple[str, ...] = Field(
        default=(),
        description="Tuned arms of the baseline. If any, every contrast is judged against the best of these as well, "
        "chosen for each seed on the other seeds.",
    )
    multiplicity: Multiplicity = Field(
        default="metrics-and-axes", description="What Holm adjusts over, within a comparison and an opponent."
    )
    looks: tuple[int, ...] = Field(
        default=(),
        description="Numbers of seed pairs at which the study will be judged while it grows; the last ends it.",
    )
    spending: Spending = Field(default="pocock", description="How the looks share alpha.")
    early_window: tuple[float, float] = (0.0, 0.4)
    late_window: tuple[float, float] = (0.85, 1.0)
    alpha: float = Field(default=0.05, ge=1e-6, lt=0.5)
    minimum_pairs: int = Field(default=MINIMUM_PAIRS, ge=MINIMUM_PAIRS)

    @model_validator(mode="after")
    def _windows_are_ordered(self) -> Self:
        bounds = (*self.early_window, *self.late_window)
        if list(bounds) != sorted(bounds) or bounds[0] < 0 or bounds[-1] > 1 or len({*self.early_window}) < 2:
            raise ValueError(
                "early_window and late_window: must be increasing, disjoint, and inside 0..1, "
                f"found {self.early_window} and {self.late_window}"
            )
        if self.baseline == self.candidate:
            raise ValueError(f"baseline and candidate: are both {self.baseline!r}; name two arms")
        if len({m.name for m in self.metrics}) < len(self.metrics):
            raise ValueError("metrics: a name stands twice")
        return self

    @model_validator(mode="after")
    def _opponents_and_looks(self) -> Self:
        if set(self.tuned) & {self.baseline, self.candidate} or len(set(self.tuned)) < len(self.tuned):
            raise ValueError(f"tuned: {list(self.tuned)} must be distinct arms beside the baseline and the candidate")
        if list(self.looks) != sorted(set(self.looks)) or any(n < self.minimum_pairs for n in self.looks):
            raise ValueError(f"looks: {list(self.looks)} must rise, from minimum_pairs = {self.minimum_pairs} on")
        return self

    @property
    def tuned_name(self) -> str:
        """What the best tuned arm is called, as a baseline."""
        return f"tuned-{self.baseline}"
