"""Estimates the memory of a training step by running it on fake tensors, which have no storage.

The storage of every tensor is counted from its creation to its release: activations, gradients, logits and optimizer
state are measured, not computed by a formula. Not counted are the kernels' workspaces and the allocator's
fragmentation; compiled blocks need less than the estimate.
"""

from __future__ import annotations

import math
import weakref
from typing import Any, NamedTuple

import numpy as np
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from crossover.model.model_config import ModelConfig
from crossover.study.arms import Arm
from crossover.study.study_parts import TrainingConfig
from crossover.training.batch_order import Batch
from crossover.training.chunked_loss import CHUNK_LOGITS
from crossover.training.distributed import World
from crossover.training.train_engine import TrainEngine

UNSHARDED_BLOCKS = 3
"""Unsharded blocks that sharded training holds at once: the current one, the next one, and its gradients."""


class StepMemory(NamedTuple):
    """Memory of a training step on one device, in bytes."""

    state: int
    """Weights and optimizer state, which persist between steps."""
    peak: int
    """Peak within a step, including `state`."""


class _LiveBytes(TorchDispatchMode):
    """Counts the bytes of all live storages that were created under this mode."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's class is not typed
        self.live = self.peak = 0
        self._seen: dict[int, weakref.ref[Any]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401  # torch's own signature
        if func is torch.ops.aten._grouped_mm.default:  # its meta kernel supports bf16 only
            output = _grouped_shape(*args)
        else:
            output = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(output):
            if isinstance(leaf, torch.Tensor):
                self._follow(leaf.untyped_storage())
        return output

    def _follow(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key in self._seen:
            return
        size = storage.nbytes()
        self.live += size
        self.peak = max(self.peak, self.live)

        def freed(_: object) -> None:
            self.live -= size
            del self._seen[key]

        self._seen[key] = weakref.ref(storage, freed)


def _grouped_shape(a: torch.Tensor, b: torch.Tensor, ends_E: torch.Tensor, *_: object) -> torch.Tensor:
    """Empty result of a grouped product: rows times matrices, or, in the backward pass, one matrix per group."""
    return a.new_empty((a.shape[0], b.shape[2]) if b.ndim == 3 else (len(ends_E), a.shape[0], b.shape[1]))


def step_memory(
    config: TrainingConfig,
    shape: ModelConfig,
    arm: Arm,
    *,
    length: int,
    world: World = World(),  # noqa: B008  # frozen, and stands for "alone"
    masked: bool = False,
) -> StepMemory:
    """Estimate the memory of a training step on one device.

    Args:
        config: training settings of the arm; its device need not be present. A `microbatch_size` of `auto` counts as
            all that a process has of a batch.
        shape: architecture of the model.
        arm: the recipe.
        length: tokens of text per example.
        world: the devices that train the run, and their nodes.
        masked: whether attention stays within documents, so that a batch with several in an example takes a mask.
    """
    settings = config.model_copy(
        update={
            "device": "cpu",
            "compile": False,
            "data_parallel": "replicate",
            "batch_size": max(1, config.batch_size // world.size),
            "microbatch_size": max(1, config.examples_at_once(world.size)),
        }
    )
    with FakeTensorMode(allow_non_fake_inputs=True), _LiveBytes() as counter:
        engine = TrainEngine(settings, shape, arm, seed=0, length=length, world=World())
        slots = engine.slots[0]
        rows = np.zeros((slots.stop, length), dtype=np.int64)
        # a cut, and several documents, give a microbatch an attention mask of every example
        cuts = np.full(slots.stop, 0.5) if config.random_lengths or masked else None
        batch = Batch(np.zeros(slots.stop, dtype=np.int64), np.arange(slots.stop), cuts)
        engine.chunk = engine.chunk and CHUNK_LOGITS[config.device]
        part = engine.microbatch(0, batch, slots, rows)
        for _ in range(2):
            counter.peak = counter.live
            engine.backward(part, slots)
            engine.apply(0.0)
        state = counter.live
    partial_sums = 4 * shape.parameters * int(math.log2(len(engine.slots)))  # held by the tree sum
    peak = counter.peak - state + partial_sums
    if config.data_parallel == "shard" and world.size > 1:
        experts = 12 * shape.num_experts * shape.hidden_size * shape.intermediate_size  # of a block
        block = 4 * max(1, shape.parameters // shape.num_layers) - experts + experts // config.expert_parallel
        gradients = 4 * shape.parameters
        peak -= partial_sums  # its gradients are added in place
        state, peak = state // world.shards, peak - gradients + gradients // world.shards + UNSHARDED_BLOCKS * block
        if config.expert_parallel > 1:  # a microbatch's rows as they are received, evenly, and as they come back
            received = (slots.stop - slots.start) * length * engine.objective.passes * shape.experts_per_token
            peak += int(2 * received * shape.hidden_size * (2 if config.precision == "bf16" else 4))
    return StepMemory(state, state + peak)
