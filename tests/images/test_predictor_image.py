"""The predictor image: with its own command, with args alone, and at SIGTERM at any moment of its start."""

from __future__ import annotations

import json
import re
import signal
import time
from pathlib import Path

import pytest

from tests.images.containers import RANDOM_USER, Image, Pod
from tests.services.conftest import write_checkpoint

URL = "http://127.0.0.1:8080"


@pytest.fixture
def mounts(tmp_path: Path) -> dict[str, Path]:
    return {"/mnt/models": write_checkpoint(tmp_path / "checkpoint", causal=False)}


def test_it_serves_a_checkpoint(
    predictor: Image, user: tuple[int, int], mounts: dict[str, Path], tmp_path: Path
) -> None:
    with Pod(predictor, tmp_path / "pod", user=user, mounts=mounts).started() as pod:
        assert json.loads(pod.wait_for(f"{URL}/v2/health/ready")) == {"ready": True}
        body = {"model": "crossover", "prompt": "ab", "suffix": "c", "max_tokens": 2}
        answer = pod.request(f"{URL}/v1/completions", json.dumps(body))
        assert json.loads(answer.stdout)["usage"]["completion_tokens"] == 2, answer.stderr
        code, seconds = pod.terminate()
    assert (code, seconds < 5) == (0, True)


def test_args_alone_are_enough(predictor: Image, mounts: dict[str, Path], tmp_path: Path) -> None:
    """As KServe's runtime gives them."""
    args = ["--model-name=mine", "--checkpoint=/mnt/models", "--host=0.0.0.0", "--port=8080"]
    with Pod(predictor, tmp_path / "pod", args=args, user=RANDOM_USER, mounts=mounts).started() as pod:
        assert json.loads(pod.wait_for(f"{URL}/v1/models"))["data"][0]["id"] == "mine"


@pytest.mark.parametrize("loaded", ["/python", "libtorch_cpu", "safetensors", "orjson"])
def test_sigterm_while_it_starts(predictor: Image, mounts: dict[str, Path], tmp_path: Path, loaded: str) -> None:
    """From the moment that it handles signals, and when it has mapped a library that it loads later."""
    with Pod(predictor, tmp_path / "pod", mounts=mounts).started() as pod:
        process = Path(f"/proc/{pod.number()}")
        while not _handles_sigterm(process) or not re.search(loaded, (process / "maps").read_text()):
            assert pod.process.poll() is None, pod.log.read_text()
            time.sleep(0.001)  # the moment is the point
        assert "serving" not in pod.log.read_text()
        code, seconds = pod.terminate()
    assert (code, seconds < 5) == (0, True)


def _handles_sigterm(process: Path) -> bool:
    line = next(x for x in (process / "status").read_text().splitlines() if x.startswith("SigCgt"))
    return bool(int(line.split()[1], 16) >> (signal.SIGTERM - 1) & 1)
