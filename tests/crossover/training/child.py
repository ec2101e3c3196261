"""A process that trains one run, for tests that start several of them."""

import json
import sys
from pathlib import Path

import numpy as np
import torch

from crossover.study.load_study import parse_study
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


if __name__ == "__main__":
    train(Path(sys.argv[1]), sys.argv[2])
