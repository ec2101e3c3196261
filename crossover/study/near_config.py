"""The parts of `data` that compare documents with each other: near-duplicates, and contamination of training text."""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from crossover.field_faults import NAME_PATTERN
from crossover.study.study_part import StudyPart

LEAST_RECALL = 0.95
"""Share of the pairs at the similarity itself that the bands must bring together."""


class NearConfig(StudyPart):
    """Near-duplicates: found by MinHash signatures in bands, verified by the signatures, joined to clusters."""

    near: Literal["off", "count", "split", "drop"] = Field(
        default="count",
        description="Near-duplicates: `count` those on both sides of the split; `split` also puts each cluster on one "
        "side; `drop` keeps one document of each cluster.",
    )
    similarity: float = Field(
        default=0.8,
        ge=0.5,
        lt=1,
        description="Jaccard similarity of shingles from which documents are near-duplicates.",
    )
    unit: Literal["words", "characters"] = Field(
        default="words",
        description="What shingles consist of. Scripts without blanks are compared by characters in either case.",
    )
    shingle: int = Field(default=5, ge=1, le=64, description="Words or characters in a shingle.")
    hashes: int = Field(default=120, ge=16, le=1024, description="Hashes of a signature; four bytes each.")
    bands: int = Field(
        default=20, ge=1, le=256, description="Bands that a signature is cut into; they divide `hashes`."
    )

    @model_validator(mode="after")
    def _bands_find_the_similar(self) -> Self:
        if self.hashes % self.bands:
            raise ValueError(f"bands and hashes: {self.bands} does not divide {self.hashes}")
        found = 1 - (1 - self.similarity ** (self.hashes // self.bands)) ** self.bands
        if found < LEAST_RECALL:
            raise ValueError(
                f"bands, hashes and similarity: {self.bands} bands of {self.hashes // self.bands} hashes bring "
                f"together {found:.0%} of the pairs at similarity {self.similarity}, less than "
                f"{LEAST_RECALL:.0%}; give more bands"
            )
        return self

    @property
    def least_equal(self) -> int:
        """Equal hashes of two signatures from which they are near-duplicates.

        2.33 standard deviations below the similarity, so that 99 % of the pairs at the similarity itself are taken.
        """
        deviation = math.sqrt(self.similarity * (1 - self.similarity) / self.hashes)
        return math.ceil(self.hashes * (self.similarity - 2.33 * deviation))


class ContaminationConfig(StudyPart):
    """Training text that holds n-grams of the held-out documents or of the items of tasks."""

    mode: Literal["off", "count", "drop"] = Field(
        default="count",
        description="`count` the n-grams of held-out documents and of the items of evaluation.tasks that training "
        "documents hold; `drop` also leaves out the training documents that hold too many.",
    )
    ngram: int = Field(default=13, ge=2, le=64, description="Words in an n-gram.")
    overlap: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="A training document is contaminated if it holds this share of the n-grams of a held-out document "
        "or item, or if they are this share of its own.",
    )
    tasks: tuple[Annotated[str, Field(pattern=NAME_PATTERN)], ...] = Field(
        default=(), description="Packs for whose items `drop` leaves out training documents, beside the held-out ones."
    )

    @field_validator("tasks")
    @classmethod
    def _packs_only(cls, tasks: tuple[str, ...]) -> tuple[str, ...]:
        if "domain-cloze" in tasks:
            raise ValueError(
                "domain-cloze is made from the held-out documents, which are always compared; leave it out"
            )
        return tasks
