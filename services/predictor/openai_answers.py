"""Parts of OpenAI's answers: choices, log-probabilities, usage, and server-sent events."""

from __future__ import annotations

import codecs
import json
import logging
import math
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
from contextlib import aclosing
from typing import Any, NamedTuple

from crossover_services.predictor.completion_request import text_of
from crossover_services.predictor.error_answers import openai_error
from crossover_services.predictor.request_fields import RequestBody
from fastapi.responses import StreamingResponse
from pydantic import Field

from crossover.decoding.engine_events import Canvas, Event, Finished
from crossover.decoding.generation_request import Completion, Generation, TokenLogprob
from crossover.errors import RequestError
from crossover.tokenization.tokenizer import Tokenizer

_LOG = logging.getLogger(__name__)
Json = dict[str, Any]


class StreamOptions(RequestBody):
    """Options of a streamed response."""

    include_usage: bool = False
    include_obfuscation: bool = Field(default=False, description="Accepted and ignored: events are not padded.")


def envelope(kind: str, prefix: str, model: str) -> Json:
    """What an answer, or every event of a stream, begins with."""
    return {"id": f"{prefix}-{uuid.uuid4().hex}", "object": kind, "created": int(time.time()), "model": model}


def finite(value: float | None) -> float | None:
    """A number that JSON has, or None."""
    return value if value is not None and math.isfinite(value) else None


def token_text(token: int, tokenizer: Tokenizer) -> str:
    """The text of one token; of parts of characters their bytes, as OpenAI writes them."""
    if token in tokenizer.special:
        return tokenizer.special[token]
    content = tokenizer.token_bytes(token)
    try:
        return content.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in content)


class Logprobs:
    """Tokens and their log-probabilities in the form of OpenAI's completions, over the pieces of one choice."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._length = 0

    def of(self, items: Sequence[TokenLogprob]) -> Json:
        """The next tokens; `text_offset` counts characters of the choice's text."""
        offsets = []
        for item in items:
            offsets.append(self._length)
            self._length += len(self._decoder.decode(self._tokenizer.token_bytes(item.token)))
        return {
            "tokens": [token_text(item.token, self._tokenizer) for item in items],
            "token_logprobs": [finite(item.logprob) for item in items],
            "top_logprobs": [_alternatives(item, self._tokenizer) for item in items],
            "text_offset": offsets,
        }


def _alternatives(item: TokenLogprob, tokenizer: Tokenizer) -> Json | None:
    """The most likely tokens, and the token itself."""
    if item.logprob is None:
        return None
    return {token_text(token, tokenizer): finite(value) for token, value in (*item.top, (item.token, item.logprob))}


def choice(
    generation: Generation, completion: Completion, index: int, tokenizer: Tokenizer, *, echo: bool, logprobs: bool
) -> Json:
    """One choice of /v1/completions."""
    before = generation.prompt if echo else ""
    after = generation.suffix or "" if echo else ""
    text = text_of(before, tokenizer) + completion.text + text_of(after, tokenizer)
    listed = [*(completion.prompt_logprobs if echo else ()), *completion.logprobs]
    return {
        "index": index,
        "text": text,
        "logprobs": Logprobs(tokenizer).of(listed) if logprobs else None,
        "finish_reason": completion.finish_reason,
        "seed": generation.seed,
    } | prompt_part(generation, completion, tokenizer, echo=echo and logprobs)


def prompt_part(generation: Generation, completion: Completion, tokenizer: Tokenizer, *, echo: bool = False) -> Json:
    """The log-probabilities of the prompt, where they were asked for and are not part of an echo."""
    if echo or not generation.prompt_logprobs:
        return {}
    return {"prompt_logprobs": Logprobs(tokenizer).of(completion.prompt_logprobs)}


def usage(completions: Sequence[Completion], choices: int = 1) -> Json:
    """OpenAI's token counts and the forward passes; a prompt counts once, however many choices it has."""
    firsts = completions[::choices]
    prompt, new = sum(c.prompt_tokens for c in firsts), sum(len(c.tokens) for c in completions)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": new,
        "total_tokens": prompt + new,
        "prompt_tokens_details": {"cached_tokens": sum(c.cached_tokens for c in firsts)},
        "forward_passes": sum(c.forward_passes for c in completions),
    }


def canvas_part(event: Canvas) -> Json:
    """What a forward pass of a diffusion model changed, in a chunk of a stream."""
    updates = [{"position": u.position, "text": u.text, "probability": finite(u.probability)} for u in event.updates]
    return {"canvas": updates, "forward_passes": event.forward_passes}


class Chunks(NamedTuple):
    """How a stream is written."""

    body: Json
    """What every chunk begins with."""
    opening: Iterable[Json]
    """Choices of chunks before the first event."""
    render: Callable[[int, Event], Iterable[Json]]
    """The choices, each a chunk of its own, of an event of the request with this index."""
    include_usage: bool
    choices: int
    """Of each prompt."""


async def event_stream(events: AsyncGenerator[tuple[int, Event]], chunks: Chunks) -> StreamingResponse:
    """Server-sent events of a stream, `[DONE]` last.

    Raises:
        RequestError: before the first event, so that it has a status of its own; a later one is an event.
    """
    first = await anext(events)
    return EventStream(
        _lines(events, first, chunks), media_type="text/event-stream", headers={"Cache-Control": "no-cache"}
    )


class EventStream(StreamingResponse):
    """A stream that is closed when the client goes away, at once: its requests are cancelled."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401 - as Starlette has it
        """Send it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            if isinstance(self.body_iterator, AsyncGenerator):
                await self.body_iterator.aclose()


async def _lines(
    events: AsyncGenerator[tuple[int, Event]], first: tuple[int, Event], chunks: Chunks
) -> AsyncIterator[str]:
    finished: dict[int, Completion] = {}

    def written(index: int, event: Event) -> str:
        if isinstance(event, Finished):
            finished[index] = event.completion
        return "".join(_data(chunks.body | {"choices": [part]}) for part in chunks.render(index, event))

    async with aclosing(events):
        try:
            opening = "".join(_data(chunks.body | {"choices": [part]}) for part in chunks.opening)
            yield opening + written(*first)
            async for index, event in events:
                if text := written(index, event):
                    yield text
        except RequestError as error:
            yield _data(openai_error(error))
            return
        except Exception as error:  # of the engine: the status is sent already, so the stream says it
            _LOG.exception("a stream failed")
            failure = RequestError(
                "request.failed", field="server", problem=f"failed ({type(error).__name__})", remedy="ask again"
            )
            yield _data(openai_error(failure))
            return
    if chunks.include_usage:
        used = usage([finished[index] for index in sorted(finished)], chunks.choices)
        yield _data(chunks.body | {"choices": [], "usage": used})
    yield "data: [DONE]\n\n"


def _data(content: Json) -> str:
    return f"data: {json.dumps(content)}\n\n"
