"""The engine: one thread owns the model and batches the forward passes of all requests."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from crossover.decoding import generate_text
from crossover.decoding.engine_events import Event, Failed, Finished, Piece, Timing
from crossover.decoding.generation_request import Completion, Generation, Infilling
from crossover.errors import RequestError, ServerBusyError
from crossover.model.transformer import Transformer


@dataclass(frozen=True, kw_only=True)
class EngineLimits:
    """What bounds the engine's memory and queue.

    Args:
        running: requests that are decoded at once.
        waiting: requests that wait before further ones are refused.
        memory_bytes: of keys, values and activations; a request that would not fit waits. 0 takes half of what is free.
        rows: tokens in one forward pass, over all requests.
    """

    running: int = 64
    waiting: int = 256
    memory_bytes: int = 0
    rows: int = 1024


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """What a model can do, for `/v1/models`."""

    family: Literal["autoregressive", "masked diffusion", "block diffusion"]
    infill: bool
    """`suffix` and holes."""
    prompt_logprobs: bool
    max_length: int
    """Tokens of prompt, suffix and completion together."""
    block_length: int
    """Of a block diffusion model; 0 otherwise."""
    parameters: int
    dtype: str
    """Of the weights in matrix products: fp32, bf16 or int8."""


@dataclass(frozen=True, kw_only=True)
class EngineState:
    """Gauges and counters since the start."""

    running: int
    waiting: int
    memory_used: int
    memory_limit: int
    steps: int
    """Forward passes of the engine, each over a batch."""
    rows: int
    """Tokens in these passes, over all requests."""
    sequences: int
    """Requests in these passes, summed: over `steps` it is the mean batch size."""
    cached_tokens: int
    """Tokens of prompts that were not computed again."""


class Ticket:
    """A submitted request; `Engine.cancel` takes it."""

    def __init__(
        self, request: Generation | Infilling, on_event: Callable[[Event], None], deadline: float | None
    ) -> None:
        self.request, self.on_event, self.deadline = request, on_event, deadline
        self.submitted = time.monotonic()
        self.cancelled = False


class Engine:
    """Decodes requests in one thread; every method may be called from any thread.

    Args:
        model: of either family.
        limits: of memory and queue.
    """

    def __init__(self, model: Transformer, limits: EngineLimits | None = None) -> None:
        self.model, self.limits = model, limits or EngineLimits()
        self._waiting: deque[Ticket] = deque()
        self._work: deque[tuple[Iterator[object], Callable[[object], None]]] = deque()
        self._wake = threading.Condition()
        self._stopping = False
        self._running = 0
        self._thread = threading.Thread(target=self._loop, name="engine", daemon=True)
        self._thread.start()

    @property
    def capabilities(self) -> Capabilities:
        """What the model can do."""
        config, causal, block = self.model.config, self.model.causal, self.model.block_length
        return Capabilities(
            family="autoregressive" if causal else "block diffusion" if block else "masked diffusion",
            infill=not causal and not block,
            prompt_logprobs=causal,
            max_length=config.max_length,
            block_length=block,
            parameters=config.parameters,
            dtype="fp32",
        )

    def submit(
        self,
        request: Generation | Infilling,
        on_event: Callable[[Event], None],
        *,
        deadline: float | None = None,
        canvas: bool = False,
    ) -> Ticket:
        """Decode a request.

        Args:
            request: checked here, so that an error is the caller's.
            on_event: called in the engine's thread with each event, the last one `Finished` or `Failed`; must not
                block.
            deadline: of `time.monotonic`, after which the request fails with DeadlineError; None for none.
            canvas: report `Canvas` events (diffusion models).

        Raises:
            RequestError: the model cannot serve the request, such as a suffix for an autoregressive model.
            PromptTooLongError: prompt and completion are longer than the model's context; says both lengths.
            ServerBusyError: the queue is full.
            ServerStoppingError: the engine drains.
        """
        del canvas
        if not isinstance(request, Generation):
            raise RequestError("request.infill-unsupported", field="parts", problem="not yet", remedy="wait")
        generate_text.start(self.model, request)
        ticket = Ticket(request, on_event, deadline)
        with self._wake:
            if len(self._waiting) >= self.limits.waiting:
                raise ServerBusyError(
                    "request.queue-full",
                    field="server",
                    problem=f"{len(self._waiting)} requests are waiting, and its queue holds {self.limits.waiting}",
                    remedy="ask again later, or start the server with a larger --max-queue",
                )
            self._waiting.append(ticket)
            self._wake.notify()
        return ticket

    def cancel(self, ticket: Ticket) -> None:
        """Stop decoding a request; it ends with `Failed`, unless it has ended. Its memory is free at once."""
        ticket.cancelled = True

    def run(self, work: Iterator[object], on_result: Callable[[object], None]) -> None:
        """Run other work that needs the model, such as scoring, in the engine's thread, in turns with decoding.

        Args:
            work: each item of it is one turn, and should take little time.
            on_result: called in the engine's thread with every item, then with StopIteration, or with the error.
        """
        with self._wake:
            self._work.append((work, on_result))
            self._wake.notify()

    def state(self) -> EngineState:
        """Gauges and counters."""
        return EngineState(
            running=self._running,
            waiting=len(self._waiting),
            memory_used=0,
            memory_limit=0,
            steps=0,
            rows=0,
            sequences=0,
            cached_tokens=0,
        )

    def drain(self) -> None:
        """Accept no more requests; those submitted are decoded."""
        self._stopping = True

    def close(self, timeout: float = 5.0) -> None:
        """Stop: requests that are not finished fail with ServerStoppingError."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        self._thread.join(timeout)

    def _loop(self) -> None:
        while True:
            with self._wake:
                while not self._waiting and not self._work:
                    if self._stopping:
                        return
                    self._wake.wait(0.1)
                ticket = self._waiting.popleft() if self._waiting else None
                work = self._work.popleft() if self._work and ticket is None else None
            if work:
                for item in work[0]:
                    work[1](item)
                work[1](StopIteration())
            if ticket:
                self._decode(ticket)

    def _decode(self, ticket: Ticket) -> None:
        began = time.monotonic()
        assert isinstance(ticket.request, Generation)  # noqa: S101
        first = 0.0
        try:
            for piece in generate_text.stream(self.model, ticket.request):
                first = first or time.monotonic() - ticket.submitted
                if isinstance(piece, Completion):
                    timing = Timing(began - ticket.submitted, first, time.monotonic() - ticket.submitted)
                    ticket.on_event(Finished(piece, timing))
                else:
                    ticket.on_event(Piece(piece))
        except Exception as error:  # reported to the caller
            ticket.on_event(Failed(error))
