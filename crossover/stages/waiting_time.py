"""How long `crossover run` will take on this machine: training, evaluation, process starts and the analysis."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from multiprocessing.synchronize import Event
from typing import NamedTuple

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field

from crossover.analysis import analyse
from crossover.evaluation.evaluation_timing import evaluation_rows, row_seconds
from crossover.settings import Settings
from crossover.study.identity import RunId
from crossover.study.study_config import StudyConfig
from crossover.study.sweep_study import sweep_of
from crossover.training.run_schedule import run_schedule
from crossover.training.run_spec import cell_model
from crossover.training.step_timing import Stepper
from crossover.training.timed_examples import TimedExamples

_START = "import crossover.stages.evaluate_stage, crossover.stages.pretrain_stage"
SINGLE_STAGES = 7
"""Check, preparation, the sweep and its summary, gathering, analysis, promotion."""
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


class StageSeconds(NamedTuple):
    """What the parts of a study's stages take on this machine, in seconds; of arms by (model, arm)."""

    step: Mapping[tuple[str, str], float]
    """One optimizer step."""
    row: Mapping[tuple[str, str], float]
    """One sequence through the model in an evaluation."""
    start: float
    """The process of a stage, until it has imported its libraries."""
    analysis: float
    """The analysis of one cell."""


def evaluation_seconds(
    study: StudyConfig,
    arms: Iterable[tuple[str, str]],
    on_run: Callable[[str], None],
    examples: TimedExamples | None = None,
) -> dict[tuple[str, str], float]:
    """Seconds of a sequence through the model in an evaluation, by (model, arm); see `stage_seconds`."""
    row = {}
    for model, arm in arms:
        on_run(f"{model}/{arm}, evaluation")
        cell = next(cell for cell in study.cells if cell.model == model)
        row[model, arm] = row_seconds(study, cell, study.arm(arm), examples)
    return row


def stage_seconds(
    study: StudyConfig,
    step: Mapping[tuple[str, str], float],
    on_run: Callable[[str], None] = lambda name: None,
    examples: TimedExamples | None = None,
) -> StageSeconds:
    """Measure what is not training, to be called under `contention`.

    Args:
        study: the study.
        step: seconds of an optimizer step by (model, arm).
        on_run: called with the name of what is measured next.
        examples: to evaluate; None for examples of one document each.
    """
    row = evaluation_seconds(study, step, on_run, examples)
    on_run("a process start, and the analysis")
    return StageSeconds(step, row, _start_seconds(), _analysis_seconds(study))


def waiting_time(
    study: StudyConfig, seconds: StageSeconds, new_runs: Sequence[RunId], parallel: int, seeds_per_task: int
) -> WaitingTime:
    """Estimate how long `crossover run` takes.

    Args:
        study: the study.
        seconds: measured on this machine.
        new_runs: those to train and evaluate.
        parallel: stages that run at once.
        seeds_per_task: seeds that one pretraining task trains.
    """
    training, evaluation = {}, {}
    for cell in study.cells:
        for arm in study.arms:
            steps = run_schedule(study.training_of(arm), study.evaluation_steps(cell, arm)).steps
            if (measured := (cell.model, arm)) in seconds.step:
                training[cell.name, arm] = seconds.step[measured] * steps
                evaluation[cell.name, arm] = seconds.row[measured] * evaluation_rows(study, cell, study.arm(arm))
    runs = Counter((run.cell, run.arm) for run in new_runs)
    groups = [
        (key, min(seeds_per_task, count - first))
        for key, count in runs.items()
        for first in range(0, count, seeds_per_task)
    ]
    trained, evaluated = (sum(count * each[key] for key, count in runs.items()) for each in (training, evaluation))
    starts = 2 * len(groups) * seconds.start
    # all groups are trained before the first is evaluated
    waiting = sum(
        _makespan([seconds.start + n * each[key] for key, n in groups], parallel) for each in (training, evaluation)
    )
    shared = waiting / max(1e-9, trained + evaluated + starts)
    analysis = len(study.cells) * seconds.analysis + REPORT_SECONDS
    return WaitingTime(
        total=(waiting + SINGLE_STAGES * seconds.start + analysis) / 60,
        training=trained * shared / 60,
        evaluation=evaluated * shared / 60,
        starts=(starts * shared + SINGLE_STAGES * seconds.start) / 60,
        analysis=analysis / 60,
        parallel=parallel,
    )


def sweep_minutes(
    study: StudyConfig, seconds: StageSeconds, new_runs: Sequence[RunId], parallel: int, seeds_per_task: int
) -> float:
    """Estimate how long the sweep before a study takes; the arguments are those of `waiting_time`, the runs its own."""
    sweep, variants = sweep_of(study)
    model = sweep.cells[0].model
    step, row = (
        {(model, name): times[model, arm] for name, (arm, _) in variants.items()}
        for times in (seconds.step, seconds.row)
    )
    whole = waiting_time(sweep, seconds._replace(step=step, row=row), new_runs, parallel, seeds_per_task)
    return whole.total - whole.analysis - SINGLE_STAGES * seconds.start / 60


def _makespan(seconds: Sequence[float], parallel: int) -> float:
    """Until tasks are done that are started in order as slots become free."""
    slots = [0.0] * parallel
    for task in seconds:
        slots[slots.index(min(slots))] += task
    return max(slots)


def _start_seconds() -> float:
    """Of one process of a stage; as kfp starts it, where kfp is installed."""
    start = _START + (", kfp.dsl.executor_main" if find_spec("kfp") else "")
    began = time.perf_counter()
    subprocess.run([sys.executable, "-W", "ignore", "-c", start], check=True, capture_output=True)
    return time.perf_counter() - began


def _analysis_seconds(study: StudyConfig) -> float:
    """Of one cell, from an analysis of random curves of its size."""
    cell, plan = study.cells[0], study.analysis
    of_cell = tuple(comparison for comparison in plan.comparisons if comparison != "frontier") or ("matched",)
    rng = np.random.default_rng(0)
    curves: dict[str, list[object]] = {
        name: [] for name in ("arm", "seed", "tokens", "flops", "seconds", "metric", "value")
    }
    for metric in plan.metrics:
        for arm in study.arms:
            for seed in study.seeds:
                for step in study.evaluation_steps(cell, arm):
                    row = (arm, seed, step * 64, step * 1e9, step * 0.1, metric.name, 3 + rng.normal() / 10)
                    for column, value in zip(curves.values(), row, strict=True):
                        column.append(value)
    began = time.perf_counter()
    analyse(curves, plan.model_copy(update={"comparisons": of_cell}), unique_tokens=cell.unique_tokens)
    return time.perf_counter() - began
