"""Our own metrics, on KServe's /metrics: KServe has none for OpenAI-style routes."""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram

from crossover.decoding import Completion


class Metrics:
    """Requests, tokens, forward passes, seconds."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self.requests = Counter(
            "crossover_requests", "Completion requests by HTTP status.", ["code"], registry=registry
        )
        self.tokens = Counter("crossover_generated_tokens", "Tokens generated, padding not counted.", registry=registry)
        self.passes = Counter("crossover_forward_passes", "Forward passes, by request.", registry=registry)
        self.seconds = Histogram("crossover_request_seconds", "Seconds from request to answer.", registry=registry)

    def answered(self, answers: Sequence[Completion], seconds: float) -> None:
        """Count one answered request."""
        self.requests.labels(code="200").inc()
        self.tokens.inc(sum(len(answer.tokens) for answer in answers))
        self.passes.inc(sum(answer.forward_passes for answer in answers))
        self.seconds.observe(seconds)
