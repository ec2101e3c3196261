"""What a study will cost, before anything runs: parameters, FLOPs, memory, tokens, device-hours, disk, price."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from crossover.errors import StudyError
from crossover.model.model_config import ModelConfig
from crossover.settings import Settings
from crossover.study.arms import Arm
from crossover.study.identity import RunId
from crossover.study.study_config import Cell, StudyConfig
from crossover.study.study_parts import TrainingConfig
from crossover.study.sweep_study import sweep_of
from crossover.training.chunked_loss import fits_unchunked
from crossover.training.device_metrics import peak_flops, peak_memory
from crossover.training.distributed import World
from crossover.training.memory_advice import free_of_process, with_microbatch_size
from crossover.training.memory_estimate import step_memory
from crossover.training.run_schedule import run_schedule
from crossover.training.run_spec import cell_model
from crossover.training.sharding import check_expert_parallel
from crossover.training.step_timing import MEASURED_STEPS, measured_steps
from crossover.training.timed_examples import TimedExamples, whole_examples
from crossover.training.train_engine import split_slots
from crossover.training.training_objectives import TrainingObjective

CPU_FRAGMENTATION = 1.35
"""Resident memory of a CPU process over that of its live tensors (docs/benchmarks/training.md)."""

SAVED_COPIES = 2
"""Copies of weights and optimizer state while they are written beside the training: the snapshot and the file."""


class RunPlan(BaseModel):
    """One run of a cell and an arm; every seed costs the same."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cell: str
    model: str
    arm: str
    seeds: int
    """Runs to train: seeds that were trained before cost nothing."""
    parameters: int
    active_parameters: int
    unique_tokens: int
    epochs: float
    tokens: int
    """Training tokens in all, repetitions counted, decay branches included."""
    steps: int
    """Optimizer steps, decay branches included."""
    flops: float
    microbatch_size: int
    """Examples in one forward pass; under `auto`, those that fit the free memory of this machine's device, or 1."""
    memory_bytes: int
    """The most that one device needs in a step; on a CPU, resident memory of the process."""
    disk_bytes: int
    """Checkpoints and the newest resume point."""
    step_seconds: float | None
    device_hours: float | None
    """None where neither a measurement nor the device's peak is at hand."""


