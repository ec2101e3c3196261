"""Traces: a collector gets a span of every request, with the id that stands in its log; without one nothing is sent."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.services.registry_server import Server


class Collector(ThreadingHTTPServer):
    """An OTLP receiver over HTTP: it keeps the spans that it is sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Receive)
        self.spans: list[Span] = []
        self.services: set[str] = set()
        self.headers: list[str] = []


class _Receive(BaseHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass

    def do_POST(self) -> None:
        body = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["Content-Length"])))
        collector = self.server
        assert isinstance(collector, Collector) and self.path == "/v1/traces"
        for part in body.resource_spans:
            names = {a.key: a.value.string_value for a in part.resource.attributes}
            collector.services.add(names["service.name"])
            collector.spans += [span for scope in part.scope_spans for span in scope.spans]
        collector.headers.append(self.headers.get("X-Team", ""))
        self.send_response(200)
        self.end_headers()


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


def test_every_request_has_a_span_with_its_id(
    collector: Collector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.server_port}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "X-Team=ours")
    server = Server(f"sqlite:///{tmp_path}/registry.sqlite", tmp_path)
    server.start()
    httpx.get(f"{server.url}/api/v1/runs", headers={"X-Request-ID": "mine"})
    httpx.get(f"{server.url}/metrics")
    assert server.stop() == 0

    (span,) = (s for s in collector.spans if s.name == "GET /api/v1/{view}")
    attributes = {a.key: a.value.string_value for a in span.attributes}
    assert attributes["crossover.request_id"] == "mine"
    logged = [json.loads(line) for line in server.log.splitlines() if '"mine"' in line]
    assert [line["trace_id"] for line in logged] == [span.trace_id.hex()]
    assert not [s.name for s in collector.spans if "metrics" in s.name or "readyz" in s.name]
    assert (collector.services, set(collector.headers)) == ({"crossover-registry"}, {"ours"})


def test_a_collector_that_is_away_costs_no_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "2")
    server = Server(f"sqlite:///{tmp_path}/registry.sqlite", tmp_path)
    server.start()
    began = time.monotonic()
    assert httpx.get(f"{server.url}/api/v1/runs").status_code == 200
    assert time.monotonic() - began < 2
    assert server.stop() == 0


def test_without_an_endpoint_nothing_is_traced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    server = Server(f"sqlite:///{tmp_path}/registry.sqlite", tmp_path)
    server.start()
    httpx.get(f"{server.url}/api/v1/runs", headers={"X-Request-ID": "mine"})
    assert server.stop() == 0
    assert '"mine"' in server.log and "trace_id" not in server.log
