"""KServe v1 and v2 over real HTTP; what all protocols have in common."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest
from crossover_services.predictor.completion_request import CompletionRequest

from crossover.commands.serve_command import serving
from crossover.study.study_digests import short
from crossover.training.checkpoint_info import checkpoint_digest
from tests.services.conftest import write_checkpoint

PROMPT = {"name": "prompt", "datatype": "BYTES", "shape": [1], "data": ["ab"]}


def test_kserve_v1(url: str) -> None:
    body = {"instances": ["ab", {"prompt": "ab", "max_tokens": 3, "stop": ["\n"]}]}
    answer = httpx.post(f"{url}/v1/models/crossover:predict", json=body)
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["predictions"]) == 2
    for bad in ({"instances": [3]}, {"instances": [{"prompt": "x", "colour": 1}]}, {"instances": [{"prompt": 1}]}):
        refused = httpx.post(f"{url}/v1/models/crossover:predict", json=bad)
        assert refused.status_code == 400, refused.text
        assert "instances" in refused.json()["error"]
    assert httpx.get(f"{url}/v1/models").json()["models"] == ["crossover"]
    assert httpx.get(f"{url}/v1/models/crossover").json()["ready"] is True


def test_one_text_is_one_stop_text_in_every_protocol(url: str) -> None:
    """The case of triton-inference-server/server#7682: KServe v1 and v2 took a text for a list of its characters."""
    fields = {"prompt": "ab", "max_tokens": 12, "temperature": 1.0, "seed": 5}
    prompt = {"name": "prompt", "datatype": "BYTES", "shape": [1], "data": ["ab"]}

    def answers(stop: Mapping[str, object]) -> list[str]:
        openai = httpx.post(f"{url}/v1/completions", json={"model": "crossover", **fields, **stop}).json()
        v1 = httpx.post(f"{url}/v1/models/crossover:predict", json={"instances": [{**fields, **stop}]}).json()
        options = {name: value for name, value in {**fields, **stop}.items() if name != "prompt"}
        v2 = httpx.post(f"{url}/v2/models/crossover/infer", json={"inputs": [prompt], "parameters": options}).json()
        return [openai["choices"][0]["text"], v1["predictions"][0]["completion"], v2["outputs"][0]["data"][0]]

    full = answers({})[0]
    absent = {"stop": full[:4][::-1] + full[:4]}  # all its characters are in the completion, the text itself is not
    assert absent["stop"] not in full
    assert answers(absent) == [full] * 3
    assert answers({"stop": full[2:5]}) == [full[: full.index(full[2:5])]] * 3


@pytest.mark.parametrize("fields", [{"stop": 5}, {"stop": ["a", 1]}, {"max_tokens": 3.5}, {"order": "best"}])
def test_kserve_refuses_fields_of_the_wrong_type(url: str, fields: dict[str, object]) -> None:
    answer = httpx.post(f"{url}/v1/models/crossover:predict", json={"instances": [{"prompt": "x"} | fields]})
    assert answer.status_code == 400, answer.text
    assert next(iter(fields)) in answer.json()["error"]
    prompt = {"name": "prompt", "datatype": "BYTES", "shape": [1], "data": ["x"]}
    answer = httpx.post(f"{url}/v2/models/crossover/infer", json={"inputs": [prompt], "parameters": fields})
    assert answer.status_code == 400, answer.text
    assert next(iter(fields)) in answer.json()["error"]


def test_null_is_the_default_in_every_protocol(url: str) -> None:
    """The case of vllm-project/vllm#19862: clients send every field, null where it is not set."""
    names = [name for name in CompletionRequest.model_fields if name != "seed"]
    nulls = dict.fromkeys((*names, "n", "best_of", "echo", "stream", "stream_options", "canvas"))
    body = {"model": "crossover", "prompt": "ab", "seed": 5}
    plain, same = (httpx.post(f"{url}/v1/completions", json=body | fields) for fields in ({}, nulls))
    assert same.status_code == 200, same.text
    assert same.json()["choices"] == plain.json()["choices"]
    streamed = httpx.post(
        f"{url}/v1/completions", json=body | {"stream": True, "stream_options": {"include_usage": None}}
    )
    assert streamed.status_code == 200, streamed.text
    instances = [{"prompt": "ab", "seed": 5}, {"prompt": "ab", "seed": 5} | dict.fromkeys(names)]
    answer = httpx.post(f"{url}/v1/models/crossover:predict", json={"instances": instances})
    assert answer.status_code == 200, answer.text
    first, second = answer.json()["predictions"]
    assert first == second
    assert first["completion"] == plain.json()["choices"][0]["text"], "the same defaults"
    prompt = {"name": "prompt", "datatype": "BYTES", "shape": [1], "data": ["ab"]}
    parameters = {"seed": 5} | dict.fromkeys(name for name in names if name != "suffix")
    tensors = httpx.post(f"{url}/v2/models/crossover/infer", json={"inputs": [prompt], "parameters": parameters})
    assert tensors.status_code == 200, tensors.text
    assert tensors.json()["outputs"][0]["data"] == [first["completion"]]


