"""The official clients of KServe and Triton, and lm-evaluation-harness, against a server of each family."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import httpx
import numpy as np
import pytest
from lm_eval.api.instance import Instance
from lm_eval.models.openai_completions import LocalCompletionsAPI

from crossover.evaluation.lm_eval_adapter import CrossoverLM
from tests.services.conftest import write_checkpoint


class Served(NamedTuple):
    """A running predictor."""

    checkpoint: Path
    http: str
    grpc: str
    causal: bool


@pytest.fixture(scope="module", params=["ar", "dlm"])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    checkpoint = write_checkpoint(tmp_path_factory.mktemp("c") / "c", causal=request.param == "ar")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "crossover_services.predictor", "--checkpoint", str(checkpoint), "--port", "0"]
    process = subprocess.Popen([*command, "--grpc-port", str(port)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        http = process.stdout.readline().split()[-1]
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            grpc.channel_ready_future(channel).result(20)
        yield Served(checkpoint, http, f"127.0.0.1:{port}", request.param == "ar")
    finally:
        process.terminate()
        process.communicate(timeout=20)


@pytest.fixture(scope="module")
def kserve() -> Any:  # noqa: ANN401 - the module, which parses sys.argv when it is imported
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", sys.argv[:1])
        import kserve

        yield kserve


def kserve_request(kserve: Any, texts: list[str], *, binary: bool = False, **parameters: object) -> Any:  # noqa: ANN401 - as KServe and its clients have it
    tensor = kserve.InferInput("prompt", [len(texts)], "BYTES", data=texts)
    if binary:
        tensor.set_data_from_numpy(np.array(texts, dtype=np.object_), binary_data=True)
    return kserve.InferRequest("crossover", [tensor], request_id="7", parameters=parameters)


def kserve_data(answer: Any) -> dict[str, list[object]]:  # noqa: ANN401 - the client's answer
    def text(value: object) -> object:
        return value.decode() if isinstance(value, bytes) else value

    return {output.name: [text(value) for value in output.as_numpy().tolist()] for output in answer.outputs}


def test_kserve_s_clients_give_equal_answers_over_every_protocol(served: Served, kserve: Any) -> None:  # noqa: ANN401 - as KServe and its clients have it
    fields: dict[str, object] = {"max_tokens": 5, "seed": 3}

    async def ask() -> list[dict[str, list[object]]]:
        v1, v2 = (kserve.InferenceRESTClient(kserve.RESTConfig(protocol=name)) for name in ("v1", "v2"))
        async with v1, v2, kserve.InferenceGRPCClient(served.grpc) as calls:
            assert await v2.is_server_ready(served.http)
            assert await v2.is_model_ready(served.http, "crossover")
            assert await calls.is_server_ready()
            assert await calls.is_model_ready("crossover")
            instances = {"instances": [{"prompt": text, **fields} for text in ("ab", "ü")]}
            predictions = (await v1.infer(served.http, instances, model_name="crossover"))["predictions"]
            answers = [{name: [p[name] for p in predictions] for name in predictions[0]}]
            for binary in (False, True):
                request = kserve_request(kserve, ["ab", "ü"], binary=binary, **fields)
                answers.append(kserve_data(await v2.infer(served.http, request, model_name="crossover")))
                request = kserve_request(kserve, ["ab", "ü"], binary=binary, **fields)
                answers.append(kserve_data(await calls.infer(request)))
        return answers

    answers = asyncio.run(ask())
    assert len(answers) == 5
    assert all(answer == answers[0] for answer in answers)
    assert answers[0]["completion_tokens"] <= [5, 5]
    assert answers[0]["prompt_tokens"] == [2, 2]


def test_errors_are_grpc_s_status_codes(served: Served, kserve: Any) -> None:  # noqa: ANN401 - as KServe and its clients have it
    async def code(request: Any, **options: Any) -> tuple[grpc.StatusCode, str]:  # noqa: ANN401 - as KServe and its clients have it
        async with kserve.InferenceGRPCClient(served.grpc) as calls:
            with pytest.raises(grpc.RpcError) as caught:
                await calls.infer(request, **options)
        return caught.value.code(), caught.value.details()

    for parameters, message in (
        ({"max_tokens": -3}, "parameters.max_tokens"),
        ({"temperature": "nan"}, "parameters.temperature"),
        ({"stepz": 1}, "parameters.stepz: unknown field; did you mean steps?"),
        ({"max_tokens": 31}, "context is 32"),
    ):
        status, details = asyncio.run(code(kserve_request(kserve, ["ab"], **parameters)))
        assert status is grpc.StatusCode.INVALID_ARGUMENT
        assert message in details
    late = kserve_request(kserve, ["ab"] * 200, max_tokens=16, timeout="0.000001")
    assert asyncio.run(code(late))[0] is grpc.StatusCode.DEADLINE_EXCEEDED
    unknown = kserve.InferRequest("gpt", [kserve.InferInput("prompt", [1], "BYTES", data=["x"])], parameters={})
    assert asyncio.run(code(unknown))[0] is grpc.StatusCode.NOT_FOUND
    wrong = kserve.InferRequest("crossover", [kserve.InferInput("prompt", [1], "INT64", data=[1])], parameters={})
    assert asyncio.run(code(wrong))[0] is grpc.StatusCode.INVALID_ARGUMENT


def test_malformed_tensors_over_grpc_are_invalid_arguments(served: Served, kserve: Any) -> None:  # noqa: ANN401 - as KServe and its clients have it
    from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
    from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

    del kserve
    prompt = pb.ModelInferRequest.InferInputTensor(name="prompt", datatype="BYTES", shape=[1])
    with grpc.insecure_channel(served.grpc) as channel:
        stub = GRPCInferenceServiceStub(channel)
        for raw in ([b"\x05\0\0\0x"], [b"\x01"], [b"\x01\0\0\0\xff"], [b"\x01\0\0\0x", b""], [b""], []):
            request = pb.ModelInferRequest(model_name="crossover", inputs=[prompt], raw_input_contents=raw)
            with pytest.raises(grpc.RpcError) as caught:
                stub.ModelInfer(request)
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT, raw
        with pytest.raises(grpc.RpcError) as caught:
            stub.RepositoryModelUnload(pb.RepositoryModelUnloadRequest(model_name="crossover"))
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_triton_s_clients(served: Served) -> None:
    found = []
    for protocol, address in (("http", served.http.removeprefix("http://")), ("grpc", served.grpc)):
        command = [sys.executable, "-m", "tests.services.triton_calls", protocol, address]
        result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert result.returncode == 0, result.stderr
        found.append(json.loads(result.stdout))
    for seen in found:
        assert seen["ready"]
        assert "parameters.max_tokens" in seen["refusal"]
        texts, seeds, only_what_was_asked_for = seen["answers"][0]
        assert len(texts) == 2
        assert (seeds, only_what_was_asked_for) == ([3, 3], True)
        assert seen["answers"][1] == seen["answers"][0] == found[0]["answers"][0]


def test_the_harness_scores_over_http_as_it_does_in_process(served: Served) -> None:
    """`local-completions` gives the scores of `crossover lm-eval`; of a DLM it is told where those are."""
    if not served.causal:
        body = {"model": "crossover", "prompt": "The cat sat", "echo": True, "logprobs": 1, "max_tokens": 0}
        refused = httpx.post(f"{served.http}/v1/completions", json=body)
        assert refused.status_code == 400
        assert "/v1/score" in refused.json()["error"]["message"]
        return
    pairs = [("The cat", " sat"), ("The cat", " ran off"), ("1 + 1 =", " 2"), ("ü", "ber"), ("", "none")]
    requests = [
        Instance(request_type="loglikelihood", doc={}, arguments=pair, idx=i, metadata=("t", i, 1))
        for i, pair in enumerate(pairs)
    ]
    inside = CrossoverLM(str(served.checkpoint)).loglikelihood(requests, disable_tqdm=True)
    whole = [Instance("loglikelihood_rolling", {}, ("a whole text",), 0, ("t", 0, 1))]
    (expected_sum,) = CrossoverLM(str(served.checkpoint)).loglikelihood_rolling(whole, disable_tqdm=True)
    for tokenized in (True, False):
        remote = LocalCompletionsAPI(
            base_url=f"{served.http}/v1/completions",
            model="crossover",
            tokenizer=str(served.checkpoint),
            tokenizer_backend="huggingface",
            tokenized_requests=tokenized,
            max_length=32,
            batch_size=2,
        )
        compared = requests if tokenized else requests[:-1]
        outside = remote.loglikelihood(compared, disable_tqdm=True)
        for (value, greedy), (expected, expected_greedy) in zip(outside, inside, strict=tokenized):
            assert value == pytest.approx(expected, abs=1e-4)
            assert greedy is expected_greedy
        if tokenized:  # as text, a prompt cannot begin with BOS
            assert remote.loglikelihood_rolling(whole, disable_tqdm=True)[0] == pytest.approx(expected_sum, abs=1e-3)
