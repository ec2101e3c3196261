"""One run: one arm, one cell, one seed. Deterministic, resumable to the bit, and the same loop for every arm.

On disk, under the run's folder:
  checkpoints/step-*   weights at the evaluation steps
  resume/step-*        weights and optimizer; only the newest complete one is kept
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from crossover.counter_rng import Stream, generator
from crossover.data import tokenizer
from crossover.errors import CheckpointError, CrossoverError
from crossover.model.transformer import Transformer
from crossover.study import Cell, StudyConfig
from crossover.training.arms import ARMS, Arm
from crossover.training.checkpoint import (
    STATE,
    CheckpointInfo,
    checkpoint_digest,
    latest_checkpoint,
    load_checkpoint,
    read_manifest,
    save_checkpoint,
    step_folder,
)
from crossover.training.corruption import training_masks
from crossover.training.objectives import ar_nll, masked_nll
from crossover.training.optimizer import build_optimizer, learning_rate, optimizer_state, restore_optimizer
from crossover.training.order import batch_at
from crossover.training.recorder import Progress, Recorder

LOGGED_POINTS = 200
"""Training losses recorded per run, at most about this many."""


class DivergedError(CrossoverError):
    """The loss is not finite; the run stops rather than train on."""


@dataclass(frozen=True, kw_only=True)
class RunSpec:
    """Which run of which study."""

    study: StudyConfig
    cell: Cell
    arm: str
    seed: int

    @property
    def key(self) -> str:
        """`<cell>/<arm>/seed-<n>`: unique in the study, and the run's folder below `runs/`."""
        return f"{self.cell.name}/{self.arm}/seed-{self.seed}"


@dataclass(kw_only=True)
class _State:
    """What changes while training."""

    model: Transformer
    optimizer: torch.optim.AdamW
    step: int
    seconds: float


def pair_generator(seed: int) -> torch.Generator:
    """The generator of initial weights; both arms of a pair get the same."""
    return torch.Generator().manual_seed(int(generator(seed, Stream.INITIALISATION).integers(2**62)))


def resume_step(folder: Path) -> int:
    """The step from which a run in this folder would go on; 0 when it starts."""
    newest, _ = latest_checkpoint(folder / "resume")
    return 0 if newest is None else int(newest.name.removeprefix("step-"))