@pytest.mark.parametrize("given", [{}, {"seed": None}, {"seed": -1}])
def test_no_seed_is_a_random_one_that_each_answer_tells(url: str, given: dict[str, object]) -> None:
    body = {"model": "crossover", "prompt": "ab", "max_tokens": 8, "temperature": 10}
    first, second = (httpx.post(f"{url}/v1/completions", json=body | given).json()["choices"][0] for _ in range(2))
    assert first["seed"] != second["seed"]
    assert first["text"] != second["text"]
    again = httpx.post(f"{url}/v1/completions", json=body | {"seed": first["seed"]}).json()["choices"][0]
    assert again == first
    fields = {name: value for name, value in body.items() if name != "model"}
    instance = fields | {"seed": first["seed"]}
    v1 = httpx.post(f"{url}/v1/models/crossover:predict", json={"instances": [instance]}).json()["predictions"][0]
    assert (v1["completion"], v1["seed"]) == (first["text"], first["seed"])


def test_kserve_v2(url: str) -> None:
    prompt = {"name": "prompt", "datatype": "BYTES", "shape": [2], "data": ["ab", "c"]}
    body = {"id": "7", "inputs": [prompt], "parameters": {"max_tokens": 3}}
    answer = httpx.post(f"{url}/v2/models/crossover/infer", json=body).json()
    assert answer["id"] == "7"
    assert answer["outputs"][0]["shape"] == [2]
    assert all(len(text.encode()) <= 9 for text in answer["outputs"][0]["data"])
    assert httpx.get(f"{url}/v2/health/ready").json()["ready"] is True
    assert httpx.get(f"{url}/v2/models/crossover/ready").status_code == 200
    assert httpx.get(f"{url}/v2/models/crossover").json()["outputs"][0]["name"] == "completion"
    missing = httpx.post(f"{url}/v2/models/crossover/infer", json={"inputs": [prompt | {"name": "text"}]})
    assert missing.status_code == 400


def test_a_predictor_tells_which_checkpoint_it_serves(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "c")
    with serving(folder) as url:
        card, metadata = httpx.get(f"{url}/v1/models").json()["data"][0], httpx.get(f"{url}/v2/models/crossover").json()
        digest = checkpoint_digest(folder)
        version = httpx.get(f"{url}/v2/models/crossover/versions/{short(digest)}").json()
        infer = f"{url}/v2/models/crossover/versions/{short(digest)}/infer"
        answer = httpx.post(infer, json={"inputs": [PROMPT]}).json()
        assert httpx.get(f"{url}/v2/models/crossover/versions/{short(digest)}/ready").json()["ready"] is True
        assert httpx.get(f"{url}/v2/models/crossover/versions/1").status_code == 404
    assert (card["digest"], card["run"], card["run_digest"], card["step"]) == (digest, "c/a/seed-0", "sha256:x", 1)
    assert metadata["versions"] == [short(digest)] == [answer["model_version"]]
    assert metadata["properties"] == {"digest": digest, "run": "c/a/seed-0", "run_digest": "sha256:x", "step": "1"}
    assert version == metadata


