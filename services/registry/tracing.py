"""Traces of requests by OpenTelemetry, where its own variables ask for them (OTEL_EXPORTER_OTLP_ENDPOINT, …)."""

from __future__ import annotations

import os

from fastapi import FastAPI
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from crossover import __version__

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_NOT_TRACED = "healthz,readyz,metrics"


class Tracing:
    """Sends spans to a collector by OTLP over HTTP, in the background; a collector that is away costs no request.

    https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables: endpoint, headers, sampler, names.
    """

    def __init__(self) -> None:
        named = {} if "OTEL_SERVICE_NAME" in os.environ else {"service.name": "crossover-registry"}
        self._provider = TracerProvider(resource=Resource.create(named | {"service.version": __version__}))
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))

    def instrument(self, app: FastAPI) -> None:
        """Make a span of every request but probes."""
        FastAPIInstrumentor.instrument_app(app, tracer_provider=self._provider, excluded_urls=_NOT_TRACED)

    def close(self) -> None:
        """Send what waits, for a few seconds at most."""
        self._provider.force_flush(5_000)
        self._provider.shutdown()


def tracing_from_environment() -> Tracing | None:
    """The tracing that the variables ask for; None where they ask for none."""
    wanted = any(os.environ.get(name) for name in _ENDPOINTS)
    return Tracing() if wanted and os.environ.get("OTEL_SDK_DISABLED", "").lower() != "true" else None


def annotated(request_id: str) -> dict[str, str]:
    """Write a request's id into its span; returns the span's ids for the log, nothing where it is not traced."""
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return {}
    trace.get_current_span().set_attribute("crossover.request_id", request_id)
    return {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}
