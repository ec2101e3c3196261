"""What all sections of a study have in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class StudyPart(BaseModel):
    """A section of a study: frozen, and unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")
