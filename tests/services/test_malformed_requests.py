"""Malformed requests over real HTTP: status 400 that names the field and the remedy, and no traceback in the log."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.services.conftest import write_checkpoint

V1, V2, OPENAI = "/v1/models/crossover:predict", "/v2/models/crossover/infer", "/v1/completions"
PROMPT = {"name": "prompt", "datatype": "BYTES", "shape": [1], "data": ["x"]}
COMPLETION = {"model": "crossover", "prompt": "x"}
FORM = {"content-type": "application/x-www-form-urlencoded"}
"""What curl sends with `-d` and no header."""
JSON = {"content-type": "application/json"}


class Server:
    """A running predictor and its log."""

    def __init__(self, url: str, log: Path) -> None:
        self.url, self._log = url, log

    def log(self) -> str:
        """All that the server has written to standard error."""
        return self._log.read_text()

    def refused(self, route: str, content: bytes, headers: dict[str, str]) -> str:
        """The message of a request that must be refused without a traceback."""
        answer = httpx.post(self.url + route, content=content, headers=headers)
        assert answer.status_code == 400, answer.text
        assert "Traceback" not in self.log()
        error = answer.json()["error"]
        return str(error["message"] if route == OPENAI else error)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    checkpoint = write_checkpoint(folder / "c", causal=False)
    command = [sys.executable, "-m", "crossover_services.predictor", "--checkpoint", str(checkpoint), "--port", "0"]
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        assert process.stdout is not None
        try:
            yield Server(process.stdout.readline().split()[-1], folder / "log")
        finally:
            process.terminate()


V1_BODIES: dict[str, object] = {
    "instances: is missing": {},
    "instance: unknown field; did you mean instances?": {"instance": ["x"]},
    "instances: is missing; correct instances": {"instances": None},
    "instances: list should have at least 1 item": {"instances": []},
    "instances: is not a list: 'x'": {"instances": "x"},
    "instances: is not a list: {'prompt': 'x'}": {"instances": {"prompt": "x"}},
    "max_tokens: unknown field": {"instances": ["x"], "max_tokens": 3},
    "body: has no fields (name: value): 3": 3,
    "body: has no fields (name: value): null": None,
    "body: has no fields (name: value): ['x']": ["x"],
    "instances.0: has no fields (name: value): 3": {"instances": [3]},
    "instances.1: has no fields (name: value): null": {"instances": ["x", None]},
    "instances.0.prompt: is missing": {"instances": [{"max_tokens": 3}]},
    "instances.0.prompt: is neither text nor a list of token ids: 1": {"instances": [{"prompt": 1}]},
    "instances.0.stepz: unknown field; did you mean steps?": {"instances": [{"prompt": "x", "stepz": 4}]},
    "instances.1.max_tokens: is not a whole number: 3.5": {"instances": ["x", {"prompt": "x", "max_tokens": 3.5}]},
    "instances.0.max_tokens: should be greater than or equal to 0, found -1": {
        "instances": [{"prompt": "x", "max_tokens": -1}]
    },
}
V2_BODIES: dict[str, object] = {
    "inputs: is missing": {},
    "input: unknown field; did you mean inputs?": {"input": [PROMPT]},
    "inputs: is missing; correct inputs": {"inputs": None},
    "inputs: is not a list: 'x'": {"inputs": "x"},
    "inputs: has no tensor 'prompt'": {"inputs": []},
    "inputs.0.name: 'text' is not 'prompt' or 'suffix'": {"inputs": [PROMPT | {"name": "text"}]},
    "inputs.1.name: 'promt' is not 'prompt' or 'suffix'; did you mean prompt?": {
        "inputs": [PROMPT, PROMPT | {"name": "promt"}]
    },
    "inputs.prompt: is there twice": {"inputs": [PROMPT, PROMPT]},
    "inputs.0.datatype: 'INT64' is not 'BYTES'": {"inputs": [PROMPT | {"datatype": "INT64", "data": [1]}]},
    "inputs.0.datatype: 'FP16' is not 'BYTES'": {"inputs": [PROMPT | {"datatype": "FP16", "data": [1.0]}]},
    "inputs.prompt: has the shape [2] and 1 element": {"inputs": [PROMPT | {"shape": [2]}]},
    "inputs.prompt: has the shape [-1] and 1 element": {"inputs": [PROMPT | {"shape": [-1]}]},
    "inputs.prompt: has the shape [0] and 0 elements": {"inputs": [PROMPT | {"shape": [0], "data": []}]},
    "inputs.prompt: 1 is not text": {"inputs": [PROMPT | {"data": [1]}]},
    "inputs.prompt: ['x'] is not text": {"inputs": [PROMPT | {"shape": [1, 1], "data": [["x"]]}]},
    "inputs.suffix: has 2 elements": {"inputs": [PROMPT, {**PROMPT, "name": "suffix", "shape": [2], "data": ["", ""]}]},
    "inputs.0: has no `data`, and its binary_data_size None is no number up to the 0 bytes left": {
        "inputs": [{k: v for k, v in PROMPT.items() if k != "data"}]
    },
    "inputs.0.shape: is missing": {"inputs": [{k: v for k, v in PROMPT.items() if k != "shape"}]},
    "inputs.0.shape.0: is not a whole number: 'x'": {"inputs": [PROMPT | {"shape": ["x"]}]},
    "inputs.0: has no fields (name: value): 'x'": {"inputs": ["x"]},
    "parameters: has no fields (name: value): 3": {"inputs": [PROMPT], "parameters": 3},
    "parameters.stepz: unknown field; did you mean steps?": {"inputs": [PROMPT], "parameters": {"stepz": 4}},
    "parameters.prompt: unknown field": {"inputs": [PROMPT], "parameters": {"prompt": "y"}},
    "parameters.max_tokens: is not a whole number: 3.5": {"inputs": [PROMPT], "parameters": {"max_tokens": 3.5}},
    "max_tokens: unknown field": {"inputs": [PROMPT], "max_tokens": 3},
    "body: has no fields (name: value): [3]": [3],
}
OPENAI_BODIES: dict[str, object] = {
    "model: is missing": {"prompt": "x"},
    "prompt: is missing": {"model": "crossover"},
    "stepz: unknown field; did you mean steps?": COMPLETION | {"stepz": 4},
    "stream_options.include_usages: unknown field; did you mean include_usage?": COMPLETION
    | {"stream_options": {"include_usages": True}},
    "best_of: is 2, less than n = 3": COMPLETION | {"best_of": 2, "n": 3},
    "best_of: chooses among finished completions": COMPLETION | {"best_of": 2, "stream": True},
    "logit_bias: there is no token 50256": COMPLETION | {"logit_bias": {"50256": -100}},
    "logit_bias.x.[key]: is not a whole number: 'x'": COMPLETION | {"logit_bias": {"x": 1}},
    "logprobs: should be less than or equal to 20, found 21": COMPLETION | {"logprobs": 21},
    "temperature: should be greater than or equal to 0, found -1": COMPLETION | {"temperature": -1},
    "prompt: is neither text nor a list of token ids: [1, 'x']": COMPLETION | {"prompt": [[1, "x"]]},
    "prompt: is neither text nor a list of token ids: []": COMPLETION | {"prompt": [[]]},
    "prompt: is neither text nor a list of token ids: 1.5": COMPLETION | {"prompt": [1.5]},
    "prompt: is neither text, a list of texts, token ids nor a list of them: 1": COMPLETION | {"prompt": 1},
    "prompt: asks for 1024 completions, and the server's queue holds 256": COMPLETION | {"prompt": ["x"] * 64, "n": 16},
    "seed: should be less than": COMPLETION | {"seed": 2**63},
    "stop: is neither text nor a list of texts: ['a', 1]": COMPLETION | {"stop": ["a", 1]},
    "2 fields are wrong:\n  n: should be less than or equal to 16, found 99\n  max_tokens: ": COMPLETION
    | {"max_tokens": "x", "n": 99},
    "body: has no fields (name: value): 3": 3,
}
BODIES = [
    *((V1, message, body) for message, body in V1_BODIES.items()),
    *((V2, message, body) for message, body in V2_BODIES.items()),
    *((OPENAI, message, body) for message, body in OPENAI_BODIES.items()),
]
NOT_JSON = [
    b"",
    b"{",
    b"prompt=x",
    b"\xff",
    b'{"instances": ["\\ud83d"], "inputs": [], "prompt": "\\ud83d"}',
    b"[" * 5000,
]


@pytest.mark.parametrize(("route", "message", "body"), BODIES, ids=[f"{route} {text}" for route, text, _ in BODIES])
def test_a_malformed_body_is_refused_by_field(server: Server, route: str, message: str, body: object) -> None:
    for headers in (JSON, FORM, {}):
        error = server.refused(route, json.dumps(body).encode(), headers)
        assert message in error
        unknown = "there is no token" in message
        assert ("send ids of this model" if unknown else "correct ") in error
        assert ("[request.unknown-token]" if unknown else "[request.invalid]") in error


@pytest.mark.parametrize("content", NOT_JSON, ids=lambda content: content[:20])
@pytest.mark.parametrize("route", [V1, V2, OPENAI])
def test_a_body_that_is_not_json_is_refused(server: Server, route: str, content: bytes) -> None:
    for headers in (JSON, FORM, {}):
        error = server.refused(route, content, headers)
        assert error.startswith("body: is not JSON")
        assert "[request.invalid]" in error


@pytest.mark.parametrize(
    ("content", "length"), [(b"{}", "2"), (b"{}", "x"), (b"[1]", "3"), (b'{"inputs": [{}]}', "16"), (b"{", "1")]
)
def test_a_malformed_binary_request_is_refused(server: Server, content: bytes, length: str) -> None:
    """The binary tensors of KServe v2: JSON of the length in a header, then the tensors' bytes."""
    headers = {"content-type": "application/octet-stream", "inference-header-content-length": length}
    assert "[request.invalid]" in server.refused(V2, content, headers)


