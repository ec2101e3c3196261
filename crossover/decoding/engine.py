"""The engine: one thread owns the model and batches the forward passes of all requests."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from crossover.decoding.decoding_sequence import DecodingSequence
from crossover.decoding.engine_errors import cancelled, late, out_of_memory, stopping
from crossover.decoding.engine_events import Event, Failed, Finished, Timing
from crossover.decoding.engine_limits import Capabilities, EngineLimits, EngineState
from crossover.decoding.generation_request import Generation, Hole, Infilling
from crossover.decoding.inference_model import InferenceModel
from crossover.decoding.key_value_cache import PrefixCache
from crossover.decoding.packed_linear import Precision, default_precision
from crossover.decoding.stepping import start, step
from crossover.decoding.text_pieces import token_ids
from crossover.errors import PromptTooLongError, RequestError, ServerBusyError
from crossover.model.free_memory import free_memory
from crossover.model.transformer import Transformer

__all__ = ["Capabilities", "Engine", "EngineLimits", "EngineState", "Ticket"]

PREFIX_SHARE = 0.25
"""Of the memory, for the beginnings of earlier prompts."""
OVERTAKING_SECONDS = 2.0
"""How long smaller requests may go before one that does not fit into the memory yet."""
IDLE_SECONDS = 0.5
_LOG = logging.getLogger(__name__)


class Ticket:
    """A submitted request; `Engine.cancel` takes it."""

    def __init__(
        self,
        sequence: DecodingSequence,
        on_event: Callable[[Event], None],
        deadline: float | None,
    ) -> None:
        self.sequence, self.on_event, self.deadline = sequence, on_event, deadline
        self.submitted = time.monotonic()
        self.started = self.first = 0.0
        self.cancelled = False


class Engine:
    """Decodes requests in one thread; every method may be called from any thread.

    A request holds the memory of its keys and values from its first forward pass to its end; one for which there is
    none waits.

    Args:
        model: of either family.
        limits: of memory and queue.
        precision: of matrix products; None is the device's default.
    """

    def __init__(
        self, model: Transformer, limits: EngineLimits | None = None, *, precision: Precision | None = None
    ) -> None:
        self.model, self.limits = model, limits or EngineLimits()
        device = model.lm_head.weight.device
        self._inference = InferenceModel(model, precision or default_precision(device), self.limits.rows)
        self._memory = self.limits.memory_bytes or free_memory(device) // 2
        self._prefixes = PrefixCache(int(PREFIX_SHARE * self._memory))
        self._lock = threading.Condition()
        self._waiting: list[Ticket] = []
        self._running: list[Ticket] = []
        self._work: list[tuple[Iterator[object], Callable[[Any], None]]] = []
        self._draining = self._closed = self._turning = False
        self._steps = self._rows = self._sequences = self._cached = 0
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
            dtype=self._inference.precision,
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
        self._check_length(request)
        sequence = start(self._inference, request, self._prefixes)
        if canvas:
            sequence.canvas = []
        if sequence.memory_bytes > self._for_sequences:
            raise RequestError(
                "request.memory-exceeded",
                field="max_tokens",
                problem=f"keys and values of {sequence.positions} tokens take {sequence.memory_bytes} bytes, and the "
                f"server has {self._for_sequences}",
                remedy="ask for fewer tokens, or start the server with a larger --memory",
            )
        ticket = Ticket(sequence, on_event, deadline)
        with self._lock:
            self._refuse_if_stopping()
            if len(self._waiting) >= self.limits.waiting:
                raise ServerBusyError(
                    "request.queue-full",
                    field="server",
                    problem=f"{len(self._waiting)} requests are waiting, and its queue holds {self.limits.waiting}",
                    remedy="ask again later, or start the server with a larger --max-queue",
                )
            self._waiting.append(ticket)
            self._lock.notify_all()
        return ticket

    def cancel(self, ticket: Ticket) -> None:
        """Stop decoding a request; it ends with `Failed`, unless it has ended."""
        ticket.cancelled = True
        with self._lock:
            self._lock.notify_all()

    def run(self, work: Iterator[object], on_result: Callable[[Any], None]) -> None:
        """Run other work that needs the model, such as scoring, in the engine's thread, in turns with decoding.

        Args:
            work: each item of it is one turn, and should take little time.
            on_result: called in the engine's thread with every item, then with StopIteration, or with the error.

        Raises:
            ServerBusyError: too much of it waits.
            ServerStoppingError: the engine drains.
        """
        with self._lock:
            self._refuse_if_stopping()
            if len(self._work) >= self.limits.waiting:
                raise ServerBusyError(
                    "request.queue-full",
                    field="server",
                    problem=f"{len(self._work)} texts are waiting to be scored",
                    remedy="ask again later",
                )
            self._work.append((work, on_result))
            self._lock.notify_all()

    def state(self) -> EngineState:
        """Gauges and counters."""
        with self._lock:
            return EngineState(
                running=len(self._running),
                waiting=len(self._waiting),
                memory_used=self._used + self._prefixes.used,
                memory_limit=self._memory,
                steps=self._steps,
                rows=self._rows,
                sequences=self._sequences,
                cached_tokens=self._cached,
            )

    def warm_up(self) -> None:
        """Decode a few tokens, so that the first request does not wait for what happens once.

        Raises:
            Exception: the model cannot be computed.
        """
        last: queue.SimpleQueue[Event] = queue.SimpleQueue()
        request = Generation(prompt="", max_tokens=min(4, self.model.config.max_length), ignore_eos=True)
        self.submit(request, last.put)
        while not isinstance(event := last.get(), Finished):
            if isinstance(event, Failed):
                raise event.error

    def drain(self, timeout: float | None = None) -> bool:
        """Accept no more requests; those submitted are decoded.

        Args:
            timeout: seconds to wait for them; None does not wait.

        Returns:
            Whether all are finished.
        """
        with self._lock:
            self._draining = True
            return self._lock.wait_for(self._is_idle, timeout) if timeout is not None else self._is_idle()

    def close(self, timeout: float = 5.0) -> None:
        """Stop: requests that are not finished fail with ServerStoppingError."""
        with self._lock:
            self._draining = self._closed = True
            self._lock.notify_all()
        self._thread.join(timeout)

    @property
    def _for_sequences(self) -> int:
        return self._memory - self._prefixes.memory_bytes

    @property
    def _used(self) -> int:
        return sum(ticket.sequence.memory_bytes for ticket in self._running)

    def _is_idle(self) -> bool:
        return not self._waiting and not self._running and not self._work and not self._turning

    def _refuse_if_stopping(self) -> None:
        if self._draining:
            raise stopping()

    def _check_length(self, request: Generation | Infilling) -> None:
        tokenizer = self.model.tokenizer
        if isinstance(request, Infilling):
            given = sum(len(token_ids(part, tokenizer)) for part in request.parts if not isinstance(part, Hole))
            asked = sum(part.tokens for part in request.parts if isinstance(part, Hole))
        else:
            prompt = token_ids(request.prompt, tokenizer)
            has_bos = self.model.causal and len(prompt) > 0 and prompt[0] == tokenizer.bos
            given = len(prompt) - has_bos + len(token_ids(request.suffix or "", tokenizer))
            asked = request.max_tokens
        if given + asked > self.model.config.max_length:
            raise PromptTooLongError(
                "request.prompt-too-long",
                field="parts" if isinstance(request, Infilling) else "prompt",
                problem=f"{given} tokens of text and {asked} to generate are {given + asked}, and the model's context "
                f"is {self.model.config.max_length} tokens",
                remedy="shorten the text, or ask for fewer tokens",
            )

    def _loop(self) -> None:
        while True:
            with self._lock:
                self._lock.wait_for(lambda: self._closed or not self._is_idle(), IDLE_SECONDS)
                if self._closed:
                    break
                self._drop()
                self._admit()
                work = self._work.pop(0) if self._work else None
                self._turning = work is not None
            if self._running:
                self._step()
            if work:
                self._turn(*work)
            with self._lock:
                self._turning = False
                self._lock.notify_all()
        for ticket in [*self._running, *self._waiting]:
            _report_to(ticket.on_event, Failed(stopping()))
        for _, on_result in self._work:
            _report_to(on_result, stopping())

    def _drop(self) -> None:
        """Take out what was cancelled, and what is late."""
        now = time.monotonic()
        for ticket in [*self._running, *self._waiting]:
            if ticket.cancelled:
                self._remove(ticket, cancelled())
            elif ticket.deadline is not None and now > ticket.deadline:
                self._remove(ticket, late(now - ticket.submitted))

    def _remove(self, ticket: Ticket, error: Exception | None = None) -> None:
        (self._running if ticket in self._running else self._waiting).remove(ticket)
        ticket.sequence.cache = None
        if error is not None:
            _report_to(ticket.on_event, Failed(error))

    def _admit(self) -> None:
        """Begin waiting requests in their order; for a while smaller ones may overtake one that does not fit."""
        used, now = self._used, time.monotonic()
        for ticket in list(self._waiting):
            if len(self._running) >= self.limits.running:
                return
            needed = ticket.sequence.memory_bytes
            if used + needed > self._for_sequences:
                if now - ticket.submitted > OVERTAKING_SECONDS:
                    return
                continue
            self._waiting.remove(ticket)
            self._running.append(ticket)
            ticket.started = now
            used += needed
            try:
                ticket.sequence.begin()
            except (MemoryError, RuntimeError) as error:  # torch reports a failed allocation so
                self._remove(ticket, out_of_memory(error))

    def _step(self) -> None:
        tickets = {id(ticket.sequence): ticket for ticket in self._running}
        try:
            done = step(self._inference, [t.sequence for t in self._running], self._prefixes, self.limits.rows)
        except Exception as error:  # of the forward pass: nobody can go on; reported to every caller
            with self._lock:
                for ticket in list(self._running):
                    self._remove(ticket, error)
            return
        self._steps, self._rows = self._steps + 1, self._rows + done.rows
        self._sequences += len(done.advanced) + len(done.failed)
        failed = list(done.failed)
        for sequence in done.advanced:
            try:
                self._report(tickets[id(sequence)])
            except Exception as error:  # of this request alone
                failed.append((sequence, error))
        with self._lock:
            for sequence, failure in failed:
                self._remove(tickets[id(sequence)], failure)
            moved = [ticket for s in done.advanced if (ticket := tickets[id(s)]) in self._running]
            for ticket in moved:
                self._running.remove(ticket)
            self._running += [ticket for ticket in moved if not ticket.sequence.done]

    def _report(self, ticket: Ticket) -> None:
        sequence, now = ticket.sequence, time.monotonic()
        for canvas in sequence.canvas or ():
            ticket.cancelled |= not _report_to(ticket.on_event, canvas)
        if sequence.canvas:
            sequence.canvas = []
        piece = sequence.take_piece()
        if piece or sequence.done:
            ticket.first = ticket.first or now
        if piece:
            ticket.cancelled |= not _report_to(ticket.on_event, piece)
        if sequence.done:
            sequence.cache = None
            self._cached += sequence.cached_tokens
            begun = ticket.submitted
            timing = Timing(ticket.started - begun, ticket.first - begun, now - begun)
            _report_to(ticket.on_event, Finished(sequence.completion(), timing))

    def _turn(self, work: Iterator[object], on_result: Callable[[Any], None]) -> None:
        """One item of other work; what is left of it goes to the end of the line."""
        result: object
        try:
            result, ended = next(work), False
        except StopIteration:
            result, ended = StopIteration(), True
        except Exception as error:  # reported to the caller
            result, ended = error, True
        if _report_to(on_result, result) and not ended:
            with self._lock:
                self._work.append((work, on_result))


def _report_to(receive: Callable[[Any], None], event: object) -> bool:
    """Call back; whether that worked: a caller's fault, such as a closed event loop, does not end the engine."""
    try:
        receive(event)
    except Exception:
        _LOG.exception("the receiver of a request's events failed")
        return False
    return True
