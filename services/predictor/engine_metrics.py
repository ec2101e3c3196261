"""Prometheus metrics of the engine's state, read when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from crossover.decoding.engine import EngineState

GAUGES = {
    "running_requests": ("Requests that are decoded.", "running"),
    "waiting_requests": ("Requests that wait for their first forward pass.", "waiting"),
    "memory_used_bytes": ("Of keys and values.", "memory_used"),
    "memory_limit_bytes": ("What requests may use of it together.", "memory_limit"),
}
COUNTERS = {
    "engine_steps": ("Forward passes of the engine, each over a batch.", "steps"),
    "engine_rows": ("Tokens in these passes, over all requests.", "rows"),
    "engine_sequences": ("Requests in these passes; over the steps it is the mean batch size.", "sequences"),
    "cached_tokens": ("Tokens of prompts that were not computed again.", "cached_tokens"),
}


class EngineCollector(Collector):
    """Gauges and counters of an engine.

    Args:
        state: `Engine.state`.
    """

    def __init__(self, state: Callable[[], EngineState]) -> None:
        self._state = state

    def collect(self) -> Iterator[Metric]:
        """The present values."""
        state = self._state()
        for name, (text, field) in GAUGES.items():
            yield GaugeMetricFamily(f"crossover_{name}", text, value=getattr(state, field))
        for name, (text, field) in COUNTERS.items():
            yield CounterMetricFamily(f"crossover_{name}", text, value=getattr(state, field))