class Trainer:
    """Trains one run to its end, from wherever a previous attempt got.

    Args:
        spec: the run.
        examples: the cell's training examples (n, L), uint16.
        folder: where its checkpoints go.
        recorder: where its numbers go.
        on_step: called after each step with (step, total steps, loss); for progress bars.

    Raises:
        DivergedError: a loss that is not finite.
        CheckpointError: the folder holds checkpoints of another study.
        WorkspaceError: the folder cannot be written; the last checkpoint stays whole.
    """

    def __init__(
        self,
        spec: RunSpec,
        examples: NDArray[np.uint16],
        folder: Path,
        recorder: Recorder,
        on_step: Callable[[int, int, float], None] = lambda step, total, loss: None,
    ) -> None:
        self.spec, self.examples, self.folder, self.recorder, self.on_step = spec, examples, folder, recorder, on_step
        self.arm: Arm = ARMS[spec.arm]
        self.config = spec.study.training
        self.shape = spec.study.model_config_of(spec.cell)
        self.total_steps = spec.study.total_steps(spec.cell)
        self.milestones = frozenset(spec.study.evaluation_steps(spec.cell))
        length = spec.study.data.sequence_length
        self.tokens_per_step = self.config.batch_size * length
        forward = self.shape.forward_flops_per_token(length=length, causal=self.arm.causal)
        self.flops_per_step = 3.0 * forward * self.tokens_per_step

    def run(self) -> None:
        """Train until the last step; returns at once if it is already there."""
        state = self._start()
        every = max(1, self.total_steps // LOGGED_POINTS)
        while state.step < self.total_steps:
            began = time.perf_counter()
            loss, gradient_norm = self._train_step(state)
            state.step += 1
            state.seconds += time.perf_counter() - began
            at = self._progress(state)
            if state.step % every == 0 or state.step in self.milestones:
                self.recorder.point(at, "training_loss", loss)
                self.recorder.point(at, "gradient_norm", gradient_norm)
            if state.step in self.milestones:
                self._save(state, at)
            self.on_step(state.step, self.total_steps, loss)

    def _start(self) -> _State:
        """From the newest complete checkpoint, or from the pair's initial weights."""
        newest, torn = latest_checkpoint(self.folder / "resume")
        for folder in torn:
            shutil.rmtree(folder)
        device = torch.device(self.config.device)
        if newest is None:
            model = Transformer(self.shape, causal=self.arm.causal, mask_id=tokenizer.MASK)
            model.initialise(pair_generator(self.spec.seed))
            model.to(device).train()
            return _State(model=model, optimizer=build_optimizer(model, self.config, self.arm), step=0, seconds=0.0)
        model, info = load_checkpoint(newest, device=self.config.device)
        if (info.study, info.run) != (self.spec.study.digest, self.spec.key):
            raise CheckpointError(
                "checkpoint.other-study",
                field=str(newest),
                problem=f"belongs to run {info.run} of study {info.study}",
                remedy="give another --out or delete the folder",
            )
        optimizer = build_optimizer(model.train(), self.config, self.arm)
        restore_optimizer(optimizer, model, load_file(newest / STATE, device=self.config.device))
        return _State(model=model, optimizer=optimizer, step=info.step, seconds=info.seconds)

    def _train_step(self, state: _State) -> tuple[float, float]:
        """One optimizer step; returns loss (nats a token) and global gradient norm."""
        for group in state.optimizer.param_groups:
            group["lr"] = learning_rate(self.config, state.step)
        loss = self._loss(state)
        value = float(loss.item())
        if not math.isfinite(value):
            raise DivergedError(
                f"{self.spec.key}: the loss is {value} at step {state.step + 1}; lower training.learning_rate"
            )
        state.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(state.model.parameters(), self.config.gradient_clip)
        state.optimizer.step()
        return value, float(norm.item())

    def _loss(self, state: _State) -> Tensor:
        """The arm's loss on the batch of the current step."""
        seed, length = self.spec.seed, self.examples.shape[1]
        batch = batch_at(seed, state.step, batch_size=self.config.batch_size, examples=len(self.examples))
        device = torch.device(self.config.device)
        tokens_BL = torch.from_numpy(self.examples[batch.examples_B].astype(np.int64)).to(device)
        if self.arm.causal:
            return ar_nll(state.model, tokens_BL, tokenizer.BOS).mean()
        masks_BL = training_masks(
            seed=seed, step=state.step, epochs_B=batch.epochs_B, examples_B=batch.examples_B, length=length
        )
        return masked_nll(state.model, tokens_BL, torch.from_numpy(masks_BL).to(device)).mean()

    def _progress(self, state: _State) -> Progress:
        return Progress(
            step=state.step,
            tokens=state.step * self.tokens_per_step,
            flops=state.step * self.flops_per_step,
            seconds=state.seconds,
        )

    def _save(self, state: _State, at: Progress) -> None:
        """A milestone and a point to resume from; the older resume point goes only when the newer is complete."""
        info = CheckpointInfo(
            study=self.spec.study.digest,
            run=self.spec.key,
            arm=self.spec.arm,
            family=self.arm.family,
            seed=self.spec.seed,
            step=at.step,
            tokens=at.tokens,
            flops=at.flops,
            seconds=at.seconds,
            model=self.shape,
        )
        milestone = step_folder(self.folder / "checkpoints", at.step)
        digest = save_checkpoint(milestone, info, state.model)
        self.recorder.checkpoint(at, milestone, digest)
        resume = step_folder(self.folder / "resume", at.step)
        save_checkpoint(resume, info, state.model, optimizer_state(state.optimizer, state.model))
        for older in (self.folder / "resume").glob("step-*"):
            if older.name < resume.name:
                shutil.rmtree(older)


def milestones(spec: RunSpec, folder: Path) -> list[tuple[int, Path, str]]:
    """(step, folder, digest) of every evaluation step of a finished run.

    Raises:
        CheckpointError: one of them is missing or torn.
    """
    found = []
    for step in spec.study.evaluation_steps(spec.cell):
        place = step_folder(folder / "checkpoints", step)
        if read_manifest(place) is None:
            raise CheckpointError(
                "checkpoint.missing",
                field=str(place),
                problem="the checkpoint is missing or torn",
                remedy="run `crossover pretrain` for this run again",
            )
        found.append((step, place, checkpoint_digest(place)))
    return found
