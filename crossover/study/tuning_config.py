"""The section `tuning` of a study: a sweep on the smallest budget, on seeds that no verdict uses, before the study."""

from __future__ import annotations

from itertools import product
from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from crossover.field_faults import NAME_PATTERN
from crossover.study.study_part import StudyPart

Setting = tuple[float, float | None]
"""A learning rate and a weight decay; None leaves the arm's own."""


class TuningResult(StudyPart):
    """What a sweep measured of one arm with one setting."""

    arm: str = Field(pattern=NAME_PATTERN)
    learning_rate: float = Field(gt=0)
    weight_decay: float | None = Field(default=None, ge=0)
    loss: float | None = Field(description="Held-out bits a byte: mean over seeds of each run's best; None: diverged.")
    sweep: str = Field(default="", description="Digest of what the sweep was made with; see `study.sweep_study`.")


class TuningConfig(StudyPart):
    """A sweep over learning rates, and weight decays, for each compared arm."""

    learning_rates: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        default=(), description="Rates that each compared arm chooses from, on the smallest budget; empty: no sweep."
    )
    weight_decays: tuple[Annotated[float, Field(ge=0)], ...] = Field(
        default=(), description="Weight decays that it chooses from as well, with every rate; empty: the arm's own."
    )
    seeds: tuple[int, ...] = Field(
        default=(1000, 1001), min_length=1, description="Of the sweep; none of them may be one of the study's."
    )
    results: tuple[TuningResult, ...] = Field(
        default=(),
        description="What the sweep measured, bound to the study that it was measured for; `crossover tune` writes it, "
        "and arms take the best setting.",
    )

    @field_validator("learning_rates", "weight_decays", "seeds")
    @classmethod
    def _distinct(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        if len(set(values)) < len(values) or any(value < 0 for value in values):
            raise ValueError(f"values must be distinct and not negative, found {list(values)}")
        return values

    @model_validator(mode="after")
    def _results_are_of_these_settings(self) -> Self:
        if self.weight_decays and not self.learning_rates:
            raise ValueError("weight_decays and learning_rates: decays need rates; name at least the study's own rate")
        for arm in dict.fromkeys(result.arm for result in self.results):
            tried = [(r.learning_rate, r.weight_decay) for r in self.results if r.arm == arm]
            if sorted(tried, key=str) != sorted(self.settings, key=str):
                raise ValueError(f"results: those of {arm!r} are of other settings; remove them and tune again")
            if self.best(arm) is None:
                raise ValueError(f"results: {arm!r} has no finite loss; give lower learning_rates and tune again")
        return self

    @property
    def settings(self) -> tuple[Setting, ...]:
        """Every pair of a rate and a decay."""
        return tuple(product(self.learning_rates, self.weight_decays or (None,)))

    @property
    def is_pending(self) -> bool:
        """Whether a sweep is asked for that has no results yet."""
        return bool(self.learning_rates) and not self.results

    def best(self, arm: str) -> TuningResult | None:
        """The result with the lowest loss of an arm; None where it was not tuned."""
        finite = [(result.loss, result) for result in self.results if result.arm == arm and result.loss is not None]
        return min(finite, key=lambda pair: pair[0])[1] if finite else None

    def chosen(self, arm: str) -> dict[str, float]:
        """The settings that an arm takes from the sweep, by field of a recipe."""
        best = self.best(arm)
        if best is None:
            return {}
        decay = {} if best.weight_decay is None else {"weight_decay": best.weight_decay}
        return {"learning_rate": best.learning_rate, **decay}

    @property
    def choices(self) -> str:
        """What each tuned arm chose, in words; empty without results."""
        words = []
        for arm in dict.fromkeys(result.arm for result in self.results):
            values = ", ".join(f"{name} {value:g}" for name, value in self.chosen(arm).items()).replace("_", " ")
            words.append(f"{arm} {values}")
        return "; ".join(words)

    def note(self, arms_of_study: tuple[str, ...] = (), tier: str = "") -> str:
        """What readers of a verdict must know of the sweep; empty without results.

        Args:
            arms_of_study: those that were not tuned are named.
            tier: of quality, that the sweep was trained on; empty in a study that does not compare tiers.
        """
        arms = tuple(dict.fromkeys(result.arm for result in self.results))
        if not arms:
            return ""
        edges = []
        for arm in arms if len(self.learning_rates) > 1 else ():
            if self.chosen(arm)["learning_rate"] in (min(self.learning_rates), max(self.learning_rates)):
                edges.append(arm)
        of_tier = f", in quality {tier}," if tier else ","
        text = (
            f"Tuned arms: each chose among {len(self.settings)} settings by its mean held-out loss on the smallest "
            f"budget and its first model{of_tier} on seeds that no verdict uses ({', '.join(map(str, self.seeds))}): "
            f"{self.choices}."
        )
        if untuned := [arm for arm in arms_of_study if arm not in arms]:
            text += f" Not tuned, with the study's settings: {', '.join(untuned)}."
        if edges:
            text += f" The rate of {' and '.join(edges)} is at an edge of those tried, so a better one may lie beyond."
        return text
