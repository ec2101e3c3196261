"""A generation request and its completion."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from crossover.errors import RequestError

MAX_NEW_TOKENS = 4096


@dataclass(frozen=True, kw_only=True)
class Generation:
    """A request to generate text.

    Args:
        prompt: text before the completion.
        suffix: text after the completion, which only a masked diffusion model can condition on; None for none.
        max_tokens: largest number of tokens of the completion; exact for a DLM with a suffix.
        temperature: 0 is greedy; 1 samples from the model's distribution.
        top_p: nucleus sampling: sample among the most likely tokens that hold this much probability.
        seed: of the random numbers; the completion does not depend on the other requests of its batch.
        stop: sequences that end the completion and are not part of it.
        block_length: a DLM completes a block of this many tokens before the next one; 0 is a single block.
        steps: forward passes that a DLM uses; 0 is one per token, the most accurate.
        remasking: which positions a DLM commits first: the most confident, or random ones.
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
        """Validate the fields.

        Raises:
            RequestError: a field is out of range.
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
    """The response to a `Generation`."""

    tokens: list[int]
    text: str
    finish_reason: Literal["stop", "length"]
    prompt_tokens: int
    """Tokens of prompt and suffix that fit into the model's context."""
    truncated_tokens: int
    """Tokens of prompt and suffix that did not fit and were cut."""
    forward_passes: int
    logprobs: list[float] = field(default_factory=list)
    """Log-probability of each token in nats when it was committed, at temperature 1."""
