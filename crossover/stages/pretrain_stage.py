"""Stage 2: train the runs of a group, from wherever an earlier attempt got."""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from crossover.data.dataset import Dataset
from crossover.errors import CheckpointError, StorageError, noting_run
from crossover.metric_catalogue import METRICS
from crossover.progress import Meter
from crossover.registry import Attempt, MetricDef, Point, kept_alive
from crossover.settings import get_settings
from crossover.stages.finished_runs import diverged_name, finished_run, register_finished, run_config
from crossover.stages.prepare_stage import open_dataset
from crossover.stages.stage_manifests import DatasetRef, Group, RunsRef, require_study
from crossover.stages.study_context import StudyContext
from crossover.stages.workspace import relative_to_root, run_name
from crossover.storage import ANY
from crossover.study.study_config import StudyConfig
from crossover.study.sweep_study import require_tuned
from crossover.training.checkpoint_info import step_name
from crossover.training.distributed import World
from crossover.training.recorder import NoRecorder, Progress
from crossover.training.run_schedule import run_schedule
from crossover.training.run_spec import DivergedError, RunSpec, resume_step
from crossover.training.trainer import Trainer


class RegistryRecorder:
    """Streams a run's points to the registry in batches, and its checkpoints to the workspace."""

    def __init__(self, context: StudyContext, spec: RunSpec, attempt: Attempt) -> None:
        self.context, self.attempt, self.run = context, attempt, spec.digest
        self._waiting: defaultdict[str, list[Point]] = defaultdict(list)
        self._last_flush = time.monotonic()

    def point(self, at: Progress, metric: str, value: float) -> None:
        """Take one value; written once a second or at the next checkpoint."""
        self._waiting[metric].append(
            Point(step=at.step, tokens=at.tokens, flops=at.flops, seconds=at.seconds, value=value)
        )
        if time.monotonic() - self._last_flush > 1.0:
            self.flush()

    def checkpoint(self, at: Progress, folder: Path, digest: str) -> None:
        """Note a checkpoint in the registry."""
        uri = self.context.store.uri_of(relative_to_root(self.context.workspace, folder))
        self.context.registry.record_checkpoint(self.run, at.step, at.tokens, uri, digest)

    def keep(self, folder: Path) -> None:
        """Publish a checkpoint or resume point, once the registry has the points before it."""
        self.context.registry.flush()
        self.context.store.publish(relative_to_root(self.context.workspace, folder))

    def drop(self, folder: Path) -> None:
        """Remove an older resume point."""
        self.context.store.delete(relative_to_root(self.context.workspace, folder))

    def note(self, text: str) -> None:
        """Show a line to people, beside the progress."""
        print(text, file=sys.stderr, flush=True)

    def flush(self) -> None:
        """Write what is waiting."""
        for metric, points in self._waiting.items():
            self.attempt.record(_definition(metric), points)
        self._waiting.clear()
        self._last_flush = time.monotonic()


def _definition(name: str) -> MetricDef:
    """A training metric as the registry keeps it.

    The AR arm's training loss is exact and the DLM's a one-draw bound, so it is shown but never compared.
    """
    metric = METRICS[name]
    return MetricDef(name=name, unit=metric.unit, direction=metric.direction, estimator="none")


def use_threads() -> None:
    """Let torch use as many CPU threads as the settings grant a stage."""
    torch.set_num_threads(get_settings().step_threads)


