"""Request bodies of the OpenAI-style routes; KServe's OpenAI types need vLLM."""

from __future__ import annotations

from typing import Annotated

from crossover_services.predictor.request_fields import RequestBody, SamplingFields, Texts
from pydantic import Field, ValidationInfo, field_validator

from crossover.decoding import Generation


class StreamOptions(RequestBody):
    """Options of a streamed response."""

    include_usage: bool = False
    include_obfuscation: bool = Field(default=False, description="Accepted and ignored: events are not padded.")


class CompletionRequest(SamplingFields):
    """POST /v1/completions: every field of OpenAI's API, and those of diffusion models."""

    model: str
    prompt: Annotated[Texts, Field(min_length=1, max_length=64)]
    suffix: str | None = None
    temperature: float = Field(default=1.0, ge=0, le=2)
    n: int = Field(default=1, ge=1, le=16)
    echo: bool = False
    logprobs: int | None = Field(default=None, ge=0, le=5)
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()
    user: str | None = Field(default=None, description="Accepted and ignored.")
    best_of: int = 1
    logit_bias: dict[str, float] = Field(default={})
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0

    @field_validator("best_of", "logit_bias", "presence_penalty", "frequency_penalty")
    @classmethod
    def _without_effect(cls, value: object, info: ValidationInfo) -> object:
        """OpenAI's fields that are not implemented: clients may send the value that changes nothing."""
        default = cls.model_fields[str(info.field_name)].default
        if value != default:
            raise ValueError(f"{value} is not supported; leave it out, or give {default}")
        return value

    def generations(self, *, causal: bool) -> list[Generation]:
        """One request per prompt and choice; choice i of a prompt samples with seed + i.

        Raises:
            RequestError: the model is causal, and a field has a meaning for diffusion models only.
        """
        return [
            self.generation(prompt, self.suffix, causal=causal, choice=choice)
            for prompt in self.prompt
            for choice in range(self.n)
        ]
