"""What the predictor does with clients that send too much, too slowly, or leave, and with too many requests."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection

import grpc
import httpx
import pytest
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub
from openai import OpenAI

from tests.conftest import tiny_model
from tests.services.conftest import write_checkpoint
from tests.services.predictor_process import Predictor, free_port, infer_message, predictor, until

LONG = {"model": "crossover", "prompt": "x", "max_tokens": 4000, "temperature": 0, "ignore_eos": True}
ROUTES = ("/v1/completions", "/v1/models/crossover:predict", "/v2/models/crossover/infer")
MOST_BYTES = 100_000


@pytest.fixture(scope="module")
def grpc_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, grpc_port: int) -> Iterator[Predictor]:
    folder = tmp_path_factory.mktemp("overload")
    checkpoint = write_checkpoint(folder / "c", model=tiny_model(causal=True, vocab=259, length=4096))
    limits = ("--max-body", "100KB", "--read-timeout", "1", "--max-running", "1", "--max-queue", "1")
    with predictor(checkpoint, folder, *limits, "--grpc-port", str(grpc_port)) as started:
        yield started


def message(answer: httpx.Response) -> str:
    """The text of an error, in the shape of its route's protocol."""
    error = answer.json()["error"]
    text: str = error if ":predict" in answer.url.path or "/v2/" in answer.url.path else error["message"]
    return text


def count(server: Predictor, name: str) -> float:
    """The value of a metric, given as it stands in the exposition."""
    found = re.search(rf"^{re.escape(name)} (\S+)$", httpx.get(f"{server.url}/metrics").text, re.MULTILINE)
    return float(found[1]) if found else 0.0


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_is_too_large_is_413(server: Predictor, route: str, chunked: bool) -> None:
    """The client gets the answer although it is still sending: much more than the sockets hold."""
    parts = [b" " * 1_000_000] * 12
    answer = httpx.post(server.url + route, content=iter(parts) if chunked else b"".join(parts))
    assert answer.status_code == 413, answer.text
    assert "is larger than 100,000 bytes" in message(answer)
    assert answer.headers["connection"] == "close"


def test_a_client_that_waits_for_100_continue_is_told_at_once(server: Predictor) -> None:
    head = f"POST {ROUTES[0]} HTTP/1.1\r\nHost: x\r\nContent-Length: {MOST_BYTES + 1}\r\nExpect: 100-continue\r\n\r\n"
    with closing(socket.create_connection(server.address, timeout=10)) as client:
        client.sendall(head.encode())
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("begin", [b"GET /", b"GET / HTTP/1.1\r\nX: ", b"POST / HTTP/1.1\r\nX: y\r\nZ"])
def test_headers_that_come_a_byte_at_a_time_are_408(server: Predictor, begin: bytes) -> None:
    began = time.monotonic()
    assert drip(server, begin).startswith(b"HTTP/1.1 408 ")
    assert 0.9 < time.monotonic() - began < 5


@pytest.mark.parametrize("route", ROUTES)
def test_a_body_that_comes_a_byte_at_a_time_is_408(server: Predictor, route: str) -> None:
    head = f"POST {route} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"
    began = time.monotonic()
    answer = drip(server, head.encode())
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"request.slow-body" in answer
    assert 0.9 < time.monotonic() - began < 5


def drip(server: Predictor, begin: bytes) -> bytes:
    """Send, then a byte every tenth of a second, until the server closes; returns its answer."""
    with closing(socket.create_connection(server.address, timeout=10)) as client:
        client.sendall(begin)
        client.settimeout(0.1)
        answer = b""
        for _ in range(100):
            try:
                part = client.recv(65536)
            except TimeoutError:
                client.sendall(b"a")
                continue
            answer += part
            if not part:
                return answer
    raise AssertionError("the server did not close the connection")


