"""A process that trains one run, for tests that start several of them."""

import json
import os
import signal
import sys
from pathlib import Path

import numpy as np
import torch

from crossover.study.load_study import parse_study
from crossover.termination import Terminated, terminable
from crossover.training.distributed import open_world
from crossover.training.recorder import NoRecorder, Progress
from crossover.training.run_spec import RunSpec
from crossover.training.trainer import Trainer


class LossFile(NoRecorder):
    """Writes the training losses to a file, one JSON line a step."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def point(self, at: Progress, metric: str, value: float) -> None:
        """Write one."""
        if metric == "training_loss":
            with self.file.open("a") as lines:
                lines.write(json.dumps([at.step, value]) + "\n")


def train(folder: Path, arm: str) -> None:
    """Train the study and examples of a folder; only the leading process records losses."""
    torch.set_num_threads(1)
    study = parse_study((folder / "study.json").read_text())
    spec = RunSpec(study=study, cell=study.cells[-1], arm=arm, seed=0)
    with open_world() as world:
        recorder = LossFile(folder / "losses.jsonl")
        Trainer(spec, np.load(folder / "examples.npy"), folder / "run", recorder, world=world).run()


def train_until_a_signal(folder: Path, arm: str, rank: int, step: int) -> None:
    """Train; this rank alone gets SIGTERM in the middle of a step, and all must stop after it."""

    def advance(self: Trainer, state: object) -> None:
        if state.step + 1 == step and self.world.rank == rank:  # type: ignore[attr-defined]  # a trainer's state
            os.kill(os.getpid(), signal.SIGTERM)
        real(self, state)  # type: ignore[arg-type]  # passed on as it came

    real, Trainer._advance = Trainer._advance, advance  # type: ignore[method-assign]  # passed on as it came
    try:
        with terminable():
            train(folder, arm)
    except Terminated:
        return
    raise AssertionError("the training did not stop")


if __name__ == "__main__":
    train(Path(sys.argv[1]), sys.argv[2])
