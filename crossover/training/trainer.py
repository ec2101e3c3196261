"""One run: one arm, one cell, one seed. Deterministic, resumable to the bit, and the same loop for every arm.

On disk, under the run's folder:
  checkpoints/step-*   weights at the evaluation steps
  resume/step-*        weights and optimizer of the trunk; the newest complete one is kept, and under the policy
                       `roll-back` those that a fault could lead back to
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from crossover.data.row_sample import Rows
from crossover.errors import CheckpointError
from crossover.settings import get_settings
from crossover.termination import Terminated, deferring_termination, termination_requested
from crossover.training.background_writer import BackgroundWriter
from crossover.training.batch_order import Batch, batch_at
from crossover.training.checkpoint import save_checkpoint
from crossover.training.checkpoint_info import (
    CheckpointInfo,
    latest_checkpoint,
    read_info,
    read_manifest,
    step_folder,
    step_of,
)
from crossover.training.distributed import World
from crossover.training.loss_guard import MOST_ROLLBACKS, SKIPPED_WINDOW, LossGuard
from crossover.training.recorder import Progress, Recorder
from crossover.training.resume_points import ResumePoints
from crossover.training.resume_timer import ResumeTimer
from crossover.training.run_schedule import learning_rate, run_schedule
from crossover.training.run_spec import DivergedError, RunSpec, cell_model, pair_generator
from crossover.training.step_log import StepLog
from crossover.training.train_engine import Snapshot, TrainEngine

LOGGED_POINTS = 200
"""Training losses recorded per run, at most about this many."""
SAVE, STOP = 1, 2
"""What any process may request of all after a step: a resume point, or a resume point and the end."""


@dataclass(kw_only=True)
class _State:
    """How far the model in the engine is."""

    step: int
    seconds: float
    clipped: int = 0
    """Steps so far whose gradients were clipped."""
    branch: tuple[int, int] | None = None
    """The decay branch that it is on: (start, end); None on the trunk."""


@dataclass
class _RollBackError(Exception):
    """The step must be undone."""

    step: int
    reason: str
    batch: Batch = field(repr=False)


class Trainer:
    """Trains one run to its end, from wherever a previous attempt got.

    Args:
        spec: the run.
        examples: the cell's training examples (n, L), uint16.
        folder: where its checkpoints go.
        recorder: where its numbers go; heard by the leading process only.
        on_step: called after each step with (steps done, steps in all, loss); for progress bars.
        world: the processes that train it together.

    Raises:
        DivergedError: a loss that is not finite or spikes, under the policy `stop` or once too often.
        CheckpointError: the folder holds checkpoints of another run.
        StudyError: what is asked does not fit these processes, this device, or this memory.
        WorkspaceError: the folder cannot be written; the last checkpoint stays whole.
        Terminated: SIGTERM arrived; a resume point is saved.
    """

    def __init__(
        self,
        spec: RunSpec,
        examples: Rows,
        folder: Path,
        recorder: Recorder,
        on_step: Callable[[int, int, float], None] = lambda step, total, loss: None,
        world: World = World(),  # noqa: B008 - frozen, and stands for "alone"
    ) -> None:
        self.spec, self.examples, self.folder, self.recorder, self.on_step = spec, examples, folder, recorder, on_step
        self.world, self.config = world, spec.training
        self.path = run_schedule(self.config, spec.milestones)
        self.total_steps = spec.milestones[-1]
        self.tokens_per_step = self.config.batch_size * spec.study.data.sequence_length
        self.skipped: set[int] = set()
        self._rollbacks = 0
        self._guard = LossGuard(self.config.spike_factor)
        self._timer = ResumeTimer(get_settings().resume_minutes)
        self._steps_done = 0

    def run(self) -> None:
        """Train until the last milestone is saved; returns at once if it already is."""
        self.engine = self._build()
        if self.world.leads and self.engine.precision_note:
            self.recorder.note(self.engine.precision_note)
        if self.world.leads and self.config.microbatch_size == "auto":
            self.recorder.note(f"microbatch_size auto: {self.engine.config.microbatch_size} examples in a forward pass")
        self._log = StepLog(
            self.recorder,
            self.world,
            self.engine.device,
            precision=self.config.precision,
            tokens_per_step=self.tokens_per_step,
            flops_per_step=self.engine.flops_per_step,
        )
        self._writer = BackgroundWriter()
        self._points = ResumePoints(self.engine, self.folder, self.spec.tokenizer)
        try:
            with deferring_termination():
                while True:
                    state = self._start()
                    try:
                        self._train(state)
                        break
                    except _RollBackError as fault:
                        self._roll_back(fault)
                self._writer.wait()
        finally:
            self._writer.close()

    def _build(self) -> TrainEngine:
        spec, length = self.spec, self.spec.study.data.sequence_length
        shape, arm = cell_model(spec.study, spec.cell), spec.study.arm(spec.arm)
        return TrainEngine(
            self.config,
            shape,
            arm,
            seed=spec.seed,
            length=length,
            world=self.world,
            document_end=spec.document_end,
            tokenizer=spec.tokenizer,
        )

    def _start(self) -> _State:
        """From the newest complete checkpoint, or from the pair's initial weights."""
        newest, info = None, None
        if self.world.leads:
            newest, torn = latest_checkpoint(self.folder / "resume")
            for folder in (*torn, *self.folder.glob("*/.step-*")):
                self.recorder.note(f"{folder.relative_to(self.folder)} is torn: passed over and removed")
                shutil.rmtree(folder)
            info = None if newest is None else self._checked(newest)
            if info is not None and (lost := self._lost_milestones(info.step)):
                self.recorder.note(f"checkpoints of steps {lost} are missing or torn: starting from the beginning")
                newest, info = None, None
        info = self.world.share(info)
        if info is None:
            self.engine.set_weights(self.engine.model.draws(pair_generator(self.spec.seed)))
            self.engine.reset_optimizers()
            self._guard.restore(())
            state = _State(step=0, seconds=0.0)
        else:
            self._points.restore(newest, info)
            self.skipped |= set(info.skipped)
            self._rollbacks = max(self._rollbacks, info.rollbacks)
            self._guard.restore(info.recent_losses)
            state = _State(step=info.step, seconds=info.seconds, clipped=info.clipped)
        self._steps_done = self.path.steps_before(state.step)
        return state

    def _lost_milestones(self, step: int) -> list[int]:
        """Milestones that a run at this step of the trunk has passed, and that are not there any more."""
        passed = [end for end in self.path.milestones if self.path.leaves_trunk(end) < step]
        return [end for end in passed if read_manifest(step_folder(self.folder / "checkpoints", end)) is None]

    def _checked(self, folder: Path) -> CheckpointInfo:
        info = read_info(folder)
        if info.run_digest != self.spec.digest or info.model != self.engine.model.config:
            raise CheckpointError(
                "checkpoint.other-run",
                field=str(folder),
                problem=f"is a checkpoint of another run, {info.run} with the digest {info.run_digest}",
                remedy="delete the folder",
            )
        return info

    def _train(self, state: _State) -> None:
        """The trunk from here to its end, and every decay branch on the way."""
        while True:
            branches = [end for end in self.path.branches_at(state.step) if not self._is_saved(end)]
            if branches:
                self._branch_off(state, branches)
            if state.step >= self.path.trunk_steps:
                break
            self._advance(state)
            is_milestone = state.step in self.path.milestones and not self.path.branch_starts
            request = self._request()
            if is_milestone or request:
                self._save(state, milestone=is_milestone, resume=True)
            if request == STOP:
                self._stop()

    def _branch_off(self, trunk: _State, ends: list[int]) -> None:
        """Decay to each end from here, and come back."""
        weights, tensors = self._save(trunk, milestone=False, resume=True)
        recent = self._guard.recent
        for end in ends:
            state = replace(trunk, branch=(trunk.step, end))
            while state.step < end:
                self._advance(state)
                if self._request() == STOP:
                    self._stop()
            self._save(state, milestone=True, resume=False)
            self.engine.restore(weights, tensors)
            self._guard.restore(recent)

    def _is_saved(self, step: int) -> bool:
        saved = self.world.leads and read_manifest(step_folder(self.folder / "checkpoints", step)) is not None
        return bool(self.world.share(saved))

    def _advance(self, state: _State) -> None:
        """One optimizer step, and its numbers."""
        self._writer.poll()
        began = time.perf_counter()
        batch, following = (self._batch(step) for step in (state.step, state.step + 1))
        losses = self.engine.gradients(state.step, batch, self.examples, following)
        rate = learning_rate(self.config, state.step, self.total_steps, state.branch)
        if state.step in self.skipped:
            self.engine.discard()
        else:
            fault = self._guard.fault(losses.nll, losses.gradient_norm)
            if fault is not None:
                self.engine.discard()
                raise _RollBackError(state.step, fault, batch)
            self.engine.apply(rate, state.step)
            state.clipped += losses.gradient_norm > self.config.gradient_clip
        elapsed = time.perf_counter() - began
        state.step += 1
        state.seconds += elapsed
        self._steps_done += 1
        self._log.took(elapsed, losses.data_seconds)
        if self._is_logged(state):
            self._log.record(self._progress(state), losses, rate=rate, clipped=state.clipped / state.step)
        if self.world.leads:
            self.on_step(self._steps_done, self.path.steps, losses.nll)

    def _batch(self, step: int) -> Batch:
        return batch_at(
            self.spec.seed,
            step,
            batch_size=self.config.batch_size,
            examples=len(self.examples),
            random_lengths=self.config.random_lengths,
        )

    def _is_logged(self, state: _State) -> bool:
        """Whether the numbers of this step are recorded; of the branches only the last, which is the run's end."""
        if state.branch is not None and state.branch[1] != self.total_steps:
            return False
        every = max(1, self.total_steps // LOGGED_POINTS)
        return state.step % every == 0 or state.step in self.path.milestones

    def _roll_back(self, fault: _RollBackError) -> None:
        """Go back to before the batches that led up to the fault, which are then skipped; or stop.

        Everything saved after the first of them is deleted, so that the result does not depend on where resume points
        happen to be, and a run that is interrupted meanwhile goes on as one that is not.
        """
        self._rollbacks += 1
        batch = fault.batch
        examples = ", ".join(str(index) for index in batch.examples_B[:8])
        where = (
            f"{self.spec.key}: {fault.reason} at step {fault.step + 1} "
            f"(epoch {batch.epochs_B[0]}, examples {examples}, ...)"
        )
        if self.config.on_divergence == "stop" or self._rollbacks > MOST_ROLLBACKS:
            raise DivergedError(f"{where}; lower training.learning_rate, or set training.on_divergence to roll-back")
        self._writer.wait()
        first = max(0, fault.step - SKIPPED_WINDOW + 1)
        self.skipped |= set(range(first, fault.step + 1))
        if self.world.leads:
            self.recorder.flush()
            for point in (self.folder / "resume").glob("step-*"):
                if step_of(point) > first:
                    self.recorder.drop(point)
            for end in self.path.milestones:
                milestone = step_folder(self.folder / "checkpoints", end)
                if self.path.leaves_trunk(end) >= first and milestone.exists():
                    self.recorder.drop(milestone)
            self.recorder.note(f"{where}; rolled back, and these batches are skipped")

    def _progress(self, state: _State) -> Progress:
        return Progress(
            step=state.step,
            tokens=state.step * self.tokens_per_step,
            flops=state.step * self.engine.flops_per_step,
            seconds=state.seconds,
        )

    def _info(self, state: _State) -> CheckpointInfo:
        at, arm = self._progress(state), self.engine.arm
        return CheckpointInfo(
            run=self.spec.key,
            run_digest=self.spec.digest,
            arm=self.spec.arm,
            family=arm.family,
            seed=self.spec.seed,
            step=at.step,
            tokens=at.tokens,
            flops=at.flops,
            seconds=at.seconds,
            model=self.engine.model.config,
            block_length=arm.block_length,
            expert_choice=arm.expert_choice,
            document_end=self.spec.document_end,
            clipped=state.clipped,
            skipped=tuple(sorted(self.skipped)),
        )

    def _superseded(self, newest: int) -> list[Path]:
        """Resume points that nobody goes back to once the one of this step is complete."""
        older = sorted(p for p in (self.folder / "resume").glob("step-*") if step_of(p) < newest)
        if self.config.on_divergence == "stop":
            return older
        return [point for point in older if step_of(point) <= newest - SKIPPED_WINDOW + 1][:-1]

    def _save(self, state: _State, *, milestone: bool, resume: bool) -> Snapshot:
        """Copy the model, and write it beside the training.

        Args:
            state: where the model is.
            milestone: as weights to be measured.
            resume: as a point to go on from; older ones go only when it is complete.
        """
        began = time.perf_counter()
        snapshot = self.engine.snapshot(optimizer=resume)
        whole = self._points.whole(snapshot) if resume else snapshot
        measured_weights = self.engine.measured_weights(snapshot[0]) if milestone else {}
        copied = time.perf_counter() - began
        if resume:
            self._timer.restart()
        at, info = self._progress(state), self._info(state)
        guarded = info.model_copy(update={"rollbacks": self._rollbacks, "recent_losses": self._guard.recent})
        measured, point = (step_folder(self.folder / name, state.step) for name in ("checkpoints", "resume"))
        if not self.world.leads:
            if resume and self._points.of_all:
                self._writer.submit(lambda: self._points.write(point, guarded, whole), lambda _: None)
            return snapshot
        self.recorder.flush()

        def write() -> tuple[str, float]:
            digest = ""
            if milestone:
                digest = save_checkpoint(measured, info, measured_weights, tokenizer=self.spec.tokenizer)
                self.recorder.keep(measured)
            began = time.perf_counter()
            if resume:
                self._points.write(point, guarded, whole)
                self.recorder.keep(point)
            return digest, time.perf_counter() - began

        def follow_up(result: tuple[str, float]) -> None:
            digest, written = result
            if milestone:
                self.recorder.checkpoint(at, measured, digest)
            if resume:
                self._timer.saved(copied + written)
            for older in self._superseded(at.step) if resume else ():
                self.recorder.drop(older)

        self._writer.submit(write, follow_up)
        return snapshot

    def _request(self) -> int:
        """What all processes do after this step: the most that any requests; the leading one's clock counts."""
        own = STOP if termination_requested() else SAVE if self.world.leads and self._timer.due() else 0
        return self.world.most(own)

    def _stop(self) -> None:
        """End the attempt once its last resume point is complete."""
        self._writer.wait()
        raise Terminated
