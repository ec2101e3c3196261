"""SIGKILL at twenty random moments, then resume: the bits and the registry of the run that nothing disturbed.

The moments are mid-step (after a step's number), mid-save (between two files of a checkpoint) and mid-upload (between
two files of an upload), drawn by a seeded generator; the victim says where it is, and waits for leave to go on.
"""

import json
import os
import shutil
import signal
import threading
from collections.abc import Callable, Mapping
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor

from crossover.registry import Registry
from crossover.stages import pretrain_stage as pretraining
from crossover.stages.prepare_stage import prepare_stage
from crossover.stages.pretrain_stage import RegistryRecorder, pretrain_stage
from crossover.stages.stage_manifests import Group
from crossover.stages.study_context import open_study
from crossover.study.load_study import parse_study
from crossover.study.study_config import StudyConfig
from crossover.training import checkpoint
from crossover.training.trainer import Trainer
from tests.processes import start

KILLS = 20
GROUP = Group(cell="u1024-pico", arm="ar-dropout", seeds=(0,))
POINTS = """SELECT metric, step, value FROM v_curves
WHERE metric IN ('training_loss', 'gradient_norm', 'learning_rate') ORDER BY metric, step"""


def uploading(target: Path, say: Callable[[str], None]) -> type[RegistryRecorder]:
    """A recorder that also copies what is kept to a second folder file by file, manifests last, as an upload does."""

    class Uploads(RegistryRecorder):
        def keep(self, folder: Path) -> None:
            for file in sorted(folder.iterdir(), key=lambda file: file.name == "manifest.json"):
                place = target / folder.parent.name / folder.name / file.name
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, place)
                say("upload")
            super().keep(folder)

    return Uploads


def victim(study_json: str, folder: Path, pipe: Connection | None) -> None:
    """Train, and before going on at each moment wait for leave."""
    one_at_a_time = threading.Lock()  # the writer's thread speaks too

    def say(moment: str) -> None:
        with one_at_a_time:
            if pipe is not None:
                pipe.send(moment)
                pipe.recv()

    real = checkpoint._write

    def write(path: Path, content: bytes | Mapping[str, Tensor]) -> None:
        real(path, content)
        say("save")

    checkpoint._write = write
    pretraining.RegistryRecorder = uploading(folder / "copies", say)  # type: ignore[misc]  # replaced for the test

    def advance(self: Trainer, state: object) -> None:
        real_advance(self, state)  # type: ignore[arg-type]  # passed on as it came
        say("step")

    real_advance, Trainer._advance = Trainer._advance, advance  # type: ignore[method-assign]  # passed on as it came
    with open_study(parse_study(study_json), str(folder / "ws"), registry_of(folder)) as context:
        pretrain_stage(context, prepare_stage(context), GROUP)


def registry_of(folder: Path) -> str:
    folder.mkdir(exist_ok=True)
    return f"sqlite:///{folder}/registry.sqlite"


def all_weights(folder: Path) -> dict[str, bytes]:
    places = sorted((folder / "ws" / "runs").rglob("checkpoints/step-*/model.safetensors"))
    return {place.parent.name: place.read_bytes() for place in places}


@pytest.mark.parametrize("schedule", ["constant", "wsd"])
def test_twenty_kills_change_no_bit(
    schedule: str, tiny_study: StudyConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = tiny_study.model_dump(mode="json")
    study["training"] |= {"schedule": schedule, "epochs": 12}
    text = json.dumps(study)
    monkeypatch.setenv("CROSSOVER_RESUME_MINUTES", "1e-9")  # a save after each step, however fast the machine
    rng = np.random.default_rng(7)
    killed: dict[str, int] = {}
    ended = False
    while not ended:
        here, there = Pipe()
        process = start(victim, text, tmp_path / "cut", there)
        there.close()
        moment, patience = ("step", "save", "upload")[sum(killed.values()) % 3], int(rng.integers(1, 9))
        while True:
            try:
                reached = here.recv()
            except EOFError:
                ended = True
                break
            patience -= reached == moment
            if patience <= 0 and sum(killed.values()) < KILLS:
                assert process.pid is not None
                os.kill(process.pid, signal.SIGKILL)
                killed[moment] = killed.get(moment, 0) + 1
                break
            here.send(None)
        process.join()
        assert process.exitcode == (0 if ended else -signal.SIGKILL)
    assert sum(killed.values()) == KILLS, killed
    undisturbed = start(victim, text, tmp_path / "undisturbed", None)
    undisturbed.join()
    assert undisturbed.exitcode == 0
    weights = all_weights(tmp_path / "cut")
    assert len(weights) == len(tiny_study.evaluation_steps(tiny_study.cell(GROUP.cell)))
    assert weights == all_weights(tmp_path / "undisturbed")
    assert not list((tmp_path / "cut" / "ws").rglob(".step-*"))
    with (
        Registry.open(registry_of(tmp_path / "cut")) as cut,
        Registry.open(registry_of(tmp_path / "undisturbed")) as full,
    ):
        assert cut.query("SELECT status, attempts FROM v_runs").rows == (("done", KILLS + 1),)
        assert len(full.query(POINTS).rows) > 3 * KILLS
        assert cut.query(POINTS).rows == full.query(POINTS).rows
        saved = "SELECT step, tokens FROM checkpoint ORDER BY step"
        assert cut.query(saved).rows == full.query(saved).rows
        assert len(cut.query(saved).rows) == len(weights)
