"""Batches concurrent requests; the model runs in a thread, never on the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator, Sequence

from crossover.decoding import Completion, Generation, generate, stream
from crossover.decoding.generate_text import MAX_BATCH
from crossover.decoding.generate_text import start as check
from crossover.model.transformer import Transformer

GATHER_SECONDS = 0.002
"""How long the first request of a batch waits for others."""


class Batcher:
    """Queue of requests to one model; safe to call from many coroutines of one event loop."""

    def __init__(self, model: Transformer) -> None:
        self.model = model
        self._lock = threading.Lock()
        self._waiting: list[tuple[Generation, asyncio.Future[Completion]]] = []
        self._worker: asyncio.Task[None] | None = None

    async def complete(self, requests: Sequence[Generation]) -> list[Completion]:
        """Complete requests, batched with those of other callers.

        Raises:
            RequestError: the model's family does not support one of the requests; other callers are not affected.
        """
        for request in requests:
            check(self.model, request)
        loop = asyncio.get_running_loop()
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
        """Pieces of text as they become final, then the completion."""
        pieces = stream(self.model, request)
        while (piece := await asyncio.to_thread(self._next, pieces)) is not None:
            yield piece

    def _next(self, pieces: Iterator[str | Completion]) -> str | Completion | None:
        with self._lock:
            return next(pieces, None)
