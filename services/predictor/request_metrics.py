"""Prometheus metrics of the OpenAI-style routes, on KServe's /metrics; KServe has none for them."""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram

from crossover.decoding import Completion


class Metrics:
    """Counters of requests, tokens and forward passes, and a histogram of latency."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self.requests = Counter(
            "crossover_requests", "Completion requests by HTTP status.", ["code"], registry=registry
        )
        self.tokens = Counter("crossover_generated_tokens", "Tokens generated, padding not counted.", registry=registry)
        self.passes = Counter("crossover_forward_passes", "Forward passes, by request.", registry=registry)
        self.seconds = Histogram("crossover_request_seconds", "Seconds from request to answer.", registry=registry)

    def completed(self, completions: Sequence[Completion], seconds: float) -> None:
        """Count one completed request."""
        self.requests.labels(code="200").inc()
        self.tokens.inc(sum(len(completion.tokens) for completion in completions))
        self.passes.inc(sum(completion.forward_passes for completion in completions))
        self.seconds.observe(seconds)
