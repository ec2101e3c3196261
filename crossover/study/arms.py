"""The arms: each a small declared recipe, not a branch in the trainer. No torch here."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from crossover.field_faults import NAME_PATTERN, unknown_name

Family = Literal["AR", "DLM"]
ObjectiveKind = Literal["next-token", "masked", "block-masked"]
MaskSampling = Literal["exact-count", "bernoulli"]
Schedule = Literal["constant", "wsd", "cosine"]
DropoutPlace = Literal["residual", "mlp"]

Factor = Literal["any-order modelling", "Monte Carlo augmentation"]

Ratio = Annotated[float, Field(ge=0, le=0.95)]


class Recipe(BaseModel):
    """What a study may set of an arm; what it leaves out stays as in the arm it starts from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base: str = Field(default="", description="The built-in arm to start from; default: the one of the same name.")
    weight_decay: float | None = Field(default=None, ge=0, description="In place of `training.weight_decay`.")
    learning_rate: float | None = Field(default=None, gt=0, description="In place of `training.learning_rate`.")
    batch_size: int | None = Field(default=None, ge=1, description="In place of `training.batch_size`; runs end alike.")
    warmup_steps: int | None = Field(default=None, ge=0, description="In place of `training.warmup_steps`.")
    schedule: Schedule | None = Field(default=None, description="In place of `training.schedule`.")
    dropout: Ratio | None = Field(default=None, description="Share of features zeroed after residual branches.")
    dropout_place: DropoutPlace | None = Field(
        default=None,
        description="After attention and feed-forward (`residual`), or after the feed-forward alone (`mlp`).",
    )
    input_mask: Ratio | None = Field(default=None, description="Share of an AR arm's input tokens shown as MASK.")
    mask_sampling: MaskSampling | None = Field(
        default=None, description="How a masked arm draws masks: `exact-count` (stratified) or `bernoulli` (plain 1/t)."
    )
    block_length: int | None = Field(default=None, ge=1, description="Tokens in a block of a block diffusion arm.")
    expert_choice: bool | None = Field(
        default=None, description="In a sparse model, experts choose tokens; only where attention sees everything."
    )


class Arm(BaseModel):
    """What makes an arm differ from the others; all else is the study's and equal."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=NAME_PATTERN)
    objective: ObjectiveKind
    description: str
    weight_decay: float | None = None
    learning_rate: float | None = None
    batch_size: int | None = None
    warmup_steps: int | None = None
    schedule: Schedule | None = None
    dropout: float = 0.0
    dropout_place: DropoutPlace = "residual"
    input_mask: float = 0.0
    mask_sampling: MaskSampling = "exact-count"
    block_length: int = 0
    expert_choice: bool = False

    @model_validator(mode="after")
    def _objective_allows(self) -> Self:
        if self.input_mask and self.objective != "next-token":
            raise ValueError(f"input_mask is for next-token arms, and {self.name!r} is {self.objective}")
        if self.mask_sampling != "exact-count" and self.objective != "masked":
            raise ValueError(f"mask_sampling is for masked arms, and {self.name!r} is {self.objective}")
        if bool(self.block_length) != (self.objective == "block-masked"):
            raise ValueError(f"block_length is for block-masked arms, and {self.name!r} is {self.objective}")
        if self.expert_choice and self.objective != "masked":
            raise ValueError(
                f"expert_choice would let later tokens leak into earlier ones: {self.name!r} is {self.objective}"
            )
        return self

    @property
    def family(self) -> Family:
        """AR sees the past and predicts the next token; DLM predicts masked ones, in the whole text or in a block."""
        return "AR" if self.causal else "DLM"

    @property
    def causal(self) -> bool:
        """Whether attention is causal token by token."""
        return self.objective == "next-token"

    @property
    def own_training(self) -> dict[str, object]:
        """The training settings that the arm has in place of the study's, by field."""
        fields = ("weight_decay", "learning_rate", "batch_size", "warmup_steps", "schedule")
        return {field: value for field in fields if (value := getattr(self, field)) is not None}

    @property
    def isolates(self) -> Factor | None:
        """Which of the three factors of the DLM's advantage this arm isolates as an ablation, if any."""
        if self.objective == "block-masked":
            return "any-order modelling"
        return "Monte Carlo augmentation" if self.causal and (self.input_mask or self.dropout) else None


_AR, _DLM = "next-token prediction", "masked diffusion, exact-count masks"

ARMS: dict[str, Arm] = {
    arm.name: arm
    for arm in (
        Arm(name="ar", objective="next-token", description=f"{_AR}, the study's settings"),
        Arm(name="dlm", objective="masked", description=f"{_DLM}, the study's settings"),
        Arm(
            name="dlm-bernoulli",
            objective="masked",
            description="masked diffusion, each token masked with probability t, weight 1/t: the plain estimator",
            mask_sampling="bernoulli",
        ),
        Arm(
            name="ar-decay",
            objective="next-token",
            description=f"{_AR} with weight decay 1.0, ten times the usual",
            weight_decay=1.0,
        ),
        Arm(name="ar-dropout", objective="next-token", description=f"{_AR} with dropout 0.1", dropout=0.1),
        Arm(
            name="ar-masked-input",
            objective="next-token",
            description=f"{_AR} with 30 % of its input masked",
            input_mask=0.3,
        ),
        Arm(
            name="bd",
            objective="block-masked",
            description="block diffusion: masked diffusion within blocks of 16, left to right between them",
            block_length=16,
        ),
        Arm(
            name="dlm-fixed-order",
            objective="block-masked",
            description="masked diffusion in one fixed order, left to right: blocks of one token",
            block_length=1,
        ),
    )
}
"""The built-in arms. A study's `recipes` changes their ratios or adds arms that start from them."""


def resolve_arm(name: str, recipe: Recipe | None) -> Arm:
    """A built-in arm, or one that a study's recipe makes of it.

    Raises:
        ValueError: no such arm, or the recipe sets what its objective has not.
    """
    base = (recipe.base if recipe else "") or name
    if base not in ARMS:
        raise ValueError(f"{unknown_name('arm', base, tuple(ARMS))}, or give it a base under recipes")
    if recipe is None:
        return ARMS[base]
    changes = recipe.model_dump(exclude={"base"}, exclude_none=True)
    text = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in changes.items())
    described = f"{base} with {text}" if text else ARMS[base].description
    try:
        return Arm.model_validate(ARMS[base].model_dump() | changes | {"name": name, "description": described})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")
        raise ValueError(f"arm {name!r}: {first}") from error
