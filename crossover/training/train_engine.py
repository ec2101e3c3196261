"""A model in training with its optimizers: gradients and optimizer steps, on one or many processes.

Shapes: B examples of the global batch, n examples of a microbatch or of the data set, L tokens of text.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, ExitStack
from typing import NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor

from crossover.data.row_sample import Rows
from crossover.errors import StudyError
from crossover.model.mixture_of_experts import ROUTER_STATISTICS, Experts
from crossover.model.model_config import ModelConfig
from crossover.model.transformer import Transformer
from crossover.study.arms import Arm
from crossover.study.study_parts import TrainingConfig
from crossover.tokenization.tokenizer import BYTES, Tokenizer
from crossover.training import sharding
from crossover.training.batch_order import Batch
from crossover.training.chunked_loss import CHUNK_LOGITS, fits_unchunked
from crossover.training.determinism import explaining_kernels, use_deterministic_kernels
from crossover.training.device_metrics import check_precision
from crossover.training.distributed import World
from crossover.training.gradient_reduction import TreeSum, all_reduce
from crossover.training.memory_advice import explained, with_microbatch_size
from crossover.training.optimizer import build_optimizers, optimizer_state, restore_optimizers, set_rate
from crossover.training.training_objectives import Microbatch, TrainingObjective, sum_of_losses
from crossover.training.weight_average import WeightAverage

Snapshot = tuple[dict[str, Tensor], dict[str, Tensor]]
"""Weights and optimizer state, by name."""


class StepLosses(NamedTuple):
    """Results of a step over the global batch and all processes."""

    nll: float
    """The objective, nats per token."""
    gradient_norm: float
    """Global L2 norm before clipping."""
    data_seconds: float
    """Time that this process spent on preparing its part of the batch."""
    router: dict[str, float] | None = None
    """Of a sparse model: the statistics of its routers, averaged over blocks."""


class TrainEngine:
    """One model in training.

    Args:
        config: training settings of the arm (`StudyConfig.training_of`).
        shape: architecture of the model.
        arm: the recipe.
        seed: the run's seed.
        length: tokens of text per example, L.
        document_end: id of the token that ends a document, where attention stays within documents; None otherwise.
        tokenizer: whose ids the examples are.
        world: the process group.

    Raises:
        StudyError: the batch does not divide, the device is missing, or there is no compiler.
    """

    def __init__(
        self,
        config: TrainingConfig,
        shape: ModelConfig,
        arm: Arm,
        *,
        seed: int,
        length: int,
        world: World,
        document_end: int | None = None,
        tokenizer: Tokenizer = BYTES,
    ) -> None:
        masked = document_end is not None
        config = with_microbatch_size(config, shape, arm, length=length, world=world, masked=masked)
        self.config, self.arm, self.world, self.length = config, arm, world, length
        self.device = world.device(config.device)
        use_deterministic_kernels(self.device, config.deterministic)
        self.precision_note = check_precision(self.device, config.precision)
        self.objective = TrainingObjective(arm, length, seed, document_end, tokenizer)
        self.slots = split_slots(config, world)
        positions = (self.slots[0].stop - self.slots[0].start) * length
        self.chunk = 0 if fits_unchunked(positions, shape.vocab_size) else CHUNK_LOGITS[self.device.type]
        self.sharded = config.data_parallel == "shard" and world.size > 1
        with torch.device("meta" if self.sharded else self.device):
            self.model = Transformer(
                shape,
                causal=arm.causal,
                mask_id=shape.vocab_size - 1,
                block_length=arm.block_length,
                expert_choice=arm.expert_choice,
                document_end=document_end,
            )
        self.model.tokenizer = tokenizer
        self.model.checkpoint_activations = config.activation_checkpointing
        if config.compile:
            _compile_blocks(self.model, self.device)
        if self.sharded:
            sharding.check_expert_parallel(config, shape, world)
            sharding.shard(self.model, config.precision, self.device, world, config.expert_parallel)
            self.model.to_empty(device=self.device)
        self.model.train()
        self.model.reset_buffers(self.device)
        self.parameters = dict(self.model.named_parameters())
        self.optimizers = build_optimizers(self.parameters.items(), config)
        self._average = WeightAverage(self.parameters, config.ema) if config.ema else None
        self._norm = torch.zeros(())
        self._ahead: tuple[int, Batch, Microbatch] | None = None
        forward = shape.forward_flops(
            keys=self.objective.visible_keys,
            passes=self.objective.passes,
            scored=self.objective.scored_fraction if self.chunk else 1.0,
        )
        self.flops_per_step = 3.0 * forward * config.batch_size * length

    def set_weights(self, values: Iterable[tuple[str, Tensor]]) -> None:
        """Set parameters to full tensors, given by name on the CPU."""
        with torch.no_grad():
            for name, value in values:
                sharding.assign(self.parameters[name], value)

    def restore(self, weights: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
        """Restore a snapshot: each process's own rows, or one that rank 0 holds, and the others pass empty mappings."""
        names = self.world.share([(name, tensor.shape, tensor.dtype) for name, tensor in state.items()])
        self.set_weights(
            (name, self._broadcast(weights.get(name), p.shape, p.dtype)) for name, p in self.parameters.items()
        )
        tensors = {}
        for name, shape, dtype in names:
            full = self._broadcast(state.get(name), shape, dtype)
            parameter = self.parameters[name.partition(".")[2]]
            tensors[name] = sharding.shard_like(parameter, full) if shape else full.to(self.device)
        if self._average is not None:
            self._average.restore(tensors)
        restore_optimizers(self.optimizers, self.parameters, tensors)

    def _broadcast(self, tensor: Tensor | None, shape: torch.Size, dtype: torch.dtype) -> Tensor:
        """Rank 0's tensor on every process, on the CPU; this process's rows as they are."""
        if tensor is not None and sharding.is_sharded(tensor):
            return tensor
        full = torch.empty(shape, dtype=dtype) if tensor is None else tensor.cpu().contiguous()
        if self.world.size > 1:
            dist.broadcast(full, src=0)
        return full

    def reset_optimizers(self) -> None:
        """Discard the optimizers' state; the average begins at the weights as they are."""
        restore_optimizers(self.optimizers, self.parameters, {})
        if self._average is not None:
            self._average.reset()

    def snapshot(self, *, optimizer: bool = True) -> Snapshot:
        """Copies of weights and optimizer state on the CPU: rank 0's, or, sharded, each process's own rows."""
        state = optimizer_state(self.optimizers, self.parameters) if optimizer else {}
        if optimizer and self._average is not None:
            state |= self._average.state()
        if not (self.sharded or self.world.leads):
            return {}, {}
        weights, tensors = (
            {name: tensor.detach().to("cpu", copy=True) for name, tensor in source.items()}
            for source in (self.parameters, state)
        )
        return weights, tensors

    def gathered(self) -> Snapshot:
        """Weights and optimizer state, whole and on the CPU of rank 0; a collective."""
        state = optimizer_state(self.optimizers, self.parameters)
        if self._average is not None:
            state |= self._average.state()
        return self._gathered(self.parameters), self._gathered(state)

    def measured_weights(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """The weights that are measured and served, whole and on the CPU of rank 0; a collective.

        Args:
            weights: of a snapshot of now; they are it unless there is an average or the model is sharded.
        """
        if self._average is None and not self.sharded:
            return weights
        return self._gathered(self.parameters if self._average is None else self._average.weights)

    def _gathered(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Whole copies on the CPU of rank 0, gathered one after the other; empty on the other ranks."""
        copies = {}
        for name, tensor in tensors.items():
            value = sharding.full_tensor(tensor).detach()
            if self.world.leads:
                copies[name] = value.to("cpu", copy=True)
        return copies

    def gradients(self, step: int, batch: Batch, examples: Rows, following: Batch | None = None) -> StepLosses:
        """Set the parameters' gradients to those of the global batch's mean loss.

        Args:
            step: optimizer step, from 0.
            batch: the global batch.
            examples: token ids of all training examples (n, L); the same at every step.
            following: the batch of the next step, whose first microbatch is then made while the device computes.

        Raises:
            StudyError: out of memory.
            LostProcessError: another process ended or hangs.
        """
        with self._explained(), explaining_kernels(), ExitStack() as stack:
            if self.sharded:  # every block of it is an exchange
                stack.enter_context(self.world.exchange(step))
            total, data_seconds = self._own_sum(step, batch, examples)
            if not self.sharded:
                stack.enter_context(self.world.exchange(step))
            all_reduce(total)
            if not self.sharded:
                for parameter, gradient in zip(self.parameters.values(), total[1:], strict=True):
                    parameter.grad = gradient
            grads = [p.grad for p in self.parameters.values() if p.grad is not None]
            self._norm = sharding.total_norm(grads)
            values = torch.cat((total[0], self._norm[None]))
            began = time.perf_counter()
            if following is not None:  # before the losses are waited for, after which the device would idle
                part = self._microbatch(step + 1, following, self.slots[0], examples)
                self._ahead = step + 1, following, part
            data_seconds += time.perf_counter() - began
            nll_value, *router, norm_value = values.tolist()
        statistics = dict(zip(ROUTER_STATISTICS, router, strict=True)) if router else None
        return StepLosses(nll_value, norm_value, data_seconds, statistics)

    def _own_sum(self, step: int, batch: Batch, examples: Rows) -> tuple[list[Tensor], float]:
        """What `backward` returns, summed over microbatches, then, unless sharded, gradients; and data seconds."""
        data_seconds, sums = 0.0, TreeSum()
        for slots in self.slots:
            began = time.perf_counter()
            part = self._microbatch(step, batch, slots, examples)
            data_seconds += time.perf_counter() - began
            losses = self.backward(part, slots)
            sums.push([losses] if self.sharded else [losses, *self._take_gradients()])
        return sums.total(), data_seconds

    def _microbatch(self, step: int, batch: Batch, slots: slice, examples: Rows) -> Microbatch:
        """The microbatch of these slots; the one that was made ahead, if it is that."""
        ahead, self._ahead = self._ahead, None
        if (
            ahead is not None
            and slots == self.slots[0]
            and ahead[0] == step
            and all(np.array_equal(np.asarray(a), np.asarray(b)) for a, b in zip(ahead[1], batch, strict=True))
        ):
            return ahead[2]
        return self.microbatch(step, batch, slots, examples[batch.examples_B[slots]].astype(np.int64))

    def microbatch(self, step: int, batch: Batch, slots: slice, tokens_nL: NDArray[np.int64]) -> Microbatch:
        """Inputs, targets and weights of the microbatch of these slots, on the device."""
        return self.objective.microbatch(step, batch, slots, tokens_nL, sparse=self.chunk > 0, device=self.device)

    def backward(self, part: Microbatch, slots: slice) -> Tensor:
        """Forward and backward pass of a microbatch.

        Returns:
            Its part of the objective in nats per token, and of a sparse model's `ROUTER_STATISTICS`: (1,) or (4,).
        """
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bf16"):
            losses = sum_of_losses(self.model, part, self.arm, self.objective.tokenizer.mask, chunk=self.chunk)
        nll = losses[:1] / (self.config.batch_size * self.length)
        if not self.model.config.num_experts:
            (nll * self.world.size if self.sharded else nll).backward()
            return nll.detach()
        fraction = (slots.stop - slots.start) / self.config.batch_size
        router = self.config.router_balance * losses[1] + self.config.router_z * losses[2]
        loss = nll + fraction * router
        (loss * self.world.size if self.sharded else loss).backward()
        return torch.cat((nll, fraction / self.model.config.num_layers * losses[3:])).detach()

    def _take_gradients(self) -> list[Tensor]:
        gradients = []
        for parameter in self.parameters.values():
            gradients.append(torch.zeros_like(parameter) if parameter.grad is None else parameter.grad)
            parameter.grad = None
        return gradients

    def apply(self, rate: float, step: int = 0) -> None:
        """Clip the gradients, whose norm `gradients` computed, and take an optimizer step at this learning rate.

        Args:
            rate: learning rate.
            step: optimizer step, from 0, which the average's decay grows with.
        """
        for parameters in sharding.by_mesh(self.parameters.values()):
            torch.nn.utils.clip_grads_with_norm_(parameters, self.config.gradient_clip, self._norm)
        set_rate(self.optimizers, rate)
        with self._explained():  # the first step allocates the optimizers' state
            for optimizer in self.optimizers:
                optimizer.step()
        if self._average is not None:
            self._average.update(step)
        self.discard()

    def _explained(self) -> AbstractContextManager[None]:
        masked = self.objective.document_end is not None
        return explained(self.config, self.model.config, self.arm, length=self.length, world=self.world, masked=masked)

    def discard(self) -> None:
        """Discard the gradients."""
        for parameter in self.parameters.values():
            parameter.grad = None


def split_slots(config: TrainingConfig, world: World) -> list[slice]:
    """Slots of the global batch that form each microbatch of this process; they are contiguous.

    Raises:
        StudyError: the batch does not divide among the processes and microbatches.
    """
    batch, size = config.batch_size, config.examples_at_once(world.size)
    if batch % world.size or not size or (batch // world.size) % size:
        raise StudyError(
            "training.batch-does-not-divide",
            field="training.microbatch_size" if isinstance(config.microbatch_size, int) else "training.batch_size",
            problem=f"a batch of {batch} does not divide among {world.size} processes in microbatches of {size or 1}",
            remedy="choose a batch_size that is a multiple of processes x microbatch_size, or start fewer processes",
        )
    first = world.rank * (batch // world.size)
    return [slice(start, start + size) for start in range(first, first + batch // world.size, size)]


def _compile_blocks(model: Transformer, device: torch.device) -> None:
    compilers = ("g++", "clang++") if device.type == "cpu" else ("gcc", "clang", "cc")  # Triton's are those of C
    if not any(map(shutil.which, compilers)):
        raise StudyError(
            "training.no-compiler",
            field="training.compile",
            problem=f"is set, and there is no compiler ({compilers[0]})",
            remedy=f"install {compilers[0]} or set training.compile to false",
        )
    torch.compiler.reset()  # the graphs of earlier models count towards the number after which torch compiles no more
    for module in model.modules():
        if isinstance(module, Experts):
            module.prepare_for_compiler()
    for block in model.model.layers:
        block.compile(dynamic=False)
