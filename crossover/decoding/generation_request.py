"""Requests to generate text, to fill holes, and their completions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from crossover.errors import RequestError

MAX_NEW_TOKENS = 4096
MAX_LOGPROBS = 20
"""Alternatives per token that a request may ask for."""
MAX_STOPS = 16
MAX_STOP_BYTES = 1024

Text = str | tuple[int, ...]
"""A text, or its token ids."""
Order = Literal["confidence", "margin", "entropy", "random", "left-to-right"]
Cache = Literal["exact", "prefix", "dual"]


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How a token is chosen from its logits; equal for both families.

    Penalties and biases change the logits before the temperature, in the order of the fields; then top_k, top_p and
    min_p remove tokens. `logprobs` are of the model's own distribution, before all of that.

    Args:
        logit_bias: added to the logits of these token ids, in nats; -100 removes a token.
        repetition_penalty: divides positive and multiplies negative logits of the tokens of prompt and completion
            (Keskar et al. 2019, arXiv 1909.05858); 1 changes nothing.
        presence_penalty: subtracted from the logits of the tokens that the completion has.
        frequency_penalty: subtracted from them as often as the completion has them.
        temperature: 0 is greedy; 1 samples from the model's distribution.
        top_k: sample among this many most likely tokens; 0 is all.
        top_p: sample among the most likely tokens that hold this much probability.
        min_p: sample among the tokens of at least this share of the most likely one's probability.
        seed: of the random numbers; a completion does not depend on the other requests of its batch.
        logprobs: most likely tokens to return with each token, 0 to 20; None returns none, and no log-probability.
        ignore_eos: never end at EOS: it is not generated.
        min_tokens: no EOS before so many tokens.
    """

    logit_bias: Mapping[int, float] = field(default_factory=dict)
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    seed: int = 0
    logprobs: int | None = None
    ignore_eos: bool = False
    min_tokens: int = 0

    def __post_init__(self) -> None:
        """Validate the fields.

        Raises:
            RequestError: a field is out of range.
        """
        _require(all(math.isfinite(v) for v in self.logit_bias.values()), "logit_bias", "must hold finite numbers")
        _require(0 < self.repetition_penalty <= 10, "repetition_penalty", "must be above 0 and at most 10")
        for name in ("presence_penalty", "frequency_penalty"):
            _require(-10 <= getattr(self, name) <= 10, name, "must be -10 to 10")
        _require(0 <= self.temperature <= 10, "temperature", "must be 0 to 10")
        _require(self.top_k >= 0, "top_k", "must not be negative")
        _require(0 < self.top_p <= 1, "top_p", "must be above 0 and at most 1")
        _require(0 <= self.min_p < 1, "min_p", "must be at least 0 and below 1")
        _require(0 <= self.seed < 2**63, "seed", "must be 0 or more and below 2**63")
        _require(
            self.logprobs is None or 0 <= self.logprobs <= MAX_LOGPROBS, "logprobs", f"must be 0 to {MAX_LOGPROBS}"
        )
        _require(self.min_tokens >= 0, "min_tokens", "must not be negative")


@dataclass(frozen=True, kw_only=True)
class Unmasking:
    """How a diffusion model fills its masks; without effect in an autoregressive model.

    Args:
        steps: forward passes that the answer takes, at least one a block; 0 is one per token, the most accurate.
        block_length: a block of this many tokens is completed before the next one; 0 is a single block. A block
            diffusion model has its own.
        order: which masked positions of a block come first: those with the most likely token, the largest margin
            between the two most likely, the least entropy, random ones, or the leftmost.
        confidence_threshold: also commit every position whose token is at least this likely, so that an answer takes
            fewer passes (Fast-dLLM, arXiv 2505.22618); 0 commits no more than `steps` demands.
        remask: share of a block's tokens, the least likely ones, that are masked and filled once more when the block
            is full.
        cache: `exact` computes every position in every pass. `prefix` computes the positions from the block on, `dual`
            only the block's; both keep the other keys and values from the block's first pass, which approximates a
            model with full attention. A block diffusion model's cache is always exact.
    """

    steps: int = 0
    block_length: int = 0
    order: Order = "confidence"
    confidence_threshold: float = 0.0
    remask: float = 0.0
    cache: Cache = "exact"

    def __post_init__(self) -> None:
        """Validate the fields.

        Raises:
            RequestError: a field is out of range.
        """
        _require(self.steps >= 0, "steps", "must not be negative")
        _require(self.block_length >= 0, "block_length", "must not be negative")
        _require(0 <= self.confidence_threshold <= 1, "confidence_threshold", "must be 0 to 1")
        _require(0 <= self.remask < 1, "remask", "must be at least 0 and below 1")


