"""The engine from the event loop: order, streams, errors, cancellation."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterator, MutableMapping
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import AsyncMock

import pytest
from crossover_services.predictor.engine_client import EngineClient
from crossover_services.predictor.openai_answers import Chunks, event_stream
from crossover_services.predictor.openai_completions import best
from starlette.requests import ClientDisconnect

from crossover.decoding.engine import Engine, EngineLimits
from crossover.decoding.engine_events import Event, Finished, Piece
from crossover.decoding.generation_request import Completion, Generation
from crossover.errors import RequestError, ServerBusyError
from tests.conftest import tiny_model


class Silent:
    """An engine that never answers, and refuses the third request."""

    def __init__(self) -> None:
        self.submitted: list[object] = []
        self.cancelled: list[object] = []

    def submit(self, request: Generation, on_event: Callable[[Event], None], **_: object) -> object:
        if len(self.submitted) == 2:
            raise ServerBusyError("request.queue-full", field="server", problem="is full", remedy="wait")
        self.submitted.append(request)
        self.on_event = on_event
        return request

    def cancel(self, ticket: object) -> None:
        self.cancelled.append(ticket)


def client_of(engine: Engine | Silent, events: list[Event] | None = None) -> EngineClient:
    seen = [] if events is None else events
    metrics: Any = SimpleNamespace(event=lambda event, *_: seen.append(event))
    return EngineClient(cast(Engine, engine), metrics)


@pytest.fixture
def engine() -> Iterator[Engine]:
    opened = Engine(tiny_model(causal=True, vocab=259, length=32), EngineLimits(waiting=16))
    yield opened
    opened.close()


def test_completions_come_in_the_order_of_the_requests_and_every_event_is_seen(engine: Engine) -> None:
    events: list[Event] = []
    requests = [Generation(prompt="ab", max_tokens=size, seed=1) for size in (6, 2, 4)]
    completions = asyncio.run(client_of(engine, events).complete(requests))
    assert [len(completion.tokens) for completion in completions] == [6, 2, 4]
    assert sum(isinstance(event, Finished) for event in events) == 3


def test_a_stream_has_the_pieces_of_all_requests(engine: Engine) -> None:
    requests = [Generation(prompt=text, max_tokens=5, seed=1) for text in "ab"]

    async def read() -> None:
        texts, finished = ["", ""], {}
        async for index, event in client_of(engine).stream(requests):
            if isinstance(event, Piece):
                texts[index] += event.text
            elif isinstance(event, Finished):
                finished[index] = event.completion.text
        assert texts == [finished[0], finished[1]]

    asyncio.run(read())


def test_a_cancelled_coroutine_cancels_its_requests() -> None:
    silent = Silent()
    requests = [Generation(prompt="a"), Generation(prompt="b")]

    async def leave() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client_of(silent).complete(requests), 0.05)

    asyncio.run(leave())
    assert silent.cancelled == requests


def test_a_refused_request_cancels_those_submitted_with_it() -> None:
    silent = Silent()
    with pytest.raises(ServerBusyError):
        asyncio.run(client_of(silent).complete([Generation(prompt=text) for text in "abc"]))
    assert silent.cancelled == silent.submitted


def test_other_work_returns_its_items(engine: Engine) -> None:
    assert asyncio.run(client_of(engine).run(iter([1, 2, 3]))) == [1, 2, 3]


def test_other_work_ends_when_its_client_has_left(engine: Engine) -> None:
    done: list[int] = []

    def work() -> Iterator[int]:
        for item in range(10_000):
            time.sleep(0.001)
            done.append(item)
            yield item

    async def leave() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client_of(engine).run(work()), 0.2)

    asyncio.run(leave())
    assert engine.drain(timeout=60)
    assert 0 < len(done) < 5_000


def test_a_failure_is_raised(engine: Engine) -> None:
    with pytest.raises(RequestError):
        asyncio.run(client_of(engine).complete([Generation(prompt="x", suffix="y")]))


def test_a_client_that_leaves_a_stream_cancels_its_requests() -> None:
    """Starlette leaves the generator of a response to the garbage collector; the requests must end at once."""
    silent = Silent()
    requests = [Generation(prompt="a"), Generation(prompt="b")]
    chunks = Chunks({}, (), lambda index, event: [{"text": index}], include_usage=False, choices=1)

    async def send(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.body":
            raise OSError

    async def leave() -> None:
        events = client_of(silent).stream(requests)
        task = asyncio.create_task(event_stream(events, chunks))
        while not silent.submitted:
            await asyncio.sleep(0)
        silent.on_event(Piece("x"))
        response = await task
        with pytest.raises(ClientDisconnect):
            await response({"type": "http", "asgi": {"spec_version": "2.4"}}, AsyncMock(), send)
        assert silent.cancelled == requests

    asyncio.run(leave())


def test_the_best_of_several_is_never_an_empty_one() -> None:
    """An empty completion has no mean log-probability."""
    fields: dict[str, Any] = {"text": "", "finish_reason": "stop", "prompt_tokens": 1, "truncated_tokens": 0}
    made = [
        Completion(tokens=tokens, confidence=confidence, forward_passes=1, **fields)
        for tokens, confidence in (([1], -1.0), ([], math.nan), ([1], -0.2))
    ]
    assert best(made, 3, 2) == [2, 0]
