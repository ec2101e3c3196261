"""Batches concurrent requests; the model runs in a thread, never on the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager

from crossover.decoding import Completion, Generation
from crossover.decoding.generate_text import MAX_BATCH, generate, stream
from crossover.decoding.generate_text import start as check
from crossover.errors import ServerBusyError
from crossover.model.transformer import Transformer

GATHER_SECONDS = 0.002
"""How long the first request of a batch waits for others."""
MAX_QUEUE = 256
"""Completions that wait or run before further requests are refused; `--max-queue` sets another limit."""
RETRY_SECONDS = 1
"""What Retry-After says to a client that was refused."""


class Batcher:
    """Bounded queue of requests to one model; safe to call from many coroutines of one event loop.

    Args:
        model: of either family.
        max_queue: no request is accepted while so many completions wait or run.
    """

    def __init__(self, model: Transformer, max_queue: int = MAX_QUEUE) -> None:
        self.model, self.max_queue = model, max_queue
        self._pending = 0
        self._lock = threading.Lock()
        self._waiting: list[tuple[Generation, asyncio.Future[Completion]]] = []
        self._worker: asyncio.Task[None] | None = None

    @contextmanager
    def _admitted(self, completions: int) -> Iterator[None]:
        """Count completions as pending within the block."""
        if self._pending >= self.max_queue:
            raise ServerBusyError(
                "request.queue-full",
                field="server",
                problem=f"{self._pending} completions are waiting or running, and its queue holds {self.max_queue}",
                remedy=f"ask again after {RETRY_SECONDS} s, or start the server with a larger --max-queue",
            )
        self._pending += completions
        try:
            yield
        finally:
            self._pending -= completions

    async def complete(self, requests: Sequence[Generation]) -> list[Completion]:
        """Complete requests, batched with those of other callers.

        Raises:
            RequestError: the model's family does not support one of the requests; other callers are not affected.
            ServerBusyError: the queue is full.
        """
        for request in requests:
            check(self.model, request)
        loop = asyncio.get_running_loop()
        with self._admitted(len(requests)):
            futures = [loop.create_future() for _ in requests]
            self._waiting += zip(requests, futures, strict=True)
            if self._worker is None or self._worker.done():
                self._worker = loop.create_task(self._work())
            return list(await asyncio.gather(*futures))

    async def _work(self) -> None:
        await asyncio.sleep(GATHER_SECONDS)
        while self._waiting:
            batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
            batch = [(request, future) for request, future in batch if not future.cancelled()]
            try:
                results = await asyncio.to_thread(self._generate, [request for request, _ in batch])
            except Exception as error:  # raised again in every waiting caller
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                continue
            for (_, future), result in zip(batch, results, strict=True):
                if not future.done():
                    future.set_result(result)

    def _generate(self, requests: Sequence[Generation]) -> list[Completion]:
        with self._lock:
            return generate(self.model, requests)

    async def stream(self, request: Generation) -> AsyncIterator[str | Completion]:
        """Pieces of text as they become final, then the completion.

        Raises:
            RequestError: the model's family does not support the request.
            ServerBusyError: the queue is full.
        """
        with self._admitted(1):
            pieces = stream(self.model, request)
            while (piece := await asyncio.to_thread(self._next, pieces)) is not None:
                yield piece

    def _next(self, pieces: Iterator[str | Completion]) -> str | Completion | None:
        with self._lock:
            return next(pieces, None)