class StudyPlan(BaseModel):
    """What the runs of a study that are to be trained cost together."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    study: str
    processes: int
    basis: str
    """How the hours were estimated."""
    runs: tuple[RunPlan, ...]
    flops: float
    disk_bytes: int
    device_hours: float | None
    price: float | None
    """Hours x the setting `price_per_gpu_hour`; None where either is missing."""

    @property
    def model_step_seconds(self) -> dict[tuple[str, str], float]:
        """Seconds of a step by (model, arm), where known."""
        return {(run.model, run.arm): run.step_seconds for run in self.runs if run.step_seconds is not None}


def plan_study(
    study: StudyConfig,
    settings: Settings,
    *,
    new_runs: Sequence[RunId] | None = None,
    processes: int = 1,
    nodes: int = 1,
    measure: bool = False,
    on_run: Callable[[str], None] = lambda name: None,
    examples: TimedExamples | None = None,
) -> StudyPlan:
    """Add up what the runs to train will cost. Training only: evaluation is not in the hours.

    Args:
        study: the study.
        settings: device peak, assumed MFU and price.
        new_runs: those to train; None for all of the study.
        processes: devices that train one run together.
        nodes: machines that have as many of them each.
        measure: time a few steps of every model and arm here, on one process.
        on_run: called with `<model>/<arm>` before each measurement.
        examples: to time steps with; None for examples of one document each.

    Raises:
        StudyError: the batch does not divide, or, when measuring, the device is missing or out of memory.
    """
    if processes < 1:
        raise StudyError(
            "plan.bad-processes",
            field="--processes",
            problem=f"{processes} processes train nothing",
            remedy="give 1 or more",
        )
    if nodes < 1 or processes % nodes:
        raise StudyError(
            "plan.bad-nodes",
            field="--nodes",
            problem=f"{processes} processes do not divide among {nodes} nodes",
            remedy="give a divisor of --processes",
        )
    world = World(size=processes, nodes=nodes)
    for name in study.arms:
        split_slots(study.training_of(name), world)
    for cell in study.cells:
        check_expert_parallel(study.training, cell_model(study, cell), world)
    resident = peak_memory(World().device("cpu"))  # of this process, before a measurement adds to it
    if new_runs is None:
        new_runs = [RunId(cell.name, arm, seed) for cell in study.cells for arm in study.arms for seed in study.seeds]
    seeds = Counter((run.cell, run.arm) for run in new_runs)
    order = [(cell, study.arm(arm)) for cell in study.cells for arm in study.arms if seeds[cell.name, arm]]
    timed: dict[tuple[str, str], float] = {}
    if measure:
        for model in study.grid.models:
            arms = list({arm.name: arm for cell, arm in order if cell.model == model}.values())
            timed |= measured_steps(study, model, arms, on_run, examples)
    runs = [
        _plan_run(study, cell, arm, settings, world, timed.get((cell.model, arm.name)), resident).model_copy(
            update={"seeds": seeds[cell.name, arm.name]}
        )
        for cell, arm in order
    ]
    known = [run.seeds * run.device_hours for run in runs if run.device_hours is not None]
    hours = sum(known) if len(known) == len(runs) else None
    timed_on = (examples or whole_examples(study)).basis
    basis = f"{MEASURED_STEPS} measured steps on {timed_on}" if measure else f"assumed MFU {settings.planned_mfu:g}"
    return StudyPlan(
        study=study.name,
        processes=processes,
        basis=basis if hours is not None else "unknown: run with --measure, or set CROSSOVER_PEAK_TFLOPS",
        runs=tuple(runs),
        flops=sum(run.seeds * run.flops for run in runs),
        disk_bytes=sum(run.seeds * run.disk_bytes for run in runs),
        device_hours=hours,
        price=hours * settings.price_per_gpu_hour if hours is not None and settings.price_per_gpu_hour else None,
    )


def _plan_run(
    study: StudyConfig, cell: Cell, arm: Arm, settings: Settings, world: World, seconds: float | None, resident: int
) -> RunPlan:
    """The plan of one run.

    Args:
        study: the study.
        cell: of the run.
        arm: of the run.
        settings: device peak and assumed MFU.
        world: the devices that train it together.
        seconds: of a step on one process, where they were measured.
        resident: bytes of memory of a process before it trains.
    """
    config, length, shape = study.training_of(arm.name), study.data.sequence_length, cell_model(study, cell)
    within = study.data.attention == "document"  # some examples hold several, whose attention takes a mask
    free = free_of_process(World().device(config.device), world) if device_is_here(config.device) else 0
    config = with_microbatch_size(config, shape, arm, length=length, world=world, free=free, masked=within)
    processes, at_once = world.size, config.examples_at_once(world.size)
    milestones = study.evaluation_steps(cell, arm.name)
    steps = run_schedule(config, milestones).steps
    tokens = steps * config.batch_size * length
    flops = steps * flops_per_step(study, shape, arm, at_once)
    if seconds is not None:
        seconds /= processes
    else:
        peak = peak_of(study, settings)
        seconds = flops / steps / (peak * settings.planned_mfu * processes) if peak else None
    step = step_memory(config, shape, arm, length=length, world=world, masked=within)
    memory = step.peak
    if config.device == "cpu":
        memory = resident + int(CPU_FRAGMENTATION * step.peak) + SAVED_COPIES * step.state
    return RunPlan(
        cell=cell.name,
        model=cell.model,
        arm=arm.name,
        seeds=1,
        parameters=shape.parameters,
        active_parameters=shape.active_parameters,
        unique_tokens=cell.unique_tokens,
        epochs=config.epochs,
        tokens=tokens,
        steps=steps,
        flops=flops,
        microbatch_size=at_once,
        memory_bytes=memory,
        disk_bytes=4 * shape.parameters * (len(milestones) + _resume_copies(config)),
        step_seconds=seconds,
        device_hours=None if seconds is None else seconds * steps * processes / 3600,
    )


class SweepCost(NamedTuple):
    """What the runs of a sweep cost that are yet to be trained."""

    runs: int
    flops: float
    disk_bytes: int
    device_hours: float | None
    minutes: float | None = None
    """Of waiting on this machine, where steps were measured."""


def sweep_cost(study: StudyConfig, plan: StudyPlan, new_runs: Sequence[RunId]) -> SweepCost:
    """Of a pending sweep: each of its runs costs as much as one of its arm in the smallest cell.

    Args:
        study: the study, whose runs of tuned arms are all new.
        plan: its plan.
        new_runs: runs of the sweep to train.
    """
    _, variants = sweep_of(study)
    of_arm = {run.arm: run for run in plan.runs if run.cell == study.cells[0].name}
    runs = [of_arm[variants[run.arm][0]] for run in new_runs]
    hours = [run.device_hours for run in runs if run.device_hours is not None]
    return SweepCost(
        runs=len(runs),
        flops=sum(run.flops for run in runs),
        disk_bytes=sum(run.disk_bytes for run in runs),
        device_hours=sum(hours) if len(hours) == len(runs) else None,
    )


def _resume_copies(config: TrainingConfig) -> int:
    """Weights, their average and optimizer state, in copies of the weights."""
    return (3 if config.optimizer == "adamw" else 2) + (config.ema > 0)


def flops_per_step(study: StudyConfig, shape: ModelConfig, arm: Arm, at_once: int | None = None) -> float:
    """Floating point operations of one optimizer step, all processes together; backward twice the forward.

    Args:
        study: the study.
        shape: architecture of the model.
        arm: the recipe.
        at_once: examples in one forward pass; None for those of one process.
    """
    config, length = study.training_of(arm.name), study.data.sequence_length
    objective = TrainingObjective(arm, length, 0)
    rows = (at_once or config.examples_at_once(1)) * length
    scored = 1.0 if fits_unchunked(rows, shape.vocab_size) else objective.scored_fraction
    forward = shape.forward_flops(keys=objective.visible_keys, passes=objective.passes, scored=scored)
    return 3.0 * forward * config.batch_size * length


def device_is_here(kind: str) -> bool:
    """Whether this machine has such a device."""
    import torch

    return kind != "cuda" or torch.cuda.is_available()


def peak_of(study: StudyConfig, settings: Settings) -> float:
    """Peak FLOP/s of the study's device; 0 when it is not here and not set."""
    if not device_is_here(study.training.device):
        return settings.peak_tflops * 1e12
    return peak_flops(World().device(study.training.device), study.training.precision, settings.peak_tflops)
