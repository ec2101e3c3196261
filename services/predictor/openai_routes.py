"""OpenAI-style routes on KServe's application, under /v1 and /openai/v1. Errors have OpenAI's format."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from crossover_services.predictor.openai_types import CompletionRequest
from crossover_services.predictor.request_batching import RETRY_SECONDS, Batcher
from crossover_services.predictor.request_fields import parse_body
from crossover_services.predictor.request_metrics import Metrics
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, StreamingResponse

from crossover.decoding import Completion
from crossover.errors import RequestError, ServerBusyError

PREFIXES = ("/v1", "/openai/v1")
RETRY_LATER = {"Retry-After": str(RETRY_SECONDS)}


def error_response(status: int, message: str, *, field: str | None = None, code: str | None = None) -> JSONResponse:
    """An error in OpenAI's format."""
    kind = {404: "not_found_error", 503: "server_error"}.get(status, "invalid_request_error")
    return JSONResponse({"error": {"message": message, "type": kind, "param": field, "code": code}}, status)


def kserve_error(_: Request, error: Exception) -> JSONResponse:
    """The answer to a RequestError of a KServe route, in KServe's format."""
    busy = isinstance(error, ServerBusyError)
    return JSONResponse({"error": str(error)}, 503 if busy else 400, RETRY_LATER if busy else None)


class OpenAIRoutes:
    """The routes for one model.

    Args:
        name: of the model in requests.
        batcher: request queue of the model.
        metrics: counts the requests.
        identity: which checkpoint it is, in the model's description.
    """

    def __init__(self, name: str, batcher: Batcher, metrics: Metrics, identity: Mapping[str, object]) -> None:
        self.name, self.batcher, self.metrics, self.identity = name, batcher, metrics, identity
        self.created = int(time.time())

    def router(self) -> APIRouter:
        """All routes, under both prefixes."""
        router = APIRouter()
        for prefix in PREFIXES:
            router.add_api_route(f"{prefix}/completions", self.completions, methods=["POST"])
            router.add_api_route(f"{prefix}/chat/completions", self.chat, methods=["POST"])
            router.add_api_route(f"{prefix}/models", self.models, methods=["GET"])
            router.add_api_route(f"{prefix}/models/{{name}}", self.model, methods=["GET"])
        return router

    def _card(self) -> dict[str, object]:
        """The model's description: a superset of OpenAI's model object and of KServe's v1 response at the same path."""
        family = "autoregressive" if self.batcher.model.causal else "masked diffusion"
        return {
            "id": self.name,
            "object": "model",
            "created": self.created,
            "owned_by": "crossover",
            "name": self.name,
            "ready": True,
            "family": family,
            "infill": not (self.batcher.model.causal or self.batcher.model.block_length),
            "max_length": self.batcher.model.config.max_length,
            "parameters": self.batcher.model.config.parameters,
            **self.identity,
        }

    async def models(self) -> dict[str, object]:
        """GET models: OpenAI's list and KServe's names."""
        return {"object": "list", "data": [self._card()], "models": [self.name]}

    async def model(self, name: str) -> Any:  # noqa: ANN401 - a dict or a response
        """GET one model."""
        return self._card() if name == self.name else self._unknown(name)

    def _unknown(self, name: str) -> JSONResponse:
        return error_response(404, f"model: there is no {name!r}; use {self.name!r}", field="model", code="not-found")

    async def chat(self) -> JSONResponse:
        """POST chat/completions: a pretrained model has no chat template."""
        return error_response(400, "a base model has no chat template; use /v1/completions", code="no-chat-template")

    async def completions(self, request: Request) -> Any:  # noqa: ANN401 - a dict or a response
        """POST completions."""
        began = time.perf_counter()
        try:
            parameters = parse_body(CompletionRequest, await request.body())
            if parameters.model != self.name:
                return self._counted(self._unknown(parameters.model))
            if parameters.stream:
                return await self._stream(parameters)
            completions = await self.batcher.complete(parameters.generations(causal=self.batcher.model.causal))
        except ServerBusyError as error:
            response = error_response(503, str(error), code=error.code)
            response.headers.update(RETRY_LATER)
            return self._counted(response)
        except RequestError as error:
            return self._counted(error_response(400, str(error), field=error.field, code=error.code))
        self.metrics.completed(completions, time.perf_counter() - began)
        return self._body(
            parameters,
            [self._choice(parameters, i, completion) for i, completion in enumerate(completions)],
            usage(completions),
        )

    def _counted(self, response: JSONResponse) -> JSONResponse:
        self.metrics.requests.labels(code=str(response.status_code)).inc()
        return response

    def _body(
        self, parameters: CompletionRequest, choices: list[dict[str, Any]], used: object = None
    ) -> dict[str, Any]:
        body = {
            "id": f"cmpl-{uuid.uuid4().hex}",
            "object": "text_completion",
            "created": int(time.time()),
            "model": parameters.model,
            "choices": choices,
        }
        return body | ({"usage": used} if used else {})

    def _choice(self, parameters: CompletionRequest, index: int, completion: Completion) -> dict[str, Any]:
        prompt = parameters.prompt[index // parameters.n] if parameters.echo else ""
        text = prompt + completion.text + ((parameters.suffix or "") if parameters.echo else "")
        logprobs = None
        if parameters.logprobs is not None:
            tokens = [bytes([token]).decode("utf-8", "replace") for token in completion.tokens]
            logprobs = {
                "tokens": tokens,
                "token_logprobs": [item.logprob for item in completion.logprobs],
                "top_logprobs": None,
                "text_offset": None,
            }
        return {"index": index, "text": text, "logprobs": logprobs, "finish_reason": completion.finish_reason}

    async def _stream(self, parameters: CompletionRequest) -> StreamingResponse:
        """Server-sent events; one id for the whole stream. The first piece is awaited, so that errors are still 400."""
        generations = parameters.generations(causal=self.batcher.model.causal)
        if len(generations) > 1:
            raise RequestError(
                "request.stream-of-several",
                field="n",
                problem="a stream has one choice",
                remedy="ask for one prompt and n=1",
            )
        pieces = self.batcher.stream(generations[0])
        first = await anext(pieces)
        return StreamingResponse(self._events(parameters, first, pieces), media_type="text/event-stream")

    async def _events(
        self, parameters: CompletionRequest, first: str | Completion, pieces: AsyncIterator[str | Completion]
    ) -> AsyncIterator[str]:
        began = time.perf_counter()
        body = self._body(parameters, [])

        def event(text: str, reason: str | None) -> str:
            choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": reason}
            return f"data: {json.dumps(body | {'choices': [choice]})}\n\n"

        if parameters.echo:
            yield event(parameters.prompt[0], None)
        piece: str | Completion = first
        while isinstance(piece, str):
            yield event(piece, None)
            piece = await anext(pieces)
        self.metrics.completed([piece], time.perf_counter() - began)
        yield event("", piece.finish_reason)
        if parameters.stream_options.include_usage:
            yield f"data: {json.dumps(body | {'choices': [], 'usage': usage([piece])})}\n\n"
        yield "data: [DONE]\n\n"


def usage(completions: Sequence[Completion]) -> dict[str, int]:
    """OpenAI's token counts, plus forward passes and tokens that did not fit into the context."""
    prompt, new = sum(c.prompt_tokens for c in completions), sum(len(c.tokens) for c in completions)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": new,
        "total_tokens": prompt + new,
        "forward_passes": sum(c.forward_passes for c in completions),
        "truncated_tokens": sum(c.truncated_tokens for c in completions),
    }
