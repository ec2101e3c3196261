"""Prometheus metrics of the predictor, on KServe's /metrics: of requests, from the engine's events and HTTP answers."""

from __future__ import annotations

import time
from collections.abc import Hashable, Sequence

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram

from crossover.decoding import Completion
from crossover.decoding.engine_events import Event, Failed, Finished, Piece, Timing
from crossover.errors import CancelledRequestError, DeadlineError, ServerStoppingError

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
SHORT_SECONDS = (0.001, 0.0025, *SECONDS[:11])
PASSES_PER_TOKEN = (0.03125, 0.0625, 0.125, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 4.0)
OUTCOMES: tuple[tuple[type[Exception], str], ...] = (
    (CancelledRequestError, "cancelled"),
    (DeadlineError, "deadline"),
    (ServerStoppingError, "stopped"),
)
"""Of completions that end with an error; any other error is `error`."""


class Metrics:
    """Counters and histograms of completions and of HTTP answers; may be called from any thread.

    Args:
        registry: of prometheus_client; KServe exposes the default one.
    """

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"crossover_{name}", text, labels, registry=registry)

        def histogram(name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(f"crossover_{name}", text, buckets=buckets, registry=registry)

        self.answers = counter(
            "http_requests", "Answers, by route and status; those of gRPC by method.", "route", "code"
        )
        self.completions = counter("completions", "Completions that ended, by how they ended.", "outcome")
        self.tokens = counter("generated_tokens", "Tokens generated, padding not counted.")
        self.prompt_tokens = counter("prompt_tokens", "Tokens of prompts, suffixes and given texts.")
        self.passes = counter("forward_passes", "Forward passes, summed over completions.")
        self.passes_per_token = histogram("forward_passes_per_token", "Of a completion.", PASSES_PER_TOKEN)
        self.queued = histogram("queue_seconds", "From submission to the first forward pass.", SECONDS)
        self.first = histogram("time_to_first_token_seconds", "From submission to the first final token.", SECONDS)
        self.between = histogram("inter_token_seconds", "Between final pieces: tokens, or blocks.", SHORT_SECONDS)
        self.seconds = histogram("request_seconds", "From submission to the completion.", SECONDS)
        self._last: dict[Hashable, float] = {}
        for outcome in ("stop", "length", "error", *(name for _, name in OUTCOMES)):
            self.completions.labels(outcome)  # so that rates are known before the first

    def answered(self, route: str, code: int | str) -> None:
        """Count one answer.

        Args:
            route: the path of the route, with its parameters' names, not the path of the request; or gRPC's method.
            code: HTTP status, or the name of gRPC's.
        """
        self.answers.labels(route, str(code)).inc()

    def event(self, event: Event, request: Hashable | None = None) -> None:
        """Count what the engine reports of a request.

        Args:
            event: of the engine.
            request: equal for the events of one request; without it the time between pieces is not measured.
        """
        if isinstance(event, Piece):
            if request is not None:
                self._piece(request)
            return
        if not isinstance(event, Finished | Failed):
            return
        self._last.pop(request, None)
        if isinstance(event, Failed):
            outcome = next((name for kind, name in OUTCOMES if isinstance(event.error, kind)), "error")
            self.completions.labels(outcome).inc()
        else:
            self._finished(event.completion, event.timing)

    def _piece(self, request: Hashable) -> None:
        now = time.monotonic()
        before = self._last.get(request)
        self._last[request] = now
        if before is not None:
            self.between.observe(now - before)

    def _finished(self, completion: Completion, timing: Timing) -> None:
        self.completions.labels(completion.finish_reason).inc()
        self.prompt_tokens.inc(completion.prompt_tokens)
        self.tokens.inc(len(completion.tokens))
        self.passes.inc(completion.forward_passes)
        if completion.tokens:
            self.passes_per_token.observe(completion.forward_passes / len(completion.tokens))
            self.first.observe(timing.first)
        self.queued.observe(timing.queued)
        self.seconds.observe(timing.total)

    def completed(self, completions: Sequence[Completion], seconds: float) -> None:
        """Until the routes call the engine's client."""
        for completion in completions:
            self._finished(completion, Timing(0.0, 0.0, seconds))

    @property
    def requests(self) -> Counter:
        """Until the routes call the engine's client."""
        return Counter("crossover_old", "", ["code"], registry=None)
