"""POST /v1/infill: holes anywhere between given texts, which a masked diffusion model fills all at once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

from crossover_services.predictor.completion_request import SamplingFields, check_choices
from crossover_services.predictor.engine_client import EngineClient
from crossover_services.predictor.openai_answers import (
    Chunks,
    Json,
    canvas_part,
    envelope,
    event_stream,
    finite,
    token_text,
    usage,
)
from crossover_services.predictor.openai_completions import ChoiceFields
from crossover_services.predictor.request_fields import Text, malformed, parse_text
from fastapi.responses import StreamingResponse
from pydantic import BeforeValidator, Field, WithJsonSchema

from crossover.decoding.engine_events import Canvas, Event, Finished
from crossover.decoding.generation_request import MAX_LOGPROBS, MAX_NEW_TOKENS, Completion, Hole, Infilling
from crossover.decoding.infill_lengths import fixed_lengths, likeliest
from crossover.errors import RequestError
from crossover.tokenization.tokenizer import Tokenizer

MAX_PARTS = 512


def _hole(value: object) -> Hole | range:
    """A hole of so many tokens, or of a length between two."""
    bounds: list[Any] = value if isinstance(value, list) else [value, value]
    if len(bounds) != 2 or not all(type(size) is int for size in bounds):
        raise ValueError(f"is neither a number of tokens nor [least, most]: {str(value)[:60]}")
    least, most = bounds
    if not 1 <= least <= most <= MAX_NEW_TOKENS:
        raise ValueError(f"should have 1 to {MAX_NEW_TOKENS} tokens, the least first, found {str(value)[:60]}")
    return Hole(least) if least == most else range(least, most + 1)


def _parts(value: object) -> list[Text | Hole | range]:
    if not isinstance(value, list):
        raise ValueError(f'is not a list such as ["text", {{"hole": 4}}, "text"]: {str(value)[:60]}')
    return [_part(item) for item in value]


def _part(value: Any) -> Text | Hole | range:  # noqa: ANN401 - any JSON value
    if isinstance(value, str):
        return value
    if isinstance(value, dict) and set(value) == {"hole"}:
        return _hole(value["hole"])
    if isinstance(value, dict) and set(value) == {"tokens"} and isinstance(value["tokens"], list):
        return parse_text(value["tokens"])
    raise ValueError(f'is neither text, {{"hole": …}} nor {{"tokens": […]}}: {str(value)[:60]}')


_SIZE = {"type": "integer", "minimum": 1, "maximum": MAX_NEW_TOKENS}
_SCHEMA = {
    "type": "array",
    "minItems": 1,
    "items": {
        "anyOf": [
            {"type": "string"},
            {
                "type": "object",
                "properties": {
                    "hole": {"anyOf": [_SIZE, {"type": "array", "items": _SIZE, "minItems": 2, "maxItems": 2}]}
                },
                "required": ["hole"],
                "additionalProperties": False,
            },
            {
                "type": "object",
                "properties": {"tokens": {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1}},
                "required": ["tokens"],
                "additionalProperties": False,
            },
        ]
    },
}


class InfillRequest(SamplingFields, ChoiceFields):
    """The body. `{"hole": [a, b]}` tries the lengths a to b, and keeps the likeliest answer."""

    parts: Annotated[
        list[Any], BeforeValidator(_parts), WithJsonSchema(_SCHEMA), Field(min_length=1, max_length=MAX_PARTS)
    ]
    logprobs: int | None = Field(default=None, ge=0, le=MAX_LOGPROBS)

    def requests(self, client: EngineClient) -> list[list[Infilling]]:
        """For each choice, one request for every combination of lengths.

        Raises:
            RequestError: no hole, too many combinations, or a model that cannot fill holes.
        """
        self.check_stream()
        capabilities = client.engine.capabilities
        if not capabilities.infill:
            raise RequestError(
                "request.infill-unsupported",
                field="parts",
                problem=f"a model of the family {capabilities.family!r} cannot attend to text after a hole",
                remedy="serve a masked diffusion model (arm dlm), or use /v1/completions",
            )
        combinations = fixed_lengths(self.parts)
        if self.stream and len(combinations) > 1:
            raise malformed(
                "parts", "has a hole of several lengths, of which the answer is chosen at the end; omit stream"
            )
        check_choices(len(combinations) * self.n, client.engine.limits.waiting, "n")
        # as many log-probabilities as there are tokens make the answer's `holes`
        sampling = self.sampling(capabilities, logprobs=self.logprobs or 0)
        return [
            [Infilling(**(sampling | {"seed": sampling["seed"] + choice}), parts=parts) for parts in combinations]
            for choice in range(self.n)
        ]


async def infill(client: EngineClient, request: InfillRequest) -> Json | StreamingResponse:
    """The answer.

    Raises:
        RequestError: as `EngineClient.complete` has it.
    """
    groups, tokenizer = request.requests(client), client.engine.model.tokenizer
    flat = [infilling for group in groups for infilling in group]
    if request.stream:
        events = client.stream(flat, timeout=request.timeout, canvas=request.canvas)
        body = envelope("infill.chunk", "infill", request.model)

        def render(index: int, event: Event) -> Iterable[Json]:
            if isinstance(event, Canvas):
                yield {"index": index, "finish_reason": None} | canvas_part(event)
            elif isinstance(event, Finished):
                yield _choice(index, flat[index], event.completion, request.logprobs, tokenizer)

        return await event_stream(events, Chunks(body, (), render, request.stream_options.include_usage, request.n))
    completions = await client.complete(flat, timeout=request.timeout)
    size = len(groups[0])
    choices = []
    for index, group in enumerate(groups):
        tried = completions[index * size : (index + 1) * size]
        chosen = likeliest(tried)
        choices.append(_choice(index, group[chosen], tried[chosen], request.logprobs, tokenizer))
    body = envelope("infill", "infill", request.model)
    return body | {"choices": choices, "usage": usage(completions, len(completions))}


def _choice(
    index: int, infilling: Infilling, completion: Completion, logprobs: int | None, tokenizer: Tokenizer
) -> Json:
    return {
        "index": index,
        "text": completion.text,
        "holes": list(_holes(infilling, completion, logprobs, tokenizer)),
        "confidence": finite(completion.confidence),
        "finish_reason": completion.finish_reason,
        "seed": infilling.seed,
    }


def _holes(infilling: Infilling, completion: Completion, logprobs: int | None, tokenizer: Tokenizer) -> Iterable[Json]:
    """Each hole's text and tokens, their log-probabilities when they were committed, and asked-for alternatives."""
    start = 0
    sizes = [part.tokens for part in infilling.parts if isinstance(part, Hole)]
    for text, size in zip(completion.holes, sizes, strict=True):
        own = slice(start, start + size)
        start += size
        items = completion.logprobs[own]
        hole: Json = {"text": text, "tokens": completion.tokens[own], "logprobs": [finite(i.logprob) for i in items]}
        if logprobs:
            hole["top_logprobs"] = [{token_text(t, tokenizer): finite(v) for t, v in item.top} for item in items]
        yield hole
