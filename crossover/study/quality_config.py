"""The section `data.quality` of a study: tiers of the documents to train on."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from crossover.study.study_part import StudyPart


class QualityConfig(StudyPart):
    """Training documents are scored and cut into three tiers of equal size in bytes; one of them may be taken.

    Held-out documents are of all tiers, so that losses of different tiers are measured on the same text.
    """

    scorer: Literal["none", "perplexity", "column"] = Field(
        default="none",
        description="`perplexity`: bits per byte under a byte trigram model of the training documents, low is good; "
        "`column`: a number that each document has beside its text.",
    )
    column: str = Field(
        default="", description="The field or column of that number, for `scorer: column`; `a.b` is b within a."
    )
    order: Literal["higher", "lower"] = Field(default="higher", description="Which numbers of the column are good.")
    tier: Literal["all", "low", "medium", "high"] = Field(
        default="all",
        description="Train on the documents of one tier of the scorer; `grid.quality` compares tiers.",
    )

    @model_validator(mode="after")
    def _a_tier_needs_a_scorer(self) -> QualityConfig:
        if self.tier != "all" and self.scorer == "none":
            raise ValueError(f"tier and scorer: tier {self.tier!r} needs a scorer; set it")
        return self

    @model_validator(mode="after")
    def _a_column_is_named(self) -> QualityConfig:
        if self.scorer == "column" and not self.column:
            raise ValueError("scorer and column: scorer 'column' needs the name of the column; set it")
        if self.scorer != "column" and (self.column or self.order != "higher"):
            raise ValueError(
                f"column, order and scorer: the former are of scorer 'column', not of {self.scorer!r}; leave them out"
            )
        return self
