"""What to lower when a training step runs out of memory: the first setting that fits by the planner's estimate."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from crossover.errors import StudyError
from crossover.model.model_config import ModelConfig
from crossover.study.arms import Arm
from crossover.study.study_parts import TrainingConfig
from crossover.training.distributed import World

USABLE = 0.9
"""Share of a device's memory that a planned step may fill; the rest is of kernels and the allocator."""


@contextmanager
def explained(config: TrainingConfig, shape: ModelConfig, arm: Arm, *, length: int, world: World) -> Iterator[None]:
    """Turn an allocation that fails in the block into an error that names the setting to change.

    Args:
        config: training settings of the arm.
        shape: architecture of the model.
        arm: the recipe.
        length: tokens of text per example.
        world: the process group.

    Raises:
        StudyError: out of memory.
    """
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
            raise
        raise _advice(config, shape, arm, length, world) from error


def _advice(config: TrainingConfig, shape: ModelConfig, arm: Arm, length: int, world: World) -> StudyError:
    from crossover.training.memory_estimate import step_memory  # which builds the engine that this module explains

    def planned(changes: dict[str, object]) -> int:
        return step_memory(config.model_copy(update=changes), shape, arm, length=length, processes=world.size).peak

    size, memory = config.microbatch_size or config.batch_size // world.size, _memory(world.device(config.device))
    needs = planned({"microbatch_size": size})
    problem = (
        f"out of memory with {size} examples in one forward pass: by the plan a step needs {_gib(needs)} "
        f"of the {_gib(memory)} of this device"
    )
    for field, value, changes in _options(config, size, world):
        peak = planned(changes)
        if peak <= USABLE * memory and peak < needs:
            return StudyError(
                "training.out-of-memory",
                field=f"training.{field}",
                problem=problem,
                remedy=f"set it to {value}, for which the plan is {_gib(peak)}",
            )
    return StudyError(
        "training.out-of-memory",
        field="training.data_parallel",
        problem=problem,
        remedy="set it to shard with activation_checkpointing and more processes, take a device with more memory, free "
        "what other programs hold of it, or choose a smaller model; `crossover plan` estimates what fits",
    )


def _options(config: TrainingConfig, size: int, world: World) -> Iterator[tuple[str, str, dict[str, object]]]:
    """Field, value and all changes of each option, from the cheapest to the dearest."""
    one = size
    while one % 2 == 0:
        one //= 2
        yield "microbatch_size", str(one), {"microbatch_size": one}
    if not config.activation_checkpointing:
        for part in dict.fromkeys((size, one)):
            value = "true" + (f" and training.microbatch_size to {part}" if part < size else "")
            yield "activation_checkpointing", value, {"activation_checkpointing": True, "microbatch_size": part}
    if world.size > 1 and config.data_parallel != "shard":
        yield "data_parallel", "shard", {"data_parallel": "shard", "microbatch_size": size}


def _memory(device: torch.device) -> int:
    """All memory of a device in bytes."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _gib(size: int) -> str:
    return f"{size / 2**30:.3g} GiB"
