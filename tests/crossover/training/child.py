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


class Printer(NoRecorder):
    """Prints the training losses."""

    def point(self, at: Progress, metric: str, value: float) -> None:
        """Print one."""
        if metric == "training_loss":
            print(json.dumps([at.step, value]), flush=True)


def main() -> None:
    """Arguments: study file, arm, examples, folder."""
    study_file, arm, examples, folder = sys.argv[1:5]
    torch.set_num_threads(1)
    study = parse_study(Path(study_file).read_text())
    spec = RunSpec(study=study, cell=study.cells[-1], arm=arm, seed=0)
    with open_world() as world:
        Trainer(spec, np.load(examples), Path(folder), Printer(), world=world).run()


if __name__ == "__main__":
    main()
