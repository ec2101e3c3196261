"""The one request to generate text behind all protocols: a field has the same name, meaning and default in each.

Names and meanings are those of `crossover.decoding.generation_request`.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Annotated, Any

from crossover_services.predictor.request_fields import RequestBody, Text, TextField, TextsField, malformed
from pydantic import AfterValidator, Field, WithJsonSchema

from crossover.decoding.engine import Capabilities
from crossover.decoding.generation_request import (
    MAX_LOGPROBS,
    MAX_NEW_TOKENS,
    MAX_STOPS,
    Cache,
    Generation,
    Order,
    Sampling,
    Unmasking,
)
from crossover.errors import RequestError
from crossover.tokenization.tokenizer import Tokenizer

DEFAULT_MAX_TOKENS = 16
MAX_CHOICES = 16
"""Choices per prompt."""
DIFFUSION_FIELDS = tuple(Unmasking.__dataclass_fields__)
_SAMPLING_FIELDS = tuple(Sampling.__dataclass_fields__)


def _token_ids(bias: dict[int, float]) -> dict[int, float]:
    if unknown := [token for token in bias if token < 0]:
        raise ValueError(f"{unknown[0]} is no token id")
    return bias


LogitBias = Annotated[
    dict[int, Annotated[float, Field(ge=-100, le=100)]],
    AfterValidator(_token_ids),
    WithJsonSchema({"type": "object", "additionalProperties": {"type": "number", "minimum": -100, "maximum": 100}}),
]


class SamplingFields(RequestBody):
    """How tokens are chosen and unmasked, of completions and of infills; see `Sampling` and `Unmasking`."""

    temperature: float = Field(default=1.0, ge=0, le=10)
    top_k: int = Field(default=0, ge=-1, description="0 and -1 are all tokens.")
    top_p: float = Field(default=1.0, gt=0, le=1)
    min_p: float = Field(default=0.0, ge=0, lt=1)
    repetition_penalty: float = Field(default=1.0, gt=0, le=10)
    presence_penalty: float = Field(default=0.0, ge=-10, le=10)
    frequency_penalty: float = Field(default=0.0, ge=-10, le=10)
    logit_bias: LogitBias = Field(default={})
    seed: int = Field(default=-1, ge=-1, lt=2**63 - MAX_CHOICES, description="-1 draws one, which each choice reports.")
    ignore_eos: bool = False
    min_tokens: int = Field(default=0, ge=0, le=MAX_NEW_TOKENS)
    steps: int = Field(default=0, ge=0, le=MAX_NEW_TOKENS, description="DLM: forward passes; 0 is one per token.")
    block_length: int = Field(
        default=0, ge=0, le=MAX_NEW_TOKENS, description="DLM: tokens of a block, completed before the next; 0 is one."
    )
    order: Order = "confidence"
    confidence_threshold: float = Field(default=0.0, ge=0, le=1)
    remask: float = Field(default=0.0, ge=0, lt=1)
    cache: Cache = "exact"
    timeout: float | None = Field(default=None, gt=0, le=3600, description="Seconds, after which it is given up.")
    user: str | None = Field(default=None, description="Accepted and ignored.")

    def sampling(self, capabilities: Capabilities, *, logprobs: int | None) -> dict[str, Any]:
        """Keyword arguments of a `Generation` or an `Infilling`, with the seed drawn if it was not given.

        Raises:
            RequestError: the model is autoregressive, and a field has a meaning for diffusion models only.
        """
        defaults = type(self).model_fields
        if capabilities.family == "autoregressive":
            refuse_diffusion_fields([x for x in DIFFUSION_FIELDS if getattr(self, x) != defaults[x].default])
        names = (*_SAMPLING_FIELDS, *DIFFUSION_FIELDS)
        values = {name: getattr(self, name) for name in names if name in defaults}
        values["top_k"] = max(0, self.top_k)
        values["seed"] = secrets.randbelow(2**32) if self.seed == -1 else self.seed
        return values | {"logprobs": logprobs}


def refuse_diffusion_fields(names: Sequence[str]) -> None:
    """Refuse the first of these fields, which an autoregressive model was given.

    Raises:
        RequestError: there is one.
    """
    if names:
        raise RequestError(
            "request.diffusion-only",
            field=names[0],
            problem="only diffusion models have it: an autoregressive model generates token by token",
            remedy=f"leave {names[0]} out, or serve a diffusion model",
        )


class GenerationFields(SamplingFields):
    """How one prompt is completed, in every protocol; see `Generation`."""

    suffix: TextField | None = None
    max_tokens: int | None = Field(
        default=None, ge=0, le=MAX_NEW_TOKENS, description="Default 16, or what the context leaves if that is less."
    )
    stop: Annotated[TextsField, Field(max_length=MAX_STOPS)] = Field(default=[])
    prompt_logprobs: bool = False
    truncate_prompt_tokens: int | None = Field(
        default=None, ge=1, description="Keep only so many tokens of the prompt, its last."
    )

    def generations(
        self,
        prompts: Sequence[Text],
        capabilities: Capabilities,
        tokenizer: Tokenizer,
        *,
        logprobs: int | None = None,
        choices: int = 1,
        prompt_logprobs: bool = False,
    ) -> list[Generation]:
        """One request per prompt and choice; choice i of a prompt samples with seed + i.

        Args:
            prompts: texts or token ids.
            capabilities: of the model.
            tokenizer: of the model.
            logprobs: alternatives to each token; None for no log-probabilities.
            choices: of each prompt.
            prompt_logprobs: those of the prompt are wanted, also where the body did not say so.

        Raises:
            RequestError: a field that the model's family does not have, or out of range.
        """
        sampling = self.sampling(capabilities, logprobs=logprobs)
        prompt_logprobs = prompt_logprobs or self.prompt_logprobs
        if prompt_logprobs and not capabilities.prompt_logprobs:
            raise RequestError(
                "request.prompt-logprobs-unsupported",
                field="logprobs" if not self.prompt_logprobs else "prompt_logprobs",
                problem="a diffusion model has no log-probability of each token of the prompt",
                remedy="ask /v1/score for a bound on the log-likelihood of a text, or omit it",
            )
        kept = [self._truncated(prompt, tokenizer) for prompt in prompts]
        return [
            Generation(
                **(sampling | {"seed": sampling["seed"] + choice}),
                prompt=prompt,
                suffix=self.suffix,
                max_tokens=self._max_tokens(prompt, capabilities, tokenizer),
                stop=tuple(self.stop),
                prompt_logprobs=prompt_logprobs,
            )
            for prompt in kept
            for choice in range(choices)
        ]

    def _truncated(self, prompt: Text, tokenizer: Tokenizer) -> Text:
        if self.truncate_prompt_tokens is None or count_tokens(prompt, tokenizer) <= self.truncate_prompt_tokens:
            return prompt
        tokens = tokenizer.encode(prompt).tolist() if isinstance(prompt, str) else prompt
        return tuple(tokens[-self.truncate_prompt_tokens :])

    def _max_tokens(self, prompt: Text, capabilities: Capabilities, tokenizer: Tokenizer) -> int:
        if self.max_tokens is not None:
            return self.max_tokens
        left = capabilities.max_length - count_tokens(prompt, tokenizer) - count_tokens(self.suffix or "", tokenizer)
        return max(1, min(DEFAULT_MAX_TOKENS, left))


class CompletionRequest(GenerationFields):
    """The fields of one completion where the prompt and `logprobs` are in the body: KServe's instances."""

    logprobs: int | None = Field(default=None, ge=0, le=MAX_LOGPROBS)


def known_ids(text: Text, tokenizer: Tokenizer, field: str) -> None:
    """Refuse token ids that the model cannot read.

    Raises:
        RequestError: with the first of them.
    """
    for token in () if isinstance(text, str) else text:
        if not 0 <= token < tokenizer.mask:
            raise RequestError(
                "request.unknown-token",
                field=field,
                problem=f"there is no token {token} to read; the vocabulary has {tokenizer.mask}, without MASK",
                remedy="send ids of this model's tokenizer, or text",
            )


def count_tokens(text: Text, tokenizer: Tokenizer) -> int:
    """Tokens of a text."""
    return len(tokenizer.encode(text)) if isinstance(text, str) else len(text)


def text_of(text: Text, tokenizer: Tokenizer) -> str:
    """A text, or what its token ids read; special tokens have no text."""
    return text if isinstance(text, str) else tokenizer.decode(list(text))


def check_choices(count: int, limit: int, field: str) -> None:
    """Refuse a request with more completions than the queue can ever hold.

    Raises:
        RequestError: with the number.
    """
    if count > limit:
        raise malformed(field, f"asks for {count} completions, and the server's queue holds {limit}")
