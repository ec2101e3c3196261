"""The predictor over real HTTP, with the official OpenAI client and KServe's protocols."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
from openai import OpenAI

from tests.services.conftest import write_checkpoint


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
