"""The engine from the event loop: order, streams, errors, cancellation."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
from crossover_services.predictor.engine_client import EngineClient

from crossover.decoding.engine import Engine, EngineLimits
from crossover.decoding.engine_events import Event, Finished, Piece
from crossover.decoding.generation_request import Generation
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
        return request

    def cancel(self, ticket: object) -> None:
        self.cancelled.append(ticket)


def client_of(engine: Engine | Silent, events: list[Event] | None = None) -> EngineClient:
    metrics: Any = SimpleNamespace(event=([] if events is None else events).append)
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


def test_a_failure_is_raised(engine: Engine) -> None:
    with pytest.raises(RequestError):
        asyncio.run(client_of(engine).complete([Generation(prompt="x", suffix="y")]))
