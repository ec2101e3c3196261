"""`crossover serve`: the KServe model server for a checkpoint, in a process of its own."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from crossover.errors import CrossoverError
from crossover.stages.served_checkpoint import diffusion_arm, served_checkpoint

START_SECONDS = 60.0
STOP_SECONDS = 35.0
TRIAL_PROMPT = "import "
TRIAL_BEFORE, TRIAL_AFTER, TRIAL_HOLE = "def f(x):\n    if x is No", ":\n        return x\n", 2


def serve(options: argparse.Namespace) -> int:
    """Serve until interrupted, or try it out and stop."""
    if options.trial:
        return _try(options.place, options.arm)
    checkpoint = served_checkpoint(options.place, options.arm)
    return subprocess.run(
        [*_command(checkpoint), "--host", options.host, "--port", str(options.port)], check=False
    ).returncode


def _command(checkpoint: Path) -> list[str]:
    return [sys.executable, "-m", "crossover_services.predictor", "--checkpoint", str(checkpoint)]


def _try(place: str, arm: str | None) -> int:
    """Complete one prompt with the chosen model, fill one hole with the DLM, and stop everything."""
    chosen = served_checkpoint(place, arm)
    with serving(chosen) as url:
        print(f"serving {chosen} on {url}")
        _show(url, {"prompt": TRIAL_PROMPT, "max_tokens": 24})
        if _infills(url):
            _show(url, {"prompt": TRIAL_BEFORE, "suffix": TRIAL_AFTER, "max_tokens": TRIAL_HOLE})
            return 0
    diffusion = diffusion_arm(place)
    if diffusion is None:
        print("this model does not infill; a diffusion model does")
        return 0
    chosen = served_checkpoint(place, diffusion)
    with serving(chosen) as url:
        print(f"serving {chosen} on {url}")
        _show(url, {"prompt": TRIAL_BEFORE, "suffix": TRIAL_AFTER, "max_tokens": TRIAL_HOLE})
    return 0


def _infills(url: str) -> bool:
    return bool(_call(f"{url}/v1/models")["data"][0]["infill"])


def _show(url: str, request: dict[str, Any]) -> None:
    """Ask for one completion over HTTP and print what was asked and answered."""
    body = {"model": "crossover", "temperature": 0, **request}
    answer = _call(f"{url}/v1/completions", body)
    before, after, text = request["prompt"], request.get("suffix", ""), answer["choices"][0]["text"]
    passes = answer["usage"]["forward_passes"]
    print(f"  POST /v1/completions: {'infill' if after else 'completion'}, {passes} forward passes")
    for line in f"{before}⟦{text}⟧{after}".rstrip("\n").split("\n"):
        print(f"    | {line}")


def _call(url: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers={"Content-Type": "application/json"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310 - our own server on loopback
        answer: dict[str, Any] = json.load(response)
    return answer


@contextmanager
def serving(checkpoint: Path) -> Iterator[str]:
    """The base URL of a server on a free loopback port, which is always stopped.

    Raises:
        CrossoverError: it did not start; carries its own last words.
    """
    with tempfile.TemporaryDirectory() as folder:
        port_file, output = Path(folder) / "port", Path(folder) / "output"
        with output.open("wb") as file:
            process = subprocess.Popen(
                [*_command(checkpoint), "--port", "0", "--port-file", str(port_file)],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        try:
            deadline = time.monotonic() + START_SECONDS
            while not port_file.exists():
                if process.poll() is not None or time.monotonic() > deadline:
                    last = output.read_text(errors="replace").strip().splitlines() or ["no output"]
                    raise CrossoverError(f"the predictor did not start: {last[-1]}")
                time.sleep(0.05)
            yield f"http://127.0.0.1:{port_file.read_text()}"
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
