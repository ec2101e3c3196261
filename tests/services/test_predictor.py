"""The predictor over real HTTP, with the official OpenAI client and KServe's protocols."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
import torch
from openai import BadRequestError, NotFoundError, OpenAI

from crossover.cli import main
from crossover.commands.serve_command import serving
from crossover.commands.serve_samples import show_samples
from crossover.model.transformer import Transformer
from crossover.study.study_digests import short
from crossover.training.checkpoint_info import checkpoint_digest
from tests.conftest import tiny_model
from tests.services.conftest import write_checkpoint

BOTH = pytest.mark.parametrize("base", ["/v1", "/openai/v1"])


@pytest.fixture(params=["ar_url", "dlm_url"])
def url(request: pytest.FixtureRequest) -> str:
    value: str = request.getfixturevalue(request.param)
    return value


@pytest.fixture
def client(url: str) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as opened:
        yield opened


@pytest.fixture
def dlm(dlm_url: str) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{dlm_url}/v1", api_key="none", max_retries=0) as opened:
        yield opened


@BOTH
def test_completion_under_both_prefixes(url: str, base: str) -> None:
    with OpenAI(base_url=url + base, api_key="none", max_retries=0) as client:
        answer = client.completions.create(model="crossover", prompt="ab", max_tokens=5, temperature=0, echo=True)
        assert answer.choices[0].text.startswith("ab")
        assert answer.usage is not None
        assert answer.usage.completion_tokens == 5
        assert [model.id for model in client.models.list()] == ["crossover"]


def test_several_prompts_and_choices_with_logprobs(client: OpenAI) -> None:
    answer = client.completions.create(
        model="crossover", prompt=["a", "b"], n=2, max_tokens=4, temperature=1, seed=3, logprobs=1
    )
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.token_logprobs is not None
    assert all(value <= 0 for value in logprobs.token_logprobs)
    alone = client.completions.create(model="crossover", prompt="b", max_tokens=4, temperature=1, seed=4)
    assert alone.choices[0].text == answer.choices[3].text


def test_a_stream_adds_up_and_ends_with_usage(client: OpenAI, url: str, ar_url: str) -> None:
    fields = {"model": "crossover", "prompt": "ab", "max_tokens": 8, "temperature": 0}
    whole = client.completions.create(**fields)  # type: ignore[call-overload]
    extra = {} if url == ar_url else {"block_length": 2}
    chunks = list(
        client.completions.create(**fields, stream=True, stream_options={"include_usage": True}, extra_body=extra)  # type: ignore[call-overload]
    )
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[-1].usage.completion_tokens == 8
    assert chunks[-2].choices[0].finish_reason in ("length", "stop")
    text = "".join(choice.text for chunk in chunks for choice in chunk.choices)
    blocks = client.completions.create(**fields, extra_body=extra)  # type: ignore[call-overload]
    assert text == blocks.choices[0].text
    assert whole.choices[0].finish_reason == blocks.choices[0].finish_reason


def test_the_diffusion_model_fills_a_hole(dlm: OpenAI) -> None:
    answer = dlm.completions.create(
        model="crossover", prompt="def f(", suffix="): pass", max_tokens=4, temperature=0, echo=True
    )
    assert answer.choices[0].text.startswith("def f(")
    assert answer.choices[0].text.endswith("): pass")
    fewer = dlm.completions.create(
        model="crossover", prompt="x", suffix="y", max_tokens=8, temperature=0, extra_body={"steps": 2}
    )
    assert fewer.usage is not None
    assert fewer.usage.model_extra is not None
    assert fewer.usage.model_extra["forward_passes"] == 2


def test_an_autoregressive_model_refuses_a_suffix(ar_url: str) -> None:
    with OpenAI(base_url=f"{ar_url}/v1", api_key="none", max_retries=0) as client:
        for stream in (False, True):
            with pytest.raises(BadRequestError, match="cannot attend to text after the completion") as caught:
                client.completions.create(model="crossover", prompt="x", suffix="y", stream=stream)
            assert caught.value.param == "suffix"


def test_errors_have_openai_s_shape(client: OpenAI, url: str) -> None:
    with pytest.raises(NotFoundError, match="there is no 'gpt'"):
        client.completions.create(model="gpt", prompt="x")
    with pytest.raises(BadRequestError) as caught:
        client.completions.create(model="crossover", prompt="x", temperature=-3)
    assert caught.value.param == "temperature"
    with pytest.raises(BadRequestError, match="no chat template"):
        client.chat.completions.create(model="crossover", messages=[{"role": "user", "content": "hi"}])
    broken = httpx.post(f"{url}/v1/completions", content=b"{")
    assert (broken.status_code, broken.json()["error"]["type"]) == (400, "invalid_request_error")


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
    names = ("max_tokens", "temperature", "top_p", "seed", "stop", "suffix")
    nulls = dict.fromkeys((*names, "n", "echo", "stream", "stream_options", "logprobs"))
    body = {"model": "crossover", "prompt": "ab"}
    plain, same = (httpx.post(f"{url}/v1/completions", json=body | fields) for fields in ({}, nulls))
    assert same.status_code == 200, same.text
    assert same.json()["choices"] == plain.json()["choices"]
    streamed = httpx.post(
        f"{url}/v1/completions", json=body | {"stream": True, "stream_options": {"include_usage": None}}
    )
    assert streamed.status_code == 200, streamed.text
    instances = ["ab", {"prompt": "ab"} | dict.fromkeys(names)]
    answer = httpx.post(f"{url}/v1/models/crossover:predict", json={"instances": instances})
    assert answer.status_code == 200, answer.text
    assert answer.json()["predictions"][0] == answer.json()["predictions"][1]


def test_a_full_queue_refuses_and_recovers(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "c", causal=True)
    command = [sys.executable, "-m", "crossover_services.predictor", "--checkpoint", str(checkpoint), "--port", "0"]
    with subprocess.Popen([*command, "--max-queue", "1"], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().split()[-1]
            body = {"model": "crossover", "prompt": "x", "max_tokens": 4096, "temperature": 0}
            prompt = {"name": "prompt", "datatype": "BYTES", "shape": [1], "data": ["x"]}
            requests = {
                "/v1/completions": body | {"max_tokens": 2},
                "/v1/models/crossover:predict": {"instances": ["x"]},
                "/v2/models/crossover/infer": {"inputs": [prompt]},
            }
            with httpx.stream("POST", f"{url}/v1/completions", json=body | {"stream": True}) as running:
                lines = running.iter_lines()  # while it lives, the connection is open
                next(lines)
                for route, content in requests.items():
                    refused = httpx.post(url + route, json=content)
                    assert refused.status_code == 503, refused.text
                    assert int(refused.headers["retry-after"]) > 0
                    assert "request.queue-full" in refused.text
                also_streamed = httpx.post(f"{url}/v1/completions", json=body | {"stream": True})
                assert also_streamed.status_code == 503
            assert 'crossover_requests_total{code="503"} 2.0' in httpx.get(f"{url}/metrics").text
            with OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=5) as client:  # retries 503 by itself
                answer = client.completions.create(model="crossover", prompt="x", max_tokens=2)
            assert answer.choices[0].text is not None
        finally:
            process.terminate()


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


def test_concurrent_answers_are_those_of_one_at_a_time(client: OpenAI) -> None:
    """With prompts: where all is masked, all positions are alike, and rounding decides which a batch fills first."""

    def ask(seed: int) -> str:
        answer = client.completions.create(
            model="crossover", prompt="x" * (1 + seed % 5), max_tokens=6, temperature=1, seed=seed
        )
        return answer.choices[0].text

    alone = [ask(seed) for seed in range(16)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(16))) == alone


def counters(url: str) -> dict[str, float]:
    """The values of our metrics, by name and labels."""
    lines = httpx.get(f"{url}/metrics").text.splitlines()
    return {name: float(value) for name, value in (x.rsplit(" ", 1) for x in lines if x.startswith("crossover_"))}


def test_metrics_count_requests_tokens_passes_and_seconds(url: str) -> None:
    before, began = counters(url), time.perf_counter()
    asked = [{"prompt": ["ab", "c"], "max_tokens": 3}, {"prompt": "x", "max_tokens": 5}]
    usages = [httpx.post(f"{url}/v1/completions", json={"model": "crossover"} | body).json()["usage"] for body in asked]
    assert httpx.post(f"{url}/v1/completions", json={"model": "crossover", "max_tokens": -1}).status_code == 400
    elapsed = time.perf_counter() - began
    grown = {name: value - before.get(name, 0) for name, value in counters(url).items()}
    assert grown['crossover_requests_total{code="200"}'] == 2
    assert grown['crossover_requests_total{code="400"}'] == 1
    assert grown["crossover_generated_tokens_total"] == sum(usage["completion_tokens"] for usage in usages) > 0
    assert grown["crossover_forward_passes_total"] == sum(usage["forward_passes"] for usage in usages) > 0
    assert grown["crossover_request_seconds_count"] == 2
    assert 0 < grown["crossover_request_seconds_sum"] < elapsed


def test_a_server_logs_a_line_a_request_and_stops_gracefully_at_sigterm(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "c", causal=True)
    command = [sys.executable, "-m", "crossover_services.predictor", "--checkpoint", str(checkpoint), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        url = first.split()[-1]
        for _ in range(2):
            assert httpx.post(f"{url}/v1/completions", json={"model": "crossover", "prompt": "x"}).status_code == 200
        assert "swagger" in httpx.get(f"{url}/docs").text
        process.send_signal(signal.SIGTERM)
        rest = process.stdout.read()
    assert first.startswith("serving ar (AR) on http://127.0.0.1:")
    assert process.returncode == 0, rest
    assert [re.findall(r'"(\w+ \S+) ', line) for line in rest.splitlines()] == [
        ["POST /v1/completions"],
        ["POST /v1/completions"],
        ["GET /docs"],
    ]


def test_a_tampered_checkpoint_is_refused(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "c", causal=True)
    weights = bytearray((checkpoint / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (checkpoint / "model.safetensors").write_bytes(weights)
    command = [sys.executable, "-m", "crossover_services.predictor", "--checkpoint", str(checkpoint), "--port", "0"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "does not have the recorded digest" in result.stderr
    assert "Traceback" not in result.stderr


def test_try_shows_a_completion_and_an_infilled_hole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", str(write_checkpoint(tmp_path / "c", causal=False)), "--try"]) == 0
    output = capsys.readouterr().out
    assert "completion (masked diffusion, temperature 0.8): sample " in output
    assert "infill (masked diffusion, temperature 0): 2 forward passes; the held-out text has 'lf'" in output
    assert "writes no sensible text yet" in output


def blank_model() -> Transformer:
    """A diffusion model that predicts a space everywhere: its hidden states are all ones."""
    model = tiny_model(causal=False, vocab=259, length=32)
    with torch.no_grad():
        model.model.embed_tokens.weight.fill_(1.0)
        for name, parameter in model.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight", "lm_head.weight")):
                parameter.zero_()
        model.lm_head.weight[ord(" ")] = 10.0
    return model


def test_samples_are_never_shown_blank(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    infills = show_samples(url)
    shown = re.findall(r"⟦(.*?)⟧", capsys.readouterr().out, re.DOTALL)
    assert len(shown) == (5 if infills else 1), "a DLM also fills a hole, and writes in 1, 4 and 8 passes"
    assert all(text.strip() and all(c.isprintable() or c == "\n" for c in text) for text in shown)


def test_blank_samples_are_quoted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serving(write_checkpoint(tmp_path / "c", model=blank_model())) as url:
        show_samples(url)
    assert re.findall(r"⟦(.*?)⟧", capsys.readouterr().out) == [
        repr(" " * 16),
        "'  '",
        *[repr(" " * 8)] * 3,
    ]


def test_a_predictor_tells_which_checkpoint_it_serves(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "c")
    with serving(folder) as url:
        card, metadata = httpx.get(f"{url}/v1/models").json()["data"][0], httpx.get(f"{url}/v2/models/crossover").json()
    digest = checkpoint_digest(folder)
    assert (card["digest"], card["run"], card["run_digest"], card["step"]) == (digest, "c/a/seed-0", "sha256:x", 1)
    assert metadata["versions"] == [short(digest)]