def test_what_has_no_answer_is_refused_in_kserve_s_shape_and_never_with_5xx(url: str) -> None:
    repository = "/v2/repository/models"
    for path in ("/v1/models/crossover:explain", f"{repository}/crossover/unload", f"{repository}/x/load"):
        answer = httpx.post(url + path, json={})
        assert answer.status_code == 400, path
        assert isinstance(answer.json()["error"], str)
    assert httpx.get(f"{url}/v2/models/crossover/ready").status_code == 200, "still served"
    bodies: dict[str, object] = {
        "/v1/models/gpt:predict": {"instances": ["x"]},
        "/v2/models/gpt/infer": {"inputs": [PROMPT]},
    }
    for path, body in bodies.items():
        answer = httpx.post(url + path, json=body)
        assert (answer.status_code, type(answer.json()["error"])) == (404, str)
    assert httpx.get(f"{url}/v2/none").json() == {"error": "GET /v2/none: Not Found"}


def test_token_ids_are_a_prompt(url: str) -> None:
    fields = {"max_tokens": 6, "seed": 1}
    instances = [{"prompt": prompt, **fields} for prompt in ("ab", [97, 98])]
    predict = f"{url}/v1/models/crossover:predict"
    first, second = httpx.post(predict, json={"instances": instances}).json()["predictions"]
    assert first == second
    assert len(httpx.post(predict, json={"instances": [[97], "b"]}).json()["predictions"]) == 2
    bad = httpx.post(predict, json={"instances": [[97, 999]]})
    assert bad.status_code == 400
    assert "prompt: there is no token 999" in bad.json()["error"]


def test_lists_in_v2_parameters_may_be_json_texts(url: str) -> None:
    def completion(parameters: dict[str, object]) -> str:
        fields = {"max_tokens": 12, "seed": 5} | parameters
        answer = httpx.post(f"{url}/v2/models/crossover/infer", json={"inputs": [PROMPT], "parameters": fields})
        assert answer.status_code == 200, answer.text
        text: str = answer.json()["outputs"][0]["data"][0]
        return text

    full = completion({})
    stops = [full[3:5], full[8:10]]
    cut = full[: min(full.index(stop) for stop in stops)]
    assert completion({"stop": stops}) == completion({"stop": json.dumps(stops)}) == cut
    assert completion({"logit_bias": json.dumps({"97": 100}), "temperature": "0"}) == "a" * 12
    for odd in ("[" * 2000, '["\\ud800"]'):  # no JSON that we read: then it is a stop text
        assert completion({"stop": odd[:1000]}) == full


def test_v2_has_counts_and_logprobs_and_gives_the_outputs_that_are_asked_for(url: str) -> None:
    parameters = {"max_tokens": 3, "ignore_eos": True}
    body: dict[str, object] = {"inputs": [PROMPT | {"shape": [2], "data": ["a", "bc"]}], "parameters": parameters}
    outputs = {x["name"]: x for x in httpx.post(f"{url}/v2/models/crossover/infer", json=body).json()["outputs"]}
    assert outputs["prompt_tokens"]["data"] == [1, 2]
    assert outputs["completion_tokens"]["data"] == [3, 3]
    assert outputs["finish_reason"]["data"] == ["length", "length"]
    assert "logprobs" not in outputs
    body["outputs"] = [{"name": "logprobs"}, {"name": "completion"}]
    body["parameters"] = parameters | {"logprobs": 2}
    chosen = httpx.post(f"{url}/v2/models/crossover/infer", json=body).json()["outputs"]
    assert [x["name"] for x in chosen] == ["logprobs", "completion"]
    assert len(json.loads(chosen[0]["data"][1])["logprobs"]["token_logprobs"]) == 3
    unknown = httpx.post(f"{url}/v2/models/crossover/infer", json=body | {"outputs": [{"name": "completions"}]})
    assert unknown.status_code == 400
    assert "did you mean completion" in unknown.json()["error"]


def test_binary_outputs(url: str) -> None:
    body = {"inputs": [PROMPT], "parameters": {"max_tokens": 3, "seed": 1, "binary_data_output": True}}
    binary = httpx.post(f"{url}/v2/models/crossover/infer", json=body)
    head = int(binary.headers["inference-header-content-length"])
    described = json.loads(binary.content[:head])["outputs"][0]
    plain = httpx.post(f"{url}/v2/models/crossover/infer", json=body | {"parameters": {"max_tokens": 3, "seed": 1}})
    text = plain.json()["outputs"][0]["data"][0].encode()
    size = described["parameters"]["binary_data_size"]
    assert binary.content[head : head + size] == len(text).to_bytes(4, "little") + text