def test_a_malformed_cloud_event_is_refused(server: Server) -> None:
    event = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "x", "ce-type": "y"}
    assert "body: " in server.refused(V1, b"{", JSON | event)
    assert "body: has no fields" in server.refused(V1, b"3", JSON | event)


@pytest.mark.parametrize("headers", [FORM, {}, {"content-type": "application/json; charset=utf-8"}])
def test_a_body_is_json_whatever_its_content_type(server: Server, headers: dict[str, str]) -> None:
    bodies = {V1: {"instances": ["x"]}, V2: {"inputs": [PROMPT]}, OPENAI: COMPLETION}
    for route, body in bodies.items():
        answer = httpx.post(server.url + route, content=json.dumps(body).encode(), headers=headers)
        assert answer.status_code == 200, answer.text
    assert "Traceback" not in server.log()


def test_a_binary_tensor_is_read(server: Server) -> None:
    tensor = {"name": "prompt", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": 5}}
    head = json.dumps({"inputs": [tensor], "parameters": {"max_tokens": 2, "seed": 1}}).encode()
    headers = {"content-type": "application/octet-stream", "inference-header-content-length": str(len(head))}
    binary = httpx.post(server.url + V2, content=head + b"\x01\x00\x00\x00x", headers=headers)
    plain = httpx.post(server.url + V2, json={"inputs": [PROMPT], "parameters": {"max_tokens": 2, "seed": 1}})
    assert binary.status_code == 200, binary.text
    assert binary.json()["outputs"] == plain.json()["outputs"]


def test_what_openai_s_clients_send_is_accepted(server: Server) -> None:
    known = {"user": "me", "best_of": 1, "logit_bias": {}, "presence_penalty": 0, "frequency_penalty": 0.0, "seed": 1}
    options = {"include_usage": False, "include_obfuscation": False}
    names = ("user", "best_of", "logit_bias", "presence_penalty", "frequency_penalty", "stream_options")
    nulls = dict.fromkeys(names) | {"seed": 1}
    fields: list[dict[str, object]] = [{"seed": 1}, {**known, "stream_options": options}, nulls]
    answers = [httpx.post(server.url + OPENAI, json=COMPLETION | extra) for extra in fields]
    assert [answer.status_code for answer in answers] == [200] * 3, answers[1].text
    assert answers[0].json()["choices"] == answers[1].json()["choices"] == answers[2].json()["choices"]


@pytest.mark.parametrize("field", [{"steps": 4}, {"block_length": 2}, {"order": "random"}, {"cache": "dual"}])
def test_fields_of_diffusion_are_refused_by_an_autoregressive_model(ar_url: str, field: dict[str, object]) -> None:
    name = next(iter(field))
    for given, status in ((field, 400), (dict.fromkeys(field), 200)):
        answers = [
            httpx.post(ar_url + OPENAI, json=COMPLETION | given),
            httpx.post(ar_url + OPENAI, json=COMPLETION | given | {"stream": True}),
            httpx.post(ar_url + V1, json={"instances": [{"prompt": "x"} | given]}),
            httpx.post(ar_url + V2, json={"inputs": [PROMPT], "parameters": {k: v for k, v in given.items() if v}}),
        ]
        assert [answer.status_code for answer in answers] == [status] * 4
        if status == 400:
            assert answers[0].json()["error"]["param"] == name
            assert all(f"{name}: only diffusion models have it" in answer.text for answer in answers)
