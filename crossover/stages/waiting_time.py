"""How long `crossover run` will take on this machine: training, evaluation, process starts and the analysis."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from multiprocessing.synchronize import Event

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field

from crossover.analysis import analyse
from crossover.evaluation.evaluation_timing import evaluation_rows, row_seconds
from crossover.settings import Settings
from crossover.study.identity import RunId
from crossover.study.study_config import StudyConfig
from crossover.training.planner import StudyPlan
from crossover.training.run_spec import cell_model
from crossover.training.step_timing import Stepper

_START = "import crossover.stages.evaluate_stage, crossover.stages.pretrain_stage"
SINGLE_STAGES = 3
"""Preparation, analysis, promotion."""
REPORT_SECONDS = 4.0
"""Approximate time of the samples, figures and pages of a report."""


class WaitingTime(BaseModel):
    """Minutes of a run of the pipeline by what they go to; those of parallel stages are divided among them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    total: float = Field(description="From the start to the report, reading the corpus not included.")
    training: float
    evaluation: float
    starts: float = Field(description="Processes of stages, which import their libraries anew.")
    analysis: float
    parallel: int = Field(description="Stages at once.")


@contextmanager
def contention(study: StudyConfig, settings: Settings) -> Iterator[None]:
    """While this lasts the other stages of a parallel run are busy: processes that train on what this one leaves.

    A step that is timed alone on a machine with two cores is up to twice as fast as beside another one.
    """
    companions = settings.local_parallelism - 1 if study.training.device == "cpu" else 0
    context = multiprocessing.get_context("spawn")
    with ExitStack() as stack:
        for _ in range(companions):
            ready = context.Event()
            process = context.Process(target=_keep_busy, args=(study, settings.step_threads, ready), daemon=True)
            process.start()
            stack.callback(process.join)
            stack.callback(process.kill)
            while not ready.wait(0.1) and process.is_alive():
                pass
        yield


def _keep_busy(study: StudyConfig, threads: int, ready: Event) -> None:
    """Train until killed, or until the parent process is gone."""
    torch.set_num_threads(threads)
    parent = os.getppid()
    steps = Stepper(study, cell_model(study, study.cells[0]), study.arm(study.arms[0]))
    while os.getppid() == parent:
        steps.time()
        ready.set()


def waiting_time(
    study: StudyConfig,
    plan: StudyPlan,
    new_runs: Sequence[RunId],
    settings: Settings,
    seeds_per_task: int,
    on_run: Callable[[str], None] = lambda name: None,
) -> WaitingTime | None:
    """Estimate a run of the pipeline from measurements on this machine, to be made under `contention`.

    Args:
        study: the study.
        plan: with measured steps.
        new_runs: those to train and evaluate.
        settings: how many stages run at once.
        seeds_per_task: seeds that one pretraining task trains.
        on_run: called with the name of what is measured next.

    Returns:
        None where steps were not measured.
    """
    training, evaluation = {}, {}
    for run in plan.runs:
        if run.step_seconds is None:
            return None
        cell, arm = study.cell(run.cell), study.arm(run.arm)
        on_run(f"{run.cell}/{run.arm}, evaluation")
        training[run.cell, run.arm] = run.step_seconds * run.steps
        evaluation[run.cell, run.arm] = row_seconds(study, cell, arm) * evaluation_rows(study, cell, arm)
    on_run("a process start, and the analysis")
    start, analysis = _start_seconds(), _analysis_seconds(study) + REPORT_SECONDS
    runs = Counter((run.cell, run.arm) for run in new_runs)
    groups = [
        (key, min(seeds_per_task, count - first))
        for key, count in runs.items()
        for first in range(0, count, seeds_per_task)
    ]
    slots = [0.0] * settings.local_parallelism
    for key, seeds in groups:
        slots[slots.index(min(slots))] += 2 * start + seeds * (training[key] + evaluation[key])
    trained, evaluated = (
        sum(count * seconds[key] for key, count in runs.items()) for seconds in (training, evaluation)
    )
    starts = 2 * len(groups) * start
    shared = max(slots) / max(1e-9, trained + evaluated + starts)
    return WaitingTime(
        total=(max(slots) + SINGLE_STAGES * start + analysis) / 60,
        training=trained * shared / 60,
        evaluation=evaluated * shared / 60,
        starts=(starts * shared + SINGLE_STAGES * start) / 60,
        analysis=analysis / 60,
        parallel=settings.local_parallelism,
    )


def _start_seconds() -> float:
    """Of one process of a stage; as kfp starts it, where kfp is installed."""
    start = _START + (", kfp.dsl.executor_main" if find_spec("kfp") else "")
    began = time.perf_counter()
    subprocess.run([sys.executable, "-W", "ignore", "-c", start], check=True, capture_output=True)
    return time.perf_counter() - began


def _analysis_seconds(study: StudyConfig) -> float:
    """Of all cells, from one analysis of random curves of their size."""
    cell, plan = study.cells[0], study.analysis
    of_cell = tuple(comparison for comparison in plan.comparisons if comparison != "frontier") or ("matched",)
    rng = np.random.default_rng(0)
    curves: dict[str, list[object]] = {
        name: [] for name in ("arm", "seed", "tokens", "flops", "seconds", "metric", "value")
    }
    for metric in plan.metrics:
        for arm in study.arms:
            for seed in study.seeds:
                for step in study.evaluation_steps(cell):
                    row = (arm, seed, step * 64, step * 1e9, step * 0.1, metric.name, 3 + rng.normal() / 10)
                    for column, value in zip(curves.values(), row, strict=True):
                        column.append(value)
    began = time.perf_counter()
    analyse(curves, plan.model_copy(update={"comparisons": of_cell}), unique_tokens=cell.unique_tokens)
    return len(study.cells) * (time.perf_counter() - began)
