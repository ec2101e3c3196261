"""Request bodies of the OpenAI-style routes; KServe's OpenAI types need vLLM."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from crossover.decoding import Generation


class OpenAIBody(BaseModel):
    """A JSON object as OpenAI reads it: null is the default, unknown fields are ignored."""

    model_config = ConfigDict(extra="ignore")

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, body: Any) -> Any:  # noqa: ANN401 - any JSON value
        return {k: v for k, v in body.items() if v is not None} if isinstance(body, dict) else body


class StreamOptions(OpenAIBody):
    """Options of a streamed response."""

    include_usage: bool = False


class CompletionRequest(OpenAIBody):
    """POST /v1/completions."""

    model: str
    prompt: str | Annotated[list[str], Field(min_length=1, max_length=64)]
    suffix: str | None = None
    max_tokens: int = Field(default=16, ge=1, le=4096)
    temperature: float = Field(default=1.0, ge=0, le=2)
    top_p: float = Field(default=1.0, gt=0, le=1)
    n: int = Field(default=1, ge=1, le=16)
    seed: int = Field(default=0, ge=0, lt=2**62)
    stop: str | list[str] | None = None
    echo: bool = False
    logprobs: int | None = Field(default=None, ge=0, le=5)
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()
    steps: int = Field(default=0, ge=0, description="DLM: forward passes; 0 is one per token.")
    block_length: int = Field(
        default=0, ge=0, description="DLM: tokens of a block, completed before the next; 0 is one block."
    )
    remasking: Literal["confidence", "random"] = "confidence"

    @property
    def prompts(self) -> list[str]:
        """The prompts as a list."""
        return [self.prompt] if isinstance(self.prompt, str) else self.prompt

    def generations(self) -> list[Generation]:
        """One request per prompt and choice; choice i of a prompt samples with seed + i."""
        stop = () if self.stop is None else (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)
        return [
            Generation(
                prompt=prompt,
                suffix=self.suffix,
                max_tokens=self.max_tokens,
                temperature=self.temperature,
                top_p=self.top_p,
                seed=self.seed + choice,
                stop=stop,
                steps=self.steps,
                block_length=self.block_length,
                remasking=self.remasking,
            )
            for prompt in self.prompts
            for choice in range(self.n)
        ]
