"""A process that ends or hangs: the others end too, and name it and the step."""

import os
import re
import time
from datetime import timedelta
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from crossover.errors import LostProcessError
from crossover.study.study_config import StudyConfig
from crossover.training import attendance, distributed
from crossover.training.trainer import Trainer
from tests.crossover.training import child
from tests.crossover.training.test_distributed import with_training
from tests.processes import start_ranks

LOST_STEP, SECONDS = 3, 8.0


def train_and_lose(folder: Path, how: Literal["dies", "sleeps"], lost: int) -> None:
    """Train; in step 3 one rank does not come. The others write what they raise to a file."""

    def advance(self: Trainer, state: object) -> None:
        if self.world.rank == lost and state.step + 1 == LOST_STEP:  # type: ignore[attr-defined]  # a _State
            if how == "dies":
                os._exit(9)
            time.sleep(3 * SECONDS)
            os._exit(0)
        real(self, state)  # type: ignore[arg-type]  # as above

    real, Trainer._advance = Trainer._advance, advance  # type: ignore[method-assign]  # replaced for the test
    distributed.COLLECTIVE_TIMEOUT = timedelta(seconds=SECONDS)
    attendance.WARNED_AT = 0.5
    try:
        child.train(folder, "dlm")
    except LostProcessError as error:
        (folder / f"rank-{os.environ['RANK']}").write_text(str(error))
        raise


@pytest.mark.parametrize(
    ("how", "parallel", "processes", "lost"),
    [("sleeps", "replicate", 2, 1), ("dies", "replicate", 4, 2), ("dies", "shard", 2, 1), ("sleeps", "shard", 2, 0)],
)
def test_the_others_name_the_rank_and_the_step_and_end(
    how: str, parallel: str, processes: int, lost: int, tiny_study: StudyConfig, examples: np.ndarray, tmp_path: Path
) -> None:
    study = with_training(tiny_study, data_parallel=parallel, microbatch_size=1)
    (tmp_path / "study.json").write_text(study.model_dump_json())
    np.save(tmp_path / "examples.npy", examples)
    began = time.monotonic()
    ranks = start_ranks(processes, train_and_lose, tmp_path, how, lost)
    for rank in ranks:
        rank.join(120)
    assert time.monotonic() - began < 120
    codes = [rank.exitcode for rank in ranks]
    assert codes[lost] == (9 if how == "dies" else 0)
    assert all(code == 1 for rank, code in enumerate(codes) if rank != lost)
    told = [(tmp_path / f"rank-{rank}").read_text() for rank in range(processes) if rank != lost]
    first = min(told, key=len)
    for text in told:
        assert re.match(
            rf"rank \d of {processes}: the exchange of step {LOST_STEP} failed: rank [\d, ]*{lost}", text
        ), text
        assert "start the run again" in text
    assert f"failed: rank {lost} did not arrive: it has ended, or hangs" in first
