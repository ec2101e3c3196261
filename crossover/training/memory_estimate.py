"""How much memory a training step needs, found by running it on tensors without content.

Every tensor of a step is followed from its making to its end, so activations, gradients, logits and optimizer state are
counted as they are, not by a formula. Kernels' own scratch space and the allocator's fragments are not seen; compiled
blocks need less than what is found.
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
from crossover.training.distributed import World
from crossover.training.train_engine import TrainEngine

WHOLE_BLOCKS = 3
"""Blocks that sharded training holds whole at once: one, the next one, and its gradients."""


class StepMemory(NamedTuple):
    """Bytes on one device."""

    state: int
    """Weights and optimizer state: what stays between steps."""
    peak: int
    """The most in a step, state included."""


class _LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of all storages alive that were made under it."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = self.peak = 0
        self._seen: dict[int, weakref.ref[Any]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        if func is torch.ops.aten._grouped_mm.default:  # its shape rule knows bf16 only; the CPU runs others too
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
    """An empty result of a grouped product: rows by matrices, or, in the backward pass, a matrix per group."""
    return a.new_empty((a.shape[0], b.shape[2]) if b.ndim == 3 else (len(ends_E), a.shape[0], b.shape[1]))


def step_memory(config: TrainingConfig, shape: ModelConfig, arm: Arm, *, length: int, processes: int = 1) -> StepMemory:
    """Memory of one device in a training step.

    Args:
        config: the study's settings; the device asked for need not be here.
        shape: the model's.
        arm: the recipe.
        length: tokens of text in an example.
        processes: devices that train the run together.
    """
    settings = config.model_copy(
        update={
            "device": "cpu",
            "compile": False,
            "data_parallel": "replicate",
            "batch_size": _local(config, processes),
        }
    )
    with FakeTensorMode(allow_non_fake_inputs=True), _LiveBytes() as counter:
        engine = TrainEngine(settings, shape, arm, seed=0, length=length, world=World())
        slots = engine.slots[0]
        rows = np.zeros((slots.stop, length), dtype=np.int64)
        batch = Batch(np.zeros(slots.stop, dtype=np.int64), np.arange(slots.stop))
        part = engine.objective.microbatch(0, batch, slots, rows, sparse=engine.chunked, device=engine.device)
        for _ in range(2):
            counter.peak = counter.live
            engine.backward(part, slots)
            engine.apply(0.0)
        state = counter.live
    waiting = 4 * shape.parameters * int(math.log2(len(engine.slots)))  # sums that the tree keeps back
    peak = counter.peak - state + waiting
    if config.data_parallel == "shard" and processes > 1:
        block = 4 * max(1, shape.parameters // shape.num_layers)
        gradients = 4 * shape.parameters
        state, peak = state // processes, peak - gradients + gradients // processes + WHOLE_BLOCKS * block
    return StepMemory(state, state + peak)


def _local(config: TrainingConfig, processes: int) -> int:
    return max(1, config.batch_size // processes)
