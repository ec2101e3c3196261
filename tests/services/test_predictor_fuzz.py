"""No input gives a 5xx: schemathesis on the OpenAI-style routes, hypothesis on KServe v1, v2 and binary tensors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error

FEW = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), database=None, derandomize=True)
ROUTES = ("completions", "chat/completions", "infill", "score", "models", "models/{name}", "embeddings")
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["x", "abc"])
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(
    ["max_tokens", "temperature", "seed", "stop", "logit_bias", "n", "top_k", "logprobs", "timeout", "suffix", "steps"]
)
FIELDS = st.dictionaries(NAMES | st.text(max_size=6), VALUES, max_size=3)


@pytest.fixture(params=["ar_url", "dlm_url"], scope="module")
def server(request: pytest.FixtureRequest) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=request.getfixturevalue(request.param), timeout=30) as client:
        yield client


@pytest.mark.parametrize("route", ROUTES)
def test_schemathesis_finds_no_server_error(server: httpx.Client, route: str) -> None:
    url = str(server.base_url)
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json").include(path=f"/v1/{route}")
    operations = list(schema.get_all_operations())
    assert operations
    for operation in operations:
        strategy = operation.ok().as_strategy()  # type: ignore[union-attr]  # hypothesis: an operation was found

        @FEW
        @given(case=strategy)
        def call(case: Any) -> None:  # noqa: ANN401 - of schemathesis
            answer = case.call(base_url=url)
            case.validate_response(answer, checks=[not_a_server_error])
            if answer.status_code >= 400 and answer.headers.get("content-type") == "application/json":
                assert set(answer.json()["error"]) == {"message", "type", "param", "code"}

        call()


def tensor_bytes(elements: list[bytes]) -> bytes:
    """A BYTES tensor of the binary extension."""
    return b"".join(len(element).to_bytes(4, "little") + element for element in elements)


def refused_or_answered(answer: httpx.Response) -> None:
    assert answer.status_code < 500, answer.text
    if answer.status_code >= 400:
        assert isinstance(answer.json()["error"], str)


@FEW
@given(body=VALUES | st.fixed_dictionaries({"instances": st.lists(VALUES | FIELDS, max_size=3)}), fields=FIELDS)
def test_no_body_of_v1_gives_a_server_error(server: httpx.Client, body: Any, fields: dict[str, Any]) -> None:  # noqa: ANN401 - as KServe and its clients have it
    for content in (body, {"instances": [{"prompt": "x"} | fields]}):
        encoded = json.dumps(content).encode("utf-8", "surrogatepass")
        refused_or_answered(server.post("/v1/models/crossover:predict", content=encoded))


@FEW
@given(
    shape=st.lists(st.integers(-2, 3) | st.just(10**30), max_size=3) | VALUES,
    datatype=st.sampled_from(["BYTES", "INT64", "FP16", "BOOL", "X"]) | st.text(max_size=3),
    data=st.lists(VALUES, max_size=3) | VALUES,
    parameters=FIELDS | VALUES,
    outputs=st.lists(
        st.fixed_dictionaries({"name": st.sampled_from(["completion", "x"]), "parameters": FIELDS}), max_size=2
    ),
)
def test_no_body_of_v2_gives_a_server_error(server: httpx.Client, **fields: Any) -> None:  # noqa: ANN401 - any JSON
    tensor = {"name": "prompt", "shape": fields["shape"], "datatype": fields["datatype"], "data": fields["data"]}
    for content in (
        {"inputs": [tensor], "parameters": fields["parameters"]},
        {"inputs": [tensor | {"shape": [1], "datatype": "BYTES", "data": ["x"]}], "outputs": fields["outputs"]},
    ):
        refused_or_answered(server.post("/v2/models/crossover/infer", content=json.dumps(content).encode()))


@FEW
@given(
    rest=st.binary(max_size=24) | st.lists(st.binary(max_size=5), max_size=3).map(tensor_bytes),
    size=st.integers(-3, 40) | VALUES,
    length=st.integers(-3, 400).map(str) | st.sampled_from(["", "x", "\u0663", "9" * 5000]) | st.none(),
    shape=st.lists(st.integers(-1, 3), max_size=2),
    datatype=st.sampled_from(["BYTES", "INT32"]),
)
def test_no_binary_tensor_gives_a_server_error(server: httpx.Client, **given_: Any) -> None:  # noqa: ANN401 - as KServe and its clients have it
    parameters = {"binary_data_size": given_["size"]}
    tensor = {"name": "prompt", "shape": given_["shape"], "datatype": given_["datatype"], "parameters": parameters}
    head = json.dumps({"inputs": [tensor]}).encode()
    length = str(len(head)) if given_["length"] is None else given_["length"]
    names = (b"content-type", b"inference-header-content-length")
    headers = dict(zip(names, (b"application/octet-stream", length.encode()), strict=True))
    refused_or_answered(server.post("/v2/models/crossover/infer", content=head + given_["rest"], headers=headers))


HUGE = b"9" * 5000
"""An integer that Python does not convert from or to text."""
BODIES = {
    "/v1/completions": b'{"model": "crossover", "prompt": %s}',
    "/v1/infill": b'{"model": "crossover", "parts": [%s, {"hole": %s}]}',
    "/v1/models/crossover:predict": b'{"instances": [{"prompt": [%s], "stop": %s}]}',
    "/v2/models/crossover/infer": b'{"inputs": [{"name": "prompt", "datatype": "BYTES", "shape": [1], "data": [%s]}]}',
}
WRONG = {
    "huge": HUGE,
    "negative": b"-" + HUGE,
    "infinite": b"1e400",
    "nan": b"NaN",
    "surrogate": b'"\\ud83d"',
    "nested": b"[" * 3000,
    "not UTF-8": b'"\xff"',
}


@pytest.mark.parametrize("value", WRONG.values(), ids=list(WRONG))
@pytest.mark.parametrize("path", BODIES)
def test_no_value_gives_a_server_error(server: httpx.Client, path: str, value: bytes) -> None:
    answer = server.post(path, content=BODIES[path].replace(b"%s", value))
    assert answer.status_code == 400, answer.text
