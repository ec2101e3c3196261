"""The section `data.deduplication` of a study: what counts as a copy."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from crossover.study.near_config import NearConfig


class DeduplicationConfig(NearConfig):
    """Of equal documents, paragraphs or lines the first in the order of the source stays."""

    exact: Literal["document", "paragraph", "line"] = Field(
        default="document",
        description="Leave out equal documents; with `paragraph` or `line` also every paragraph or line that stood "
        "before, in any document.",
    )
    minimum_characters: int = Field(
        default=40, ge=1, description="Shorter paragraphs and lines stay, as `return None` may be repeated."
    )
