"""SIGKILL at twenty random moments, then resume: the bits of the run that nothing disturbed.

The moments are mid-step (after a step's number), mid-save (between two files of a checkpoint) and mid-upload (between
two files of an upload), drawn by a seeded generator; the victim says where it is, and waits for leave to go on.
"""

import json
import os
import shutil
import signal
import threading
from collections.abc import Callable
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest
import torch

from crossover.study.load_study import parse_study
from crossover.study.study_config import StudyConfig
from crossover.training import checkpoint
from crossover.training.recorder import NoRecorder
from crossover.training.run_spec import RunSpec
from crossover.training.trainer import Trainer
from tests.processes import start

KILLS = 20


class Uploads(NoRecorder):
    """Copies what is kept to a second folder file by file, manifests last, as an upload does."""

    def __init__(self, target: Path, say: Callable[[str], None]) -> None:
        self.target, self.say = target, say

    def keep(self, folder: Path) -> None:
        for file in sorted(folder.iterdir(), key=lambda file: file.name == "manifest.json"):
            place = self.target / folder.parent.name / folder.name / file.name
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, place)
            self.say("upload")


def victim(study_json: str, arm: str, examples: np.ndarray, folder: Path, pipe: Connection | None) -> None:
    """Train, and before going on at each moment wait for leave."""
    torch.set_num_threads(1)
    study = parse_study(study_json)

    one_at_a_time = threading.Lock()  # the writer's thread speaks too

    def say(moment: str) -> None:
        with one_at_a_time:
            if pipe is not None:
                pipe.send(moment)
                pipe.recv()

    real = checkpoint._write

    def write(path: Path, content: bytes) -> None:
        real(path, content)
        say("save")

    checkpoint._write = write
    spec = RunSpec(study=study, cell=study.cells[-1], arm=arm, seed=0)
    recorder = Uploads(folder / "store", say)
    Trainer(spec, examples, folder / "run", recorder, lambda *_: say("step")).run()


def all_weights(folder: Path) -> dict[str, bytes]:
    places = sorted((folder / "run" / "checkpoints").glob("step-*/model.safetensors"))
    return {place.parent.name: place.read_bytes() for place in places}


@pytest.mark.parametrize("schedule", ["constant", "wsd"])
def test_twenty_kills_change_no_bit(
    schedule: str, tiny_study: StudyConfig, examples: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
        process = start(victim, text, "ar-dropout", examples, tmp_path / "cut", there)
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
    undisturbed = start(victim, text, "ar-dropout", examples, tmp_path / "undisturbed", None)
    undisturbed.join()
    assert undisturbed.exitcode == 0
    assert all_weights(tmp_path / "cut") == all_weights(tmp_path / "undisturbed")
    assert not list((tmp_path / "cut" / "run").rglob(".step-*"))
