"""What the predictor tells those who operate it: metrics of every route, and one line of JSON a request."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from crossover_services.predictor.request_metrics import Metrics
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub
from prometheus_client import CollectorRegistry

from crossover.decoding import Completion
from crossover.decoding.engine_events import Failed, Finished, Piece, Timing
from crossover.errors import CancelledRequestError, DeadlineError
from tests.services.conftest import write_checkpoint
from tests.services.predictor_process import Predictor, free_port, infer_message, predictor, until

V1 = "/v1/models/{model_name}:predict"
PROMPT = {"name": "prompt", "datatype": "BYTES", "shape": [1], "data": ["ab"]}


@pytest.fixture(scope="module")
def grpc_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, grpc_port: int) -> Iterator[Predictor]:
    folder = tmp_path_factory.mktemp("metrics")
    with predictor(write_checkpoint(folder / "c"), folder, "--grpc-port", str(grpc_port)) as started:
        yield started


def counters(server: Predictor) -> dict[str, float]:
    """The values of our metrics, by name and labels."""
    lines = httpx.get(f"{server.url}/metrics").text.splitlines()
    return {name: float(value) for name, value in (x.rsplit(" ", 1) for x in lines if x.startswith("crossover_"))}


def answers(code: int | str, route: str) -> str:
    return f'crossover_http_requests_total{{code="{code}",route="{route}"}}'


def lines(server: Predictor) -> list[dict[str, Any]]:
    return [json.loads(line) for line in server.log().splitlines()]


def test_metrics_of_every_route(server: Predictor) -> None:
    before, began = counters(server), time.perf_counter()
    body = {"model": "crossover", "temperature": 0, "ignore_eos": True}
    asked: list[dict[str, Any]] = [{"prompt": ["ab", "c"], "max_tokens": 3}, {"prompt": "x", "max_tokens": 5}]
    usages = [httpx.post(f"{server.url}/v1/completions", json=body | fields).json()["usage"] for fields in asked]
    stream = body | {"prompt": "ab", "max_tokens": 4, "stream": True}
    assert httpx.post(f"{server.url}/openai/v1/completions", json=stream).text.endswith("[DONE]\n\n")
    assert httpx.post(f"{server.url}/v1/completions", json=body | {"max_tokens": -1}).status_code == 400
    instance = {"prompt": "ab", "max_tokens": 2, "ignore_eos": True}
    assert httpx.post(f"{server.url}/v1/models/crossover:predict", json={"instances": [instance]}).status_code == 200
    options = {"max_tokens": 1, "ignore_eos": True}
    infer = {"inputs": [PROMPT], "parameters": options}
    assert httpx.post(f"{server.url}/v2/models/crossover/infer", json=infer).status_code == 200
    assert httpx.get(f"{server.url}/nowhere").status_code == 404
    elapsed = time.perf_counter() - began
    grown = {name: value - before.get(name, 0) for name, value in counters(server).items()}
    assert grown[answers(200, "/v1/completions")] == 2
    assert grown[answers(400, "/v1/completions")] == 1
    assert grown[answers(200, "/openai/v1/completions")] == 1
    assert grown[answers(200, V1)] == grown[answers(200, "/v2/models/{model_name}/infer")] == 1
    assert grown[answers(404, "none")] == 1
    tokens = sum(usage["completion_tokens"] for usage in usages) + 4 + 2 + 1
    assert grown["crossover_generated_tokens_total"] == tokens == 18
    assert grown["crossover_prompt_tokens_total"] == 2 + 1 + 1 + 2 + 2 + 2
    assert grown["crossover_forward_passes_total"] > 0
    assert grown['crossover_completions_total{outcome="length"}'] == 6
    for name in ("request", "queue", "time_to_first_token"):
        assert grown[f"crossover_{name}_seconds_count"] == 6
        assert 0 <= grown[f"crossover_{name}_seconds_sum"] < 6 * elapsed
    assert grown["crossover_forward_passes_per_token_count"] == 6
    assert grown["crossover_inter_token_seconds_count"] > 0
    assert 0 < grown["crossover_engine_steps_total"] <= grown["crossover_engine_sequences_total"]
    assert grown["crossover_engine_rows_total"] >= tokens
    present = counters(server)
    assert present["crossover_running_requests"] == present["crossover_waiting_requests"] == 0
    assert 0 <= present["crossover_memory_used_bytes"] < present["crossover_memory_limit_bytes"]


def test_a_line_a_request_without_its_prompt(server: Predictor) -> None:
    body = {"model": "crossover", "prompt": "secret", "max_tokens": 4, "temperature": 0, "ignore_eos": True}
    answer = httpx.post(f"{server.url}/v1/completions", json=body, headers={"X-Request-Id": "mine-7"})
    assert answer.headers["x-request-id"] == "mine-7"
    wrong = httpx.post(f"{server.url}/v2/models/crossover/infer", json={}, headers={"X-Request-Id": "mine-8"})
    assert wrong.status_code == 400
    for probe in ("/v2/models/crossover/ready", "/v2/health/live", "/v2/health/ready", "/metrics"):
        assert httpx.get(server.url + probe).status_code == 200
    until(lambda: "mine-8" in server.log())
    found = {line["request_id"]: line for line in lines(server)}
    line = found["mine-7"]
    assert time.time() - 60 < time.mktime(time.strptime(line["time"][:19], "%Y-%m-%dT%H:%M:%S")) - time.timezone
    assert (line["method"], line["route"], line["status"]) == ("POST", "/v1/completions", 200)
    assert (line["prompt_tokens"], line["completion_tokens"]) == (6, 4)
    assert 0 < line["seconds"] < 60
    assert (found["mine-8"]["route"], found["mine-8"]["status"]) == ("/v2/models/{model_name}/infer", 400)
    assert "secret" not in server.log()
    assert not [x for x in lines(server) if "ready" in x["route"] or "live" in x["route"] or x["route"] == "/metrics"]


def test_a_request_without_an_id_gets_one(server: Predictor) -> None:
    ids = {httpx.get(f"{server.url}/v1/models").headers["x-request-id"] for _ in range(2)}
    assert len(ids) == 2


def test_grpc_calls_are_counted_and_logged(server: Predictor, grpc_port: int) -> None:
    before = counters(server)
    request = infer_message(2, b"ab")
    wrong = pb.ModelInferRequest(model_name="crossover")
    with grpc.insecure_channel(f"127.0.0.1:{grpc_port}") as channel:
        stub = GRPCInferenceServiceStub(channel)
        assert stub.ModelReady(pb.ModelReadyRequest(name="crossover"), timeout=30, wait_for_ready=True).ready
        stub.ModelInfer(request, timeout=30, metadata=[("x-request-id", "mine-9")])
        with pytest.raises(grpc.RpcError) as caught:
            stub.ModelInfer(wrong, timeout=30)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    grown = {name: value - before.get(name, 0) for name, value in counters(server).items()}
    assert grown[answers("OK", "grpc:ModelInfer")] == 1
    assert grown[answers("INVALID_ARGUMENT", "grpc:ModelInfer")] == 1
    (line,) = [x for x in lines(server) if x["request_id"] == "mine-9"]
    assert (line["route"], line["status"], line["prompt_tokens"]) == ("grpc:ModelInfer", "OK", 2)
    assert not [x for x in lines(server) if x["route"] == "grpc:ModelReady"]


def test_prompts_are_logged_where_it_is_asked_for(tmp_path: Path) -> None:
    with predictor(write_checkpoint(tmp_path / "c", causal=False), tmp_path, "--log-prompts") as server:
        body = {"model": "crossover", "prompt": "shown", "suffix": "too", "max_tokens": 2}
        assert httpx.post(f"{server.url}/v1/completions", json=body).status_code == 200
        until(lambda: len(lines(server)) == 1)
        assert lines(server)[0]["prompts"] == ["shown", "too"]


def test_the_log_is_json_and_nothing_else(server: Predictor) -> None:
    """No trace lines of KServe, no warnings of libraries: `lines` reads every line."""
    assert "swagger" in httpx.get(f"{server.url}/docs").text
    assert all({"time", "route", "status", "seconds"} <= line.keys() for line in lines(server))


def test_events_are_counted_by_how_completions_end() -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    done = Completion(
        tokens=[1, 2, 3, 4],
        text="abcd",
        finish_reason="stop",
        prompt_tokens=3,
        truncated_tokens=0,
        forward_passes=2,
    )
    gone = CancelledRequestError("request.cancelled", field="x", problem="y", remedy="z")
    late = DeadlineError("request.deadline", field="x", problem="y", remedy="z")
    for key in ("a", "b"):  # each has two pieces, so one time between them; those of different requests are unrelated
        metrics.event(Piece("ab"), key)
        metrics.event(Piece("cd"), key)
    metrics.event(Finished(done, Timing(0.1, 0.2, 0.4)), "a")
    metrics.event(Failed(gone), "b")
    metrics.event(Failed(late), "c")
    metrics.event(Failed(ValueError("ours")), "d")

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"crossover_{name}", labels)

    outcomes = ("stop", "length", "cancelled", "deadline", "error", "stopped")
    assert [value("completions_total", outcome=outcome) for outcome in outcomes] == [1, 0, 1, 1, 1, 0]
    assert value("inter_token_seconds_count") == 2
    assert value("forward_passes_per_token_sum") == 0.5
    assert (value("queue_seconds_sum"), value("time_to_first_token_seconds_sum")) == (0.1, 0.2)
    assert value("request_seconds_sum") == 0.4
    assert not metrics._last
