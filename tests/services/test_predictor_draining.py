"""SIGTERM: what has begun is finished, what is new is refused, no connection is reset, and the server ends with 0."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import httpx
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

from tests.conftest import tiny_model
from tests.services.conftest import write_checkpoint
from tests.services.predictor_process import Predictor, free_port, infer_message, predictor, until

CLIENTS = 16
SHORT = {"model": "crossover", "prompt": "x", "max_tokens": 200, "temperature": 0, "ignore_eos": True, "stream": True}
LONG = SHORT | {"max_tokens": 2000}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = tiny_model(causal=True, vocab=259, length=4096)
    return write_checkpoint(tmp_path_factory.mktemp("draining") / "c", model=model)


@pytest.fixture
def server(checkpoint: Path, tmp_path: Path) -> Iterator[Predictor]:
    with predictor(checkpoint, tmp_path) as started:
        yield started


class Client:
    """Streams one completion after the other over one connection, until it is refused."""

    def __init__(self, server: Predictor, first: threading.Barrier) -> None:
        self.url, self.first, self.outcomes = f"{server.url}/v1/completions", first, Counter[str]()

    def run(self) -> Counter[str]:
        with httpx.Client(timeout=60) as client:
            while self.request(client):
                pass
        return self.outcomes

    def request(self, client: httpx.Client) -> bool:
        """Whether another one is worth it."""
        try:
            with client.stream("POST", self.url, json=SHORT) as answer:
                if answer.status_code == 503:
                    assert int(answer.headers["retry-after"]) > 0
                    assert answer.headers["connection"] == "close"
                    self.outcomes["refused"] += 1
                    return False
                lines = [line for line in self.lines(answer) if line]
        except httpx.ConnectError:  # the port is closed
            self.outcomes["refused"] += 1
            return False
        whole = lines[-1] == "data: [DONE]" and '"finish_reason":"length"' in "".join(lines).replace(" ", "")
        self.outcomes["whole" if whole else "cut"] += 1
        return True

    def lines(self, answer: httpx.Response) -> Iterator[str]:
        for number, line in enumerate(answer.iter_lines()):
            if number == 0 and not self.outcomes:
                self.first.wait(60)
            yield line


def test_under_load_no_stream_is_cut_and_no_connection_reset(server: Predictor) -> None:
    """An exception of a client, such as a reset connection, fails the test."""
    begun = threading.Barrier(2)
    with ThreadPoolExecutor(CLIENTS) as pool:
        clients = [Client(server, begun if number == 0 else threading.Barrier(1)) for number in range(CLIENTS)]
        running = [pool.submit(client.run) for client in clients]
        begun.wait(60)
        server.terminate()
        outcomes = sum((client.result(60) for client in running), Counter[str]())
    assert outcomes["refused"] == CLIENTS
    assert outcomes["whole"] >= 1
    assert outcomes.keys() == {"refused", "whole"}
    assert server.process.wait(30) == 0
    assert "Traceback" not in server.log()


def test_readiness_falls_at_once_and_what_runs_is_finished(server: Predictor) -> None:
    ready, live = f"{server.url}/v2/models/crossover/ready", f"{server.url}/v2/health/live"
    assert httpx.get(ready).status_code == 200
    with httpx.stream("POST", f"{server.url}/v1/completions", json=LONG, timeout=60) as running:
        lines = running.iter_lines()
        next(lines)
        server.terminate()
        until(lambda: httpx.get(ready).status_code == 503)
        assert httpx.get(f"{server.url}/v2/health/ready").status_code == 503
        assert httpx.get(live).status_code == 200
        assert "crossover_" in httpx.get(f"{server.url}/metrics").text
        for route, body in {
            "/v1/completions": SHORT,
            "/v1/models/crossover:predict": {"instances": ["x"]},
            "/v2/models/crossover/infer": {"inputs": []},
        }.items():
            refused = httpx.post(server.url + route, json=body)
            assert (refused.status_code, refused.headers["connection"]) == (503, "close")
            assert int(refused.headers["retry-after"]) > 0
            assert "request.server-stopping" in refused.text
        rest = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: {")]
    assert rest[-1]["choices"][0]["finish_reason"] == "length"
    assert server.process.wait(30) == 0


def test_grpc_drains_too(checkpoint: Path, tmp_path: Path) -> None:
    port = free_port()
    request = infer_message(2000)
    with (
        predictor(checkpoint, tmp_path, "--grpc-port", str(port)) as server,
        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        stub = GRPCInferenceServiceStub(channel)
        assert stub.ModelReady(pb.ModelReadyRequest(name="crossover"), timeout=30, wait_for_ready=True).ready
        running = stub.ModelInfer.future(request, timeout=60)
        until(lambda: "crossover_running_requests 1.0" in httpx.get(f"{server.url}/metrics").text)
        server.terminate()
        assert running.result().model_name == "crossover"
        assert server.process.wait(30) == 0
        with pytest.raises(grpc.RpcError) as refused:
            stub.ModelInfer(request, timeout=5)
        assert refused.value.code() == grpc.StatusCode.UNAVAILABLE


def test_a_second_signal_ends_it_without_waiting(server: Predictor) -> None:
    with httpx.stream("POST", f"{server.url}/v1/completions", json=LONG, timeout=60) as running:
        lines = running.iter_lines()
        next(lines)
        server.terminate()
        until(lambda: httpx.get(f"{server.url}/v2/models/crossover/ready").status_code == 503)
        server.terminate()
        server.process.wait(10)
        with pytest.raises(httpx.HTTPError):
            list(lines)


def test_an_idle_server_ends(server: Predictor) -> None:
    server.terminate()
    assert server.process.wait(20) == 0
