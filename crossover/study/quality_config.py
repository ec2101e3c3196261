"""The section `data.quality` of a study: tiers of the documents to train on."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from crossover.study.study_part import StudyPart


class QualityConfig(StudyPart):
    """Training documents are scored and cut into three tiers of equal size in bytes; one of them may be taken.

    Held-out documents are of all tiers, so that losses of different tiers are measured on the same text.
    """

    scorer: Literal["none", "perplexity"] = Field(
        default="none",
        description="`perplexity`: bits per byte under a byte trigram model of the training documents; low is good.",
    )
    tier: Literal["all", "low", "medium", "high"] = Field(
        default="all", description="Train on the documents of one tier of the scorer."
    )

    @model_validator(mode="after")
    def _a_tier_needs_a_scorer(self) -> QualityConfig:
        if self.tier != "all" and self.scorer == "none":
            raise ValueError(f"tier {self.tier!r} needs a scorer; set data.quality.scorer")
        return self
