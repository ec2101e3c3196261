"""POST /v1/chat/completions, for checkpoints whose tokenizer has a chat template."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from crossover_services.predictor.completion_request import GenerationFields, check_choices
from crossover_services.predictor.engine_client import EngineClient
from crossover_services.predictor.openai_answers import (
    Chunks,
    Json,
    canvas_part,
    envelope,
    event_stream,
    finite,
    prompt_part,
    token_text,
    usage,
)
from crossover_services.predictor.openai_completions import ChoiceFields
from crossover_services.predictor.request_fields import RequestBody, malformed
from fastapi.responses import StreamingResponse
from jinja2 import Template, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from pydantic import BeforeValidator, Field, WithJsonSchema

from crossover.decoding.engine_events import Canvas, Event, Finished, Piece
from crossover.decoding.generation_request import MAX_LOGPROBS, MAX_NEW_TOKENS, Completion, Generation, TokenLogprob
from crossover.errors import CheckpointError, RequestError
from crossover.tokenization.tokenizer import Tokenizer


def _content(value: object) -> str:
    """The text of a message, also where it is given in parts."""
    parts = value if isinstance(value, list) else [{"type": "text", "text": value}]
    texts = [part.get("text") for part in parts if isinstance(part, dict) and part.get("type") == "text"]
    if len(texts) < len(parts) or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"is not text: {str(value)[:60]}")
    return "".join(map(str, texts))


_TEXT_PART = {
    "type": "object",
    "properties": {"type": {"const": "text"}, "text": {"type": "string"}},
    "required": ["type", "text"],
}


class Message(RequestBody):
    """One message of a conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[
        str,
        BeforeValidator(_content),
        WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": _TEXT_PART}]}),
    ]
    name: str | None = None


class ChatRequest(GenerationFields, ChoiceFields):
    """The body: OpenAI's fields of text, and those of diffusion models."""

    messages: list[Message] = Field(min_length=1, max_length=1024)
    max_completion_tokens: int | None = Field(default=None, ge=1, le=MAX_NEW_TOKENS)
    logprobs: bool = False
    top_logprobs: int = Field(default=0, ge=0, le=MAX_LOGPROBS)


class ChatTemplate:
    """Turns messages into the text that the model completes.

    Args:
        source: Jinja, as `transformers` has it; run in a sandbox.
        special: texts of special tokens by their names, such as `bos_token`.

    Raises:
        CheckpointError: it is no template.
    """

    def __init__(self, source: str, special: dict[str, str]) -> None:
        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        environment.globals["raise_exception"] = _raise
        self._special = special
        try:
            self._template: Template = environment.from_string(source)
        except TemplateError as error:
            raise CheckpointError(
                "checkpoint.bad-chat-template",
                field="tokenizer_config.json: chat_template",
                problem=str(error),
                remedy="correct it, or remove it from the checkpoint",
            ) from error

    def render(self, messages: list[Message]) -> str:
        """The prompt.

        Raises:
            RequestError: the template refuses the messages.
        """
        listed = [message.model_dump(exclude_none=True) for message in messages]
        try:
            return self._template.render(messages=listed, add_generation_prompt=True, **self._special)
        except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError) as error:
            raise malformed("messages", f"the chat template refuses them ({error})") from error


def _raise(message: str) -> None:
    raise TemplateError(message)


def chat_template(folder: Path) -> ChatTemplate | None:
    """The chat template of a checkpoint folder; None where its tokenizer has none.

    Raises:
        CheckpointError: it is no template.
    """
    path = folder / "tokenizer_config.json"
    config: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    source = config.get("chat_template")
    if not isinstance(source, str):
        return None
    return ChatTemplate(source, {k: v for k, v in config.items() if k.endswith("_token") and isinstance(v, str)})


async def chat(client: EngineClient, template: ChatTemplate | None, request: ChatRequest) -> Json | StreamingResponse:
    """The answer.

    Raises:
        RequestError: the checkpoint has no template, or as `EngineClient.complete` has it.
    """
    if template is None:
        raise RequestError(
            "request.no-chat-template",
            field="messages",
            problem="a base model has no chat template",
            remedy="use /v1/completions",
        )
    generations, tokenizer = _generations(client, template, request), client.engine.model.tokenizer
    if request.stream:
        body = envelope("chat.completion.chunk", "chatcmpl", request.model)
        events = client.stream(generations, timeout=request.timeout, canvas=request.canvas)
        opening = [_delta(i, {"role": "assistant", "content": ""}) for i in range(request.n)]
        writer = _writer(request, generations, tokenizer)
        chunks = Chunks(body, opening, writer, request.stream_options.include_usage, request.n)
        return await event_stream(events, chunks)
    completions = await client.complete(generations, timeout=request.timeout)
    choices = [_choice(request, i, generations[i], completion, tokenizer) for i, completion in enumerate(completions)]
    body = envelope("chat.completion", "chatcmpl", request.model)
    return body | {"choices": choices, "usage": usage(completions, request.n)}


def _generations(client: EngineClient, template: ChatTemplate, request: ChatRequest) -> list[Generation]:
    request.check_stream()
    if request.top_logprobs and not request.logprobs:
        raise malformed("top_logprobs", "needs logprobs: true")
    if request.max_completion_tokens is not None:
        request = request.model_copy(update={"max_tokens": request.max_completion_tokens})
    check_choices(request.n, client.engine.limits.waiting, "n")
    prompt, tokenizer = template.render(request.messages), client.engine.model.tokenizer
    return request.generations(
        [prompt.removeprefix(tokenizer.special[tokenizer.bos])],  # the engine puts BOS before every prompt
        client.engine.capabilities,
        tokenizer,
        logprobs=request.top_logprobs if request.logprobs else None,
        choices=request.n,
    )


def _writer(
    request: ChatRequest, generations: list[Generation], tokenizer: Tokenizer
) -> Callable[[int, Event], Iterable[Json]]:
    def render(index: int, event: Event) -> Iterable[Json]:
        if isinstance(event, Piece):
            listed = _logprobs(event.logprobs, tokenizer) if request.logprobs else None
            yield _delta(index, {"content": event.text}) | {"logprobs": listed}
        elif isinstance(event, Canvas):
            yield _delta(index, {}) | canvas_part(event)
        elif isinstance(event, Finished):
            last = {"finish_reason": event.completion.finish_reason, "seed": generations[index].seed}
            yield _delta(index, {}) | last

    return render


def _delta(index: int, delta: Json) -> Json:
    return {"index": index, "delta": delta, "logprobs": None, "finish_reason": None}


def _choice(
    request: ChatRequest, index: int, generation: Generation, completion: Completion, tokenizer: Tokenizer
) -> Json:
    return {
        "index": index,
        "message": {"role": "assistant", "content": completion.text, "refusal": None},
        "logprobs": _logprobs(completion.logprobs, tokenizer) if request.logprobs else None,
        "finish_reason": completion.finish_reason,
        "seed": generation.seed,
    } | prompt_part(generation, completion, tokenizer)


def _logprobs(items: Iterable[TokenLogprob], tokenizer: Tokenizer) -> Json:
    def token(number: int, logprob: float | None) -> Json:
        content = None if number in tokenizer.special else list(tokenizer.token_bytes(number))
        return {"token": token_text(number, tokenizer), "logprob": finite(logprob), "bytes": content}

    return {
        "content": [
            token(item.token, item.logprob) | {"top_logprobs": [token(*pair) for pair in item.top]} for item in items
        ]
    }
