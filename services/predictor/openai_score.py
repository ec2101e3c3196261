"""POST /v1/score: the log-likelihood of continuations, exact or as a bound, whichever the family has."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from crossover_services.predictor.completion_request import count_tokens, known_ids
from crossover_services.predictor.engine_client import EngineClient
from crossover_services.predictor.openai_answers import Json, envelope, finite
from crossover_services.predictor.request_fields import PromptsField, RequestBody, Text, TextField, malformed
from pydantic import Field

from crossover.errors import PromptTooLongError
from crossover.evaluation.continuation_scoring import ItemLikelihoods, score_in_turns
from crossover.evaluation.tasks import Continuation
from crossover.tokenization.tokenizer import Tokenizer

MAX_CONTINUATIONS = 64
MAX_DRAWS = 1024


class ScoreRequest(RequestBody):
    """The body. `nll` is in nats, of all tokens of a continuation given the context."""

    model: str
    context: TextField | None = Field(default=None, description="Default: nothing before the continuation.")
    continuation: Annotated[PromptsField, Field(min_length=1, max_length=MAX_CONTINUATIONS)]
    draws: int = Field(default=32, ge=1, le=MAX_DRAWS, description="DLM: masks a continuation is scored under.")
    seed: int = Field(default=0, ge=0, lt=2**32, description="DLM: of the masks; equal seeds draw equal masks.")


async def score(client: EngineClient, request: ScoreRequest) -> Json:
    """The answer.

    Raises:
        PromptTooLongError: a context and its continuation are longer than the model's context.
        RequestError: a continuation has no tokens.
    """
    model = client.engine.model
    pairs = [Continuation(request.context or "", text) for text in request.continuation]
    for i, pair in enumerate(pairs):
        _check_length(i, pair, model.config.max_length, model.tokenizer)

    def work() -> Iterator[object]:
        # an item each: of equal lengths they have equal masks
        for pair in pairs:
            yield from score_in_turns(model, [pair], draws=request.draws, first=request.seed)

    items = [item for item in await client.run(work()) if isinstance(item, ItemLikelihoods)]
    scores = [
        {
            "index": i,
            "nll": scored.nll,
            "stderr": finite(scored.stderr),
            "tokens": scored.tokens,
            "estimator": "exact" if model.causal else "upper bound",
            "draws": scored.draws,
            "greedy": greedy if model.causal else None,
        }
        for i, ((scored,), _, (greedy,)) in enumerate(items)
    ]
    return envelope("score", "score", request.model) | {"scores": scores}


def _check_length(index: int, pair: tuple[Text, Text], limit: int, tokenizer: Tokenizer) -> None:
    for text in pair:
        known_ids(text, tokenizer, f"continuation.{index}")
    context, continuation = (count_tokens(text, tokenizer) for text in pair)
    if not continuation:
        raise malformed(f"continuation.{index}", "has no tokens")
    if context + continuation > limit:
        raise PromptTooLongError(
            "request.prompt-too-long",
            field=f"continuation.{index}",
            problem=f"context and continuation have {context} + {continuation} tokens, and the model's context {limit}",
            remedy="shorten the context",
        )
