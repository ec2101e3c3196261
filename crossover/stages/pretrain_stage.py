"""Step 2: train the runs of a group, from wherever an earlier attempt got."""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from crossover.data.dataset import Dataset
from crossover.errors import DataError
from crossover.progress import Meter
from crossover.registry import Attempt, MetricDef, Point
from crossover.settings import get_settings
from crossover.stages.stage_manifests import DatasetRef, FileRef, Group, RunRef, RunsRef
from crossover.stages.study_context import StudyContext
from crossover.study.study_config import StudyConfig
from crossover.training.distributed import World
from crossover.training.recorder import NoRecorder, Progress
from crossover.training.run_folder import RunSpec, is_finished, milestones, resume_step
from crossover.training.schedule import run_schedule
from crossover.training.trainer import Trainer

METRICS = {
    name: MetricDef(name=name, unit=unit, direction=direction, estimator="none")
    for name, unit, direction in (
        ("training_loss", "nats/token", "lower"),
        ("gradient_norm", "1", "none"),
        ("learning_rate", "1", "none"),
        ("tokens_per_second", "tokens/s", "higher"),
        ("mfu", "fraction", "higher"),
        ("data_wait", "fraction", "lower"),
        ("peak_memory_gib", "GiB", "lower"),
        ("energy_joules", "J", "lower"),
    )
}
"""The AR arm's training loss is exact and the DLM's a one-draw bound, so it is shown but never compared."""


class RegistryRecorder:
    """Streams a run's points to the registry in batches, and its checkpoints to the workspace."""

    def __init__(self, context: StudyContext, spec: RunSpec, attempt: Attempt) -> None:
        self.context, self.attempt = context, attempt
        self.run = context.run_key(spec.cell.name, spec.arm, spec.seed)
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
        self.flush()
        uri = self.context.workspace.uri_of(folder)
        self.context.registry.record_checkpoint(self.run, at.step, at.tokens, uri, digest)

    def keep(self, folder: Path) -> None:
        """Send a checkpoint or resume point to the workspace's object store, if it has one."""
        self.context.workspace.push(folder.relative_to(self.context.workspace.root).as_posix())

    def drop(self, folder: Path) -> None:
        """Remove an older resume point."""
        self.context.workspace.remove(folder.relative_to(self.context.workspace.root).as_posix())

    def note(self, text: str) -> None:
        """Show a line to people, beside the progress."""
        print(text, file=sys.stderr, flush=True)

    def flush(self) -> None:
        """Write what is waiting."""
        for metric, points in self._waiting.items():
            self.attempt.record(METRICS[metric], points)
        self._waiting.clear()
        self._last_flush = time.monotonic()


def use_threads() -> None:
    """Let torch use as many CPU threads as the settings grant a step."""
    torch.set_num_threads(get_settings().step_threads)


def open_dataset(context: StudyContext, reference: DatasetRef) -> Dataset:
    """The dataset that a manifest names, checked against its digest.

    Raises:
        DataError: the dataset on disk is not the one that the manifest names.
    """
    context.workspace.pull("dataset")
    dataset = Dataset.open(context.workspace.path_of(reference.uri))
    if dataset.manifest.digest != reference.digest:
        raise DataError(
            "data.other-dataset",
            field=reference.uri,
            problem="is not the dataset that the manifest names",
            remedy="delete the folder and run `crossover prepare` again",
        )
    return dataset


def pretrain_stage(context: StudyContext, reference: DatasetRef, group: Group, world: World = World()) -> RunsRef:  # noqa: B008
    """Train every run of the group to its end; a finished one costs nothing.

    Args:
        context: the study, its workspace and registry.
        reference: the dataset.
        group: the runs.
        world: the processes that train together; only the leading one writes.

    Raises:
        CrossoverError: see `Trainer`.
    """
    use_threads()
    dataset = open_dataset(context, reference)
    cell = context.study.cell(group.cell)
    runs = []
    for seed in group.seeds:
        spec = RunSpec(study=context.study, cell=cell, arm=group.arm, seed=seed)
        folder = context.run_folder(spec.key)
        context.workspace.pull(f"runs/{spec.key}")
        finished = world.share(is_finished(spec, folder))
        if not finished and world.leads:
            _train(context, spec, dataset, folder, world)
        elif not finished:
            Trainer(spec, dataset.train(cell.unique_tokens), folder, NoRecorder(), world=world).run()
        world.barrier()
        runs.append(
            RunRef(
                key=spec.key,
                cell=cell.name,
                arm=group.arm,
                seed=seed,
                files=tuple(
                    FileRef(step=step, uri=context.workspace.uri_of(place), digest=digest)
                    for step, place, digest in milestones(spec, folder)
                ),
            )
        )
    return RunsRef(study=context.study.digest, runs=tuple(runs))


def _train(context: StudyContext, spec: RunSpec, dataset: Dataset, folder: Path, world: World) -> None:
    """One attempt at one run; the attempt says how it ended."""
    started = resume_step(folder)
    run = context.run_key(spec.cell.name, spec.arm, spec.seed)
    attempt = context.registry.start_attempt(run, started_step=started, config=_run_config(context.study, spec))
    recorder = RegistryRecorder(context, spec, attempt)
    reason = "failed"
    try:
        with _progress(context.study, spec, started) as on_step:
            examples = dataset.train(spec.cell.unique_tokens)
            Trainer(spec, examples, folder, recorder, on_step, world).run()
        recorder.flush()
        context.workspace.push(f"runs/{spec.key}", missing_only=True)
        reason = "done"
    except KeyboardInterrupt:
        reason = "interrupted"
        raise
    finally:
        attempt.finish(reason)


@contextmanager
def _progress(study: StudyConfig, spec: RunSpec, started: int) -> Iterator[Callable[[int, int, float], None]]:
    """A meter over the run's steps, fed by the trainer."""
    path = run_schedule(study.training, study.evaluation_steps(spec.cell))
    tokens = study.training.batch_size * study.data.sequence_length
    with Meter("pretrain", spec.key, path.steps, initial=path.steps_before(started)) as meter:
        began, last, first = time.monotonic(), path.steps_before(started), path.steps_before(started)

        def on_step(step: int, _total: int, loss: float) -> None:
            nonlocal last
            elapsed = max(1e-9, time.monotonic() - began)
            meter.advance(step - last, loss=loss, tokens_per_second=(step - first) * tokens / elapsed)
            last = step

        yield on_step


def _run_config(study: StudyConfig, spec: RunSpec) -> dict[str, object]:
    model = study.model_config_of(spec.cell)
    return {
        "cell": spec.cell.name,
        "arm": spec.arm,
        "seed": spec.seed,
        "unique_tokens": spec.cell.unique_tokens,
        "parameters": model.parameters,
        "active_parameters": model.active_parameters,
        "recipe": study.arm(spec.arm).model_dump(mode="json"),
        "threads": torch.get_num_threads(),
        "torch": str(torch.__version__),
        "model": model.model_dump(mode="json"),
        "training": study.training.model_dump(mode="json"),
    }