def pretrain_stage(context: StudyContext, reference: DatasetRef, group: Group, world: World = World()) -> RunsRef:  # noqa: B008  # a frozen value
    """Train every run of the group to its end; a finished one costs nothing.

    Args:
        context: the study, its workspace and registry.
        reference: the dataset.
        group: the runs.
        world: the processes that train together; only the leading one writes.

    Raises:
        CrossoverError: see `Trainer`.
    """
    require_study(reference, context.study.digest, reference.uri)
    require_tuned(context.study)
    use_threads()
    dataset = open_dataset(context, reference)
    cell = context.study.cell(group.cell)
    budget = dataset.manifest.budget(cell.unique_tokens, cell.quality)
    runs = []
    for seed in group.seeds:
        spec = RunSpec(
            study=context.study,
            cell=cell,
            arm=group.arm,
            seed=seed,
            examples=budget.digest,
            tokenizer=dataset.tokenizer,
            document_end=dataset.manifest.document_end,
        )
        folder = context.store.path(run_name(spec.id, spec.digest))
        finished = world.share(finished_run(context, spec) if world.leads else None)
        if finished is None:
            if world.leads:
                config = run_config(context.study, spec.id) | {
                    "threads": torch.get_num_threads(),
                    "torch": str(torch.__version__),
                }
                context.registry.register_run(
                    context.study.digest, spec.id, spec.digest, config=config, epoch_tokens=budget.tokens
                )
                _train(context, spec, dataset, folder, world)
            else:
                examples = dataset.train(cell.unique_tokens, seed, cell.quality)
                Trainer(spec, examples, folder, NoRecorder(), world=world).run()
            world.barrier()
            finished = world.share(finished_run(context, spec) if world.leads else None)
        if finished is None:
            raise CheckpointError(
                "checkpoint.missing",
                field=spec.key,
                problem="a checkpoint of the run is missing or torn although it has been trained to its end",
                remedy="run `crossover pretrain` for this run again",
            )
        if world.leads:
            register_finished(context, dataset, finished)
        runs.append(finished)
    return RunsRef(study=context.study.digest, runs=tuple(runs))


def _fetch_progress(context: StudyContext, run: str) -> None:
    """Bring what an earlier attempt on another machine saved: its checkpoints and its resume points."""
    for name in (*context.store.names(f"{run}/checkpoints"), *context.store.names(f"{run}/resume")):
        try:
            context.store.fetch(name)
        except StorageError as error:
            if error.code not in ("storage.altered", "storage.missing"):
                raise
            print(f"{name} is torn: {error.problem}", file=sys.stderr, flush=True)


def _train(context: StudyContext, spec: RunSpec, dataset: Dataset, folder: Path, world: World) -> None:
    """One attempt at one run; the attempt says how it ended."""
    _fetch_progress(context, run_name(spec.id, spec.digest))
    started = resume_step(folder)
    attempt = context.registry.start_attempt(spec.digest, started_step=started)
    recorder = RegistryRecorder(context, spec, attempt)
    reason = "failed"
    try:
        with noting_run(spec.key), kept_alive(attempt), _progress(context.study, spec, started) as on_step:
            examples = dataset.train(spec.cell.unique_tokens, spec.seed, spec.cell.quality)
            Trainer(spec, examples, folder, recorder, on_step, world).run()
        recorder.flush()
        _publish_missing(context, spec)
        reason = "done"
    except DivergedError as error:
        name = diverged_name(spec)
        context.store.write_document(name, {"problem": str(error)}, replaces=ANY)
        raise
    except KeyboardInterrupt:
        reason = "interrupted"
        raise
    finally:
        attempt.finish(reason)


def _publish_missing(context: StudyContext, spec: RunSpec) -> None:
    """Publish checkpoints that an attempt saved on this machine and could not publish before it was killed."""
    for step in spec.milestones:
        name = f"{run_name(spec.id, spec.digest)}/checkpoints/{step_name(step)}"
        if context.store.digest(name) is None and context.store.path(name).exists():
            context.store.publish(name)


@contextmanager
def _progress(study: StudyConfig, spec: RunSpec, started: int) -> Iterator[Callable[[int, int, float], None]]:
    """A meter over the run's steps, fed by the trainer."""
    schedule = run_schedule(spec.training, spec.milestones)
    tokens = study.tokens_per_step(spec.arm)
    with Meter("pretrain", spec.key, schedule.steps, initial=schedule.steps_before(started)) as meter:
        began, last, first = time.monotonic(), schedule.steps_before(started), schedule.steps_before(started)

        def on_step(step: int, _total: int, loss: float) -> None:
            nonlocal last
            elapsed = max(1e-9, time.monotonic() - began)
            meter.advance(step - last, loss=loss, tokens_per_second=(step - first) * tokens / elapsed)
            last = step

        yield on_step
