"""POST /v1/completions: every field of OpenAI's API, and those of diffusion models."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Annotated

from crossover_services.predictor.completion_request import MAX_CHOICES, CompletionRequest, check_choices, text_of
from crossover_services.predictor.engine_client import EngineClient
from crossover_services.predictor.openai_answers import (
    Chunks,
    Json,
    Logprobs,
    StreamOptions,
    canvas_part,
    choice,
    envelope,
    event_stream,
    prompt_part,
    usage,
)
from crossover_services.predictor.request_fields import PromptsField, RequestBody, malformed
from fastapi.responses import StreamingResponse
from pydantic import Field

from crossover.decoding.engine_events import Canvas, Event, Finished, Piece
from crossover.decoding.generation_request import Completion, Generation
from crossover.tokenization.tokenizer import Tokenizer

MAX_PROMPTS = 256


class ChoiceFields(RequestBody):
    """Of the OpenAI-style routes that generate: which model, how many choices, and whether they are streamed."""

    model: str
    n: int = Field(default=1, ge=1, le=MAX_CHOICES)
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()
    canvas: bool = Field(default=False, description="DLM: the stream also has what each forward pass committed.")

    def check_stream(self) -> None:
        """Refuse what only a stream has, without one.

        Raises:
            RequestError: with the field.
        """
        if self.canvas and not self.stream:
            raise malformed("canvas", "is reported in a stream only; add stream: true")


class CompletionsRequest(CompletionRequest, ChoiceFields):
    """The body."""

    prompt: Annotated[PromptsField, Field(min_length=1, max_length=MAX_PROMPTS)]
    best_of: int | None = Field(default=None, ge=1, le=MAX_CHOICES, description="Generate so many, return the n best.")
    echo: bool = False

    @property
    def generated(self) -> int:
        """Completions of each prompt."""
        return self.best_of or self.n

    def requests(self, client: EngineClient) -> list[Generation]:
        """One for each prompt and generated choice.

        Raises:
            RequestError: fields that exclude each other, or that the model does not have.
        """
        self.check_stream()
        if self.generated < self.n:
            raise malformed("best_of", f"is {self.best_of}, less than n = {self.n}")
        if self.stream and self.generated > self.n:
            raise malformed("best_of", "chooses among finished completions, which a stream cannot; leave stream out")
        prompt_logprobs = self.echo and self.logprobs is not None
        if self.stream and prompt_logprobs:
            raise malformed("echo", "has no logprobs in a stream; leave one of echo, logprobs and stream out")
        check_choices(len(self.prompt) * self.generated, client.engine.limits.waiting, "prompt")
        return self.generations(
            self.prompt,
            client.engine.capabilities,
            client.engine.model.tokenizer,
            logprobs=self.logprobs,
            choices=self.generated,
            prompt_logprobs=prompt_logprobs,
        )


async def complete(client: EngineClient, request: CompletionsRequest) -> Json | StreamingResponse:
    """The answer.

    Raises:
        RequestError: as `EngineClient.complete` has it.
    """
    generations, tokenizer = request.requests(client), client.engine.model.tokenizer
    body = envelope("text_completion", "cmpl", request.model)
    if request.stream:
        events = client.stream(generations, timeout=request.timeout, canvas=request.canvas)
        writer = _Writer(request, generations, tokenizer)
        include_usage = request.stream_options.include_usage
        return await event_stream(events, Chunks(body, writer.opening(), writer.render, include_usage, request.n))
    completions = await client.complete(generations, timeout=request.timeout)
    chosen = best(completions, request.generated, request.n)
    choices = [
        choice(
            generations[i], completions[i], number, tokenizer, echo=request.echo, logprobs=request.logprobs is not None
        )
        for number, i in enumerate(chosen)
    ]
    return body | {"choices": choices, "usage": usage(completions, request.generated)}


def best(completions: Sequence[Completion], generated: int, kept: int) -> list[int]:
    """Indices of the completions of each prompt with the highest mean log-probability of a token, best first."""
    if generated == kept:
        return list(range(len(completions)))
    chosen = []
    for start in range(0, len(completions), generated):
        order = sorted(range(start, start + generated), key=lambda i: _confidence(completions[i]), reverse=True)
        chosen += order[:kept]
    return chosen


def _confidence(completion: Completion) -> float:
    """Mean log-probability of a token; an empty completion comes last."""
    return completion.confidence if completion.tokens else -math.inf


class _Writer:
    """The choices of a stream's chunks."""

    def __init__(self, request: CompletionsRequest, generations: Sequence[Generation], tokenizer: Tokenizer) -> None:
        self._request, self._generations, self._tokenizer = request, generations, tokenizer
        self._logprobs = [Logprobs(tokenizer) for _ in generations]

    def opening(self) -> Iterable[Json]:
        """The prompts, where they are echoed."""
        if self._request.echo:
            for index, generation in enumerate(self._generations):
                yield _part(index, text_of(generation.prompt, self._tokenizer))

    def render(self, index: int, event: Event) -> Iterable[Json]:
        """The chunks of an event."""
        generation = self._generations[index]
        if isinstance(event, Piece):
            wanted = self._request.logprobs is not None
            yield _part(index, event.text) | {"logprobs": self._logprobs[index].of(event.logprobs) if wanted else None}
        elif isinstance(event, Canvas):
            yield _part(index, "") | canvas_part(event)
        elif isinstance(event, Finished):
            end = text_of(generation.suffix or "", self._tokenizer) if self._request.echo else ""
            last = {"finish_reason": event.completion.finish_reason, "seed": generation.seed}
            yield _part(index, end) | last | prompt_part(generation, event.completion, self._tokenizer)


def _part(index: int, text: str) -> Json:
    return {"index": index, "text": text, "logprobs": None, "finish_reason": None}