@dataclass(frozen=True, kw_only=True)
class Generation(Sampling, Unmasking):
    """A request to complete a text.

    Args:
        prompt: before the completion, as text or token ids.
        suffix: after the completion, which only a masked diffusion model can attend to; None for none.
        max_tokens: largest number of tokens of the completion; exact for a DLM with a suffix. With 0 an
            autoregressive model only reads the prompt.
        stop: texts that end the completion and are not part of it.
        prompt_logprobs: return the log-probability of each token of the prompt; autoregressive models only.
    """

    prompt: Text
    suffix: Text | None = None
    max_tokens: int = 16
    stop: tuple[str, ...] = ()
    prompt_logprobs: bool = False

    def __post_init__(self) -> None:
        """Validate the fields.

        Raises:
            RequestError: a field is out of range.
        """
        Sampling.__post_init__(self)
        Unmasking.__post_init__(self)
        least = 0 if self.prompt_logprobs else 1
        _require(
            least <= self.max_tokens <= MAX_NEW_TOKENS,
            "max_tokens",
            f"must be {least} to {MAX_NEW_TOKENS}" + ("; 0 goes with prompt_logprobs only" if least else ""),
        )
        _require(all(self.stop), "stop", "must not hold an empty text")
        _require(len(self.stop) <= MAX_STOPS, "stop", f"must hold at most {MAX_STOPS} texts")
        _require(
            all(len(text.encode()) <= MAX_STOP_BYTES for text in self.stop),
            "stop",
            f"must be {MAX_STOP_BYTES} bytes or less",
        )


@dataclass(frozen=True)
class Hole:
    """Where an `Infilling` has no text: this many tokens."""

    tokens: int


@dataclass(frozen=True, kw_only=True)
class Infilling(Sampling, Unmasking):
    """A request to fill any number of holes between given texts, which stay as they are; for masked diffusion models.

    Args:
        parts: texts and holes in their order.
    """

    parts: tuple[Text | Hole, ...]

    def __post_init__(self) -> None:
        """Validate the fields.

        Raises:
            RequestError: a field is out of range.
        """
        Sampling.__post_init__(self)
        Unmasking.__post_init__(self)
        holes = [part.tokens for part in self.parts if isinstance(part, Hole)]
        _require(bool(holes), "parts", "must have a hole")
        _require(
            all(1 <= size <= MAX_NEW_TOKENS for size in holes), "parts", f"holes have 1 to {MAX_NEW_TOKENS} tokens"
        )


def _require(ok: bool, field_name: str, problem: str) -> None:
    if not ok:
        raise RequestError("request.invalid", field=field_name, problem=problem, remedy=f"correct {field_name}")


@dataclass(frozen=True)
class TokenLogprob:
    """A token, and how likely the model finds it, at temperature 1 and without penalties."""

    token: int
    logprob: float | None
    """In nats: of an AR token given all before it, of a DLM's when it was committed. None for the first of a prompt."""
    top: tuple[tuple[int, float], ...] = ()
    """The most likely tokens and their log-probabilities, most likely first."""


@dataclass(kw_only=True)
class Completion:
    """The response to a `Generation` or an `Infilling`."""

    tokens: list[int]
    """Of the completion; of all holes in their order."""
    text: str
    """Of the completion; of an `Infilling` the filled text."""
    finish_reason: Literal["stop", "length"]
    prompt_tokens: int
    """Tokens of prompt and suffix, or of the texts between holes, that fit into the model's context."""
    truncated_tokens: int
    """Tokens of prompt and suffix that did not fit and were cut."""
    cached_tokens: int = 0
    """Tokens of the prompt whose keys and values were there from an earlier request."""
    forward_passes: int
    logprobs: list[TokenLogprob] = field(default_factory=list)
    """Of each token of `tokens`; empty unless `Sampling.logprobs` is given."""
    prompt_logprobs: list[TokenLogprob] = field(default_factory=list)
    """Of each token of the prompt, where `Generation.prompt_logprobs`."""
    holes: list[str] = field(default_factory=list)
    """Text of each hole of an `Infilling`."""
    confidence: float = math.nan
    """Mean log-probability of the tokens when they were committed, in nats."""
