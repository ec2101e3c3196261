"""SIGTERM, as PID 1 and during start-up too: training saves a resume point, everything ends within ten seconds."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from crossover import termination
from crossover.cli import main
from crossover.registry import Registry
from crossover.training.checkpoint_info import latest_checkpoint
from tests.services.conftest import write_checkpoint

LONG = """
name: long
data: {{source: "text:{corpus}/*.txt", sequence_length: 16, validation_fraction: 0.3, validation_tokens: 128}}
grid: {{unique_tokens: [1024], models: [pico]}}
seeds: 2
training: {{epochs: 100000, batch_size: 8, warmup_steps: 2}}
evaluation: {{points: 2, first_epoch: 1}}
"""
NAMESPACE = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child"]


@pytest.fixture(scope="module")
def namespace() -> list[str]:
    """A command in front of another that makes it PID 1, where this machine lets us; else the same signals go to it."""
    try:
        permitted = subprocess.run([*NAMESPACE, "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        permitted = False
    return NAMESPACE if permitted else []


@pytest.fixture
def study(corpus: Path, tmp_path: Path) -> Path:
    path = tmp_path / "long.yaml"
    path.write_text(LONG.format(corpus=corpus))
    return path


@contextmanager
def started(prefix: list[str], *command: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A Python process, and its process number as seen from here; killed at the end."""
    arguments = [*prefix, sys.executable, *command]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    default = partial(signal.signal, signal.SIGTERM, signal.SIG_DFL)
    with subprocess.Popen(arguments, text=True, preexec_fn=default, **pipes) as process:  # type: ignore[call-overload]  # noqa: PLW1509  # chosen by the parameter
        try:
            number = process.pid
            while prefix and number == process.pid:  # until unshare has made its child
                children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
                number = int(children[0]) if children else number
            yield process, number
        finally:
            process.kill()


def wait_for_handler(process: subprocess.Popen[str], number: int) -> None:
    """Wait until the process handles SIGTERM, which it does before it imports anything heavy."""
    while True:
        assert process.poll() is None, "ended before it handled SIGTERM"
        line = next(x for x in Path(f"/proc/{number}/status").read_text().splitlines() if x.startswith("SigCgt"))
        if int(line.split()[1], 16) >> (signal.SIGTERM - 1) & 1:
            assert "libtorch" not in Path(f"/proc/{number}/maps").read_text()
            return
        time.sleep(0.001)  # the signal goes out before anything heavy is imported


def terminate(process: subprocess.Popen[str], number: int) -> tuple[int, str]:
    """Send SIGTERM; the exit code and standard error, within ten seconds."""
    os.kill(number, signal.SIGTERM)
    began = time.monotonic()
    _, error = process.communicate(timeout=30)
    assert time.monotonic() - began < 10
    return process.returncode, error


@pytest.mark.parametrize("verb", ["prepare", "pretrain", "evaluate", "run", "report", "doctor"])
def test_every_verb_ends_during_its_start_up(verb: str, study: Path, tmp_path: Path, namespace: list[str]) -> None:
    place = {"report": [str(tmp_path)], "doctor": []}.get(verb, [str(study), "--out", str(tmp_path / "ws")])
    with started(namespace, "-m", "crossover.cli", verb, *place) as (process, number):
        wait_for_handler(process, number)
        code, error = terminate(process, number)
    assert (code, error) == (143, "crossover: terminated; run the same command again to go on\n")


def test_the_predictor_ends_while_it_loads(tmp_path: Path, namespace: list[str]) -> None:
    checkpoint = write_checkpoint(tmp_path / "c", causal=True)
    command = ("-m", "crossover_services.predictor", "--checkpoint", str(checkpoint), "--port", "0")
    with started(namespace, *command) as (process, number):
        wait_for_handler(process, number)
        assert terminate(process, number) == (0, "")


def test_serve_becomes_the_server(tmp_path: Path, namespace: list[str]) -> None:
    checkpoint = write_checkpoint(tmp_path / "c", causal=True)
    with started(namespace, "-m", "crossover.cli", "serve", str(checkpoint), "--port", "0") as (process, number):
        assert process.stdout is not None
        assert process.stdout.readline().startswith("serving ")
        assert "crossover_services.predictor" in Path(f"/proc/{number}/cmdline").read_text()
        assert terminate(process, number)[0] == 0


def test_training_saves_a_resume_point(
    study: Path, tmp_path: Path, namespace: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CROSSOVER_RESUME_MINUTES", "0")  # at milestones only
    out = ["--out", str(tmp_path / "ws"), "--registry", f"sqlite:///{tmp_path}/r.sqlite"]
    assert main(["prepare", str(study), *out]) == 0
    resume = tmp_path / "ws" / "runs"
    with started(namespace, "-m", "crossover.cli", "pretrain", str(study), *out) as (process, number):
        while not list(resume.rglob("resume/step-*/manifest.json")):
            assert process.poll() is None
            time.sleep(0.05)
        first = {path.parent.name for path in resume.rglob("resume/step-*/manifest.json")}
        time.sleep(0.5)  # some steps beyond it
        code, error = terminate(process, number)
    assert code == 143, error
    assert error.endswith("crossover: terminated; run the same command again to go on\n")
    newest, torn = latest_checkpoint(next(resume.rglob("resume")))
    assert newest is not None
    assert newest.name not in first
    assert torn == []
    with Registry.open_read_only(out[3]) as registry:
        assert registry.query("SELECT end_reason FROM attempt").rows == (("interrupted",),)
        assert ("interrupted",) in registry.query("SELECT status FROM v_runs").rows


def test_run_ends_with_all_its_processes(study: Path, tmp_path: Path, namespace: list[str]) -> None:
    out = ["--out", str(tmp_path / "ws"), "--registry", f"sqlite:///{tmp_path}/r.sqlite"]
    with started(namespace, "-m", "crossover.cli", "run", str(study), *out) as (process, number):
        while not list((tmp_path / "ws").rglob("resume/step-*/manifest.json")):
            assert process.poll() is None
            time.sleep(0.1)
        code, error = terminate(process, number)
    assert code == 143, error
    left = subprocess.run(
        ["/usr/bin/env", "pgrep", "-f", str(tmp_path / "ws")], capture_output=True, text=True, check=False
    )
    assert left.stdout == "", "nothing is left running"
    with Registry.open_read_only(out[3]) as registry:
        assert set(registry.query("SELECT end_reason FROM attempt").rows) == {("interrupted",)}


def test_what_swallows_the_exception_is_ended_at_the_deadline() -> None:
    code = (
        "import os, signal, time\nfrom crossover import termination\ntermination.EXIT_SECONDS = 0.2\n"
        "with termination.terminable():\n"
        "    try:\n        os.kill(os.getpid(), signal.SIGTERM)\n        time.sleep(1)\n"
        "    except BaseException: pass\n    time.sleep(60)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=50)
    assert (result.returncode, result.stderr) == (143, f"crossover: {termination.MESSAGE}\n")


def test_termination_can_be_deferred() -> None:
    """In a process of its own, which the deadline ends also after the block: cleaning up may hang."""
    code = (
        "import os, signal, time\nfrom crossover import termination as t\nt.EXIT_SECONDS = 1\n"
        "try:\n"
        "    with t.terminable():\n        with t.deferring_termination():\n"
        "            print(t.termination_requested())\n            os.kill(os.getpid(), signal.SIGTERM)\n"
        "            print(t.termination_requested())\n"
        "except t.Terminated:\n    print(t.termination_requested(), flush=True)\ntime.sleep(60)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=50)
    assert (result.returncode, result.stdout.split()) == (143, ["False", "True", "False"])