def test_a_second_request_of_a_connection_has_its_own_time(server: Predictor) -> None:
    """Idle connections stay: the time runs from the first byte of a request."""
    with closing(HTTPConnection(*server.address, timeout=10)) as client:
        client.request("GET", "/v2/health/live")
        assert client.getresponse().read()
        before = client.sock
        time.sleep(1.5)  # longer than --read-timeout
        client.request("GET", "/v2/health/live")
        assert client.getresponse().read()
        assert client.sock is before


@pytest.mark.parametrize("stream", [False, True])
def test_work_for_a_client_that_left_ends(server: Predictor, stream: bool) -> None:
    """In the engine too: without that the next request would wait for all of its tokens."""
    cancelled = 'crossover_completions_total{outcome="cancelled"}'
    before = count(server, cancelled)
    body = json.dumps(LONG | {"stream": stream}).encode()
    head = f"POST {ROUTES[0]} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\nX-Request-Id: left-{stream}\r\n\r\n"
    with closing(socket.create_connection(server.address, timeout=10)) as client:
        client.sendall(head.encode() + body)
        until(lambda: count(server, "crossover_running_requests") == 1)
    until(lambda: count(server, cancelled) == before + 1)
    until(lambda: f'"left-{stream}"' in server.log())
    (line,) = [x for x in map(json.loads, server.log().splitlines()) if x["request_id"] == f"left-{stream}"]
    assert line["client_left"]
    assert line["status"] == (200 if stream else 499)


def test_work_for_a_grpc_client_that_left_ends(server: Predictor, grpc_port: int) -> None:
    cancelled = 'crossover_completions_total{outcome="cancelled"}'
    before = count(server, cancelled)
    with grpc.insecure_channel(f"127.0.0.1:{grpc_port}") as channel:
        call = GRPCInferenceServiceStub(channel).ModelInfer.future(infer_message(4000), timeout=60)
        until(lambda: count(server, "crossover_running_requests") == 1)
        call.cancel()
        until(lambda: count(server, cancelled) == before + 1)
    assert '"route": "grpc:ModelInfer", "status": "CANCELLED"' in server.log()


def test_a_message_that_is_too_large_is_refused_by_grpc(server: Predictor, grpc_port: int) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{grpc_port}") as channel, pytest.raises(grpc.RpcError) as caught:
        GRPCInferenceServiceStub(channel).ModelInfer(infer_message(1, b" " * 2 * MOST_BYTES), timeout=30)
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_full_queue_is_429_in_every_protocol(server: Predictor) -> None:
    """One runs, one waits, the next is refused."""
    prompt = {"name": "prompt", "datatype": "BYTES", "shape": [1], "data": ["x"]}
    bodies = ({"model": "crossover", "prompt": "x"}, {"instances": ["x"]}, {"inputs": [prompt]})
    with ThreadPoolExecutor(2) as pool:
        served = [pool.submit(httpx.post, server.url + ROUTES[0], json=LONG, timeout=60)]
        until(lambda: count(server, "crossover_running_requests") == 1)  # it fills the queue until it runs
        served.append(pool.submit(httpx.post, server.url + ROUTES[0], json=LONG, timeout=60))
        until(lambda: count(server, "crossover_waiting_requests") == 1)
        for route, body in zip(ROUTES, bodies, strict=True):
            refused = httpx.post(server.url + route, json=body)
            assert refused.status_code == 429, refused.text
            assert int(refused.headers["retry-after"]) > 0
            assert "request.queue-full" in message(refused)
        stream = httpx.post(server.url + ROUTES[0], json=bodies[0] | {"stream": True})
        assert stream.status_code == 429, stream.text
        with OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=20) as client:  # asks again by itself
            assert client.completions.create(model="crossover", prompt="x", max_tokens=2).usage is not None
        assert [answer.result().status_code for answer in served] == [200, 200]


def test_a_deadline_is_408(server: Predictor) -> None:
    answer = httpx.post(server.url + ROUTES[0], json=LONG | {"timeout": 0.05}, timeout=30)
    assert answer.status_code == 408, answer.text
