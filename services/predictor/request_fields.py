"""What the request bodies of all protocols share: the sampling fields, and errors that name the field at fault."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from crossover.decoding import Generation
from crossover.errors import RequestError
from crossover.field_faults import field_faults

BodyT = TypeVar("BodyT", bound=BaseModel)
DIFFUSION_FIELDS = ("steps", "block_length", "order")


def _texts(value: object) -> list[str]:
    """One text, or a list of texts, as a list."""
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"is neither text nor a list of texts: {str(value)[:60]}")
    return texts


Texts = Annotated[list[str], BeforeValidator(_texts)]


class RequestBody(BaseModel):
    """A JSON object: null is the default, and an unknown field is refused."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, body: Any) -> Any:  # noqa: ANN401 - any JSON value
        return {k: v for k, v in body.items() if v is not None} if isinstance(body, dict) else body


class SamplingFields(RequestBody):
    """How a completion is sampled; see `Generation`."""

    max_tokens: int = Field(default=16, ge=1, le=4096)
    temperature: float = Field(default=0.0, ge=0, le=10)
    top_p: float = Field(default=1.0, gt=0, le=1)
    seed: int = Field(default=0, ge=0, lt=2**63)
    stop: Texts = []
    steps: int = Field(default=0, ge=0, description="DLM: forward passes; 0 is one per token.")
    block_length: int = Field(
        default=0, ge=0, description="DLM: tokens of a block, completed before the next; 0 is one block."
    )
    order: Literal["confidence", "random"] = "confidence"

    def generation(self, prompt: str, suffix: str | None, *, causal: bool, choice: int = 0) -> Generation:
        """The request for one prompt; each choice has a seed of its own.

        Raises:
            RequestError: the model is causal, and a field has a meaning for diffusion models only.
        """
        if causal and (names := [name for name in DIFFUSION_FIELDS if name in self.model_fields_set]):
            raise RequestError(
                "request.diffusion-only",
                field=names[0],
                problem="only diffusion models have it: an autoregressive model generates token by token",
                remedy=f"leave {names[0]} out, or serve a diffusion model",
            )
        return Generation(
            prompt=prompt,
            suffix=suffix,
            max_tokens=self.max_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            seed=self.seed + choice,
            stop=tuple(self.stop),
            steps=self.steps,
            block_length=self.block_length,
            order=self.order,
        )


def parse_body(model: type[BodyT], content: object, place: str = "") -> BodyT:
    """A body, or a part of one, from its JSON or from JSON values.

    Args:
        model: that validates it.
        content: JSON as bytes, or a value.
        place: of the part in the body, such as `instances.0`.

    Raises:
        RequestError: it is malformed.
    """
    try:
        return model.model_validate_json(content) if isinstance(content, bytes) else model.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        if first["type"] == "json_invalid":
            raise malformed("body", f"is not JSON ({first['ctx']['error']})") from error
        faults = field_faults(error, model, place or "body", lambda name: f"{place}.{name}" if place else name)
        raise RequestError(
            "request.invalid", field=faults.field, problem=faults.problem, remedy=f"correct {faults.named}"
        ) from error


def malformed(field: str, problem: str) -> RequestError:
    """The error of a malformed field."""
    return RequestError("request.invalid", field=field, problem=problem, remedy=f"correct {field}")
