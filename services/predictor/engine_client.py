"""The engine, from the event loop: its thread's callbacks become awaited completions and streams of events."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING

from crossover_services.predictor.access_log import note_completion, note_prompt

from crossover.decoding.engine import Engine, Ticket
from crossover.decoding.engine_errors import late
from crossover.decoding.engine_events import Event, Failed, Finished
from crossover.decoding.generation_request import Completion, Generation, Infilling

if TYPE_CHECKING:
    from crossover_services.predictor.request_metrics import Metrics


class EngineClient:
    """Submits the requests of many coroutines of one event loop; a cancelled coroutine cancels its requests.

    Args:
        engine: decodes them.
        metrics: sees every event of the engine, in the event loop.
        timeout: seconds that a request may take; None for any time.
    """

    def __init__(self, engine: Engine, metrics: Metrics, timeout: float | None = None) -> None:
        self.engine, self.metrics, self.timeout = engine, metrics, timeout

    async def complete(
        self, requests: Sequence[Generation | Infilling], *, timeout: float | None = None
    ) -> list[Completion]:
        """The completions, in the order of the requests.

        Args:
            requests: decoded together with those of other callers.
            timeout: seconds, if that is less than the server's.

        Raises:
            RequestError: as `Engine.submit` has it, or DeadlineError; the other requests are cancelled.
        """
        completions: dict[int, Completion] = {}
        async with aclosing(self.stream(requests, timeout=timeout)) as events:
            async for index, event in events:
                if isinstance(event, Finished):
                    completions[index] = event.completion
        return [completions[index] for index in range(len(requests))]

    async def stream(
        self, requests: Sequence[Generation | Infilling], *, timeout: float | None = None, canvas: bool = False
    ) -> AsyncGenerator[tuple[int, Event]]:
        """Every event, with the index of its request; the last one of each request is `Finished`.

        Args:
            requests: decoded together with those of other callers.
            timeout: seconds, if that is less than the server's.
            canvas: also `Canvas` events (diffusion models).

        Raises:
            RequestError: as `complete` has it.
        """
        loop, queue = asyncio.get_running_loop(), asyncio.Queue[tuple[int, Event]]()
        seconds = min((limit for limit in (timeout, self.timeout) if limit is not None), default=None)
        deadline = None if seconds is None else time.monotonic() + seconds
        tickets: dict[int, Ticket] = {}

        def deliver(index: int, event: Event) -> None:
            self.metrics.event(event, (id(queue), index))
            queue.put_nowait((index, event))

        def report(index: int, event: Event) -> None:
            if not loop.is_closed():  # the server has stopped, and the engine fails what is left
                loop.call_soon_threadsafe(deliver, index, event)

        try:
            for i, request in enumerate(requests):
                note_prompt(request)
                tickets[i] = self.engine.submit(request, partial(report, i), deadline=deadline, canvas=canvas)
            while tickets:
                index, event = await queue.get()
                if isinstance(event, Finished | Failed):
                    del tickets[index]
                if isinstance(event, Failed):
                    raise event.error
                if isinstance(event, Finished):
                    note_completion(event.completion)
                yield index, event
        finally:
            for ticket in tickets.values():
                self.engine.cancel(ticket)

    async def run(self, work: Iterator[object]) -> list[object]:
        """The items of other work, which the engine's thread runs in turns with decoding, until the client has left.

        Raises:
            DeadlineError: it takes longer than the server's time.
            Exception: what the work raises.
        """
        loop, queue = asyncio.get_running_loop(), asyncio.Queue[object]()
        left = False

        def until_left() -> Iterator[object]:
            for item in work:
                yield item
                if left:
                    return

        def report(result: object) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(queue.put_nowait, result)

        self.engine.run(until_left(), report)
        results: list[object] = []
        try:
            async with asyncio.timeout(self.timeout):
                while not isinstance(result := await queue.get(), Exception):
                    results.append(result)
        except TimeoutError as error:
            raise late(self.timeout or 0.0) from error
        finally:
            left = True
        if not isinstance(result, StopIteration):
            raise result
        return results
