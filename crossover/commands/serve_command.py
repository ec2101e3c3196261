"""`crossover serve`: the KServe model server for a checkpoint, in a process of its own."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from crossover.commands.command_options import workspace_at
from crossover.commands.serve_samples import EXAMPLE_PASSAGE, examples, held_out_passages, show_samples
from crossover.errors import CrossoverError, WorkspaceError
from crossover.stages.stage_manifests import AnalysisRef, DeploymentRef
from crossover.stages.workspace import STUDY_FILE
from crossover.storage import ArtifactStore, open_store
from crossover.study.study_config import StudyConfig

START_SECONDS = 120.0
STOP_SECONDS = 35.0
HANDED_ON = ("grpc_port", "device", "dtype", "memory", "max_queue", "timeout")
TRIED = 2
"""Passages that `--try` shows."""


def serve(options: argparse.Namespace) -> int:
    """Become the server of the checkpoint, or with `--try` send sample requests and stop."""
    place = workspace_at(options.place)
    checkpoint = find_checkpoint(place, options.arm)
    if options.trial:
        return _try(place, checkpoint)
    flags = ["--host", options.host, "--port", str(options.port), *_examples(place, checkpoint)]
    flags += [flag for origin in options.allow_origin for flag in ("--allow-origin", origin)]
    for name in HANDED_ON:
        if (value := getattr(options, name)) is not None:
            flags += [f"--{name.replace('_', '-')}", value]
    flags += ["--log-prompts"] if options.log_prompts else []
    sys.stdout.flush()
    # in place of this process, so that signals reach the server itself, which ends its streams before it stops
    os.execv(sys.executable, [*_command(checkpoint), *flags])  # noqa: S606 - our own interpreter


def _examples(place: str, checkpoint: Path) -> list[str]:
    """`--examples` with the workspace's held-out text, in a file without a name, which the server inherits."""
    if checkpoint == Path(place):
        return []
    with tempfile.TemporaryFile() as file:
        file.write(examples(open_store(place)).encode())
        file.seek(0)
        descriptor = os.dup(file.fileno())
    os.set_inheritable(descriptor, True)
    return ["--examples", f"/dev/fd/{descriptor}"]


def _command(checkpoint: Path) -> list[str]:
    return [sys.executable, "-m", "crossover_services.predictor", "--checkpoint", str(checkpoint)]


def find_checkpoint(place: str, arm: str | None) -> Path:
    """The checkpoint to serve, on this machine.

    Args:
        place: a checkpoint folder, or a workspace: a path or s3://bucket/prefix.
        arm: serve this arm's best checkpoint; None serves the promoted one.

    Raises:
        WorkspaceError: nothing to serve there.
        StorageError: the workspace cannot be read, or the checkpoint is missing or altered.
    """
    if (Path(place) / "model.safetensors").is_file():
        return Path(place)
    store = open_store(place)
    if arm is None and (document := store.read_document("serving/current.json")):
        deployment = DeploymentRef.parse(document.value, "serving/current.json")
        return store.fetch(store.name_of(deployment.uri), deployment.digest)
    analysis = _analysis(store) if arm is not None else None
    if arm is None or analysis is None:
        raise WorkspaceError(
            "serve.nothing",
            field=place,
            problem="is neither a checkpoint nor a workspace with a promoted one",
            remedy="run the study with --promote always, or name an arm with --arm",
        )
    if arm not in analysis.best:
        raise WorkspaceError(
            "serve.unknown-arm",
            field="--arm",
            problem=f"no arm {arm!r}",
            remedy=f"choose from {', '.join(analysis.best)}",
        )
    best = analysis.best[arm].checkpoint
    return store.fetch(store.name_of(best.uri), best.digest)


def _analysis(store: ArtifactStore) -> AnalysisRef | None:
    """The workspace's analysis, which lists the best checkpoint of each arm."""
    document = store.read_document("analysis/decision.json")
    return AnalysisRef.parse(document.value, "analysis/decision.json") if document else None


def _try(place: str, checkpoint: Path) -> int:
    """Show samples of the checkpoint; if it cannot fill holes, also of the workspace's best DLM."""
    store = None if checkpoint == Path(place) else open_store(place)
    passages = held_out_passages(store, TRIED) if store else [EXAMPLE_PASSAGE]
    arms = [_diffusion_arm(store)] if store else []
    for folder in (checkpoint, *(find_checkpoint(place, arm) for arm in arms if arm)):
        with serving(folder) as url:
            print(f"serving {folder} on {url}")
            if show_samples(url, passages):
                return 0
    print("this model cannot fill holes; a masked diffusion model can")
    return 0


def _diffusion_arm(store: ArtifactStore) -> str | None:
    """The first arm of the study whose models can fill holes and have been evaluated."""
    document, analysis = store.read_document(STUDY_FILE), _analysis(store)
    if document is None or analysis is None:
        return None
    study = StudyConfig.model_validate(document.value["study"])
    return next((arm for arm in analysis.best if study.arm(arm).objective == "masked"), None)


@contextmanager
def serving(checkpoint: Path) -> Iterator[str]:
    """Start a predictor on a free loopback port and stop it afterwards.

    Yields:
        Its base URL.

    Raises:
        CrossoverError: it did not start; the message is the last line of its output.
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
