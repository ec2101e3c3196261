"""Settings that fit a device's memory by the planner's estimate: the microbatch, and what to lower when it runs out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from crossover.errors import StudyError
from crossover.model.free_memory import free_memory
from crossover.model.model_config import ModelConfig
from crossover.study.arms import Arm
from crossover.study.study_parts import TrainingConfig
from crossover.training.distributed import World

USABLE = 0.9
"""Share of a device's memory that a planned step may fill; the rest is of kernels and the allocator."""


def with_microbatch_size(
    config: TrainingConfig,
    shape: ModelConfig,
    arm: Arm,
    *,
    length: int,
    world: World,
    free: int | None = None,
    masked: bool = False,
) -> TrainingConfig:
    """The settings with a number in place of a `microbatch_size` of `auto`: the largest whose planned step fits.

    The sizes are all that a process has of a batch, its half, its quarter and so on while they are even, and 1: a power
    of two of microbatches, whose gradients are summed as a balanced tree. 1 is taken whether it fits or not.

    Args:
        config: training settings of the arm.
        shape: architecture of the model.
        arm: the recipe.
        length: tokens of text per example.
        world: the process group.
        free: bytes of a device that the step may share with the allocator; None takes the least of these processes.
        masked: whether attention stays within documents.

    Raises:
        StudyError: the device is missing.
    """
    if config.microbatch_size != "auto" or config.batch_size % world.size:  # the latter is refused by `split_slots`
        return config
    if free is None:
        free = -world.most(-free_of_process(world.device(config.device), world))
    from crossover.training.memory_estimate import step_memory  # which builds an engine

    for size in _halves(config.batch_size // world.size):
        sized = config.model_copy(update={"microbatch_size": size})
        if step_memory(sized, shape, arm, length=length, world=world, masked=masked).peak <= USABLE * free:
            return sized
    return config.model_copy(update={"microbatch_size": 1})


def free_of_process(device: torch.device, world: World) -> int:
    """Free bytes of a device; processes of a machine share its processor's."""
    return free_memory(device) // (1 if device.type == "cuda" else world.size // world.nodes)


def _halves(size: int) -> Iterator[int]:
    """A size, its half, its quarter and so on while they are even."""
    yield size
    while size % 2 == 0:
        size //= 2
        yield size


@contextmanager
def explained(
    config: TrainingConfig, shape: ModelConfig, arm: Arm, *, length: int, world: World, masked: bool = False
) -> Iterator[None]:
    """Turn an allocation that fails in the block into an error that names the setting to change.

    Args:
        config: training settings of the arm.
        shape: architecture of the model.
        arm: the recipe.
        length: tokens of text per example.
        world: the process group.
        masked: whether attention stays within documents.

    Raises:
        StudyError: out of memory.
    """
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
            raise
        raise _advice(config, shape, arm, length, world, masked) from error


def _advice(
    config: TrainingConfig, shape: ModelConfig, arm: Arm, length: int, world: World, masked: bool
) -> StudyError:
    from crossover.training.memory_estimate import step_memory  # which builds the engine that this module explains

    def planned(changes: dict[str, object]) -> int:
        changed = config.model_copy(update=changes)
        return step_memory(changed, shape, arm, length=length, world=world, masked=masked).peak

    size, memory = config.examples_at_once(world.size), _memory(world.device(config.device))
    needs = planned({"microbatch_size": size})
    problem = (
        f"out of memory with {size} examples in one forward pass: by the plan a step needs {_gib(needs)} "
        f"of the {_gib(memory)} of this device"
    )
    for field, value, changes in _options(config, shape, size, world):
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


def _options(
    config: TrainingConfig, shape: ModelConfig, size: int, world: World
) -> Iterator[tuple[str, str, dict[str, object]]]:
    """Field, value and all changes of each option, from the cheapest to the dearest."""
    one = size
    for one in list(_halves(size))[1:]:
        yield "microbatch_size", str(one), {"microbatch_size": one}
    if not config.activation_checkpointing:
        for part in dict.fromkeys((size, one)):
            value = "true" + (f" and training.microbatch_size to {part}" if part < size else "")
            yield "activation_checkpointing", value, {"activation_checkpointing": True, "microbatch_size": part}
    if world.size > 1 and config.data_parallel != "shard":
        yield "data_parallel", "shard", {"data_parallel": "shard", "microbatch_size": size}
    here = world.size // world.nodes
    if shape.num_experts and here > config.expert_parallel and shape.num_experts % here == 0:
        also = "" if config.data_parallel == "shard" else " and training.data_parallel to shard"
        changes: dict[str, object] = {"expert_parallel": here, "data_parallel": "shard", "microbatch_size": size}
        yield "expert_parallel", f"{here}{also}", changes


def _memory(device: torch.device) -> int:
    """All memory of a device in bytes."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _gib(size: int) -> str:
    return f"{size / 2**30:.3g} GiB"
