"""Accuracy of `crossover plan`: its estimates compared with what a run measures.

    python -m benchmarks.plan_accuracy

For several shapes: plans with a measurement, then trains for real in a process of its own, and compares memory and time
of a step. Parameters, FLOPs, tokens and disk are compared by the tests, to the byte or within 10 %. Prints a table.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from crossover.settings import available_cores, get_settings
from crossover.study.study_config import StudyConfig
from crossover.training.device_metrics import peak_memory
from crossover.training.planner import plan_study
from crossover.training.recorder import NoRecorder, Progress
from crossover.training.run_spec import RunSpec
from crossover.training.trainer import Trainer

CASES = (
    ("nano", 64, 32, "fp32", "ar"),
    ("micro", 256, 16, "fp32", "dlm"),
    ("mini-moe", 128, 16, "fp32", "ar"),
    ("14m", 256, 16, "fp32", "ar"),
    ("14m", 256, 16, "bf16", "dlm"),
    ("14m", 256, 16, "fp32", "bd"),
)
STEPS = 20


class _Clock(NoRecorder):
    """Keeps the seconds of each logged step."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def point(self, at: Progress, metric: str, value: float) -> None:
        if metric == "training_loss":
            self.seconds.append(at.seconds)


def main() -> int:
    """Compare every case, or measure one as a child."""
    torch.set_num_threads(get_settings().threads or available_cores())
    if len(sys.argv) > 1:
        print(json.dumps(_measure(StudyConfig.model_validate_json(sys.argv[2]), sys.argv[1] == "plan")))
        return 0
    print(f"{available_cores()} cores, torch {torch.__version__}\n")
    print("| model, batch | arm | precision | GiB planned | measured | ratio | step planned, s | measured | ratio |")
    print("|---|---|---|---|---|---|---|---|---|")
    for model, length, batch, precision, arm in CASES:
        study = _study(model, length, batch, precision, arm)
        planned, measured = (_child(what, study) for what in ("plan", "run"))
        memory, seconds = (measured[key] / planned[key] for key in ("memory", "seconds"))
        print(
            f"| {model}, {batch} x {length} | {arm} | {precision} | {planned['memory'] / 2**30:.2f} | "
            f"{measured['memory'] / 2**30:.2f} | {memory:.2f} | {planned['seconds']:.3f} | {measured['seconds']:.3f} | "
            f"{seconds:.2f} |",
            flush=True,
        )
    return 0


def _study(model: str, length: int, batch: int, precision: str, arm: str) -> StudyConfig:
    return StudyConfig.model_validate(
        {
            "data": {"sequence_length": length},
            "grid": {"unique_tokens": [STEPS * batch * length], "models": [model]},
            "arms": list(dict.fromkeys(("ar", "dlm", arm))),
            "training": {"epochs": 1, "batch_size": batch, "precision": precision},
            "evaluation": {"points": 2, "first_epoch": 0.5},
            "question": arm,
        }
    )


def _child(what: str, study: StudyConfig) -> dict[str, float]:
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.plan_accuracy", what, study.model_dump_json()]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    measured: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return measured


def _measure(study: StudyConfig, planning: bool) -> dict[str, float]:
    arm = study.question
    if planning:
        memory = next(run for run in plan_study(study, get_settings()).runs if run.arm == arm).memory_bytes
        timed = next(run for run in plan_study(study, get_settings(), measure=True).runs if run.arm == arm)
        return {"memory": memory, "seconds": timed.step_seconds or 0.0}
    examples = np.random.default_rng(0).integers(0, 256, (STEPS * study.training.batch_size, 1), dtype=np.uint16)
    examples = np.repeat(examples, study.data.sequence_length, axis=1)
    clock = _Clock()
    with tempfile.TemporaryDirectory() as folder:
        spec = RunSpec(study=study, cell=study.cells[0], arm=arm, seed=0)
        began = time.perf_counter()
        Trainer(spec, examples, Path(folder), clock).run()
        print(f"trained in {time.perf_counter() - began:.1f} s", file=sys.stderr)
    steps = np.diff(clock.seconds)[3:]
    return {"memory": peak_memory(torch.device("cpu")), "seconds": statistics.median(steps.tolist())}


if __name__ == "__main__":
    sys.exit(main())
