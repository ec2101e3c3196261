"""OpenAI-style routes on KServe's application, under /v1 and /openai/v1. Errors have OpenAI's format."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from typing import Any, TypeVar

from crossover_services.predictor.engine_client import EngineClient
from crossover_services.predictor.openai_answers import Json
from crossover_services.predictor.openai_chat import ChatRequest, ChatTemplate, chat
from crossover_services.predictor.openai_completions import ChoiceFields, CompletionsRequest, complete
from crossover_services.predictor.openai_infill import InfillRequest, infill
from crossover_services.predictor.openai_score import ScoreRequest, score
from crossover_services.predictor.request_fields import parse_body
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, StreamingResponse

from crossover.errors import RequestError

PREFIXES = ("/v1", "/openai/v1")
Response = Json | StreamingResponse
BodyT = TypeVar("BodyT", bound=ChoiceFields | ScoreRequest)
ERRORS: dict[int | str, dict[str, Any]] = {
    code: {"description": text}
    for code, text in {
        400: "A field is wrong.",
        404: "There is no such model.",
        408: "Not finished within `timeout`.",
        413: "The body is too large.",
        429: "The queue is full.",
        503: "The server stops.",
    }.items()
}


class OpenAIRoutes:
    """The routes for one model.

    Args:
        name: of the model in requests.
        client: of the engine that has the model.
        identity: which checkpoint it is, in the model's description.
        template: of chat; None for a base model.
    """

    def __init__(
        self, name: str, client: EngineClient, identity: Mapping[str, object], template: ChatTemplate | None = None
    ) -> None:
        self.name, self.client, self.identity, self.template = name, client, identity, template
        self.created = int(time.time())

    def router(self) -> APIRouter:
        """All routes, under both prefixes."""
        router = APIRouter(tags=["OpenAI"])
        for prefix in PREFIXES:
            self._post(router, f"{prefix}/completions", CompletionsRequest, complete)
            self._post(router, f"{prefix}/infill", InfillRequest, infill)
            self._post(router, f"{prefix}/score", ScoreRequest, score)
            self._post(router, f"{prefix}/chat/completions", ChatRequest, self._chat)
            router.add_api_route(f"{prefix}/embeddings", self.embeddings, methods=["POST"], responses=ERRORS)
            router.add_api_route(f"{prefix}/models", self.models, methods=["GET"])
            router.add_api_route(f"{prefix}/models/{{name}}", self.model, methods=["GET"], responses={404: ERRORS[404]})
        return router

    def _post(
        self,
        router: APIRouter,
        path: str,
        body: type[BodyT],
        respond: Callable[[EngineClient, BodyT], Awaitable[Response]],
    ) -> None:
        """A route that reads its body as JSON whatever the content type."""

        async def route(request: Request) -> Any:  # noqa: ANN401 - a response
            parsed = parse_body(body, await request.body())
            self._check_model(parsed.model)
            answer = await respond(self.client, parsed)
            return JSONResponse(answer) if isinstance(answer, dict) else answer

        schema = {"requestBody": {"required": True, "content": {"application/json": {"schema": inlined(body)}}}}
        name = path.strip("/").replace("/", "_")
        router.add_api_route(
            path, route, methods=["POST"], name=name, responses=ERRORS, openapi_extra=schema, response_model=None
        )

    async def _chat(self, client: EngineClient, request: ChatRequest) -> Response:
        return await chat(client, self.template, request)

    def _check_model(self, name: str) -> None:
        if name != self.name:
            raise RequestError(
                "request.unknown-model", field="model", problem=f"there is no {name!r}", remedy=f"use {self.name!r}"
            )

    def _card(self) -> Json:
        """The model's description: a superset of OpenAI's model object and of KServe's v1 response at the same path."""
        return {
            "id": self.name,
            "object": "model",
            "created": self.created,
            "owned_by": "crossover",
            "name": self.name,
            "ready": True,
            "chat": self.template is not None,
            **asdict(self.client.engine.capabilities),
            **self.identity,
        }

    async def models(self) -> Json:
        """GET models: OpenAI's list and KServe's names."""
        return {"object": "list", "data": [self._card()], "models": [self.name]}

    async def model(self, name: str) -> Json:
        """GET one model."""
        self._check_model(name)
        return self._card()

    async def embeddings(self) -> None:
        """POST embeddings: language models of this server have none."""
        raise RequestError(
            "request.no-embeddings",
            field="model",
            problem="this server generates and scores text, and has no embeddings",
            remedy="use /v1/completions or /v1/score",
        )


def inlined(model: type[ChoiceFields | ScoreRequest]) -> Json:
    """The JSON schema of a body without references, which a route's description cannot hold."""
    schema = model.model_json_schema()
    definitions = schema.pop("$defs", {})

    def expand(node: Any) -> Any:  # noqa: ANN401 - any JSON value
        if isinstance(node, dict) and "$ref" in node:
            return expand(definitions[node["$ref"].rsplit("/", 1)[1]])
        if isinstance(node, dict):
            return {key: expand(value) for key, value in node.items()}
        return [expand(item) for item in node] if isinstance(node, list) else node

    expanded: Json = expand(schema)
    return expanded
