"""The arms: each a small declared recipe, not a branch in the trainer. No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Family = Literal["AR", "DLM"]


@dataclass(frozen=True, kw_only=True)
class Arm:
    """What makes an arm differ from the others; all else is the study's and equal.

    Args:
        name: as in the study file.
        family: AR sees the past and predicts the next token; DLM sees all and predicts masked ones.
        description: one line for people.
        weight_decay: replaces the study's when given.
    """

    name: str
    family: Family
    description: str
    weight_decay: float | None = None

    @property
    def causal(self) -> bool:
        """Whether attention is causal."""
        return self.family == "AR"


ARMS: dict[str, Arm] = {
    arm.name: arm
    for arm in (
        Arm(name="ar", family="AR", description="next-token prediction, the study's settings"),
        Arm(name="dlm", family="DLM", description="masked diffusion, exact-count masks, the study's settings"),
        Arm(
            name="ar-decay",
            family="AR",
            description="next-token prediction with weight decay 1.0, ten times the usual",
            weight_decay=1.0,
        ),
    )
}
