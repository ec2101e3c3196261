"""A predictor of fixed answers behind the playground: what the page does with a stream, not what a model writes."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from crossover_services.predictor.playground.playground_routes import Example, add_cors, playground_router
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

TEXT = "ä cat"
"""Six tokens of a byte: the first two are one character."""
PIECES = ["\ufffd", "\ufffd", " ", "c", "a", "t"]
ORDER = ((5, 4), (3,), (0, 1), (2,))
"""Positions that each forward pass commits."""
CONFIDENCE = (0.1, 0.3, 0.6, 0.9, 0.97, 0.999)
EXAMPLES = [
    Example(prompt="He had never seen the ", continuation="sea before that day."),
    Example(prompt="A ", continuation="b"),
]
HOLE = {"text": TEXT, "tokens": list(TEXT.encode()), "logprobs": [-0.1] * 6}
CARD = {
    "id": "crossover",
    "family": "masked diffusion",
    "infill": True,
    "max_length": 256,
    "parameters": 14_000_000,
    "block_length": 0,
    "dtype": "fp32",
    "digest": "sha256:0123456789abcdef",
    "run": "c/dlm/seed-0",
    "step": 1200,
}
AR_CARD = CARD | {"family": "autoregressive", "infill": False, "parameters": 1_234_567, "run": "c/ar/seed-0"}


def predictor(card: dict[str, Any]) -> FastAPI:
    """An application with the playground and the API that it uses; `state.bodies` has what was asked."""
    app = FastAPI()
    app.state.bodies = []
    app.include_router(playground_router(EXAMPLES))

    async def models() -> dict[str, Any]:
        return {"data": [card]}

    async def complete(request: Request) -> Response:
        body = await request.json()
        app.state.bodies.append((request.url.path, body))
        if body.get("temperature", 1) > 10:
            message = "temperature: must be 0 to 10; correct temperature [request.invalid]"
            return JSONResponse({"error": {"message": message, "param": "temperature", "code": "request.invalid"}}, 400)
        if not body["stream"]:
            choice = {"index": 0, "text": "…", "holes": [HOLE], "finish_reason": "length", "seed": 7}
            return JSONResponse({"choices": [choice], "usage": {"completion_tokens": 20, "forward_passes": 20}})
        stream = _diffusion(body) if card["family"] != "autoregressive" else _autoregressive()
        return StreamingResponse(stream, media_type="text/event-stream")

    app.add_api_route("/v1/models", models)
    for path in ("/v1/completions", "/v1/infill"):
        app.add_api_route(path, complete, methods=["POST"])
    return app


def _event(**fields: object) -> str:
    return f"data: {json.dumps(fields)}\n\n"


async def _diffusion(body: dict[str, Any]) -> AsyncIterator[str]:
    if body.get("seed") == 13:  # a model that never ends
        yield _event(choices=[{"index": 0, "canvas": [_token(0)], "forward_passes": 1}])
        await asyncio.sleep(600)
    if body.get("seed") == 14:
        yield _event(error={"message": "the model failed", "code": "server"})
        return
    for number, positions in enumerate(ORDER):
        canvas = [_token(position) for position in positions]
        yield _event(choices=[{"index": 0, "canvas": canvas, "forward_passes": number + 1}])
        await asyncio.sleep(0)
    if body.get("remask"):
        masked = [_token(0) | {"text": None, "probability": None}]
        yield _event(choices=[{"index": 0, "canvas": masked, "forward_passes": len(ORDER)}])
        yield _event(choices=[{"index": 0, "canvas": [_token(0)], "forward_passes": len(ORDER) + 1}])
    last = {"index": 0, "finish_reason": "length", "seed": 7}
    yield _event(choices=[last | ({"text": "…", "holes": [HOLE]} if "parts" in body else {"text": TEXT})])
    yield _event(choices=[], usage={"completion_tokens": 6, "forward_passes": len(ORDER)})
    yield "data: [DONE]\n\n"


def _token(position: int) -> dict[str, Any]:
    return {"position": position, "text": PIECES[position], "probability": CONFIDENCE[position]}


async def _autoregressive() -> AsyncIterator[str]:
    for text, tokens in ((" c", [" ", "c"]), ("at", ["a", "t"])):
        logprobs = {"tokens": tokens, "token_logprobs": [-0.01, -2.0]}
        yield _event(choices=[{"index": 0, "text": text, "logprobs": logprobs, "finish_reason": None}])
    yield _event(choices=[{"index": 0, "text": "", "finish_reason": "length", "seed": 3}])
    yield _event(choices=[], usage={"completion_tokens": 4, "forward_passes": 4})
    yield "data: [DONE]\n\n"


@contextmanager
def served(app: FastAPI, *, origins: tuple[str, ...] = ()) -> Iterator[str]:
    """Serve an application from a thread. Yields its base URL."""
    started = threading.Event()

    class Server(uvicorn.Server):
        async def startup(self, sockets: Any = None) -> None:  # noqa: ANN401 - uvicorn's own
            await super().startup(sockets)
            started.set()

    config = uvicorn.Config(
        add_cors(app, origins), host="127.0.0.1", port=0, log_level="error", ws="none", timeout_graceful_shutdown=1
    )
    server = Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        assert started.wait(30)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
