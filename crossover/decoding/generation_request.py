"""What is asked of a decoder, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from crossover.errors import RequestError

MAX_NEW_TOKENS = 4096


@dataclass(frozen=True, kw_only=True)
class Generation:
    """One request.

    Args:
        prompt: what stands before the completion.
        suffix: what stands after it; only a DLM can fill the hole between. None when there is nothing.
        max_tokens: how many tokens to complete with; a DLM with a suffix fills exactly so many.
        temperature: 0 takes the likeliest token; 1 samples from the model.
        top_p: sample only among the likeliest tokens that hold this much probability.
        seed: equal seeds give equal answers, whatever else is in the batch.
        stop: texts that end the completion; they are not part of it.
        block_length: a DLM finishes a block of so many tokens before the next; 0 is all at once.
        steps: forward passes a DLM may use; 0 is one a token, the most exact.
        remasking: which places a DLM commits first: those it is surest of, or random ones.
    """

    prompt: str
    suffix: str | None = None
    max_tokens: int = 16
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    stop: tuple[str, ...] = ()
    block_length: int = 0
    steps: int = 0
    remasking: Literal["confidence", "random"] = "confidence"

    def __post_init__(self) -> None:
        """Refuse what no decoder can do.

        Raises:
            RequestError: names the field.
        """
        _require(1 <= self.max_tokens <= MAX_NEW_TOKENS, "max_tokens", f"must be 1 to {MAX_NEW_TOKENS}")
        _require(0 <= self.temperature <= 10, "temperature", "must be 0 to 10")
        _require(0 < self.top_p <= 1, "top_p", "must be above 0 and at most 1")
        _require(0 <= self.seed < 2**63, "seed", "must be 0 or more and below 2**63")
        _require(self.block_length >= 0, "block_length", "must not be negative")
        _require(self.steps >= 0, "steps", "must not be negative")
        _require(all(self.stop), "stop", "must not hold an empty text")


def _require(ok: bool, field_name: str, problem: str) -> None:
    if not ok:
        raise RequestError("request.invalid", field=field_name, problem=problem, remedy=f"correct {field_name}")


@dataclass(kw_only=True)
class Completion:
    """One answer."""

    tokens: list[int]
    text: str
    finish_reason: Literal["stop", "length"]
    prompt_tokens: int
    """Tokens of prompt and suffix that the model saw."""
    truncated_tokens: int
    """Tokens of prompt and suffix that did not fit and were left out."""
    forward_passes: int
    logprobs: list[float] = field(default_factory=list)
    """Log probability of each token when it was committed, at temperature 1."""
